//! The report of an evaluation: one page that needs nothing else, with its plots in it.

use std::collections::HashMap;

use anabranch_evaluation::set::QueryLine;
use anabranch_evaluation::statistics::Interval;
use minijinja::value::Serde;
use minijinja::{Environment, context};
use serde::Serialize;
use serde_json::Value as Json;

use super::compare::{Compared, Difference};
use super::figures::{GROUPS, place_of};
use super::plots::{self, Row};
use super::results::Line;
use super::summary::{Summary, Variant, took};

const PAGE: &str = include_str!("report.html");
/// Most questions that the page lists.
const QUESTIONS_MAX: usize = 200;
/// Longest text that the page shows of an answer.
const SHOWN_CHARS: usize = 400;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A plot cannot be drawn.
    #[error(transparent)]
    Plot(#[from] plots::Error),
    /// The page cannot be written.
    #[error("cannot write the page")]
    Page(#[from] minijinja::Error),
}

/// A picture with what it shows.
#[derive(Serialize)]
struct Plot {
    title: String,
    svg: String,
    /// What each colour means.
    legend: Vec<Mark>,
}

#[derive(Serialize)]
struct Mark {
    name: String,
    colour: String,
}

/// A comparison as the page tells it.
#[derive(Serialize)]
struct Told<'a> {
    variant: &'a str,
    with: &'a str,
    questions: usize,
    unpaired: usize,
    rows: Vec<ToldRow<'a>>,
    svg: String,
}

#[derive(Serialize)]
struct ToldRow<'a> {
    name: &'a str,
    #[serde(flatten)]
    difference: Difference,
}

/// A question as the page lists it.
#[derive(Serialize)]
struct Asked<'a> {
    id: &'a str,
    question: &'a str,
    right: String,
    answer: String,
    failure: Option<String>,
    figures: Vec<Option<f64>>,
}

/// The page for `summary`; `lines` are the results of its variants, and `queries` what was asked.
pub fn page(summary: &Summary, lines: &[Vec<&Line>], queries: &[QueryLine]) -> Result<String, Error> {
    let mut plots = groups(summary)?;
    plots.extend(sweep(summary)?);
    if lines.iter().flatten().any(|line| line.failure.is_none()) {
        let took: Vec<Vec<f64>> = lines.iter().map(|lines| took(lines)).collect();
        let svg = plots::shares(&took, "milliseconds")?;
        plots.push(Plot {
            title: "share of the questions that took no longer".to_owned(),
            svg,
            legend: legend(summary),
        });
    }
    let comparisons = summary.comparisons.iter().map(told).collect::<Result<Vec<_>, _>>()?;
    let figures = names(summary);
    let shown = headline(&figures);
    let questions = lines.first().map(|lines| worst_first(lines, queries, &shown)).unwrap_or_default();
    let mut environment = Environment::new();
    environment.add_filter("share", |value: f64| format!("{value:.3}"));
    environment.add_filter("signed", |value: f64| format!("{value:+.3}"));
    environment.add_filter("ms", |value: f64| format!("{value:.1}"));
    environment.add_template("report.html", PAGE)?;
    let page = environment.get_template("report.html")?.render(context! {
        summary => Serde(summary),
        figures => Serde(&figures),
        plots => Serde(&plots),
        comparisons => Serde(&comparisons),
        shown => Serde(&shown),
        questions => Serde(&questions),
        n_left => queries.len().saturating_sub(QUESTIONS_MAX),
        version => env!("CARGO_PKG_VERSION"),
    })?;
    Ok(page)
}

/// The figures that any variant has, each once, in order.
fn names(summary: &Summary) -> Vec<&str> {
    let all = summary.variants.iter().flat_map(|variant| variant.figures.keys());
    let mut names: Vec<&str> = all.map(String::as_str).collect();
    names.sort_by_key(|name| place_of(name));
    names.dedup();
    names
}

fn legend(summary: &Summary) -> Vec<Mark> {
    let names: Vec<&str> = summary.variants.iter().map(|variant| variant.name.as_str()).collect();
    marks(&names)
}

fn marks(names: &[&str]) -> Vec<Mark> {
    let mark = |(n, name): (usize, &&str)| {
        let colour = plots::colour(n);
        Mark {
            name: (*name).to_owned(),
            colour: format!("#{:02x}{:02x}{:02x}", colour.0, colour.1, colour.2),
        }
    };
    names.iter().enumerate().map(mark).collect()
}

