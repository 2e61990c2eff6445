//! Diagnostics as text: the line underlined, rustc's way.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::{Diagnostic, Diagnostics, Severity};

/// All diagnostics as a person reads them, with a blank line between two; with ANSI colours if `color`.
pub fn render(diagnostics: &Diagnostics, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut text = String::new();
    for diagnostic in diagnostics {
        text.push_str(&render_one(diagnostic, &renderer));
        text.push_str("\n\n");
    }
    text
}

fn render_one(diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut snippet = Snippet::source(&diagnostic.file.text)
        .path(&diagnostic.file.name)
        .annotation(AnnotationKind::Primary.span(diagnostic.span.start..diagnostic.span.end));
    for label in diagnostic.labels.iter().filter(|label| label.file == diagnostic.file) {
        snippet = snippet
            .annotation(AnnotationKind::Context.span(label.span.start..label.span.end).label(&label.message));
    }
    let mut group = level.primary_title(&diagnostic.message).id(diagnostic.code.id()).element(snippet);
    for label in diagnostic.labels.iter().filter(|label| label.file != diagnostic.file) {
        group = group.element(Snippet::source(&label.file.text).path(&label.file.name).annotation(
            AnnotationKind::Context.span(label.span.start..label.span.end).label(&label.message),
        ));
    }
    let mut text = renderer.render(&[group]);
    if let Some(hint) = &diagnostic.hint {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    text
}

/// "3 errors, 1 warning".
pub fn summary(diagnostics: &Diagnostics) -> String {
    let count = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    match (count(Severity::Error), count(Severity::Warning)) {
        (0, 0) => "no problems".to_owned(),
        (errors, 0) => plural(errors, "error"),
        (0, warnings) => plural(warnings, "warning"),
        (errors, warnings) => format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")),
    }
}
