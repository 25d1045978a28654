//! CSV (RFC 4180), with quotes around fields that hold a comma, a quote or a line break.

use std::{
    fs::File,
    io::{self, BufWriter},
};

use csv::{Terminator, Writer, WriterBuilder};

/// The end of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnd {
    /// `\n`, as most programs write it.
    Lf,
    /// `\r\n`, as RFC 4180 has it.
    CrLf,
}

/// Returns all records as one text. Records may have different numbers of fields.
pub fn text(records: &[Vec<String>], end: LineEnd) -> String {
    let end = match end {
        LineEnd::Lf => Terminator::Any(b'\n'),
        LineEnd::CrLf => Terminator::CRLF,
    };
    let mut writer = WriterBuilder::new().flexible(true).terminator(end).from_writer(Vec::new());
    for record in records {
        writer.write_record(record).expect("memory takes every record");
    }
    let bytes = writer.into_inner().expect("memory takes every record");
    String::from_utf8(bytes).expect("fields and what stands between them are UTF-8")
}

/// Writes records to a file.
pub type FileWriter = Writer<BufWriter<File>>;

/// Makes a writer of records to `file`; [`finish`] returns the file.
pub fn writer(file: File) -> FileWriter {
    Writer::from_writer(BufWriter::new(file))
}

/// Writes the rest of the buffers of `writer` and returns its file.
///
/// # Errors
/// The system refuses to write.
pub fn finish(writer: FileWriter) -> io::Result<File> {
    let buffer = writer.into_inner().map_err(|error| error.into_error())?;
    buffer.into_inner().map_err(|error| error.into_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_whatever_their_fields_hold() {
        let records = [
            vec!["name".to_owned(), "text".to_owned(), String::new()],
            vec!["a,b".to_owned(), "say \"c\"".to_owned(), "two\nlines".to_owned()],
        ];
        for (end, first) in [(LineEnd::Lf, "name,text,\n\"a"), (LineEnd::CrLf, "name,text,\r\n")] {
            let text = text(&records, end);
            assert!(text.starts_with(first), "{text:?}");
            let mut reader =
                csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
            let read: Vec<Vec<String>> = reader
                .records()
                .map(|record| record.unwrap().iter().map(str::to_owned).collect())
                .collect();
            assert_eq!(read, records);
        }
    }
}
