//! Tests of the loader: which files it reads, and that every range is exact.

use std::fs;
use std::path::Path;

use anabranch_engine::value::Document;
use proptest::prelude::*;

use super::{Found, Kind, LINE_STARTS, Loaded, SOURCE_MAP, Skipped, Why, load, walk};

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn load_all(root: &Path) -> (Vec<Document>, Vec<Skipped>) {
    let (mut documents, mut skipped) = (Vec::new(), Vec::new());
    for loaded in load([root]) {
        match loaded {
            Loaded::Source(source) => documents.push(source.into_document().unwrap()),
            Loaded::Skipped(one) => skipped.push(one),
        }
    }
    (documents, skipped)
}

/// The only document that a file of these bytes gives.
fn document(name: &str, bytes: &[u8]) -> Document {
    let folder = folder(&[(name, bytes)]);
    let (mut documents, skipped) = load_all(folder.path());
    assert_eq!((documents.len(), skipped.len()), (1, 0), "{skipped:?}");
    documents.remove(0)
}

fn below(root: &Path, document: &Document) -> String {
    let root = format!("{}/", root.to_str().unwrap().replace('\\', "/"));
    document.id.0.strip_prefix(root.as_str()).unwrap().to_owned()
}

#[test]
fn files_are_read_in_order_and_the_ignored_ones_are_not() {
    let root = folder(&[
        ("b.md", b"# B\nx"),
        ("a/z.rs", b"fn z() {}"),
        ("a/b.txt", b"text"),
        (".hidden/x.md", b"x"),
        (".gitignore", b"target/\n"),
        ("target/out.md", b"x"),
        ("Makefile", b"all:"),
        ("README", b"read me"),
    ]);
    let (documents, skipped) = load_all(root.path());
    let names: Vec<_> = documents.iter().map(|document| below(root.path(), document)).collect();
    assert_eq!(names, ["Makefile", "README", "a/b.txt", "a/z.rs", "b.md"]);
    let kinds: Vec<_> = documents.iter().map(|document| document.kind.to_string()).collect();
    assert_eq!(kinds, ["code", "text", "text", "code", "markdown"]);
    assert_eq!(documents[4].title.as_deref(), Some("B"));
    assert!(skipped.is_empty(), "{skipped:?}");
}

#[test]
fn what_cannot_be_read_is_named_with_the_reason() {
    let root = folder(&[
        ("binary.txt", b"a\0b"),
        ("empty.md", b""),
        ("latin1.txt", b"caf\xe9"),
        ("photo.jpg", b"\xff\xd8"),
        ("queries.jsonl", b"{\"question\": \"?\"}\n{\"question\": \"!\"}\n"),
    ]);
    let large = fs::File::create(root.path().join("large.log")).unwrap();
    large.set_len(super::FILE_BYTES_MAX + 1).unwrap();
    let (documents, skipped) = load_all(root.path());
    assert!(documents.is_empty());
    let reasons: Vec<_> = skipped
        .iter()
        .map(|one| (one.path.file_name().unwrap().to_str().unwrap().to_owned(), one.why.clone()))
        .collect();
    let expected = [
        ("binary.txt", Why::Binary),
        ("empty.md", Why::Empty),
        ("large.log", Why::TooLarge),
        ("latin1.txt", Why::NotUtf8 { at: 3 }),
        ("photo.jpg", Why::UnknownKind),
        ("queries.jsonl", Why::NotACorpus),
    ];
    assert_eq!(reasons, expected.map(|(name, why)| (name.to_owned(), why)));
    let (_, skipped) = load_all(&root.path().join("not-there"));
    assert!(
        matches!(&skipped[..], [Skipped { path, why: Why::Unreadable(_) }] if path.ends_with("not-there"))
    );
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    let root = folder(&[("a/x.md", b"x")]);
    std::os::unix::fs::symlink(root.path(), root.path().join("a/loop")).unwrap();
    let (documents, skipped) = load_all(root.path());
    assert_eq!(documents.len(), 1);
    assert_eq!(skipped.iter().map(|one| one.why.clone()).collect::<Vec<_>>(), [Why::Link]);
}

#[test]
fn roots_that_overlap_give_each_file_once() {
    let root = folder(&[("a/x.md", b"x"), ("y.md", b"y")]);
    let roots = [root.path().join("a"), root.path().to_owned(), root.path().join("y.md")];
    let files: Vec<_> = walk(roots).filter(|found| matches!(found, Found::File(_))).collect();
    assert_eq!(files.len(), 2);
}

