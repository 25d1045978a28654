//! Finds the tensors among the values of a pickle: PyTorch's by the functions that rebuild them, numpy's
//! arrays, and both inside dictionaries, lists and whole modules. Called by [`super::container`].

use std::{collections::HashSet, sync::Arc};

use burn::tensor::DType;

use super::{
    source::{Place, Source, Sources},
    storages::Storages,
    strided::Strided,
};
use crate::formats::pickle::{Call, Id, Pickle, Value};

/// The deepest nesting that is followed: deeper values would not fit on the thread's stack.
const DEEPEST: usize = 1000;
/// How often a value may be visited on average. Honest files name a value a few times.
const VISITS: u64 = 16;

/// The tables of a `torch.nn.Module`.
const TABLES: [&str; 3] = ["_parameters", "_buffers", "_modules"];

/// Returns the size in bytes of a number in a storage class of PyTorch, and the type if it is a float.
pub(super) fn number(class: &str) -> Option<(u64, Option<DType>)> {
    Some(match class {
        "DoubleStorage" | "float64" | "double" => (8, Some(DType::F64)),
        "FloatStorage" | "float32" | "float" => (4, Some(DType::F32)),
        "HalfStorage" | "float16" | "half" => (2, Some(DType::F16)),
        "BFloat16Storage" | "bfloat16" => (2, Some(DType::BF16)),
        "ComplexDoubleStorage" => (16, None),
        "LongStorage" | "ComplexFloatStorage" | "int64" | "uint64" => (8, None),
        "IntStorage" | "QInt32Storage" | "int32" | "uint32" => (4, None),
        "ShortStorage" | "int16" | "uint16" => (2, None),
        "CharStorage" | "ByteStorage" | "BoolStorage" | "QInt8Storage" | "QUInt8Storage"
        | "UntypedStorage" | "int8" | "uint8" | "bool" => (1, None),
        _ => return None,
    })
}

/// A walk over the values of a pickle that collects tensors by their path through the dictionaries.
pub(super) struct Walk {
    pickle: Arc<Pickle>,
    storages: Arc<Storages>,
    /// Tensors that the pickle refers to by a key alone, as the oldest format does.
    named: Sources,
    found: Sources,
    visits: u64,
    /// The containers around the present value: what holds itself is not followed again.
    around: HashSet<Id>,
}

impl Walk {
    /// Returns the tensors of `pickle`.
    ///
    /// # Errors
    /// The values are nested too deeply, or there are too many paths to them.
    pub(super) fn tensors(
        pickle: Pickle,
        storages: Arc<Storages>,
        named: Sources,
    ) -> Result<Sources, String> {
        let (visits, root) = (0, pickle.root);
        let (pickle, found, around) = (Arc::new(pickle), Sources::new(), HashSet::new());
        let mut walk = Self { pickle, storages, named, found, visits, around };
        walk.visit(root, "")?;
        Ok(walk.found)
    }

    fn visit(&mut self, id: Id, name: &str) -> Result<(), String> {
        self.visits += 1;
        if self.visits > VISITS * self.pickle.len() as u64 {
            return Err(
                "the pickle names its values so often that it cannot be a checkpoint".into()
            );
        }
        if self.around.len() > DEEPEST {
            return Err(format!("the pickle nests values more than {DEEPEST} deep"));
        }
        let pickle = Arc::clone(&self.pickle);
        match pickle.get(id) {
            Value::Dict(_) | Value::List(_) | Value::Tuple(_) | Value::Call(_) => {
                if self.around.insert(id) {
                    self.container(&pickle, id, name)?;
                    self.around.remove(&id);
                }
                Ok(())
            }
            Value::Persistent(key) => {
                let tensor = key_of(&pickle, *key).and_then(|key| self.named.get(&key).cloned());
                self.insert(name, tensor.unwrap_or_else(Source::unreadable))
            }
            _ => Ok(()),
        }
    }

