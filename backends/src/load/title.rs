//! Finds the title of a Markdown text.

use anabranch_engine::value::Text;

/// The `title` of the front matter, else the first heading.
pub(super) fn of_markdown(text: &str) -> Option<Text> {
    let (front_matter, body) = split_front_matter(text);
    front_matter.and_then(front_title).or_else(|| first_heading(body))
}

/// The lines between a first line `---` and the next, and what follows them.
fn split_front_matter(text: &str) -> (Option<&str>, &str) {
    let split = || {
        let inner = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n"))?;
        let end = inner.find("\n---")?;
        Some((Some(inner.get(..end)?), inner.get(end + 4..)?))
    };
    split().unwrap_or((None, text))
}

fn front_title(front_matter: &str) -> Option<Text> {
    let line = front_matter.lines().find_map(|line| line.strip_prefix("title:"))?.trim();
    let quoted = |quote| line.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let title = quoted('"').or_else(|| quoted('\'')).unwrap_or(line);
    (!title.is_empty()).then(|| title.into())
}

fn first_heading(body: &str) -> Option<Text> {
    let mut fence: Option<&str> = None;
    let mut previous = "";
    for line in body.lines() {
        let line = line.trim();
        if let Some(open) = fence {
            if line.starts_with(open) {
                fence = None;
            }
            continue;
        }
        fence = ["```", "~~~"].into_iter().find(|mark| line.starts_with(mark));
        if let Some(title) = hash_heading(line) {
            return Some(title.into());
        }
        // A line of `=` under a line of text makes that one a heading.
        if !previous.is_empty() && line.len() >= 3 && line.bytes().all(|byte| byte == b'=') {
            return Some(previous.into());
        }
        previous = if fence.is_some() { "" } else { line };
    }
    None
}

/// The text of a line such as `## Text ##`.
fn hash_heading(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches('#');
    let level = line.len() - rest.len();
    let is_heading = (1..=6).contains(&level) && rest.starts_with([' ', '\t']);
    let title = rest.trim().trim_end_matches('#').trim_end();
    (is_heading && !title.is_empty()).then_some(title)
}

#[cfg(test)]
mod tests {
    use super::of_markdown;

    #[test]
    fn the_first_heading_outside_code_is_the_title() {
        let title = |text: &str| of_markdown(text).map(|title| title.to_string());
        assert_eq!(title("```sh\n# no\n```\n\n## Yes, `this` ##\n# later\n").as_deref(), Some("Yes, `this`"));
        assert_eq!(title("Over\n====\ntext").as_deref(), Some("Over"));
        assert_eq!(title("---\ntitle: \"Front\"\n---\n# Heading").as_deref(), Some("Front"));
        assert_eq!(title("---\nx: y\n---\n# Heading").as_deref(), Some("Heading"));
        assert_eq!(title("#hashtag\n---\n"), None);
        assert_eq!(title(""), None);
    }
}
