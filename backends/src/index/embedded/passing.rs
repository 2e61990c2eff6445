//! Which chunks pass a filter, worked out once for each metadata that there is rather than once a chunk.

use anabranch_engine::backend::Filter;
use anabranch_engine::value::Metadata;
use tantivy::DocAddress;

use super::schema::META;
use super::snapshot::{NO_CHUNK, Snapshot, at, broken};

/// The chunks that pass, by segment.
pub(super) struct Passing(Vec<Vec<bool>>);

impl Passing {
    /// Asks the filter about all metadata of the index.
    pub(super) fn new(snapshot: &Snapshot, filter: &Filter) -> tantivy::Result<Self> {
        let mut passing = Vec::with_capacity(snapshot.lengths.len());
        for ((segment_ord, segment), lengths) in
            (0..).zip(snapshot.searcher.segment_readers()).zip(&snapshot.lengths)
        {
            let mut in_segment = vec![false; lengths.len()];
            let Some(metas) = segment.fast_fields().bytes(META)? else {
                passing.push(in_segment);
                continue;
            };
            let mut verdicts = Vec::with_capacity(metas.num_terms());
            let mut stream = metas.dictionary().stream()?;
            while let Some((meta, ())) = stream.next() {
                verdicts.push(verdict(meta, filter)?);
            }
            for ((doc, slot), _) in
                (0..).zip(&mut in_segment).zip(lengths).filter(|(_, length)| **length != NO_CHUNK)
            {
                let ord = metas.ords().first(doc).and_then(|ord| usize::try_from(ord).ok());
                *slot = match ord.and_then(|ord| verdicts.get(ord)) {
                    Some(Some(passes)) => *passes,
                    _ => filter.passes(&snapshot.chunk(DocAddress::new(segment_ord, doc))?.meta),
                };
            }
            passing.push(in_segment);
        }
        Ok(Self(passing))
    }

    /// Whether the chunk passes.
    pub(super) fn has(&self, address: DocAddress) -> bool {
        at(&self.0, address.segment_ord)
            .and_then(|docs| at(docs, address.doc_id))
            .is_some_and(|passes| *passes)
    }
}

/// Whether metadata passes; `None` if it is kept with the chunk only.
fn verdict(meta: &[u8], filter: &Filter) -> tantivy::Result<Option<bool>> {
    if meta.is_empty() {
        return Ok(None);
    }
    let meta: Metadata = serde_json::from_slice(meta)
        .map_err(|error| broken(format!("the metadata of a chunk cannot be read ({error})")))?;
    Ok(Some(filter.passes(&meta)))
}
