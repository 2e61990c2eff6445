//! Kinds of files, told by their names.

use std::path::Path;

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Markdown, with headings.
    Markdown,
    /// Plain text, or markup that reads well as it is.
    Text,
    /// HTML, read as a reader sees it.
    Html,
    /// Source code and configuration.
    Code,
    /// A table: a record a line.
    Csv,
    /// A list of documents, or data.
    Json,
    /// Pages.
    Pdf,
    /// A document a line.
    Corpus,
}

const MARKDOWN: &[&str] = &["md", "markdown", "mdx", "mkd", "mdown"];
const TEXT: &[&str] = &["txt", "text", "rst", "adoc", "asciidoc", "org", "log", "tex"];
const HTML: &[&str] = &["html", "htm", "xhtml"];
const CORPUS: &[&str] = &["jsonl", "ndjson"];
const CSV: &[&str] = &["csv", "tsv"];
const JSON: &[&str] = &["json"];
const PDF: &[&str] = &["pdf"];
const CODE: &[&str] = &[
    "rs", "py", "pyi", "js", "mjs", "cjs", "jsx", "ts", "tsx", "mts", "cts", "vue", "svelte", "go", "java",
    "c", "h", "cc", "cpp", "cxx", "hh", "hpp", "hxx", "cs", "fs", "rb", "php", "swift", "kt", "kts", "scala",
    "clj", "cljs", "ex", "exs", "erl", "hrl", "hs", "ml", "mli", "sh", "bash", "zsh", "fish", "ps1", "bat",
    "sql", "yaml", "yml", "toml", "ini", "cfg", "conf", "proto", "graphql", "lua", "r", "jl", "pl", "pm",
    "m", "mm", "dart", "zig", "nim", "v", "sv", "vhdl", "asm", "s", "css", "scss", "less", "cmake", "mk",
    "gradle", "groovy", "tf", "hcl", "nix", "el", "lisp", "scm", "f90", "f", "pas", "d", "cu", "cuh", "cl",
    "tcl",
];
/// Names without an extension that say what they are.
const TEXT_NAMES: &[&str] =
    &["readme", "license", "licence", "copying", "notice", "authors", "changelog", "news", "todo"];
const CODE_NAMES: &[&str] =
    &["makefile", "dockerfile", "containerfile", "justfile", "rakefile", "gemfile", "jenkinsfile"];

impl Kind {
    /// The kind of a file of that name; `None` if the name does not tell.
    pub fn of_path(path: &Path) -> Option<Self> {
        let is_one_of =
            |names: &[&str], name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        if let Some(extension) = path.extension().and_then(|extension| extension.to_str()) {
            let by_extension = [
                (MARKDOWN, Self::Markdown),
                (TEXT, Self::Text),
                (HTML, Self::Html),
                (CODE, Self::Code),
                (CSV, Self::Csv),
                (JSON, Self::Json),
                (PDF, Self::Pdf),
                (CORPUS, Self::Corpus),
            ];
            return by_extension.into_iter().find(|(all, _)| is_one_of(all, extension)).map(|(_, kind)| kind);
        }
        let name = path.file_name()?.to_str()?;
        let by_name = [(TEXT_NAMES, Self::Text), (CODE_NAMES, Self::Code)];
        by_name.into_iter().find(|(all, _)| is_one_of(all, name)).map(|(_, kind)| kind)
    }

    /// What `Document.kind` says. The documents of a corpus are text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Markdown => "markdown",
            Self::Text | Self::Corpus => "text",
            Self::Html => "html",
            Self::Code => "code",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Pdf => "pdf",
        }
    }
}
