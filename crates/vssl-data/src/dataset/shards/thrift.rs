//! Reads the headers of Parquet files: Thrift's compact protocol
//! (<https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>).
//!
//! The crate `parquet`, which writes tables elsewhere in this program, does not tell where in a file a value
//! lies; an index of places is made of nothing else.

/// Levels of structures in structures, and values in one message.
const MOST_LEVELS: usize = 16;
const MOST_VALUES: usize = 1 << 24;

/// A value of a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Int(i64),
    /// A number that nothing asks for.
    Double,
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Struct(Vec<(i16, Value)>),
}

impl Value {
    /// A field of a structure.
    pub(super) fn field(&self, id: i16) -> Option<&Value> {
        match self {
            Value::Struct(fields) => {
                fields.iter().find(|(own, _)| *own == id).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// A whole number in a field.
    pub(super) fn int(&self, id: i16) -> Option<i64> {
        match self.field(id)? {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A text in a field.
    pub(super) fn text(&self, id: i16) -> Option<String> {
        match self.field(id)? {
            Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        }
    }

    /// A list in a field; empty without the field.
    pub(super) fn list(&self, id: i16) -> &[Value] {
        match self.field(id) {
            Some(Value::List(values)) => values,
            _ => &[],
        }
    }
}

/// Reads a structure at the beginning of `bytes`. Returns it with the number of bytes that it takes; `None` where
/// the bytes end early or are none.
pub(super) fn structure(bytes: &[u8]) -> Option<(Value, usize)> {
    let mut reader = Reader { rest: bytes, values: 0 };
    let value = reader.structure(0)?;
    Some((value, bytes.len() - reader.rest.len()))
}

struct Reader<'a> {
    rest: &'a [u8],
    values: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn int(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn structure(&mut self, level: usize) -> Option<Value> {
        let mut fields = Vec::new();
        let mut id = 0_i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(Value::Struct(fields));
            }
            id = match head >> 4 {
                0 => i16::try_from(self.int()?).ok()?,
                step => id.checked_add(i16::from(step))?,
            };
            let value = match head & 0xf {
                1 => Value::Bool(true),
                2 => Value::Bool(false),
                kind => self.value(kind, level)?,
            };
            fields.push((id, value));
        }
    }

    fn value(&mut self, kind: u8, level: usize) -> Option<Value> {
        self.values += 1;
        if level == MOST_LEVELS || self.values > MOST_VALUES {
            return None;
        }
        Some(match kind {
            // Truth values in lists.
            1 | 2 => Value::Bool(self.byte()? == 1),
            3 => Value::Int(i64::from(self.byte()? as i8)),
            4..=6 => Value::Int(self.int()?),
            7 => {
                self.take(8)?;
                Value::Double
            }
            8 => {
                let count = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(count)?.to_vec())
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => usize::try_from(self.varint()?).ok()?,
                    count => usize::from(count),
                };
                // Each value takes a byte or more.
                if count > self.rest.len() {
                    return None;
                }
                let values = (0..count).map(|_| self.value(head & 0xf, level + 1));
                Value::List(values.collect::<Option<_>>()?)
            }
            11 => {
                let count = usize::try_from(self.varint()?).ok()?;
                if count > self.rest.len() {
                    return None;
                }
                let kinds = if count > 0 { self.byte()? } else { 0 };
                for _ in 0..count {
                    self.value(kinds >> 4, level + 1)?;
                    self.value(kinds & 0xf, level + 1)?;
                }
                Value::List(Vec::new())
            }
            12 => self.structure(level + 1)?,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_and_every_cut_is_noticed() {
        // {1: 3, 2: true, 4: "ab", 5: [1, -1], 20: {1: false}}
        let bytes =
            [0x15, 6, 0x11, 0x28, 2, b'a', b'b', 0x19, 0x25, 2, 1, 0x0c, 40, 0x12, 0, 0, 99];
        let (value, used) = structure(&bytes).unwrap();
        assert_eq!((used, value.int(1), value.text(4).as_deref()), (16, Some(3), Some("ab")));
        assert_eq!(value.field(2), Some(&Value::Bool(true)));
        assert_eq!(value.list(5), [Value::Int(1), Value::Int(-1)]);
        assert_eq!(value.field(20).unwrap().field(1), Some(&Value::Bool(false)));
        assert!((0..16).all(|end| structure(&bytes[..end]).is_none()));
    }

    #[test]
    fn senseless_sizes_take_no_memory() {
        assert!(structure(&[0x19, 0xf5, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_none());
        assert!(structure(&[0x1c; 1000]).is_none());
        assert!(structure(&[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_none());
    }
}
