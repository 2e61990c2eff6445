//! Plots of a report, as SVG that stands in the page.

use std::ops::Range;

use anabranch_evaluation::statistics::{Interval, percentile};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Colours of variants, one after the other, told apart by people who see colours differently.
///
/// Source: Okabe and Ito, "Color Universal Design" (2008).
pub(super) const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(100, 100, 100),
];
const INK: RGBColor = RGBColor(60, 60, 60);
const FAINT: RGBColor = RGBColor(215, 215, 215);
const WIDTH: i32 = 760;
/// Room for names on the left, and for half a number on the right.
const LEFT: i32 = 190;
const RIGHT: i32 = 30;
/// Room for the numbers of the axis.
const BOTTOM: i32 = 30;
const TOP: i32 = 10;
/// Height of a mark, and the gap between rows.
const MARK: i32 = 14;
const GAP: i32 = 8;
const RADIUS: i32 = 4;
/// Parts of an axis.
const TICKS: u32 = 5;
/// Points of a curve of shares.
const CURVE: u32 = 200;
const FONT: (&str, i32) = ("sans-serif", 15);
const LINE_HEIGHT: u32 = 260;

/// Why there is no plot.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw a plot: {0}")]
pub struct Error(String);

fn drawn<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, Error> {
    result.map_err(|error| Error(error.to_string()))
}

/// A row of [`intervals`]: a name, and a mark a variant.
pub(super) struct Row {
    pub(super) name: String,
    /// By variant; those without the figure have none.
    pub(super) marks: Vec<Option<(f64, Interval)>>,
}

/// The colour of a variant.
pub(super) fn colour(variant: usize) -> RGBColor {
    COLOURS.get(variant % COLOURS.len()).copied().unwrap_or(INK)
}

/// Values with their confidence intervals, a row a figure.
pub(super) fn intervals(rows: &[Row], axis: Range<f64>) -> Result<String, Error> {
    let heights: Vec<i32> = rows.iter().map(|row| GAP + MARK * count(row.marks.len())).collect();
    let height = TOP + heights.iter().sum::<i32>() + BOTTOM;
    let mut svg = String::new();
    {
        let size = (WIDTH.unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let span = (axis.end - axis.start).max(f64::MIN_POSITIVE);
        let x = |value: f64| LEFT + pixel((value - axis.start) / span * f64::from(WIDTH - LEFT - RIGHT));
        for tick in 0..=TICKS {
            let value = axis.start + span * f64::from(tick) / f64::from(TICKS);
            line(&area, (x(value), TOP), (x(value), height - BOTTOM), FAINT, 1)?;
            words(&area, &format!("{value:.2}"), (x(value), height - BOTTOM + 6), HPos::Center, VPos::Top)?;
        }
        if axis.start < 0.0 && axis.end > 0.0 {
            line(&area, (x(0.0), TOP), (x(0.0), height - BOTTOM), INK, 1)?;
        }
        let mut top = TOP;
        for (row, row_height) in rows.iter().zip(&heights) {
            let middle = top + row_height / 2;
            words(&area, &row.name, (LEFT - 12, middle), HPos::Right, VPos::Center)?;
            for (variant, mark) in row.marks.iter().enumerate() {
                let Some((value, interval)) = mark else { continue };
                let y = top + GAP / 2 + MARK * count(variant) + MARK / 2;
                line(&area, (x(interval.low), y), (x(interval.high), y), colour(variant), 2)?;
                drawn(area.draw(&Circle::new((x(*value), y), RADIUS, colour(variant).filled())))?;
            }
            top += row_height;
        }
        drawn(area.present())?;
    }
    Ok(svg)
}

/// How large a share of the values is at most so great: a curve a variant.
pub(super) fn shares(variants: &[Vec<f64>], unit: &str) -> Result<String, Error> {
    let longest = variants.iter().flatten().copied().fold(0.0, f64::max);
    let curves = variants.iter().map(|values| {
        let at = |step: u32| {
            let share = f64::from(step) / f64::from(CURVE);
            percentile(values, share).map(|value| (value, share))
        };
        (0..=CURVE).filter_map(at).collect()
    });
    curve(&curves.collect::<Vec<_>>(), 0.0..longest.max(f64::MIN_POSITIVE) * 1.02, unit, false)
}

/// Means by the value of a setting: a curve a figure.
pub(super) fn sweep(curves: &[Vec<(f64, f64)>], setting: &str) -> Result<String, Error> {
    let xs = || curves.iter().flatten().map(|(x, _)| *x);
    let (low, high) = (xs().fold(f64::INFINITY, f64::min), xs().fold(f64::NEG_INFINITY, f64::max));
    let margin = (high - low).abs().max(f64::MIN_POSITIVE) * 0.03;
    curve(curves, low - margin..high + margin, setting, true)
}

fn curve(curves: &[Vec<(f64, f64)>], x: Range<f64>, x_name: &str, has_marks: bool) -> Result<String, Error> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH.unsigned_abs(), LINE_HEIGHT)).into_drawing_area();
        let mut builder = ChartBuilder::on(&area);
        builder.margin(TOP).x_label_area_size(40).y_label_area_size(50);
        let mut chart = drawn(builder.build_cartesian_2d(x, 0.0..1.0))?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(WHITE.mix(0.0)).bold_line_style(FAINT).axis_style(INK);
        mesh.label_style(FONT.into_font().color(&INK)).x_desc(x_name).y_labels(6);
        drawn(mesh.draw())?;
        for (n, points) in curves.iter().enumerate() {
            drawn(chart.draw_series(LineSeries::new(points.iter().copied(), colour(n).stroke_width(2))))?;
            if has_marks {
                let mark = |point: &(f64, f64)| Circle::new(*point, RADIUS, colour(n).filled());
                drawn(chart.draw_series(points.iter().map(mark)))?;
            }
        }
        drawn(area.present())?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn line(
    area: &Area<'_>,
    from: (i32, i32),
    to: (i32, i32),
    colour: RGBColor,
    width: u32,
) -> Result<(), Error> {
    drawn(area.draw(&PathElement::new([from, to], colour.stroke_width(width))))
}