    fn container(&mut self, pickle: &Arc<Pickle>, id: Id, name: &str) -> Result<(), String> {
        match pickle.get(id) {
            Value::Dict(items) => self.items(items, name),
            Value::Call(call) => self.object(pickle, call, name),
            _ => self.list(pickle.elements(id).unwrap_or_default(), name),
        }
    }

    fn items(&mut self, items: &[(Id, Id)], name: &str) -> Result<(), String> {
        let pickle = Arc::clone(&self.pickle);
        for &(key, value) in items {
            if let Some(key) = key_of(&pickle, key) {
                self.visit(value, &joined(name, &key))?;
            }
        }
        Ok(())
    }

    fn list(&mut self, elements: &[Id], name: &str) -> Result<(), String> {
        for (index, &value) in elements.iter().enumerate() {
            self.visit(value, &joined(name, &index.to_string()))?;
        }
        Ok(())
    }

    fn insert(&mut self, name: &str, source: Source) -> Result<(), String> {
        match self.found.insert(name.to_owned(), source) {
            Some(_) => Err(format!("two tensors are called {name:?}")),
            None => Ok(()),
        }
    }

    fn object(&mut self, pickle: &Arc<Pickle>, call: &Call, name: &str) -> Result<(), String> {
        let arguments = pickle.elements(call.arguments).unwrap_or_default();
        let tensor = self.rebuilt(pickle, call.callable, arguments);
        if let Some(tensor) = tensor.or_else(|| array(pickle, call, arguments)) {
            let tensor = self.held(tensor, name)?;
            return self.insert(name, tensor);
        }
        match (pickle.global(call.callable), arguments) {
            (Some(("torch._utils", name_of)), [data, ..])
                if name_of.starts_with("_rebuild_par") =>
            {
                return self.visit(*data, name);
            }
            (Some(("collections", "OrderedDict")), [pairs]) => {
                let pairs = pickle.elements(*pairs).unwrap_or_default();
                let pair = |&pair| <[Id; 2]>::try_from(pickle.elements(pair)?).ok();
                let pairs: Vec<_> = pairs.iter().filter_map(pair).map(|[k, v]| (k, v)).collect();
                self.items(&pairs, name)?;
            }
            _ => {}
        }
        self.items(&call.items, name)?;
        self.list(&call.elements, name)?;
        let Some(state) = call.state else { return self.opaque(pickle, call, name) };
        match pickle.get(state) {
            Value::Dict(state) if is_module(pickle, call, state) => self.module(state, name),
            _ => self.opaque(pickle, call, name),
        }
    }

    /// Checks that the file holds the numbers of a tensor, before anything is made as large as its shape. A
    /// tensor that repeats its numbers can have any shape, and no encoder has one.
    fn held(&self, tensor: Source, name: &str) -> Result<Source, String> {
        let Place::Storage { key, view, .. } = &tensor.place else { return Ok(tensor) };
        let (start, length) = view.window();
        let (needed, bytes) = ((start + length) as u64, self.storages.bytes(key));
        match bytes {
            Some(bytes) if needed <= bytes && view.bytes() <= bytes => Ok(tensor),
            Some(bytes) if needed <= bytes => Ok(Source::unreadable()),
            Some(bytes) => {
                Err(format!("tensor {name:?} needs {needed} bytes, its storage {key} has {bytes}"))
            }
            None => Err(format!("tensor {name:?}: its storage {key} is not in the file")),
        }
    }

    /// Notes a tensor that cannot be read where the arguments or the state of an unknown object hold one:
    /// sparse and quantised tensors, for instance.
    fn opaque(&mut self, pickle: &Pickle, call: &Call, name: &str) -> Result<(), String> {
        let known = pickle.global(call.callable).is_some_and(|(module, _)| module == "collections");
        let mut seen = HashSet::new();
        let holds = |id: Id, seen: &mut HashSet<Id>| holds_storage(pickle, id, seen);
        let held = holds(call.arguments, &mut seen)
            || call.state.is_some_and(|state| holds(state, &mut seen));
        self.visits += seen.len() as u64;
        match held && !known {
            true => self.insert(name, Source::unreadable()),
            false => Ok(()),
        }
    }

