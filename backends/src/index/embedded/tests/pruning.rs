//! Tests that a search that skips what cannot win finds what one that skips nothing finds.

use super::*;

/// Chunks of words of very different rarity, over several windows and segments, some of them gone.
fn filled(folder: &Path) -> EmbeddedIndex {
    let index = EmbeddedIndex::open_or_create(folder).unwrap();
    let mut writer = index.begin().unwrap();
    for (part, n_lines) in [1100, 200, 50].into_iter().enumerate() {
        for n in 0..4_usize {
            let name = format!("{part}-{n}");
            let lines: Vec<String> = (0..n_lines)
                .map(|line| {
                    let mut state = (part * 4 + n) * 1100 + line;
                    let mut words = vec!["common".to_owned()];
                    for _ in 0..(state % 13) {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
                        // The first words come often, the last ones hardly ever.
                        let rarity = (state >> 33) % 1000;
                        words.push(format!("word{}", rarity * rarity / 20_000));
                    }
                    words.join(" ")
                })
                .collect();
            let text = lines.join("\n");
            writer.replace(&doc(&name), &fingerprint(&text), &chunks(&name, &text)).unwrap();
        }
        writer.commit().unwrap();
    }
    writer.remove(&doc("1-2")).unwrap();
    writer.finish().unwrap();
    index
}

#[test]
fn few_hits_are_the_first_of_all_hits_to_the_last_bit() {
    let folder = tempfile::tempdir().unwrap();
    let index = filled(folder.path());
    let search = |text: &str, top_k: usize, filter: &Filter| -> Vec<(String, u64)> {
        let asked = SearchQuery { top_k, filter: filter.clone(), ..query(text) };
        let hits = index.search_blocking(&asked).unwrap();
        hits.iter().map(|chunk| (chunk.id.to_string(), chunk.score.unwrap().get().to_bits())).collect()
    };
    let third = Filter::is([("line".to_owned(), Scalar::Number(3.0))]);
    for text in
        ["common", "common word49", "word0 word1 word30 word48", "word3 word3 common word7", "word49 no"]
    {
        for filter in [&Filter::default(), &third] {
            let all = search(text, 100_000, filter);
            assert!(!all.is_empty(), "{text}");
            for top_k in [1, 2, 10, 100] {
                let few = search(text, top_k, filter);
                assert_eq!(few, all[..top_k.min(all.len())], "the first {top_k} of `{text}`");
            }
        }
    }
}
