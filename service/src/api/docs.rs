//! The page `/docs`: the `OpenAPI` document as plain HTML, without scripts and without a request to anybody.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;color:#1c2430;\
background:#fff}code,pre{font:.875em ui-monospace,monospace}pre{background:#f3f5f8;padding:.75rem;overflow:auto}\
details{border:1px solid #ccd3dc;border-radius:.4rem;margin:.5rem 0;padding:.4rem .8rem}summary{cursor:pointer}\
b.m{display:inline-block;min-width:4.5em;font-family:ui-monospace,monospace}table{border-collapse:collapse;width:100%}\
td,th{text-align:left;vertical-align:top;border-top:1px solid #dde2e9;padding:.25rem .5rem}a{color:#0a57b8}\
@media(prefers-color-scheme:dark){body{background:#12161c;color:#dde4ee}pre{background:#1b212a}details{border-color:#3a4452}\
td,th{border-color:#2c3541}a{color:#7db4ff}}";

/// The document as a page.
pub(super) fn page(document: &Json) -> String {
    let mut out = String::new();
    let title = text(document, "/info/title");
    write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}: API</title><style>{STYLE}</style><h1>{0}: API</h1>",
        escape(title)
    ).unwrap_or_default();
    paragraphs(&mut out, text(document, "/info/description"));
    out.push_str("<p><a href=\"/openapi.json\">openapi.json</a> is the same for machines.</p>");
    for tag in document.pointer("/tags").and_then(Json::as_array).into_iter().flatten() {
        group(&mut out, document, text(tag, "/name"), text(tag, "/description"));
    }
    out.push_str("<h2 id=\"schemas\">Schemas</h2>");
    for (name, schema) in object(document, "/components/schemas") {
        write!(out, "<details id=\"schema-{0}\"><summary><code>{0}</code></summary>", escape(name))
            .unwrap_or_default();
        paragraphs(&mut out, text(schema, "/description"));
        write!(out, "<pre>{}</pre></details>", escape(&format!("{schema:#}"))).unwrap_or_default();
    }
    out.push_str("</html>\n");
    out
}

fn group(out: &mut String, document: &Json, tag: &str, about: &str) {
    let mut operations = String::new();
    for (path, item) in object(document, "/paths") {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let tags = operation.get("tags").and_then(Json::as_array);
            if tags.is_some_and(|tags| tags.iter().any(|known| known == tag)) {
                one(&mut operations, path, method, operation);
            }
        }
    }
    if !operations.is_empty() {
        write!(out, "<h2 id=\"{0}\">{0}</h2><p>{1}</p>{operations}", escape(tag), escape(about))
            .unwrap_or_default();
    }
}

fn one(out: &mut String, path: &str, method: &str, operation: &Json) {
    write!(
        out,
        "<details id=\"{}\"><summary><b class=\"m\">{}</b> <code>{}</code> {}</summary>",
        escape(text(operation, "/operationId")),
        escape(&method.to_uppercase()),
        escape(path),
        escape(text(operation, "/summary"))
    )
    .unwrap_or_default();
    paragraphs(out, text(operation, "/description"));
    let scopes = operation.pointer("/security/0/key").and_then(Json::as_array);
    match scopes.and_then(|scopes| scopes.first()).and_then(Json::as_str) {
        Some(scope) => {
            write!(out, "<p>Needs the scope <code>{}</code>.</p>", escape(scope)).unwrap_or_default();
        }
        None => out.push_str("<p>Needs no key.</p>"),
    }
    let parameters = operation.get("parameters").and_then(Json::as_array);
    if let Some(parameters) = parameters.filter(|parameters| !parameters.is_empty()) {
        out.push_str("<table><tr><th>Parameter<th>In<th>Meaning</tr>");
        for parameter in parameters {
            write!(
                out,
                "<tr><td><code>{}</code><td>{}<td>{}</tr>",
                escape(text(parameter, "/name")),
                escape(text(parameter, "/in")),
                escape(text(parameter, "/description"))
            )
            .unwrap_or_default();
        }
        out.push_str("</table>");
    }
    for (kind, content) in object(operation, "/requestBody/content") {
        write!(out, "<p>Takes <code>{}</code>{}</p>", escape(kind), schema(content)).unwrap_or_default();
    }
    out.push_str("<table><tr><th>Status<th>Meaning<th>Body</tr>");
    for (status, response) in object(operation, "/responses") {
        let body = object(response, "/content")
            .map(|(kind, content)| format!("<code>{}</code>{}", escape(kind), schema(content)))
            .collect::<Vec<_>>()
            .join("<br>");
        let about = escape(text(response, "/description"));
        write!(out, "<tr><td>{}<td>{about}<td>{body}</tr>", escape(status)).unwrap_or_default();
    }
    out.push_str("</table></details>");
}

fn schema(content: &Json) -> String {
    let reference = content.pointer("/schema/$ref").and_then(Json::as_str);
    let name = reference.and_then(|reference| reference.rsplit('/').next());
    name.map(|name| format!(": <a href=\"#schema-{0}\">{0}</a>", escape(name))).unwrap_or_default()
}

fn object<'a>(json: &'a Json, pointer: &str) -> impl Iterator<Item = (&'a String, &'a Json)> {
    json.pointer(pointer).and_then(Json::as_object).into_iter().flat_map(Map::iter)
}

fn text<'a>(json: &'a Json, pointer: &str) -> &'a str {
    json.pointer(pointer).and_then(Json::as_str).unwrap_or_default()
}

fn paragraphs(out: &mut String, text: &str) {
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        write!(out, "<p>{}</p>", escape(paragraph)).unwrap_or_default();
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
