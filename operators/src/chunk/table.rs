//! Where the records of a CSV file begin.

/// What may stand between two fields.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Where `text` may be cut, the first record with its header at the beginning; and the header.
pub(crate) fn rows(text: &str) -> (Vec<usize>, &str) {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter(text))
        .from_reader(text.as_bytes());
    let mut record = csv::ByteRecord::new();
    let mut starts = Vec::new();
    // Bytes in memory can always be read, and records may be of any length.
    while reader.read_byte_record(&mut record).unwrap_or(false) {
        let at = record.position().map_or(0, csv::Position::byte);
        starts.extend(usize::try_from(at));
    }
    let header_end = starts.get(1).copied().unwrap_or(text.len());
    let header = text.get(..header_end).unwrap_or_default().trim();
    // The header stays with the first record.
    let starts = std::iter::once(0).chain(starts.into_iter().skip(2)).collect();
    (starts, header)
}

/// The delimiter that occurs most often in the first line; a comma if none does.
fn delimiter(text: &str) -> u8 {
    let line = text.lines().next().unwrap_or_default();
    let count = |delimiter: u8| line.matches(char::from(delimiter)).count();
    // The first of equals.
    DELIMITERS.into_iter().rev().max_by_key(|delimiter| count(*delimiter)).unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> (Vec<&str>, &str) {
        let (starts, header) = rows(text);
        let ends = starts.iter().skip(1).copied().chain([text.len()]);
        (starts.iter().copied().zip(ends).map(|(start, end)| &text[start..end]).collect(), header)
    }

    #[test]
    fn a_record_is_never_cut_within_its_quotes() {
        let text = "name,says\nAda,\"one\ntwo, \"\"three\"\"\"\nBen,four\n";
        let (rows, header) = cut(text);
        assert_eq!(rows, ["name,says\nAda,\"one\ntwo, \"\"three\"\"\"\n", "Ben,four\n"]);
        assert_eq!(header, "name,says");
    }

    #[test]
    fn the_delimiter_is_the_commonest_of_the_header() {
        assert_eq!(delimiter("a;b;c,d"), b';');
        assert_eq!(delimiter("a\tb"), b'\t');
        assert_eq!(delimiter("a"), b',');
    }

    #[test]
    fn odd_tables_lose_nothing() {
        for text in ["", "a", "a,b\n1\n1,2,3\n", "\"never closed\n1,2\n", "\r\n\r\na,b\r\n1,2\r\n\u{feff}"] {
            assert_eq!(cut(text).0.concat(), text);
        }
    }
}