/// A plot a group of figures.
fn groups(summary: &Summary) -> Result<Vec<Plot>, Error> {
    let (mut plots, all) = (Vec::new(), names(summary));
    for (title, names) in GROUPS {
        let is_in = |figure: &&str| names.contains(&figure.split('@').next().unwrap_or_default());
        let figures: Vec<&str> = all.iter().copied().filter(is_in).collect();
        if figures.is_empty() {
            continue;
        }
        let mark = |variant: &Variant, figure: &str| {
            variant.figures.get(figure).map(|mean| (mean.mean, mean.interval))
        };
        let row = |figure: &&str| Row {
            name: (*figure).to_owned(),
            marks: summary.variants.iter().map(|variant| mark(variant, figure)).collect(),
        };
        let rows: Vec<Row> = figures.iter().map(row).collect();
        let svg = plots::intervals(&rows, 0.0..1.0)?;
        plots.push(Plot { title: title.to_owned(), svg, legend: legend(summary) });
    }
    Ok(plots)
}

/// Figures by the value of the one setting that is swept, if its values are numbers.
fn sweep(summary: &Summary) -> Result<Option<Plot>, Error> {
    let value = |variant: &Variant| {
        let [setting] = variant.settings.as_slice() else { return None };
        let (name, value) = setting.split_once('=')?;
        Some((name.to_owned(), serde_json::from_str::<Json>(value).ok()?.as_f64()?))
    };
    let Some(values) = summary.variants.iter().map(value).collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    let Some((name, _)) = values.first().filter(|_| values.len() > 1) else { return Ok(None) };
    let shown = headline(&names(summary));
    let curve = |figure: &&str| {
        let at =
            |(variant, (_, x)): (&Variant, &(String, f64))| Some((*x, variant.figures.get(*figure)?.mean));
        let mut points: Vec<(f64, f64)> = summary.variants.iter().zip(&values).filter_map(at).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let curves: Vec<Vec<(f64, f64)>> = shown.iter().map(curve).collect();
    if curves.is_empty() {
        return Ok(None);
    }
    let svg = plots::sweep(&curves, name)?;
    Ok(Some(Plot { title: format!("figures by {name}"), svg, legend: marks(&shown) }))
}

fn told(compared: &Compared) -> Result<Told<'_>, Error> {
    Ok(Told {
        variant: &compared.variant,
        with: &compared.with,
        questions: compared.questions,
        unpaired: compared.unpaired,
        rows: compared
            .figures
            .iter()
            .map(|(name, difference)| ToldRow { name, difference: *difference })
            .collect(),
        svg: differences(compared)?,
    })
}

/// The differences of a comparison with their intervals.
fn differences(compared: &Compared) -> Result<String, Error> {
    let row = |(name, difference): (&String, &Difference)| Row {
        name: name.clone(),
        marks: vec![Some((difference.comparison.difference, difference.comparison.interval))],
    };
    let rows: Vec<Row> = compared.figures.iter().map(row).collect();
    let reach = |interval: &Interval| interval.low.abs().max(interval.high.abs());
    let widest = compared.figures.values().map(|d| reach(&d.comparison.interval)).fold(0.0, f64::max);
    let widest = if widest > 0.0 { widest * 1.05 } else { 1.0 };
    Ok(plots::intervals(&rows, -widest..widest)?)
}

/// One figure a group, the one that says most.
fn headline<'a>(figures: &[&'a str]) -> Vec<&'a str> {
    const SAY_MOST: [&str; 6] = ["all", "ndcg", "chunk_recall", "f1", "citation_recall", "refused"];
    let last = |base: &&str| {
        // The greatest k that looks no further than people do.
        let is_it = |name: &&&str| name.split('@').next() == Some(base) && place_of(name).2 <= 10;
        figures.iter().filter(is_it).max_by_key(|name| place_of(name).2).copied()
    };
    SAY_MOST.iter().filter_map(last).collect()
}

