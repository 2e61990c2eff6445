//! Languages whose syntax is known: by which names their files end, how they are parsed, what opens a scope.

use std::ops::ControlFlow;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tree_sitter::{ParseOptions, ParseState, Parser, Tree};
use tree_sitter_language::LanguageFn;

/// Longest text that is parsed, in bytes; a longer one is cut by lines.
const PARSED_BYTES_MAX: usize = 8 << 20;
/// The parser reports once in a hundred steps. A valid text takes about a step a token, what is no code at all can take
/// many; so many reports are waited for, and a quarter of one a byte, before the text is cut by lines instead.
const PARSE_REPORTS_MIN: usize = 1000;

/// The language of source code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// What the ending of the document's name says.
    #[default]
    Auto,
    /// None: the text is cut by lines.
    Lines,
    /// C, also the headers of C++.
    C,
    /// Go.
    Go,
    /// Java.
    Java,
    /// JavaScript, with JSX.
    Javascript,
    /// Python.
    Python,
    /// Rust.
    Rust,
    /// TypeScript with JSX.
    Tsx,
    /// TypeScript.
    Typescript,
}

impl Language {
    /// The language for a document of this name: itself, unless it is [`Language::Auto`].
    #[must_use]
    pub fn of(self, name: &str) -> Self {
        if self != Self::Auto {
            return self;
        }
        match Path::new(name).extension().and_then(|ending| ending.to_str()) {
            Some("c" | "h") => Self::C,
            Some("go") => Self::Go,
            Some("java") => Self::Java,
            Some("cjs" | "js" | "jsx" | "mjs") => Self::Javascript,
            Some("py" | "pyi") => Self::Python,
            Some("rs") => Self::Rust,
            Some("tsx") => Self::Tsx,
            Some("cts" | "mts" | "ts") => Self::Typescript,
            _ => Self::Lines,
        }
    }

    /// As settings name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Lines => "lines",
            Self::C => "c",
            Self::Go => "go",
            Self::Java => "java",
            Self::Javascript => "javascript",
            Self::Python => "python",
            Self::Rust => "rust",
            Self::Tsx => "tsx",
            Self::Typescript => "typescript",
        }
    }

    fn grammar(self) -> Option<LanguageFn> {
        match self {
            Self::Auto | Self::Lines => None,
            Self::C => Some(tree_sitter_c::LANGUAGE),
            Self::Go => Some(tree_sitter_go::LANGUAGE),
            Self::Java => Some(tree_sitter_java::LANGUAGE),
            Self::Javascript => Some(tree_sitter_javascript::LANGUAGE),
            Self::Python => Some(tree_sitter_python::LANGUAGE),
            Self::Rust => Some(tree_sitter_rust::LANGUAGE),
            Self::Tsx => Some(tree_sitter_typescript::LANGUAGE_TSX),
            Self::Typescript => Some(tree_sitter_typescript::LANGUAGE_TYPESCRIPT),
        }
    }

    /// The syntax of `text`, mistakes included; `None` where the language is unknown or the text too long or too odd.
    pub fn parse(self, text: &str) -> Option<Tree> {
        if text.len() > PARSED_BYTES_MAX {
            return None;
        }
        let mut parser = Parser::new();
        parser.set_language(&self.grammar()?.into()).ok()?;
        let mut reports_left = PARSE_REPORTS_MIN + text.len() / 4;
        let mut report = |_: &ParseState| {
            reports_left = reports_left.saturating_sub(1);
            if reports_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let options = ParseOptions::new().progress_callback(&mut report);
        let bytes = text.as_bytes();
        parser.parse_with_options(&mut |at, _| bytes.get(at..).unwrap_or_default(), None, Some(options))
    }

    /// Whether a node of this kind is something that the parts within it are named by: a class, a function, a module.
    pub(super) fn is_scope(self, kind: &str) -> bool {
        let kinds: &[&str] = match self {
            Self::Auto | Self::Lines => &[],
            Self::C => &["enum_specifier", "function_definition", "struct_specifier", "union_specifier"],
            Self::Go => &["function_declaration", "method_declaration", "type_declaration"],
            Self::Java => &[
                "annotation_type_declaration",
                "class_declaration",
                "constructor_declaration",
                "enum_declaration",
                "interface_declaration",
                "method_declaration",
                "record_declaration",
            ],
            Self::Javascript | Self::Tsx | Self::Typescript => &[
                "abstract_class_declaration",
                "class_declaration",
                "enum_declaration",
                "function_declaration",
                "generator_function_declaration",
                "interface_declaration",
                "internal_module",
                "method_definition",
                "module",
            ],
            Self::Python => &["class_definition", "function_definition"],
            Self::Rust => &[
                "enum_item",
                "function_item",
                "impl_item",
                "macro_definition",
                "mod_item",
                "struct_item",
                "trait_item",
                "union_item",
            ],
        };
        kinds.contains(&kind)
    }
}
