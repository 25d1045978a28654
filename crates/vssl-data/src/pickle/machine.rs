//! The stack machine that a pickle is a program of. Opcodes are those of CPython's `pickletools`. Called by
//! [`super::Pickle::read`].

use std::{collections::HashMap, io::BufRead};

use super::{
    Call, Id, PickleError, Value,
    scalar::{array, byte, bytes, damaged, line, scalar},
};

/// The largest number of values in a pickle: three times those of a million tensors with four axes each.
const MOST_VALUES: usize = 1 << 26;

/// The largest number of marks at a time: a container that is being filled has one.
const MOST_MARKS: usize = 1 << 20;

/// The values so far, and the stack, marks and memo that the opcodes work on.
#[derive(Default)]
pub(super) struct Machine {
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl Machine {
    /// Runs one pickle to its end. Returns all values, and which of them was pickled.
    pub(super) fn run(
        mut self,
        reader: &mut impl BufRead,
    ) -> Result<(Vec<Value>, Id), PickleError> {
        loop {
            match byte(reader)? {
                b'.' => {
                    let root = self.pop()?;
                    return Ok((self.values, root));
                }
                op => self.step(op, reader)?,
            }
        }
    }

    fn push(&mut self, value: Value) -> Result<(), PickleError> {
        if self.values.len() == MOST_VALUES {
            return damaged(format!("it has more than {MOST_VALUES} values"));
        }
        self.values.push(value);
        self.lay(Id(self.values.len() as u32 - 1))
    }

    /// Lays a value on the stack. Opcodes of one byte lay the same value on it again and again.
    fn lay(&mut self, id: Id) -> Result<(), PickleError> {
        if self.stack.len() == MOST_VALUES {
            return damaged(format!("its stack has more than {MOST_VALUES} values"));
        }
        self.stack.push(id);
        Ok(())
    }

    fn mark(&mut self) -> Result<(), PickleError> {
        if self.marks.len() == MOST_MARKS {
            return damaged(format!("it has more than {MOST_MARKS} marks at a time"));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, PickleError> {
        if self.marks.last() == Some(&self.stack.len()) {
            return damaged("a value is missing behind a mark");
        }
        self.stack.pop().ok_or_else(|| PickleError::Damaged("a value is missing".to_owned()))
    }

    fn top(&mut self) -> Result<&mut Value, PickleError> {
        let id = self.pop()?;
        self.stack.push(id);
        Ok(&mut self.values[id.0 as usize])
    }

    fn take_to_mark(&mut self) -> Result<Vec<Id>, PickleError> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => damaged("a mark is missing"),
        }
    }

    fn fetch(&mut self, place: u32) -> Result<(), PickleError> {
        match self.memo.get(&place) {
            Some(&id) => self.lay(id),
            None => damaged(format!("there is no value {place} in the memo")),
        }
    }

    fn store(&mut self, place: u32) -> Result<(), PickleError> {
        let id = self.pop()?;
        self.stack.push(id);
        self.memo.insert(place, id);
        Ok(())
    }

    fn tuple(&mut self, count: usize) -> Result<(), PickleError> {
        let mut elements = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        elements.reverse();
        self.push(Value::Tuple(elements.into()))
    }

    fn append(&mut self, new: Vec<Id>) -> Result<(), PickleError> {
        match self.top()? {
            Value::List(elements) => elements.extend(new),
            Value::Call(call) => call.elements.extend(new),
            _ => return damaged("elements are appended to what is no list"),
        }
        Ok(())
    }

    fn insert(&mut self, new: &[Id]) -> Result<(), PickleError> {
        let (pairs, rest) = new.as_chunks::<2>();
        if !rest.is_empty() {
            return damaged("a key has no value");
        }
        let pairs = pairs.iter().map(|&[key, value]| (key, value));
        match self.top()? {
            Value::Dict(items) => items.extend(pairs),
            Value::Call(call) => call.items.extend(pairs),
            _ => return damaged("items are set in what is no dictionary"),
        }
        Ok(())
    }

    fn call(&mut self, callable: Id, arguments: Id) -> Result<(), PickleError> {
        let (items, elements) = (Vec::new(), Vec::new());
        self.push(Value::Call(Box::new(Call { callable, arguments, state: None, items, elements })))
    }

    fn global(&mut self, module: String, name: String) -> Result<(), PickleError> {
        self.push(Value::Global(Box::new((module, name))))
    }

    fn step(&mut self, op: u8, reader: &mut impl BufRead) -> Result<(), PickleError> {
        match op {
            b'('
            | b')'
            | b']'
            | b'}'
            | b'0'
            | b'1'
            | b'2'
            | b't'
            | b'l'
            | b'd'
            | b'a'
            | b'e'
            | b's'
            | b'u'
            | 0x85..=0x87
            | 0x8f..=0x91 => self.collect(op),
            b'c' | 0x93 | b'R' | 0x81 | 0x92 | b'b' | b'P' | b'Q' => self.object(op, reader),
            b'g' | b'p' | b'h' | b'q' | b'j' | b'r' | 0x94 => self.remember(op, reader),
            0x80 => match byte(reader)? {
                0..=5 => Ok(()),
                other => damaged(format!("protocol {other} is not known")),
            },
            0x95 => bytes(reader, 8).map(drop),
            _ => {
                let value = scalar(op, reader)?;
                self.push(value)
            }
        }
    }

    /// Opcodes that move values into containers.
    fn collect(&mut self, op: u8) -> Result<(), PickleError> {
        match op {
            b'(' => self.mark()?,
            b')' => self.push(Value::Tuple(Box::default()))?,
            b']' | 0x8f => self.push(Value::List(Vec::new()))?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.take_to_mark()?),
            b'2' => {
                let id = self.pop()?;
                self.lay(id)?;
                self.lay(id)?;
            }
            b't' => {
                let elements = self.take_to_mark()?.into();
                self.push(Value::Tuple(elements))?;
            }
            b'l' | 0x91 => {
                let elements = self.take_to_mark()?;
                self.push(Value::List(elements))?;
            }
            b'd' => {
                let items = self.take_to_mark()?;
                self.push(Value::Dict(Vec::new()))?;
                self.insert(&items)?;
            }
            b'a' => {
                let element = self.pop()?;
                self.append(vec![element])?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(&[key, value])?;
            }
            b'u' => {
                let items = self.take_to_mark()?;
                self.insert(&items)?;
            }
            b'e' | 0x90 => {
                let elements = self.take_to_mark()?;
                self.append(elements)?;
            }
            _ => self.tuple(usize::from(op - 0x84))?,
        }
        Ok(())
    }

