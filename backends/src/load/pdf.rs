//! Reads the text of PDF files, page by page.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use anabranch_engine::value::{Document, DocumentId, Metadata, Text};
use pdf_extract::{Document as Pdf, Object, PlainTextOutput, output_doc_page};

use super::{Kind, LINE_STARTS, Why};

/// The name of the thread that reads a PDF: a panic there is a broken file, not a broken program.
pub const PDF_THREAD: &str = "pdf reader";

/// Most pages of a file that are read.
const PAGES_MAX: usize = 10_000;
/// Most bytes of text that a file may give.
const TEXT_BYTES_MAX: usize = 64 << 20;
/// Longest time that reading a file may take.
const TIME_MAX: Duration = Duration::from_mins(1);
/// Nested forms are read by recursion.
const STACK_BYTES: usize = 64 << 20;

/// What a PDF says.
struct Read {
    title: Option<String>,
    pages: Vec<String>,
}

/// The document in the file of these bytes. Its text has no place in the file, so ranges count bytes of the text, and
/// lines are pages.
pub(super) fn document(id: DocumentId, bytes: Vec<u8>) -> Result<Document, Why> {
    let read = read_aside(bytes)?;
    let mut text = String::new();
    let mut page_starts = Vec::with_capacity(read.pages.len());
    for page in &read.pages {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        page_starts.push(text.len());
        text.push_str(page);
    }
    if text.trim().is_empty() {
        return Err(Why::NoText);
    }
    let meta = Metadata::from([(LINE_STARTS.to_owned(), serde_json::json!(page_starts))]);
    let title = read.title.map(Text::from);
    Ok(Document { id, title, text: text.into(), kind: Kind::Pdf.name().into(), meta })
}

/// Reads on a thread of its own: the reader panics on some broken files, and has no bound in time.
fn read_aside(bytes: Vec<u8>) -> Result<Read, Why> {
    let (done, wait) = sync_channel(1);
    let reader = std::thread::Builder::new().name(PDF_THREAD.to_owned()).stack_size(STACK_BYTES);
    let spawned = reader.spawn(move || {
        // Nobody waits any more if it fails.
        drop(done.send(read(&bytes)));
    });
    if let Err(error) = spawned {
        return Err(Why::Unreadable(error.to_string()));
    }
    match wait.recv_timeout(TIME_MAX) {
        Ok(read) => read,
        Err(RecvTimeoutError::Timeout) => Err(Why::BadPdf(format!("it takes more than {TIME_MAX:?}"))),
        Err(RecvTimeoutError::Disconnected) => Err(Why::BadPdf("it breaks the reader".to_owned())),
    }
}

fn read(bytes: &[u8]) -> Result<Read, Why> {
    let bad = |error: &dyn std::fmt::Display| Why::BadPdf(error.to_string());
    let mut pdf = Pdf::load_mem(bytes).map_err(|error| bad(&error))?;
    // Many files are encrypted with no password, to forbid printing.
    if pdf.is_encrypted() && pdf.decrypt("").is_err() {
        return Err(Why::Encrypted);
    }
    let mut pages = Vec::new();
    let mut size = 0;
    for number in pdf.get_pages().into_keys() {
        let mut text = String::new();
        output_doc_page(&pdf, &mut PlainTextOutput::new(&mut text), number).map_err(|error| bad(&error))?;
        size += text.len();
        if pages.len() >= PAGES_MAX || size > TEXT_BYTES_MAX {
            return Err(Why::TooLarge);
        }
        pages.push(tidy(&text));
    }
    Ok(Read { title: title(&pdf), pages })
}

/// Lines without space at their ends, and no more than one empty line in a row.
fn tidy(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut n_blank = 0;
    for line in page.lines().map(str::trim_end) {
        if line.trim().is_empty() {
            n_blank += 1;
            continue;
        }
        if !text.is_empty() {
            text.push_str(if n_blank > 0 { "\n\n" } else { "\n" });
        }
        n_blank = 0;
        text.push_str(line);
    }
    text
}

