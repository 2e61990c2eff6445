//! The dashboard as it is served, and as it lies in the repository: nothing from elsewhere, nothing that could become
//! HTML, small, and whole without a build.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Method;

use crate::api::harness::{Answer, Service};
use crate::support::{files_below, read, root};

/// Most bytes of scripts and styles, compressed, before a page is there.
const SCRIPT_BYTES: usize = 150 << 10;
/// Most bytes of everything before a page is there, the font among it.
const FIRST_PAINT_BYTES: usize = 200_000;
/// Longest source file of ours.
const MOST_LINES: usize = 500;
const PAGE: &str = "dashboard/index.html";

/// Our own files: all but what other people wrote.
fn ours() -> Vec<String> {
    let files = files_below("dashboard").into_iter();
    files.filter(|path| !path.starts_with("dashboard/vendor/") && !path.contains("node_modules")).collect()
}

/// What a page asks for, by its path in the repository.
fn named_by_the_page() -> Vec<String> {
    let page = read(PAGE);
    let found = page.split('"').filter_map(|word| word.strip_prefix("v/BUILD/"));
    found.map(|path| format!("dashboard/{path}")).collect()
}

/// The modules that a module is made of, with itself; `import()` comes later and is left out.
fn modules(path: &str, found: &mut BTreeSet<String>) {
    if !found.insert(path.to_owned()) || path.contains("/vendor/") {
        return;
    }
    let folder = path.rsplit_once('/').unwrap().0;
    for line in read(path).lines() {
        let is_import =
            line.starts_with("import ") || line.starts_with("} from ") || line.starts_with("export ");
        let Some((_, rest)) = line.split_once(" from \"").filter(|_| is_import) else { continue };
        let (mut folder, mut target) = (folder.to_owned(), rest.split('"').next().unwrap());
        while let Some(up) = target.strip_prefix("../") {
            (folder, target) = (folder.rsplit_once('/').unwrap().0.to_owned(), up);
        }
        modules(&format!("{folder}/{}", target.trim_start_matches("./")), found);
    }
}

fn packed(path: &str) -> usize {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&std::fs::read(root().join(path)).unwrap()).unwrap();
    encoder.finish().unwrap().len()
}

#[test]
fn every_page_is_small_until_it_is_there() {
    let mut named: BTreeSet<String> = BTreeSet::new();
    for path in named_by_the_page() {
        match path.rsplit('.').next().unwrap() {
            "js" => modules(&path, &mut named),
            _ => drop(named.insert(path)),
        }
    }
    let pages = files_below("dashboard/src/pages");
    assert!(pages.len() > 8, "{pages:?}");
    for page in pages {
        let mut needed = named.clone();
        modules(&page, &mut needed);
        let sizes: BTreeMap<&String, usize> = needed.iter().map(|path| (path, packed(path))).collect();
        let sum: usize = sizes.values().sum();
        let of_code = |path: &&String| path.ends_with(".js") || path.ends_with(".css");
        let code: usize = sizes.iter().filter(|(path, _)| of_code(path)).map(|(_, size)| size).sum();
        println!("{page}: {code} bytes of scripts and styles, {sum} of everything, compressed");
        assert!(code <= SCRIPT_BYTES && sum <= FIRST_PAINT_BYTES, "{page}: {code}, {sum}: {sizes:#?}");
        // What is large comes when the page is there.
        for later in ["editor", "uplot", "marked"] {
            assert!(
                !needed.iter().any(|path| path.contains(&format!("vendor/{later}"))),
                "{later}: {needed:?}"
            );
        }
    }
}

#[test]
fn whatever_is_named_is_there() {
    let mut all = BTreeSet::new();
    for path in named_by_the_page() {
        assert!(root().join(&path).exists(), "the page names `{path}`, which is not there");
    }
    for path in ours().iter().filter(|path| path.ends_with(".js")) {
        modules(path, &mut all);
        let folder = path.rsplit_once('/').unwrap().0;
        for later in read(path).split("import(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let at = root().join(folder).join(later);
            assert!(at.exists(), "{path} loads `{later}`, which is not there");
        }
    }
}

#[test]
fn nothing_is_asked_of_another_host_and_nothing_becomes_html() {
    let banned = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "dangerouslySetInnerHTML",
        "document.write",
        "eval(",
        "new Function",
        "srcdoc",
        "javascript:",
        "localStorage.setItem(KEY",
    ];
    for path in ours() {
        let text = read(&path);
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for word in banned {
                assert!(!line.contains(word) || line.contains("`javascript:`"), "{path}: {line}");
            }
            let outside =
                line.split("http").skip(1).any(|rest| rest.starts_with("://") || rest.starts_with("s://"));
            // The name of SVG, and an address in an example of a configuration.
            let is_named = ["http://www.w3.org/2000/svg", "http://localhost:8000"]
                .iter()
                .any(|name| line.contains(name));
            assert!(!outside || is_named, "{path}: {line}");
        }
        // Attributes that the policy of the page refuses.
        assert!(!text.contains(" style=\"") && !text.contains(" onclick="), "{path}");
    }
}

