//! The values of a pickle that need no other values: numbers, texts and bytes. Called by [`super::Pickle::read`].

use std::io::{BufRead, Read};

use super::{PickleError, Value};

/// The largest buffer that is made before the bytes for it have been seen.
const BUFFER: u64 = 1 << 16;

pub(super) fn damaged<T>(what: impl Into<String>) -> Result<T, PickleError> {
    Err(PickleError::Damaged(what.into()))
}

/// Reads the value of an opcode that needs nothing from the stack.
pub(super) fn scalar(op: u8, reader: &mut impl BufRead) -> Result<Value, PickleError> {
    Ok(match op {
        b'N' => Value::None,
        0x88 => Value::Bool(true),
        0x89 => Value::Bool(false),
        b'K' => Value::Int(byte(reader)?.into()),
        b'M' => Value::Int(u16::from_le_bytes(array(reader)?).into()),
        b'J' => Value::Int(i32::from_le_bytes(array(reader)?).into()),
        b'I' | b'L' => written(&line(reader)?)?,
        0x8a => long(&short_bytes(reader)?),
        0x8b => long(&sized_bytes(reader)?),
        b'G' => array::<8>(reader).map(|_| Value::Float)?,
        b'F' => {
            let text = line(reader)?;
            match text.trim().parse::<f64>() {
                Ok(_) => Value::Float,
                Err(_) => return damaged(format!("{text:?} is no number")),
            }
        }
        b'S' => Value::Bytes(quoted(&line(reader)?)?.into()),
        b'V' => Value::Text(escaped(&line(reader)?).into()),
        0x8c => text(short_bytes(reader)?)?,
        b'X' => text(sized_bytes(reader)?)?,
        0x8d => text(long_bytes(reader)?)?,
        b'U' | b'C' => Value::Bytes(short_bytes(reader)?.into()),
        b'T' | b'B' => Value::Bytes(sized_bytes(reader)?.into()),
        0x8e | 0x96 => Value::Bytes(long_bytes(reader)?.into()),
        other => return damaged(format!("0x{other:02x} is no known opcode")),
    })
}

fn text(bytes: Vec<u8>) -> Result<Value, PickleError> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Value::Text(text.into())),
        Err(_) => damaged("a text is not UTF-8"),
    }
}

/// Reads a number of protocol 0; truth values are written as `00` and `01` there.
fn written(text: &str) -> Result<Value, PickleError> {
    let digits = text.trim().trim_end_matches('L');
    match (text, digits.parse()) {
        ("00", _) => Ok(Value::Bool(false)),
        ("01", _) => Ok(Value::Bool(true)),
        (_, Ok(number)) => Ok(Value::Int(number)),
        _ if digits.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit()) => Ok(Value::Wide),
        _ => damaged(format!("{text:?} is no whole number")),
    }
}

/// Reads an integer in two's complement, the lowest byte first.
fn long(bytes: &[u8]) -> Value {
    let fill = if bytes.last().is_some_and(|&byte| byte >= 0x80) { 0xff } else { 0 };
    if bytes.len() > 8 {
        return Value::Wide;
    }
    let mut whole = [fill; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(whole))
}

/// Reads a text of Python 2 as `repr` writes it: in quotes, with the escapes of a program.
fn quoted(text: &str) -> Result<Vec<u8>, PickleError> {
    let wrong = || PickleError::Damaged(format!("{text:?} is no text in quotes"));
    let trimmed = text.trim_end();
    let inner =
        ['\'', '"'].into_iter().find_map(|quote| trimmed.strip_prefix(quote)?.strip_suffix(quote));
    let mut letters = inner.ok_or_else(wrong)?.chars();
    let mut bytes = Vec::new();
    while let Some(letter) = letters.next() {
        let letter = match letter {
            '\\' => match letters.next().ok_or_else(wrong)? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'x' => {
                    let digits: String = letters.by_ref().take(2).collect();
                    if digits.len() != 2 {
                        return Err(wrong());
                    }
                    char::from(u8::from_str_radix(&digits, 16).map_err(|_| wrong())?)
                }
                same @ ('\\' | '\'' | '"') => same,
                _ => return Err(wrong()),
            },
            letter => letter,
        };
        bytes.push(u8::try_from(letter).map_err(|_| wrong())?);
    }
    Ok(bytes)
}

/// Replaces the escapes of Python's codec `raw-unicode-escape`.
fn escaped(text: &str) -> String {
    let mut parts = text.split("\\u");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match code.and_then(char::from_u32) {
            Some(letter) => {
                whole.push(letter);
                whole.push_str(&part[4..]);
            }
            None => {
                whole.push_str("\\u");
                whole.push_str(part);
            }
        }
    }
    whole
}

pub(super) fn byte(reader: &mut impl BufRead) -> Result<u8, PickleError> {
    array(reader).map(|[byte]| byte)
}

pub(super) fn array<const N: usize>(reader: &mut impl BufRead) -> Result<[u8; N], PickleError> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn short_bytes(reader: &mut impl BufRead) -> Result<Vec<u8>, PickleError> {
    let length = byte(reader)?;
    bytes(reader, length.into())
}

fn sized_bytes(reader: &mut impl BufRead) -> Result<Vec<u8>, PickleError> {
    let length = u32::from_le_bytes(array(reader)?);
    bytes(reader, length.into())
}

fn long_bytes(reader: &mut impl BufRead) -> Result<Vec<u8>, PickleError> {
    let length = u64::from_le_bytes(array(reader)?);
    bytes(reader, length)
}

pub(super) fn bytes(reader: &mut impl BufRead, length: u64) -> Result<Vec<u8>, PickleError> {
    let mut bytes = Vec::with_capacity(length.min(BUFFER) as usize);
    reader.take(length).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < length {
        return damaged("it ends early");
    }
    Ok(bytes)
}

/// Reads a line as Latin-1, which ASCII and the texts of protocol 0 are.
pub(super) fn line(reader: &mut impl BufRead) -> Result<String, PickleError> {
    let mut bytes = Vec::new();
    reader.read_until(b'\n', &mut bytes)?;
    if bytes.pop() != Some(b'\n') {
        return damaged("it ends early");
    }
    Ok(bytes.into_iter().map(char::from).collect())
}
