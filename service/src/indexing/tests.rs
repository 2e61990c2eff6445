//! Tests of indexing: what an update does with files that come, change and go.

use anabranch_engine::backend::SearchQuery;

use super::stages::is_below;
use super::*;

struct Nobody;

impl Watch for Nobody {
    fn listed(&self, _: usize) {}
    fn at(&self, _: usize, _: usize) {}
}

struct Place {
    folder: tempfile::TempDir,
    index: EmbeddedIndex,
    cutter: Cutter,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("docs")).unwrap();
        let index = EmbeddedIndex::open_or_create(folder.path().join("index")).unwrap();
        let cutter = Cutter::load(None, &anabranch_operators::registry()).unwrap();
        Self { folder, index, cutter }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join("docs").join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.folder.path().join("docs").join(name)).unwrap();
    }

    async fn update(&self, cancel: &CancellationToken) -> Summary {
        let roots = [self.folder.path().join("docs")];
        let resources = Arc::new(Resources::default());
        let watch = Arc::new(Nobody);
        update(&self.index, &roots, Prune::BelowRoots, &self.cutter, resources, cancel, watch).await.unwrap()
    }

    fn finds(&self, words: &str) -> usize {
        let query = SearchQuery::words(words, 10);
        self.index.search_blocking(&query).unwrap().len()
    }
}

fn counts(summary: &Summary) -> [usize; 4] {
    [summary.added, summary.changed, summary.unchanged, summary.removed]
}

#[tokio::test]
async fn only_what_changed_is_indexed_again_and_what_went_is_taken_out() {
    let place = Place::new();
    let go = CancellationToken::new();
    place.write("a.md", "# Herons\n\nHerons nest in trees.\n");
    place.write("b.md", "# Pike\n\nPike lie in wait.\n");
    assert_eq!(counts(&place.update(&go).await), [2, 0, 0, 0]);
    assert_eq!(place.finds("herons"), 1);
    let again = place.update(&go).await;
    assert_eq!(counts(&again), [0, 0, 2, 0]);
    assert!(!again.has_changes());
    place.write("a.md", "# Herons\n\nHerons eat frogs.\n");
    place.remove("b.md");
    assert_eq!(counts(&place.update(&go).await), [0, 1, 0, 1]);
    assert_eq!((place.finds("frogs"), place.finds("trees"), place.finds("pike")), (1, 0, 0));
}

#[tokio::test]
async fn an_update_that_is_stopped_removes_nothing_and_says_so() {
    let place = Place::new();
    place.write("a.md", "Herons nest in trees.\n");
    place.update(&CancellationToken::new()).await;
    place.remove("a.md");
    let stopped = CancellationToken::new();
    stopped.cancel();
    let summary = place.update(&stopped).await;
    assert!(summary.interrupted);
    assert_eq!(place.finds("herons"), 1);
}

#[tokio::test]
async fn an_empty_folder_is_no_error() {
    let place = Place::new();
    assert_eq!(place.update(&CancellationToken::new()).await, Summary::default());
}

#[test]
fn a_flow_that_takes_no_document_cannot_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.yaml");
    std::fs::write(
        &path,
        "flow: f\ninputs: { doc: document }\nnodes:\n  cut:\n    op: chunk.structure\n    in: { document: inputs.doc }\noutputs: { chunks: cut.chunks }\n",
    )
    .unwrap();
    let error = Cutter::load(Some(&path), &anabranch_operators::registry()).unwrap_err();
    assert!(error.to_string().contains("no input `document`"), "{error}");
}

#[test]
fn names_of_indexes_are_names_of_folders() {
    assert!(is_name("docs-2_a"));
    assert!(!is_name("../docs") && !is_name("Docs") && !is_name("2docs") && !is_name(""));
}

#[test]
fn a_document_is_below_the_root_that_it_was_found_under() {
    let below = |id: &str, root: &str| is_below(&DocumentId(id.into()), Path::new(root));
    assert!(below("docs/a.md", "./docs") && below("docs/a.md", ".") && below("/x/a.md", "/x"));
    assert!(below("docs/c.jsonl#7", "docs/c.jsonl"));
    assert!(!below("docs2/a.md", "docs") && !below("/x/a.md", ".") && !below("../a.md", "."));
}
