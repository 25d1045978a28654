//! Reads pickles, Python's serialisation (protocols 0 to 5), as data: nothing in a pickle is run.
//!
//! Values refer to each other by number, as Python's objects do: what is fetched from the memo is the same
//! value, not a copy of it. So the memory grows with the bytes of the pickle and with nothing else, and a
//! value that holds itself does no harm. Opcodes are those of CPython's `pickletools`. Called by those who know what
//! the values of PyTorch and numpy mean: CIFAR's Python version here, and the readers of weights in `vssl`.

mod machine;
mod scalar;

use std::io::{self, BufRead, ErrorKind};

use machine::Machine;

/// Why a pickle could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PickleError {
    /// The operating system refused.
    #[error(transparent)]
    Io(io::Error),
    /// The bytes are not a pickle of a known protocol.
    #[error("the pickle is damaged: {0}")]
    Damaged(String),
}

impl From<io::Error> for PickleError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof => Self::Damaged("it ends early".to_owned()),
            _ => Self::Io(error),
        }
    }
}

/// The number of a value in its pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u32);

/// A value of a pickle.
#[derive(Debug)]
pub enum Value {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer of 64 bits.
    Int(i64),
    /// An integer of more than 64 bits.
    Wide,
    /// A float, whose value nothing asks for.
    Float,
    /// A text.
    Text(Box<str>),
    /// Bytes.
    Bytes(Box<[u8]>),
    /// A tuple.
    Tuple(Box<[Id]>),
    /// A list or a set.
    List(Vec<Id>),
    /// A dictionary, in the order of its insertions.
    Dict(Vec<(Id, Id)>),
    /// A class or function by its module and name.
    Global(Box<(String, String)>),
    /// An object that a call makes.
    Call(Box<Call>),
    /// A value that lies outside of the pickle, by its identifier.
    Persistent(Id),
}

/// A call that would make an object, and what the object is given afterwards.
#[derive(Debug)]
pub struct Call {
    /// The class or function.
    pub callable: Id,
    /// The tuple of arguments.
    pub arguments: Id,
    /// The state that the object is given.
    pub state: Option<Id>,
    /// The items that are set in the object, which is a dictionary then.
    pub items: Vec<(Id, Id)>,
    /// The elements that are appended to the object, which is a list or a set then.
    pub elements: Vec<Id>,
}

/// The values of a pickle.
#[derive(Debug)]
pub struct Pickle {
    values: Vec<Value>,
    /// The value that was pickled.
    pub root: Id,
}

impl Pickle {
    /// Reads one pickle. The reader stands behind the pickle's end afterwards.
    ///
    /// # Errors
    /// The pickle ends early, is damaged or too large, or cannot be read.
    pub fn read(reader: &mut impl BufRead) -> Result<Self, PickleError> {
        let (values, root) = Machine::default().run(reader)?;
        Ok(Self { values, root })
    }

    /// Returns a value.
    pub fn get(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }

