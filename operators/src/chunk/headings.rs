//! The sections of a Markdown text: what stands under each heading.

use std::ops::Range;

use anabranch_engine::value::Text;

use super::blocks::{Block, Kind};

/// What stands from one heading to the next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Section {
    /// The headings above it and its own, outermost first; empty before the first heading.
    pub(crate) path: Vec<Text>,
    /// Its bytes, its heading included.
    pub(crate) range: Range<usize>,
    /// Its blocks.
    pub(crate) blocks: Vec<Block>,
}

/// Cuts at every heading up to `max_depth`; deeper headings stay within their section.
///
/// A heading with nothing but a deeper heading below goes along with that one: alone it would be found by its few
/// words and tell nothing.
pub(crate) fn sections(len: usize, blocks: Vec<Block>, max_depth: usize) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    // The open headings: level and words.
    let mut open: Vec<(usize, Text)> = Vec::new();
    for block in blocks {
        if let Kind::Heading { level, text } = &block.kind
            && *level <= max_depth
        {
            open.retain(|(above, _)| above < level);
            open.push((*level, text.clone()));
            let path: Vec<Text> = open.iter().map(|(_, text)| text.clone()).collect();
            match sections.last_mut() {
                Some(bare) if bare.is_bare() && path.starts_with(&bare.path) => {
                    bare.path = path;
                    bare.blocks.push(block);
                    continue;
                }
                Some(before) => before.range.end = block.start,
                // What stands before the first block (definitions of links, say) belongs to it.
                None => {}
            }
            let start = if sections.is_empty() { 0 } else { block.start };
            sections.push(Section { path, range: start..len, blocks: vec![block] });
        } else if let Some(section) = sections.last_mut() {
            section.blocks.push(block);
        } else {
            sections.push(Section { path: Vec::new(), range: 0..len, blocks: vec![block] });
        }
    }
    if sections.is_empty() && len > 0 {
        sections.push(Section { path: Vec::new(), range: 0..len, blocks: Vec::new() });
    }
    sections
}

impl Section {
    /// Whether it has headings and nothing else.
    fn is_bare(&self) -> bool {
        !self.path.is_empty() && self.blocks.iter().all(|block| matches!(block.kind, Kind::Heading { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::blocks::blocks;

    fn paths(text: &str, max_depth: usize) -> Vec<(String, &str)> {
        sections(text.len(), blocks(text), max_depth)
            .into_iter()
            .map(|section| (section.path.join(" > "), text[section.range].trim()))
            .collect()
    }

    #[test]
    fn a_section_knows_the_headings_above_it() {
        let text = "intro\n\n# A\n\na\n\n## B\n\nb\n\n# C\n\nc";
        assert_eq!(
            paths(text, 6),
            [
                (String::new(), "intro"),
                ("A".to_owned(), "# A\n\na"),
                ("A > B".to_owned(), "## B\n\nb"),
                ("C".to_owned(), "# C\n\nc"),
            ]
        );
    }

    #[test]
    fn a_heading_below_max_depth_cuts_nothing() {
        assert_eq!(paths("# A\n\na\n\n## B\n\nb", 1), [("A".to_owned(), "# A\n\na\n\n## B\n\nb")]);
    }

    #[test]
    fn a_bare_heading_goes_along_with_the_first_one_below_it() {
        assert_eq!(paths("# A\n\n## B\n\nb", 6), [("A > B".to_owned(), "# A\n\n## B\n\nb")]);
    }
}