    /// Takes the parameters and buffers of a pickled module, as its `state_dict()` would.
    fn module(&mut self, state: &[(Id, Id)], name: &str) -> Result<(), String> {
        let pickle = Arc::clone(&self.pickle);
        let entry = |wanted: &str| {
            state
                .iter()
                .find(|&&(key, _)| pickle.text(key) == Some(wanted))
                .map(|&(_, value)| value)
        };
        let passing = entry("_non_persistent_buffers_set").map(|set| texts(&pickle, set));
        let passing = passing.unwrap_or_default();
        if TABLES.iter().any(|table| entry(table).is_none()) {
            return self.items(state, name);
        }
        for table in TABLES {
            let kept = |key: Id| pickle.text(key).is_none_or(|key| !passing.contains(key));
            let of = entry(table).expect("it was looked for above");
            let items: Vec<_> = items_of(&pickle, of).to_vec();
            let items: Vec<_> = items.into_iter().filter(|&(key, _)| kept(key)).collect();
            self.items(&items, name)?;
        }
        Ok(())
    }

    /// Returns the tensor that a function of `torch._utils` would rebuild of a storage.
    fn rebuilt(&self, pickle: &Pickle, callable: Id, arguments: &[Id]) -> Option<Source> {
        let (module, name) = pickle.global(callable)?;
        if (module, name) == ("torch._tensor", "_rebuild_from_type_v2") {
            // func, type, arguments of func, state
            return self.rebuilt(pickle, *arguments.first()?, pickle.elements(*arguments.get(2)?)?);
        }
        if module != "torch._utils" || !name.starts_with("_rebuild_tensor") {
            return None;
        }
        let [storage, offset, shape, strides, ..] = arguments else { return None };
        let Value::Persistent(storage) = pickle.get(*storage) else { return None };
        let storage = pickle.elements(*storage)?;
        let class = class(pickle, *storage.get(1)?)?;
        let (mut size, mut float) = number(class)?;
        if name.ends_with("_v3") {
            (size, float) = number(pickle.global(*arguments.get(6)?)?.1)?;
        }
        let mut start = pickle.size(*offset)?;
        // The oldest files have views of storages: key, offset, size.
        if let Some(view) = storage.get(5).and_then(|&view| pickle.elements(view)) {
            start = start.checked_add(pickle.size(*view.get(1)?)?)?;
        }
        let view = Strided::new(pickle.sizes(*shape)?, pickle.sizes(*strides)?, start, size)?;
        let (storages, key) = (Arc::clone(&self.storages), key_of(pickle, *storage.get(2)?)?);
        Some(Source::new(view.shape(), float, Place::Storage { storages, key, view }))
    }
}

fn joined(name: &str, key: &str) -> String {
    if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") }
}

/// Returns a key of a dictionary as a part of a name.
pub(super) fn key_of(pickle: &Pickle, key: Id) -> Option<String> {
    match pickle.get(key) {
        Value::Int(number) => Some(number.to_string()),
        _ => pickle.text(key).map(str::to_owned),
    }
}

/// Returns the name of a storage class; the oldest files write it as a text.
pub(super) fn class(pickle: &Pickle, id: Id) -> Option<&str> {
    pickle.global(id).map(|(_, name)| name).or_else(|| pickle.text(id))
}

/// Returns whether an object is a module of PyTorch, by its state, or one of TorchScript, by its class.
fn is_module(pickle: &Pickle, call: &Call, state: &[(Id, Id)]) -> bool {
    let has = |table: &&str| state.iter().any(|&(key, _)| pickle.text(key) == Some(table));
    TABLES.iter().all(|table| has(table))
        || pickle.global(call.callable).is_some_and(|(module, _)| module.starts_with("__torch__"))
}

