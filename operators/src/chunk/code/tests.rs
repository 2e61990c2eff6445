//! What every language must keep, and where each is cut.

use super::*;
use crate::testing;
use proptest::prelude::*;

fn cut_as(language: Language, chunk_size: usize, text: &str) -> Vec<Arc<Chunk>> {
    let document = testing::document("a", "code", text);
    let chunks = Code { chunk_size, language, ..Code::default() }.cut(&document);
    testing::assert_exact(&document, &chunks);
    testing::assert_covers(&document, &chunks);
    assert!(chunks.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start));
    for chunk in &chunks {
        let size = chunk.text.chars().filter(|c| !c.is_whitespace()).count();
        assert!(size <= chunk_size, "{size} characters in `{}`", chunk.text);
    }
    chunks
}

fn texts(chunks: &[Arc<Chunk>]) -> Vec<&str> {
    chunks.iter().map(|chunk| &*chunk.text).collect()
}

const PYTHON: &str = "import os\n\nclass Bird:\n\t\"\"\"Flies.\"\"\"\n\n\tdef sing(self):\n\t\treturn 'tweet'\n\n\tdef \
                      nest(self):\n\t\treturn os.getcwd()\n";

#[test]
fn what_fits_is_one_chunk() {
    let chunks = cut_as(Language::Python, 200, PYTHON);
    assert_eq!(texts(&chunks), [PYTHON.trim_end()]);
    assert_eq!((chunks[0].headings.len(), &chunks[0].meta["language"]), (0, &Json::from("python")));
}

#[test]
fn methods_stay_whole_keep_their_tabs_and_name_their_class() {
    let chunks = cut_as(Language::Python, 38, PYTHON);
    assert_eq!(
        texts(&chunks),
        [
            "import os",
            "class Bird:\n\t\"\"\"Flies.\"\"\"",
            "\tdef sing(self):\n\t\treturn 'tweet'",
            "\tdef nest(self):\n\t\treturn os.getcwd()",
        ]
    );
    let headings: Vec<String> = chunks.iter().map(|chunk| chunk.headings.join(" > ")).collect();
    assert_eq!(headings, ["", "", "class Bird:", "class Bird:"]);
    assert_eq!((chunks[3].lines.first, chunks[3].lines.last), (9, 10));
}

#[test]
fn a_docstring_above_the_limit_is_cut_by_lines_and_a_line_by_characters() {
    let text =
        format!("def f():\n    \"\"\"One.\n    Two two.\n    {}\n    \"\"\"\n    return 1\n", "x".repeat(30));
    let chunks = cut_as(Language::Python, 12, &text);
    assert_eq!(
        texts(&chunks),
        [
            "def f():\n    \"\"\"",
            "One.\n    Two two.",
            "    xxxxxxxxxxxx",
            "xxxxxxxxxxxx",
            "xxxxxx\n    \"\"\"",
            "    return 1"
        ]
    );
    assert!(chunks.iter().skip(1).all(|chunk| *chunk.headings == ["def f():".into()]));
}

#[test]
fn every_language_finds_its_functions() {
    for (language, text) in [
        (Language::C, "int one(void) {\n  return 1;\n}\nint two(void) {\n  return 2;\n}\n"),
        (Language::Go, "func one() int {\n\treturn 1\n}\nfunc two() int {\n\treturn 2\n}\n"),
        (Language::Java, "class A { int one() {\n  return 1; }\n int two() {\n  return 2; } }\n"),
        (Language::Javascript, "function one() {\n  return 1;\n}\nfunction two() {\n  return 2;\n}\n"),
        (Language::Python, "def one():\n    return 100000000\n\ndef two():\n    return 200000000\n"),
        (Language::Rust, "fn one() -> u8 {\n    1000000\n}\nfn two() -> u8 {\n    2000000\n}\n"),
        (Language::Tsx, "function one() {\n  return <b>1</b>;\n}\nfunction two() {\n  return 2;\n}\n"),
        (
            Language::Typescript,
            "function one(): int {\n  return 1;\n}\nfunction two(): int {\n  return 2;\n}\n",
        ),
    ] {
        let document = testing::document("a", "code", text);
        let code = Code { chunk_size: 32, language, ..Code::default() };
        let chunks = code.cut(&document);
        let has = |name: &str| chunks.iter().any(|chunk| chunk.text.trim_start().contains(name));
        assert!(chunks.len() >= 2 && has("one()") | has("one(void)"), "{language:?}: {:?}", texts(&chunks));
        assert!(
            !chunks.iter().any(|chunk| chunk.text.contains("one(") && chunk.text.contains("two(")),
            "{language:?}: {:?}",
            texts(&chunks)
        );
        let small = cut_as(language, 12, text);
        assert!(
            small.iter().any(|chunk| chunk.headings.iter().any(|line| line.contains("two("))),
            "{language:?}: {small:?}"
        );
    }
}