/// The title among the file's properties.
fn title(pdf: &Pdf) -> Option<String> {
    let info = pdf.trailer.get(b"Info").ok()?;
    let info = match info {
        Object::Reference(id) => pdf.get_dictionary(*id).ok()?,
        other => other.as_dict().ok()?,
    };
    let bytes = info.get(b"Title").ok()?.as_str().ok()?;
    let title = match bytes.strip_prefix(&[0xFE, 0xFF]) {
        Some(wide) => {
            let units: Vec<u16> = wide
                .chunks_exact(2)
                .filter_map(|pair| Some(u16::from_be_bytes([*pair.first()?, *pair.get(1)?])))
                .collect();
            String::from_utf16_lossy(&units)
        }
        None => String::from_utf8_lossy(bytes).into_owned(),
    };
    let title = title.trim();
    (!title.is_empty()).then(|| title.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// A PDF with one page for each of `pages`, one line for each of its lines.
    fn pdf(title: &str, pages: &[&str]) -> Vec<u8> {
        let mut objects = vec!["<< /Type /Catalog /Pages 2 0 R >>".to_owned()];
        let kids: Vec<String> = (0..pages.len()).map(|page| format!("{} 0 R", 5 + 2 * page)).collect();
        objects.push(format!("<< /Type /Pages /Kids [{}] /Count {} >>", kids.join(" "), pages.len()));
        objects.push("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned());
        objects.push(format!("<< /Title ({title}) >>"));
        for (number, page) in pages.iter().enumerate() {
            let lines: Vec<String> = page.lines().map(|line| format!("({line}) Tj 0 -14 Td")).collect();
            let content = format!("BT /F1 12 Tf 72 700 Td {} ET", lines.join(" "));
            objects.push(format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {} 0 R /Resources << /Font << /F1 3 0 R >> >> >>",
                6 + 2 * number
            ));
            objects.push(format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()));
        }
        let mut file = "%PDF-1.4\n".to_owned();
        let mut places = Vec::new();
        for (number, object) in objects.iter().enumerate() {
            places.push(file.len());
            writeln!(file, "{} 0 obj\n{object}\nendobj", number + 1).unwrap();
        }
        let table = file.len();
        writeln!(file, "xref\n0 {}\n0000000000 65535 f ", objects.len() + 1).unwrap();
        for place in places {
            writeln!(file, "{place:010} 00000 n ").unwrap();
        }
        writeln!(
            file,
            "trailer << /Size {} /Root 1 0 R /Info 4 0 R >>\nstartxref\n{table}\n%%EOF",
            objects.len() + 1
        )
        .unwrap();
        file.into_bytes()
    }

    fn read(bytes: Vec<u8>) -> Result<Document, Why> {
        document(DocumentId("a.pdf".into()), bytes)
    }

    #[test]
    fn pages_give_their_text_and_where_they_begin() {
        let document =
            read(pdf("Of herons", &["Herons nest in trees.\nThey eat frogs.", "Pike lie in wait."])).unwrap();
        assert_eq!(document.title.as_deref(), Some("Of herons"));
        assert!(document.text.contains("Herons nest in trees."), "{}", document.text);
        let second = document.text.find("Pike").unwrap();
        assert_eq!(document.meta[LINE_STARTS], serde_json::json!([0, second]));
    }

    #[test]
    fn a_page_without_text_and_a_broken_file_say_why() {
        assert_eq!(read(pdf("", &[""])).unwrap_err(), Why::NoText);
        assert!(matches!(read(b"%PDF-1.4 nothing".to_vec()), Err(Why::BadPdf(_))));
        let whole = pdf("", &["Herons nest in trees."]);
        for length in (0..whole.len()).step_by(37) {
            // It may be read or not, but it never breaks the program.
            drop(read(whole[..length].to_vec()));
        }
    }
}