    /// Opcodes that name classes and functions and call them.
    fn object(&mut self, op: u8, reader: &mut impl BufRead) -> Result<(), PickleError> {
        match op {
            b'c' => {
                let (module, name) = (line(reader)?, line(reader)?);
                self.global(module, name)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| match &self.values[id.0 as usize] {
                    Value::Text(text) => Ok(text.to_string()),
                    _ => damaged("the name of a class is no text"),
                };
                let (module, name) = (text(module)?, text(name)?);
                self.global(module, name)
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)
            }
            0x92 => {
                let (_keywords, arguments, callable) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(callable, arguments)
            }
            b'b' => {
                let state = self.pop()?;
                if let Value::Call(call) = self.top()? {
                    call.state = Some(state);
                }
                Ok(())
            }
            _ => {
                if op == b'P' {
                    let name = line(reader)?;
                    self.push(Value::Text(name.into()))?;
                }
                let name = self.pop()?;
                self.push(Value::Persistent(name))
            }
        }
    }

    /// Opcodes of the memo.
    fn remember(&mut self, op: u8, reader: &mut impl BufRead) -> Result<(), PickleError> {
        let place = match op {
            b'g' | b'p' => {
                let text = line(reader)?;
                let place = text.parse();
                place.map_err(|_| {
                    PickleError::Damaged(format!("{text:?} is no place in the memo"))
                })?
            }
            b'h' | b'q' => byte(reader)?.into(),
            0x94 => self.memo.len() as u32,
            _ => u32::from_le_bytes(array(reader)?),
        };
        if matches!(op, b'g' | b'h' | b'j') { self.fetch(place) } else { self.store(place) }
    }
}