#[test]
fn the_language_is_the_ending_of_the_name() {
    for (name, language) in
        [("src/a.rs", Language::Rust), ("a.d.ts", Language::Typescript), ("Makefile", Language::Lines)]
    {
        assert_eq!(Language::Auto.of(name), language);
    }
    assert_eq!(Language::C.of("a.rs"), Language::C);
}

#[test]
fn other_languages_are_cut_by_blocks_and_lines() {
    let text = "def one\n  1\nend\n\ndef two\n  2\nend\n";
    assert_eq!(texts(&cut_as(Language::Lines, 12, text)), ["def one\n  1\nend", "def two\n  2\nend"]);
    let chunks = cut_as(Language::Lines, 8, text);
    assert_eq!(texts(&chunks), ["def one\n  1", "end", "def two\n  2", "end"]);
    assert!(!chunks[0].meta.contains_key("language"));
}

#[test]
fn code_with_mistakes_and_deep_nests_is_cut_without_loss() {
    cut_as(Language::Rust, 20, "fn broken( {{{ let x = ;;; }\n}}} fn whole() { 1 }\n");
    let deep = format!("x = {}1{}\n", "(".repeat(20_000), ")".repeat(20_000));
    cut_as(Language::Python, 400, &deep);
    cut_as(Language::Javascript, 400, &deep);
}

#[test]
fn an_overlap_repeats_whole_parts_of_both_neighbours() {
    let document = testing::document("a.py", "code", "a = 1\nb = 2\nc = 3\nd = 4\ne = 5\nf = 6\n");
    let chunks = Code { chunk_size: 6, overlap_nodes: 1, ..Code::default() }.cut(&document);
    assert_eq!(texts(&chunks), ["a = 1\nb = 2\nc = 3", "b = 2\nc = 3\nd = 4\ne = 5", "d = 4\ne = 5\nf = 6"]);
    testing::assert_exact(&document, &chunks);
}

#[test]
fn a_size_of_zero_and_an_unknown_language_are_refused() {
    let settings = testing::validator("chunk.code");
    assert!(settings.is_valid(&serde_json::json!({ "chunk_size": 1, "language": "go" })));
    for bad in [serde_json::json!({ "chunk_size": 0 }), serde_json::json!({ "language": "cobol" })] {
        assert!(!settings.is_valid(&bad), "{bad}");
    }
}

proptest! {
    // Counting the tokens of a chunk takes most of the time.
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn nothing_is_lost_whatever_the_text_and_the_language(
        text in "(def |class |fn |func |function |\\{|\\}|\\(|\\)|:|;|\"|'|\"\"\"|//|/\\*|#|=|,|\n|\n\n|\r\n|    |\t|é|漢|🎉|[a-z]{1,9} ?){0,120}",
        chunk_size in 1_usize..60,
        language in prop_oneof![
            Just(Language::Lines), Just(Language::C), Just(Language::Go), Just(Language::Java),
            Just(Language::Javascript), Just(Language::Python), Just(Language::Rust), Just(Language::Tsx),
            Just(Language::Typescript)
        ],
    ) {
        cut_as(language, chunk_size, &text);
    }
}