fn words(area: &Area<'_>, text: &str, at: (i32, i32), h: HPos, v: VPos) -> Result<(), Error> {
    drawn(area.draw_text(text, &TextStyle::from(FONT.into_font()).color(&INK).pos(Pos::new(h, v)), at))
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "within the width of a plot")]
fn pixel(value: f64) -> i32 {
    value.clamp(-f64::from(WIDTH), f64::from(2 * WIDTH)).round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stands_where_its_value_is() {
        let interval = Interval { low: 0.25, high: 0.75 };
        let rows = [Row { name: "a < b".to_owned(), marks: vec![Some((0.5, interval)), None] }];
        let svg = intervals(&rows, 0.0..1.0).unwrap();
        // 540 pixels wide from 190: the middle is at 460, the quarters at 325 and 595.
        assert!(svg.contains("cx=\"460\"") && svg.contains("325,") && svg.contains("595,"), "{svg}");
        assert!(svg.contains("a &lt; b") && svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<circle").count(), 1);
    }

    #[test]
    fn a_difference_has_a_line_at_zero() {
        let at_zero = format!("{},", LEFT + (WIDTH - LEFT - RIGHT) / 2);
        let with = intervals(&[], -0.4..0.4).unwrap();
        assert_eq!(with.matches(&at_zero).count(), 2, "{with}");
    }

    #[test]
    fn whatever_the_values_there_is_a_plot() {
        for values in [vec![], vec![vec![]], vec![vec![0.0]], vec![vec![3.0, 1.0, 2.0], vec![5.0]]] {
            assert!(shares(&values, "ms").unwrap().contains("<svg"));
        }
        for curves in [vec![vec![(5.0, 0.5)]], vec![vec![(1.0, 0.0), (2.0, 1.0)]]] {
            assert!(sweep(&curves, "k").unwrap().contains("<circle"));
        }
    }
}
