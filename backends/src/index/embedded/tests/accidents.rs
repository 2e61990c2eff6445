//! Tests of what is left after a kill at any moment, of damage, and of folders that cannot be written.

use std::sync::atomic::{AtomicBool, Ordering};

use super::vectors::{begin, entries, near, put_vectors, rows_files, space};
use super::*;

type Answers = (Vec<(String, f64)>, Vec<(String, f64)>, IndexStats, usize);

fn answers(path: &Path) -> Answers {
    let index = EmbeddedIndex::open_or_create(path).unwrap();
    let manifest = index.manifest().unwrap().len();
    (found(&index, "old new word3"), near(&index, "a7", 50), index.stats_blocking().unwrap(), manifest)
}

fn texts(from: usize, to: usize, word: &str) -> Vec<(String, String)> {
    (from..to).map(|n| (format!("{n}"), format!("a{n} {word}\nb{n} {word} word{n}"))).collect()
}

fn write(path: &Path, documents: &[(String, String)], limits: Limits, n_steps: usize) {
    let index = EmbeddedIndex::open_or_create(path).unwrap();
    let mut writer = index.begin_in(&Namespace::default(), Some(&space("test", 4)), limits).unwrap();
    for (name, text) in documents.iter().take(n_steps) {
        writer.replace_entries(&doc(name), &fingerprint(text), &entries(name, text)).unwrap();
    }
    if n_steps > documents.len() {
        writer.finish().unwrap();
    }
}

/// Everything that is in either, the second's where both have it.
fn overlay(under: &Path, over: &Path, to: &Path) {
    copy_folder(under, to);
    copy_folder(over, to);
}

#[test]
fn killed_between_any_two_writes_it_answers_as_after_the_last_commit() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("before"), &texts(0, 6, "old"), Limits::default(), 99);
    copy_folder(&at("before"), &at("after"));
    write(&at("after"), &texts(3, 9, "new"), Limits::default(), 99);
    let (before, after) = (answers(&at("before")), answers(&at("after")));
    assert_ne!(before, after);

    // Everything of the next commit is there but the file that makes it the one that counts.
    overlay(&at("before"), &at("after"), &at("almost"));
    fs::copy(at("before").join("segments/meta.json"), at("almost").join("segments/meta.json")).unwrap();
    assert_eq!(answers(&at("almost")), before);

    // Some of the rows of the next commit are there, down to half a number.
    let rows = fs::read(at("after").join("vectors/0.rows")).unwrap();
    let committed = fs::metadata(at("before").join("vectors/0.rows")).unwrap().len();
    for more in [0, 1, 16, 37] {
        let copy = at(&format!("rows{more}"));
        copy_folder(&at("before"), &copy);
        let n = usize::try_from(committed + more).unwrap();
        fs::write(copy.join("vectors/0.rows"), &rows[..n]).unwrap();
        // Files of a compaction that did not come to its commit.
        fs::write(copy.join("vectors/1.rows"), b"half").unwrap();
        fs::write(copy.join("vectors/1.ids"), b"").unwrap();
        assert_eq!(answers(&copy), before);
        write(&copy, &texts(3, 9, "new"), Limits::default(), 99);
        assert_eq!(answers(&copy), after, "run again after {more} bytes");
        assert_eq!(rows_files(&copy), ["0.rows"]);
    }
}

#[test]
fn killed_or_dropped_after_any_document_nothing_but_the_rest_is_missing() {
    let limits = Limits { commit_documents: 2, ..Limits::default() };
    let (old, new) = (texts(0, 4, "old"), texts(2, 8, "new"));
    for n_steps in 0..=new.len() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("index"), folder.path().join("copy"));
        write(&path, &old, limits, 99);
        let index = EmbeddedIndex::open_or_create(&path).unwrap();
        let mut writer = index.begin_in(&Namespace::default(), Some(&space("test", 4)), limits).unwrap();
        for (name, text) in new.iter().take(n_steps) {
            writer.replace_entries(&doc(name), &fingerprint(text), &entries(name, text)).unwrap();
        }
        copy_folder(&path, &copy);
        drop(writer);
        // What would have been after as many whole commits as there were.
        let expected = folder.path().join("expected");
        write(&expected, &old, limits, 99);
        let committed = new[..n_steps / 2 * 2].to_vec();
        write(&expected, &committed, limits, 99);
        assert_eq!(answers(&path), answers(&expected), "dropped after {n_steps}");
        assert_eq!(answers(&copy), answers(&expected), "killed after {n_steps}");
    }
}

