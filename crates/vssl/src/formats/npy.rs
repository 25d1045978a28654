//! `.npy` (numpy's NEP 1, versions 1 to 3): a header, which is a Python dictionary of three keys, followed by
//! the numbers of one array.

use std::io::Read;

use safetensors::Dtype;

use super::{Array, HeaderError};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// The largest header in bytes that is accepted: numpy's own headers have some hundred bytes.
const LONGEST: usize = 1 << 20;
/// The size in bytes of every header that [`header`] makes: numpy wants a multiple of 64.
pub const HEADER: usize = 128;

/// The names of the types in numpy.
const KINDS: [(&str, Dtype); 12] = [
    ("<f4", Dtype::F32),
    ("<f8", Dtype::F64),
    ("<f2", Dtype::F16),
    ("<i8", Dtype::I64),
    ("<i4", Dtype::I32),
    ("<i2", Dtype::I16),
    ("|i1", Dtype::I8),
    ("<u8", Dtype::U64),
    ("<u4", Dtype::U32),
    ("<u2", Dtype::U16),
    ("|u1", Dtype::U8),
    ("|b1", Dtype::BOOL),
];

/// Returns the header of an array, always of [`HEADER`] bytes, so that it can be written again when the
/// number of rows is known.
///
/// # Panics
/// numpy does not have the type, or the shape has more than three sizes.
pub fn header(kind: Dtype, shape: &[usize]) -> Vec<u8> {
    let (name, _) = KINDS.iter().find(|(_, known)| *known == kind).expect("numpy has the type");
    assert!(shape.len() <= 3, "the header has room for three sizes");
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    // A tuple of a single size ends in a comma.
    let sizes = if sizes.len() == 1 { format!("{},", sizes[0]) } else { sizes.join(", ") };
    let text = format!("{{'descr': '{name}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let mut bytes = [&MAGIC[..], &[1, 0]].concat();
    bytes.extend((HEADER as u16 - 10).to_le_bytes());
    bytes.extend(format!("{text:<width$}\n", width = HEADER - 11).into_bytes());
    bytes
}

/// Reads the header at the start of `file`.
///
/// # Errors
/// The header is damaged, or the array is not stored row after row in little-endian order.
pub fn read_header(file: &mut impl Read) -> Result<Array, HeaderError> {
    let malformed = |what: String| Err(HeaderError::Malformed(what));
    let mut start = [0; 8];
    file.read_exact(&mut start)?;
    if start[..6] != MAGIC[..] {
        return malformed("it does not begin with \\x93NUMPY".to_owned());
    }
    let (length, before) = match start[6] {
        1 => {
            let mut length = [0; 2];
            file.read_exact(&mut length)?;
            (usize::from(u16::from_le_bytes(length)), 10)
        }
        2 | 3 => {
            let mut length = [0; 4];
            file.read_exact(&mut length)?;
            (u32::from_le_bytes(length) as usize, 12)
        }
        version => {
            return malformed(format!("version {version} of the format, expected 1 to 3"));
        }
    };
    if length > LONGEST {
        return malformed(format!("a header of {length} bytes"));
    }
    let mut text = vec![0; length];
    file.read_exact(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    described(&text, (before + length) as u64)
}

fn described(text: &str, offset: u64) -> Result<Array, HeaderError> {
    let missing = |key| HeaderError::Malformed(format!("no {key} in its header {:?}", text.trim()));
    let kind = value(text, "descr").and_then(quoted).ok_or_else(|| missing("'descr'"))?;
    let known = KINDS.iter().find(|(name, _)| *name == kind);
    let (_, kind) = *known.ok_or_else(|| HeaderError::Unread(other_kind(kind)))?;
    let order = value(text, "fortran_order").ok_or_else(|| missing("'fortran_order'"))?;
    let list = value(text, "shape").and_then(|rest| rest.strip_prefix('('));
    let (list, _) = list.and_then(|rest| rest.split_once(')')).ok_or_else(|| missing("'shape'"))?;
    // Python 2 writes long integers with an L.
    let sizes = list.split(',').map(|size| size.trim().trim_end_matches('L'));
    let sizes = sizes.filter(|size| !size.is_empty());
    let shape: Vec<usize> =
        sizes.map(str::parse).collect::<Result<_, _>>().map_err(|_| missing("'shape'"))?;
    if !order.starts_with("False") && shape.len() > 1 {
        let what = "columns are stored one after the other; save numpy.ascontiguousarray(array)";
        return Err(HeaderError::Unread(what.to_owned()));
    }
    Ok(Array { kind, shape, offset })
}

/// Says how numbers of a type that is not read can be stored instead.
fn other_kind(kind: &str) -> String {
    let swapped = kind.strip_prefix('>').map(|kind| format!("<{kind}"));
    match swapped.filter(|swapped| KINDS.iter().any(|(name, _)| name == swapped)) {
        Some(swapped) => format!(
            "its numbers, '{kind}', have their highest byte first; save array.astype('{swapped}')"
        ),
        None => format!(
            "its numbers are of the type '{kind}', which is not read; save array.astype('<f4') for features, \
             '<i8' for labels"
        ),
    }
}

/// Returns the text behind `'key':`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let after = |quote: char| text.split_once(&format!("{quote}{key}{quote}"));
    let (_, rest) = after('\'').or_else(|| after('"'))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

fn quoted(rest: &str) -> Option<&str> {
    let quote = rest.chars().next().filter(|first| matches!(first, '\'' | '"'))?;
    rest[1..].split(quote).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_the_array_it_was_written_for() {
        for (kind, shape) in [(Dtype::F32, vec![3, 2]), (Dtype::I64, vec![7]), (Dtype::U8, vec![])]
        {
            let mut bytes = header(kind, &shape);
            assert_eq!(bytes.len(), HEADER);
            bytes.extend([9; 4]);
            let offset = HEADER as u64;
            assert_eq!(read_header(&mut &bytes[..]).unwrap(), Array { kind, shape, offset });
            let cut = read_header(&mut &bytes[..40]).unwrap_err();
            assert!(matches!(cut, HeaderError::Malformed(what) if what.contains("ends within")));
        }
    }

    #[test]
    fn a_header_is_read_whatever_the_order_of_its_keys() {
        let text = "{\"shape\" : (12,3,), 'fortran_order':False, 'descr': \"<f4\"}  \n";
        let array = described(text, 80).unwrap();
        assert_eq!((array.kind, array.shape, array.offset), (Dtype::F32, vec![12, 3], 80));
        let python2 = "{'descr': '<f4', 'fortran_order': False, 'shape': (240L, 32L), }";
        assert_eq!(described(python2, 80).unwrap().shape, [240, 32]);
        let scalar = described("{'descr': '<f8', 'fortran_order': True, 'shape': ()}", 0).unwrap();
        assert!(scalar.shape.is_empty());
    }

    #[test]
    fn what_the_header_lacks_is_named() {
        let error = |text: &str| match described(text, 0).map(|_| ()).unwrap_err() {
            HeaderError::Malformed(what) | HeaderError::Unread(what) => what,
            HeaderError::Io(error) => error.to_string(),
        };
        assert!(error("{'fortran_order': False, 'shape': (3,)}").contains("no 'descr'"));
        assert!(error("{'descr': [('a', '<f4')], 'shape': (3,)}").contains("no 'descr'"));
        assert!(error("{'descr': '<f4', 'shape': (3,)}").contains("no 'fortran_order'"));
        let shape =
            |list: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {list}}}");
        assert!(error(&shape("(3, x)")).contains("no 'shape'"));
        assert!(error(&shape("(-3,)")).contains("no 'shape'"));
        let big = "{'descr': '>f4', 'fortran_order': False, 'shape': (3, 2)}";
        assert!(
            error(big).contains("'>f4', have their highest byte first; save array.astype('<f4')")
        );
        let complex = "{'descr': '<c8', 'fortran_order': False, 'shape': (3, 2)}";
        assert!(error(complex).contains("'<c8', which is not read"));
        let turned = "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 4)}";
        assert!(error(turned).contains("ascontiguousarray"));
    }
}