/// The questions, those with the lowest figures first.
fn worst_first<'a>(lines: &[&Line], queries: &'a [QueryLine], shown: &[&str]) -> Vec<Asked<'a>> {
    let by_id: HashMap<&str, &&Line> = lines.iter().map(|line| (line.id.as_str(), line)).collect();
    let mut asked: Vec<(f64, Asked<'a>)> = Vec::new();
    for query in queries {
        let Some(line) = by_id.get(query.id.as_str()) else { continue };
        let figures: Vec<Option<f64>> = shown.iter().map(|name| line.figures.get(*name).copied()).collect();
        let known: Vec<f64> = figures.iter().flatten().copied().collect();
        let worth = if known.is_empty() { 1.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
        let question = Asked {
            id: &query.id,
            question: &query.question,
            right: shorten(&query.right_answers().join(" | ")),
            answer: shorten(line.found.answer.as_deref().unwrap_or_default()),
            failure: line
                .failure
                .as_ref()
                .map(|failure| format!("{}: {}", failure.kind, shorten(&failure.message))),
            figures,
        };
        asked.push((worth, question));
    }
    // Stable: of equal ones, that which was asked first.
    asked.sort_by(|a, b| a.0.total_cmp(&b.0));
    asked.into_iter().take(QUESTIONS_MAX).map(|(_, asked)| asked).collect()
}

fn shorten(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use anabranch_engine::backend::Usage;
    use indexmap::IndexMap;

    use super::*;
    use crate::eval::compare::compare;
    use crate::eval::looked::{Found, LeftOut};
    use crate::eval::results::Failed;

    fn line(id: &str, f1: f64) -> Line {
        Line {
            id: id.to_owned(),
            failure: None,
            found: Found { answer: Some("a <b>bold</b> answer".to_owned()), ..Found::default() },
            figures: [("all@10", 1.0), ("all@20", 1.0), ("f1", f1)]
                .map(|(n, v)| (n.to_owned(), v))
                .into_iter()
                .collect(),
            usage: Usage::default(),
            elapsed_ms: 12.0,
        }
    }

    fn query(id: &str) -> QueryLine {
        let json = serde_json::json!({"id": id, "question": format!("who & {id}?"), "answers": ["x", "y"]});
        serde_json::from_value(json).unwrap()
    }

    fn made(settings: [&str; 2]) -> String {
        let (one, two) = ([line("a", 0.75), line("b", 0.25)], [line("a", 0.5), line("b", 0.5)]);
        let failed = Some(Failed { kind: "timed_out".to_owned(), message: "late".to_owned() });
        let two = [Line { failure: failed, ..two[0].clone() }, two[1].clone()];
        let lines: Vec<Vec<&Line>> = vec![one.iter().collect(), two.iter().collect()];
        let variant = |n: usize| {
            let settings = vec![settings[n].to_owned()];
            Variant::new(settings[0].clone(), settings, "results.jsonl".to_owned(), &lines[n], 1)
        };
        let other: IndexMap<String, Line> = one.iter().map(|line| (line.id.clone(), line.clone())).collect();
        let summary = Summary {
            flow: "f".to_owned(),
            data: "sets/<x>".to_owned(),
            questions: 2,
            seed: 1,
            variants: vec![variant(0), variant(1)],
            comparisons: vec![compare(("two", &lines[1]), ("one", &other), 1)],
            left_out: vec![LeftOut { figures: "citations".to_owned(), why: "there are none".to_owned() }],
            report: "report.html".to_owned(),
        };
        page(&summary, &lines, &[query("a"), query("b")]).unwrap()
    }

    #[test]
    fn the_page_stands_alone_and_escapes_what_it_shows() {
        let page = made(["s.with.k=5", "s.with.k=10"]);
        for foreign in ["http:", "https:", "<script", "<link", "@import", "url("] {
            let found = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(foreign), "{foreign}");
        }
        assert!(page.contains("a &lt;b&gt;bold&lt;") && !page.contains("<b>bold"), "{page}");
        assert!(page.contains("who &amp; a?") && page.contains("&lt;x&gt;"));
        assert!(page.contains("timed_out") && page.contains("there are none"));
        assert!(page.find("who &amp; b?") < page.find("who &amp; a?"), "the worst first");
        assert_eq!(page.matches("<svg").count(), 5, "documents, answers, sweep, latency, comparison");
        assert!(page.contains("figures by s.with.k"));
    }

    #[test]
    fn settings_that_are_no_numbers_have_no_curve() {
        assert!(!made(["s.with.k=\"x\"", "s.with.k=\"y\""]).contains("figures by"));
    }

    #[test]
    fn one_figure_of_a_group_says_most() {
        let figures = ["recall@5", "all@5", "all@10", "all@20", "ndcg@10", "f1", "rouge_l"];
        assert_eq!(headline(&figures), ["all@10", "ndcg@10", "f1"]);
    }
}