fn items_of(pickle: &Pickle, id: Id) -> &[(Id, Id)] {
    match pickle.get(id) {
        Value::Dict(items) => items,
        Value::Call(call) => &call.items,
        _ => &[],
    }
}

/// Returns the texts of a set, which older protocols write as a call with a list.
fn texts(pickle: &Pickle, set: Id) -> HashSet<String> {
    let elements = match pickle.get(set) {
        Value::Call(call) => match pickle.elements(call.arguments) {
            Some([list]) => pickle.elements(*list),
            _ => None,
        },
        _ => pickle.elements(set),
    };
    elements.unwrap_or_default().iter().filter_map(|&id| key_of(pickle, id)).collect()
}

/// Returns whether a storage lies anywhere inside a value.
fn holds_storage(pickle: &Pickle, id: Id, seen: &mut HashSet<Id>) -> bool {
    let mut open = vec![id];
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        match pickle.get(id) {
            Value::Persistent(_) => return true,
            Value::Dict(items) => open.extend(items.iter().map(|&(_, value)| value)),
            Value::Call(call) => {
                open.extend(call.items.iter().map(|&(_, value)| value));
                open.extend(call.elements.iter().chain(&call.state).chain([&call.arguments]));
            }
            _ => open.extend(pickle.elements(id).unwrap_or_default()),
        }
    }
    false
}

/// Returns the array that numpy would make: by `_reconstruct` and a state, or by `_frombuffer`.
fn array(pickle: &Arc<Pickle>, call: &Call, arguments: &[Id]) -> Option<Source> {
    let (module, name) = pickle.global(call.callable)?;
    if !module.starts_with("numpy") {
        return None;
    }
    let (shape, kind, columns_first, data) = match (name, arguments) {
        ("_reconstruct", _) => match pickle.elements(call.state?)? {
            [_version, shape, kind, order, data] => {
                (*shape, *kind, matches!(pickle.get(*order), Value::Bool(true)), *data)
            }
            _ => return None,
        },
        ("_frombuffer", [data, kind, shape, order]) => {
            (*shape, *kind, pickle.text(*order) == Some("F"), *data)
        }
        _ => return None,
    };
    let shape = pickle.sizes(shape)?;
    let (size, float, swapped) = kind_of(pickle, kind)?;
    let view = Strided::whole(shape, columns_first, size)?;
    if length_of(pickle, data) != Some(view.window().1) {
        return Some(Source::unreadable());
    }
    let place = Place::Array { pickle: Arc::clone(pickle), data, view: view.clone(), swapped };
    Some(Source::new(view.shape(), float, place))
}

/// Returns the number of bytes of an array's data, which [`Source::read`] reads.
fn length_of(pickle: &Pickle, id: Id) -> Option<usize> {
    match pickle.get(id) {
        Value::Bytes(bytes) => Some(bytes.len()),
        Value::Call(call) => match pickle.elements(call.arguments)? {
            [] => Some(0),
            [data, ..] => match pickle.get(*data) {
                Value::Text(text) => Some(text.chars().count()),
                Value::Bytes(bytes) => Some(bytes.len()),
                _ => None,
            },
        },
        _ => None,
    }
}

/// Returns the size of a number of a `numpy.dtype`, its type if it is a float, and whether its highest byte
/// comes first; `None` where the array holds texts or objects.
fn kind_of(pickle: &Pickle, id: Id) -> Option<(u64, Option<DType>, bool)> {
    let Value::Call(call) = pickle.get(id) else { return None };
    let name = pickle.text(*pickle.elements(call.arguments)?.first()?)?;
    let order = pickle.text(*pickle.elements(call.state?)?.get(1)?)?;
    let size = name.strip_prefix(['f', 'i', 'u', 'b'])?.parse().ok()?;
    let float = match name {
        "f8" => Some(DType::F64),
        "f4" => Some(DType::F32),
        "f2" => Some(DType::F16),
        _ => None,
    };
    Some((size, float, order == ">"))
}