#[test]
fn text_is_the_file_byte_for_byte() {
    let bytes = "# Titel\r\n\r\nГора \u{200b}\tx \n".as_bytes();
    let document = document("a.md", bytes);
    assert_eq!(document.text.as_bytes(), bytes);
    assert!(document.meta.is_empty());
}

#[test]
fn a_byte_order_mark_is_left_out_and_ranges_stay_exact() {
    let source = "\u{feff}# One\ntwo";
    let document = document("a.md", source.as_bytes());
    assert_eq!(document.text.as_ref(), "# One\ntwo");
    assert_eq!(document.title.as_deref(), Some("One"));
    assert_eq!(document.meta[SOURCE_MAP], serde_json::json!([[0, 3, 9]]));
    assert_eq!(document.meta[LINE_STARTS], serde_json::json!([0, 9]));
}

#[test]
fn hashes_tell_changes_only() {
    let hash = |bytes: &[u8]| {
        let folder = folder(&[("a.md", bytes)]);
        let Some(Loaded::Source(source)) = load([folder.path()]).next() else { panic!("not read") };
        source.hash
    };
    assert_eq!(hash(b"same"), hash(b"same"));
    assert_ne!(hash(b"same"), hash(b"Same"));
}

#[test]
fn every_line_of_a_corpus_is_a_document() {
    let lines = concat!(
        "{\"id\": \"d1\", \"title\": \"One\", \"text\": \"first\", \"meta\": {\"year\": 1999, \"source_map\": []}}\n",
        "\n",
        "{\"id\": 7, \"title\": \"\", \"text\": \"second\"}\r\n",
        "{\"id\": \"d1\", \"text\": \"again\"}\n",
        "no json\n",
        "{\"text\": \"last\"}",
    );
    let root = folder(&[("c.jsonl", lines.as_bytes())]);
    let (documents, skipped) = load_all(root.path());
    let names: Vec<_> = documents.iter().map(|document| below(root.path(), document)).collect();
    assert_eq!(names, ["c.jsonl#d1", "c.jsonl#7", "c.jsonl#6"]);
    assert_eq!(documents[0].title.as_deref(), Some("One"));
    assert_eq!(documents[0].meta.keys().collect::<Vec<_>>(), ["year"]);
    assert_eq!(documents[1].title, None);
    assert_eq!(documents[2].text.as_ref(), "last");
    let bad: Vec<_> = skipped
        .iter()
        .map(|one| match &one.why {
            Why::BadLine { line, .. } => *line,
            why => panic!("{why}"),
        })
        .collect();
    assert_eq!(bad, [4, 5]);
}