#[test]
fn a_killed_change_of_embedder_leaves_the_one_or_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("before"), &texts(0, 6, "old"), Limits::default(), 99);
    copy_folder(&at("before"), &at("after"));
    let index = EmbeddedIndex::open_or_create(at("after")).unwrap();
    drop(index.begin_in(&Namespace::default(), Some(&space("other", 4)), Limits::default()).unwrap());
    assert_eq!(index.stats_blocking().unwrap(), IndexStats::default());
    overlay(&at("before"), &at("after"), &at("almost"));
    fs::copy(at("before").join("segments/meta.json"), at("almost").join("segments/meta.json")).unwrap();
    assert_eq!(answers(&at("almost")), answers(&at("before")));
}

#[test]
fn readers_see_whole_commits_while_one_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    EmbeddedIndex::open_or_create(path).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let index = EmbeddedIndex::open_or_create(path).unwrap();
                while !is_done.load(Ordering::Relaxed) {
                    let stats = index.stats_blocking().unwrap();
                    assert_eq!((stats.vectors, stats.documents * 2), (stats.chunks, stats.chunks));
                    let Some(hit) = near(&index, "a9", 1).into_iter().next() else { continue };
                    assert!((hit.1 - 1.0).abs() < 1e-6 || !hit.0.starts_with("a9"), "{hit:?}");
                    found(&index, "new word3");
                }
            });
        }
        let index = EmbeddedIndex::open_or_create(path).unwrap();
        for round in 0..8 {
            let mut writer = begin(&index);
            for (name, text) in texts(0, 10, &format!("new{round}")) {
                writer.replace_entries(&doc(&name), &fingerprint(&text), &entries(&name, &text)).unwrap();
                if round % 2 == 0 {
                    writer.commit().unwrap();
                }
            }
            writer.finish().unwrap();
        }
        is_done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_damaged_file_of_vectors_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    put_vectors(&EmbeddedIndex::open_or_create(&path).unwrap(), &[("a", "a1\nb2\nc3")]);
    let copy = folder.path().join("copy");
    let damages: [fn(&Path); 3] = [
        |path| fs::remove_file(path.join("vectors/0.rows")).unwrap(),
        |path| fs::write(path.join("vectors/0.rows"), [0; 47]).unwrap(),
        |path| fs::remove_dir_all(path.join("vectors")).unwrap(),
    ];
    for damage in damages {
        copy_folder(&path, &copy);
        let open = EmbeddedIndex::open_or_create(&copy).unwrap();
        drop(open);
        damage(&copy);
        let refused = EmbeddedIndex::open_or_create(&copy).unwrap_err();
        assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
        assert!(refused.to_string().contains("delete the folder and index again"), "{refused}");
        fs::remove_dir_all(&copy).unwrap();
    }
    // A commit that speaks of other vectors than there are.
    for (from, to) in
        [("\\\"rows\\\":3", "\\\"rows\\\":2"), ("\\\"next\\\":3", "\\\"next\\\":1"), ("layout", "lay")]
    {
        copy_folder(&path, &copy);
        let meta = fs::read_to_string(copy.join("segments/meta.json")).unwrap();
        assert!(meta.contains(from), "{meta}");
        fs::write(copy.join("segments/meta.json"), meta.replace(from, to)).unwrap();
        let outcome = EmbeddedIndex::open_or_create(&copy);
        assert!(matches!(outcome.unwrap_err(), Error::Damaged { .. }), "{to}");
        fs::remove_dir_all(&copy).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn an_index_in_a_folder_that_cannot_be_written_can_be_searched() {
    use std::os::unix::fs::PermissionsExt as _;

    fn set_writable(path: &Path, is_writable: bool) {
        let is_folder = path.is_dir();
        let mode = if is_folder { 0o555 } else { 0o444 } | if is_writable { 0o200 } else { 0 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        if is_folder {
            for entry in fs::read_dir(path).unwrap() {
                set_writable(&entry.unwrap().path(), is_writable);
            }
        }
    }

    let folder = tempfile::tempdir().unwrap();
    for has_locks in [true, false] {
        let path = folder.path().join(format!("{has_locks}"));
        put_vectors(&EmbeddedIndex::open_or_create(&path).unwrap(), &[("a", "a1 red\nb2 blue")]);
        if !has_locks {
            fs::remove_file(path.join("create.lock")).unwrap();
            fs::remove_file(path.join("segments/.tantivy-meta.lock")).unwrap();
        }
        set_writable(&path, false);
        let index = EmbeddedIndex::open_or_create(&path).unwrap();
        assert_eq!(ids(&index, "red").len(), 1);
        assert_eq!(near(&index, "b2", 1)[0].0, "b2 blue");
        // Root may write everywhere.
        if fs::write(path.join("probe"), "").is_err() {
            assert!(matches!(index.begin().unwrap_err(), Error::Folder { .. }));
        }
        set_writable(&path, true);
    }
}
