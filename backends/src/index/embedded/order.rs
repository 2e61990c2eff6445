//! The order of an index's chunks by document and place: that of chunks with equal scores.

use tantivy::{DocAddress, Searcher};

use super::schema::{DOC, END, START};
use super::snapshot::{NO_CHUNK, at, broken};

/// The rank of every chunk among all chunks of the index.
pub(super) struct Order(Vec<Vec<u32>>);

/// Where a chunk stands: the rank of its document, then its place.
type Place = (u32, u64, u64, DocAddress);

impl Order {
    /// Reads names and places of what is alive.
    pub(super) fn new(searcher: &Searcher, lengths: &[Vec<u32>]) -> tantivy::Result<Self> {
        let ranks_of_names = rank_names(searcher)?;
        let mut places: Vec<Place> = Vec::new();
        for (((segment_ord, segment), lengths), ranks) in
            (0..).zip(searcher.segment_readers()).zip(lengths).zip(&ranks_of_names)
        {
            let columns = segment.fast_fields();
            let Some(names) = columns.bytes(DOC)? else { continue };
            let (starts, ends) = (columns.u64(START)?, columns.u64(END)?);
            for (doc, _) in (0..).zip(lengths).filter(|(_, length)| **length != NO_CHUNK) {
                let ord = names.ords().first(doc).and_then(|ord| usize::try_from(ord).ok());
                let rank = ord.and_then(|ord| ranks.get(ord)).copied();
                let rank = rank.ok_or_else(|| broken("a chunk has no document"))?;
                let (start, end) = (starts.first(doc), ends.first(doc));
                places.push((
                    rank,
                    start.unwrap_or_default(),
                    end.unwrap_or_default(),
                    DocAddress::new(segment_ord, doc),
                ));
            }
        }
        places.sort_unstable();
        let mut ranks: Vec<Vec<u32>> = lengths.iter().map(|lengths| vec![u32::MAX; lengths.len()]).collect();
        for (rank, (.., address)) in (0..).zip(places) {
            let in_segment = usize::try_from(address.segment_ord).ok().and_then(|ord| ranks.get_mut(ord));
            let doc = usize::try_from(address.doc_id).ok();
            if let Some(slot) = in_segment.zip(doc).and_then(|(ranks, doc)| ranks.get_mut(doc)) {
                *slot = rank;
            }
        }
        Ok(Self(ranks))
    }

    /// The chunk's rank.
    pub(super) fn rank(&self, address: DocAddress) -> u32 {
        let in_segment = at(&self.0, address.segment_ord);
        in_segment.and_then(|ranks| at(ranks, address.doc_id)).copied().unwrap_or(u32::MAX)
    }
}

/// For each segment, the rank among all names of each of its own; a name in two segments has one rank.
fn rank_names(searcher: &Searcher) -> tantivy::Result<Vec<Vec<u32>>> {
    let mut names: Vec<(Vec<u8>, usize)> = Vec::new();
    let mut ranks = Vec::with_capacity(searcher.segment_readers().len());
    for (segment_ord, segment) in searcher.segment_readers().iter().enumerate() {
        let column = segment.fast_fields().bytes(DOC)?;
        if let Some(column) = &column {
            let mut stream = column.dictionary().stream()?;
            while let Some((name, ())) = stream.next() {
                names.push((name.to_vec(), segment_ord));
            }
        }
        ranks.push(Vec::with_capacity(column.map_or(0, |column| column.num_terms())));
    }
    // Each segment's own are in order already, so that those pushed below are in the order of its ordinals.
    names.sort();
    for (rank, same) in (0..).zip(names.chunk_by(|(a, _), (b, _)| a == b)) {
        for (_, segment_ord) in same {
            if let Some(in_segment) = ranks.get_mut(*segment_ord) {
                in_segment.push(rank);
            }
        }
    }
    Ok(ranks)
}