#[test]
fn every_element_of_a_list_of_documents_is_a_document() {
    let root = folder(&[
        ("docs.json", br#"[{"id": "a", "title": "A", "text": "one", "meta": {"n": 1}}, {"text": "two"}, {"id": "a", "text": "3"}]"#),
        ("data.json", br#"{"rows": [1, 2]}"#),
        ("broken.json", b"{\"rows\": ["),
    ]);
    let (documents, skipped) = load_all(root.path());
    let found: Vec<_> =
        documents.iter().map(|document| (below(root.path(), document), document.kind.to_string())).collect();
    let expected =
        [("broken.json", "json"), ("data.json", "json"), ("docs.json#a", "text"), ("docs.json#2", "text")];
    assert_eq!(found, expected.map(|(id, kind)| (id.to_owned(), kind.to_owned())));
    assert_eq!(skipped[0].why.to_string(), "line 3 is not a document: another one has the id `a`");
}

#[test]
fn a_table_is_read_as_it_is() {
    let document = document("a.csv", b"n;v\n1;\"x\ny\"\n");
    assert_eq!((&*document.kind, &*document.text), ("csv", "n;v\n1;\"x\ny\"\n"));
}

#[test]
fn html_reads_as_text_with_markdown_structure() {
    let page = "<!DOCTYPE html><html><head><title>Notes &amp;\n more</title><style>p{}</style>\
        <script>if (a < b) {}</script></head><body><nav><a href=x>Home</a></nav>\
        <h1>Fish <em>and</em> chips</h1><p>One\n   two&nbsp;three &lt;four&gt; &copy2020 R&D.</p>\
        <ul><li>first<li><p>second</p></ul><h2></h2><pre>\n# no heading\n  kept</pre>\
        <table><tr><th>k<th>v</tr><tr><td>a<td>b</tr></table>tail</body></html>";
    let document = document("a.html", page.as_bytes());
    assert_eq!(document.title.as_deref(), Some("Notes & more"));
    assert_eq!(
        document.text.as_ref(),
        "# Fish and chips\n\nOne two\u{a0}three <four> ©2020 R&D.\n\n- first\n\n- second\n\n\
         ```\n# no heading\n  kept\n```\n\nk | v\na | b\n\ntail\n"
    );
    check_source_map(&document, page);
}

#[test]
fn an_unclosed_navigation_does_not_swallow_the_page() {
    let document = document("a.html", b"<nav>Home<p>The page itself");
    assert_eq!(document.text.as_ref(), "Home\n\nThe page itself\n");
}

/// Every segment is what the page has there, or what a character reference there stands for.
fn check_source_map(document: &Document, source: &str) {
    let segments: Vec<(usize, usize, usize)> =
        serde_json::from_value(document.meta[SOURCE_MAP].clone()).unwrap();
    let mut text_end = 0;
    let mut source_end = 0;
    for (text_start, source_start, len) in segments {
        assert!(text_start >= text_end && source_start >= source_end, "segments are in order and apart");
        let text = document.text.get(text_start..text_start + len).unwrap();
        let there = source.get(source_start..).unwrap();
        let is_reference = there.starts_with('&') && !there.starts_with(text);
        assert!(
            there.starts_with(text) || is_reference || there.starts_with('\r'),
            "{text:?} is not at {source_start}"
        );
        (text_end, source_end) = (text_start + len, source_start + len);
    }
    let line_starts: Vec<usize> = serde_json::from_value(document.meta[LINE_STARTS].clone()).unwrap();
    assert_eq!(line_starts.len(), source.matches('\n').count() + 1);
    assert!(line_starts.iter().skip(1).all(|start| source.as_bytes()[start - 1] == b'\n'));
}

/// Text that a page's reader sees, without white space, is mapped whole.
fn check_all_is_mapped(document: &Document) {
    let segments: Vec<(usize, usize, usize)> =
        serde_json::from_value(document.meta[SOURCE_MAP].clone()).unwrap();
    let mut is_mapped = vec![false; document.text.len()];
    for (start, _, len) in segments {
        is_mapped[start..start + len].fill(true);
    }
    for (at, c) in document.text.char_indices() {
        assert!(
            is_mapped[at] || c.is_ascii_whitespace() || matches!(c, '#' | '-' | '|' | '`'),
            "{c:?} at {at} is not mapped"
        );
    }
}

fn page() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("<p>"),
        Just("</p>"),
        Just("<h2>"),
        Just("</h2>"),
        Just("<li>"),
        Just("<pre>"),
        Just("</pre>"),
        Just("<br/>"),
        Just("<table><tr><td>"),
        Just("<td>"),
        Just("<b>"),
        Just("</b>"),
        Just("<nav>"),
        Just("</nav>"),
        Just("<!-- c -->"),
        Just("<script>x</script>"),
        Just("<title>t</title>"),
        Just("<textarea>"),
        Just("<a href='&amp;'>"),
        Just("&amp;"),
        Just("&lt"),
        Just("&nbsp;"),
        Just("&copy20"),
        Just("&notit;"),
        Just("&#x1F600;"),
        Just("&#59;"),
        Just("&nGt;"),
        Just("&&"),
        Just("& "),
        Just("&#xD;"),
        Just("&unknown;"),
        Just("&#13;"),
        Just(" "),
        Just("\n"),
        Just("\r\n"),
        Just("\r"),
        Just("  \t "),
        Just("word"),
        Just("é漢😀"),
        Just("<"),
        Just("</"),
        Just("<!"),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn every_mapped_piece_of_a_page_is_what_the_page_has_there(source in page(), has_mark in any::<bool>()) {
        let source = if has_mark { format!("\u{feff}{source}") } else { source };
        prop_assume!(!source.is_empty());
        let document = document("a.html", source.as_bytes());
        check_source_map(&document, &source);
        if !source.contains("&nGt;") {
            check_all_is_mapped(&document);
        }
    }

    #[test]
    fn no_bytes_make_the_loader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), soup in "[<>&;/a-z!\\-\"'= \n]{0,200}") {
        for name in ["a.html", "a.md", "a.jsonl", "a.rs"] {
            for content in [bytes.as_slice(), soup.as_bytes()] {
                let root = folder(&[(name, content)]);
                load_all(root.path());
            }
        }
    }
}

#[test]
fn kinds_are_told_by_names() {
    let kind = |name: &str| Kind::of_path(Path::new(name));
    assert_eq!(kind("A.MD"), Some(Kind::Markdown));
    assert_eq!(kind("x/y.yaml"), Some(Kind::Code));
    assert_eq!(kind("LICENSE"), Some(Kind::Text));
    assert_eq!(kind("a.out"), None);
    assert_eq!(kind(""), None);
}