    /// Returns all values, also those that nothing names.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }

    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns whether there is no value, which no pickle that was read has.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Returns the text of a value. Python 2 wrote texts as bytes; 4096 bytes or more are data.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            Value::Bytes(bytes) if bytes.len() < 4096 => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// Returns a value that is an integer of at least 0.
    pub fn size(&self, id: Id) -> Option<u64> {
        match self.get(id) {
            Value::Int(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// Returns the elements of a tuple or list.
    pub fn elements(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(elements) => Some(elements),
            Value::List(elements) => Some(elements),
            _ => None,
        }
    }

    /// Returns the integers of a tuple or list.
    pub fn sizes(&self, id: Id) -> Option<Vec<u64>> {
        self.elements(id)?.iter().map(|&id| self.size(id)).collect()
    }

    /// Returns module and name of a class or function.
    pub fn global(&self, id: Id) -> Option<(&str, &str)> {
        match self.get(id) {
            Value::Global(named) => Some((&named.0, &named.1)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut bytes: &[u8]) -> Result<Pickle, PickleError> {
        Pickle::read(&mut bytes)
    }

    #[test]
    fn what_the_memo_gives_twice_is_one_value() {
        // The list [[], []] whose elements are one list, thirty times over: a list with 2³⁰ leaves.
        let mut bytes = b"\x80\x02]q\x00".to_vec();
        for place in 0..30u8 {
            bytes.extend([b']', b'q', place + 1, b'(', b'h', place, b'h', place, b'e']);
        }
        bytes.push(b'.');
        let pickle = read(&bytes).unwrap();
        assert_eq!(pickle.len(), 31);
        let pair = pickle.elements(pickle.root).unwrap();
        assert_eq!(pair[0], pair[1]);
    }

    #[test]
    fn every_protocol_gives_the_same_values() {
        // pickle.dumps({"a": (1, -2, 2.5, None, True, "é", b"\xff")}, protocol)
        let texts: [&[u8]; 3] = [
            b"(dp0\nVa\np1\n(I1\nI-2\nF2.5\nNI01\nV\xe9\np2\nc_codecs\nencode\np3\n(V\xff\np4\nVlatin1\np5\ntp6\nRp7\ntp8\ns.",
            b"\x80\x03}q\x00X\x01\x00\x00\x00aq\x01(K\x01J\xfe\xff\xff\xffG@\x04\x00\x00\x00\x00\x00\x00N\x88X\x02\x00\x00\x00\xc3\xa9q\x02C\x01\xffq\x03tq\x04s.",
            b"\x80\x04\x95\x27\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94(K\x01J\xfe\xff\xff\xffG@\x04\x00\x00\x00\x00\x00\x00N\x88\x8c\x02\xc3\xa9\x94C\x01\xff\x94t\x94s.",
        ];
        for bytes in texts {
            let pickle = read(bytes).unwrap();
            let Value::Dict(items) = pickle.get(pickle.root) else { panic!("no dictionary") };
            assert_eq!(pickle.text(items[0].0), Some("a"));
            let found = pickle.elements(items[0].1).unwrap();
            assert_eq!(found.len(), 7);
            assert_eq!(pickle.size(found[0]), Some(1));
            assert!(
                matches!(pickle.get(found[1]), Value::Int(-2)) && pickle.size(found[1]).is_none()
            );
            assert!(matches!(pickle.get(found[2]), Value::Float));
            assert!(matches!(pickle.get(found[3]), Value::None));
            assert!(matches!(pickle.get(found[4]), Value::Bool(true)));
            assert_eq!(pickle.text(found[5]), Some("é"));
        }
    }

    /// pickle.dumps(["a'\n\xff"]) of Python 2
    #[test]
    fn a_text_of_python_2_in_protocol_0_is_read() {
        let pickle = read(b"(lp0\nS\"a'\\n\\xff\"\np1\naS'b'\na.").unwrap();
        let [first, second] = pickle.elements(pickle.root).unwrap() else { panic!("two texts") };
        assert!(matches!(pickle.get(*first), Value::Bytes(bytes) if **bytes == *b"a'\n\xff"));
        assert_eq!(pickle.text(*second), Some("b"));
        assert!(read(b"S'b\n.").is_err() && read(b"S'\\x4'\n.").is_err());
    }

    #[test]
    fn marks_and_values_on_the_stack_take_a_bounded_room() {
        let error = read(&vec![b'('; 3 << 20]).unwrap_err().to_string();
        assert!(error.contains("marks"), "{error}");
        let mut bytes = b"\x80\x02N".to_vec();
        bytes.resize((1 << 26) + 100, b'2');
        let error = read(&bytes).unwrap_err().to_string();
        assert!(error.contains("stack"), "{error}");
    }

    #[test]
    fn damaged_pickles_are_refused_and_reserve_no_memory() {
        for bytes in [
            b"".as_slice(),
            b"\x80\x09N.",
            b"N",
            b".",
            b"(0.",
            b"e.",
            b"h\x05.",
            b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
            b"X\xff\xff\xff\xffabc.",
            b"}(Nu.",
            b"Nb.",
            b"\xfe.",
            b"cmodule",
        ] {
            assert!(matches!(read(bytes), Err(PickleError::Damaged(_))), "{bytes:?}");
        }
        let whole = b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01(K\x01J\xfe\xff\xff\xffts.";
        assert!(read(whole).is_ok());
        assert!((0..whole.len()).all(|end| read(&whole[..end]).is_err()));
    }
}