#[test]
fn every_source_file_opens_with_what_it_is_for_and_is_short() {
    for path in ours() {
        let text = read(&path);
        let first = text.lines().next().unwrap_or_default();
        let opens = match path.rsplit('.').next().unwrap() {
            "js" => first.starts_with("// "),
            "css" => first.starts_with("/* "),
            _ => true,
        };
        assert!(opens, "{path} opens with `{first}`");
        let n_lines = text.lines().count();
        assert!(n_lines <= MOST_LINES || path.ends_with(".css"), "{path}: {n_lines} lines");
    }
}

#[test]
fn what_other_people_wrote_is_as_it_was_made_and_has_its_licence() {
    let mut listed = BTreeSet::new();
    for line in read("dashboard/vendor/checksums").lines() {
        let (sum, name) = line.split_once("  ").unwrap();
        let bytes = std::fs::read(root().join("dashboard/vendor").join(name)).unwrap();
        assert_eq!(sha256(&bytes), sum, "{name} is not what dashboard/vendor/build/bundle made");
        listed.insert(format!("dashboard/vendor/{name}"));
    }
    let is_served = |path: &String| {
        !path.contains("/build/") && !path.contains("/licences/") && !path.ends_with("checksums")
    };
    let there: BTreeSet<String> = files_below("dashboard/vendor").into_iter().filter(is_served).collect();
    assert_eq!(listed, there);
    let licences = read("dashboard/vendor/licences/README.md");
    for line in licences.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let file = cells[0].replacen('@', "", 1).replace('/', "-");
        assert!(read(&format!("dashboard/vendor/licences/{file}.txt")).len() > 500, "{line}");
        assert!(["MIT", "Apache-2.0", "OFL-1.1", "ISC", "BSD-2-Clause"].contains(&cells[2]), "{line}");
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_may_do_nothing_but_what_is_served_with_it() {
    let service = Service::start().await;
    let page = service.get("/ui/").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    for rule in [
        "default-src 'self'",
        "object-src 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("data:"), "{policy}");
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert!(!page.text.contains("BUILD") && page.text.contains("src=\"v/"), "{}", page.text);
    // Scripts stand in files of their own.
    let inline =
        page.text.split("<script").skip(1).any(|rest| !rest.split('>').next().unwrap().contains("src="));
    assert!(!inline && !page.text.contains("<style"), "{}", page.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_kept_for_good_under_the_name_of_their_build() {
    let service = Service::start().await;
    let page = service.get("/ui/").await.text;
    let build = page.split("src=\"v/").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let ask = async |path: String, headers: &[(&str, &str)]| {
        let request = service.request(Method::GET, &path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Answer::of(request.send().await.unwrap()).await
    };
    let script = format!("/ui/v/{build}/src/main.js");
    let plain = ask(script.clone(), &[]).await;
    assert_eq!((plain.status, plain.header("content-encoding")), (200, None));
    assert_eq!(plain.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(plain.text, read("dashboard/src/main.js"));
    assert!(plain.header("cache-control").unwrap().contains("immutable"));
    let packed = ask(script.clone(), &[("accept-encoding", "gzip")]).await;
    assert_eq!(
        (packed.header("content-encoding"), packed.header("vary")),
        (Some("gzip"), Some("accept-encoding"))
    );
    let tag = packed.header("etag").unwrap();
    assert!(tag.starts_with('"') && Some(tag) != plain.header("etag"), "a strong tag, of these bytes: {tag}");
    let known = ask(script.clone(), &[("accept-encoding", "gzip"), ("if-none-match", tag)]).await;
    assert_eq!((known.status, known.text.len()), (304, 0));
    for missing in [
        "/ui/v/another/src/main.js",
        &format!("/ui/v/{build}/src/none.js"),
        &format!("/ui/v/{build}/index.html"),
        &format!("/ui/v/{build}/../../Cargo.toml"),
    ] {
        assert_eq!(ask(missing.to_owned(), &[]).await.status, 404, "{missing}");
    }
    let bare = service.request(Method::GET, "/ui").send().await.unwrap();
    // The client has followed it.
    assert_eq!((bare.status().as_u16(), bare.url().path()), (200, "/ui/"));
    for method in [Method::POST, Method::DELETE] {
        assert_eq!(
            Answer::of(service.request(method, "/ui/").send().await.unwrap()).await.problem(405),
            "no_method"
        );
    }
}
