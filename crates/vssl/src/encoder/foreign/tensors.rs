//! Finds the tensors among the values of a pickle: PyTorch's by the functions that rebuild them, numpy's
//! arrays, and both inside dictionaries, lists and whole modules. Called by [`super::container`].

use std::{collections::HashSet, sync::Arc};

use burn::tensor::DType;

use super::{
    arrays,
    source::{Place, Source, Sources},
    storages::Storages,
    strided::{Strided, axes},
};
use crate::formats::pickle::{Call, Id, Pickle, Value};

/// The deepest nesting that is followed: deeper values would not fit on the thread's stack.
const DEEPEST: usize = 1000;
/// How often a value may be visited for each time that the pickle names it. Honest files name a container a few
/// times.
const VISITS: u64 = 16;
/// The longest path to a value, in bytes, and the length of all paths together, which are copied.
const LONGEST: usize = 4096;
const ALL_PATHS: u64 = 1 << 28;
/// The largest tensor in bytes that may repeat the numbers of a smaller storage, as `expand()` does.
const EXPANDED: u64 = 1 << 26;

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
    /// How many values were looked at, how many may be, and the length of all paths to them.
    visits: u64,
    most: u64,
    paths: u64,
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
        let names: usize = pickle.values().map(named_by).sum();
        let most = VISITS * (pickle.len() + names) as u64;
        let (visits, paths, root) = (0, 0, pickle.root);
        let (pickle, found, around) = (Arc::new(pickle), Sources::new(), HashSet::new());
        let mut walk = Self { pickle, storages, named, found, visits, most, paths, around };
        walk.visit(root, "")?;
        Ok(walk.found)
    }

    /// Counts values that are looked at.
    fn count(&mut self, values: usize) -> Result<(), String> {
        self.visits += values as u64;
        match self.visits > self.most || self.paths > ALL_PATHS {
            true => {
                Err("the pickle names its values so often that it cannot be a checkpoint".into())
            }
            false => Ok(()),
        }
    }

    /// Returns the path to a value behind `key`.
    fn joined(&mut self, name: &str, key: &str) -> Result<String, String> {
        if name.len() + key.len() >= LONGEST {
            return Err(format!("the path to a value is longer than {LONGEST} bytes"));
        }
        self.paths += (name.len() + key.len()) as u64;
        Ok(if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") })
    }

    fn visit(&mut self, id: Id, name: &str) -> Result<(), String> {
        self.count(1)?;
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
        self.count(items.len())?;
        for &(key, value) in items.iter().filter(|&&(_, value)| may_hold(&pickle, value)) {
            if matches!(pickle.get(key), Value::Text(text) if text.len() >= LONGEST) {
                return Err(format!("the path to a value is longer than {LONGEST} bytes"));
            }
            if let Some(key) = key_of(&pickle, key) {
                let name = self.joined(name, &key)?;
                self.visit(value, &name)?;
            }
        }
        Ok(())
    }

    fn list(&mut self, elements: &[Id], name: &str) -> Result<(), String> {
        let pickle = Arc::clone(&self.pickle);
        self.count(elements.len())?;
        let holding = elements.iter().enumerate().filter(|&(_, &value)| may_hold(&pickle, value));
        for (index, &value) in holding {
            let name = self.joined(name, &index.to_string())?;
            self.visit(value, &name)?;
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
        if let Some(tensor) = tensor.or_else(|| arrays::array(pickle, call, arguments)) {
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
                self.count(pairs.len())?;
                let pair = |&pair| <[Id; 2]>::try_from(pickle.elements(pair)?).ok();
                let pairs: Vec<_> = pairs.iter().filter_map(pair).map(|[k, v]| (k, v)).collect();
                self.items(&pairs, name)?;
            }
            _ => {}
        }
        self.items(&call.items, name)?;
        self.list(&call.elements, name)?;
        let Some(state) = call.state else { return self.opaque(pickle, call, name) };
        // The tables of a module are looked for.
        self.count(items_of(pickle, state).len() * 2 * TABLES.len())?;
        match pickle.get(state) {
            Value::Dict(state) if is_module(pickle, call, state) => self.module(state, name),
            _ => self.opaque(pickle, call, name),
        }
    }

    /// Checks that the file holds the numbers of a tensor, before anything is made as large as its shape. A
    /// tensor that repeats its numbers can have any shape: a large one is not read.
    fn held(&self, tensor: Source, name: &str) -> Result<Source, String> {
        let Place::Storage { key, view, .. } = &tensor.place else { return Ok(tensor) };
        let (start, length) = view.window();
        let (needed, bytes) = ((start + length) as u64, self.storages.bytes(key));
        match bytes {
            Some(bytes) if needed <= bytes && view.bytes() <= bytes.max(EXPANDED) => Ok(tensor),
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
        let (mut seen, mut looks) = (HashSet::new(), 0);
        let mut holds = |id: Id| holds_storage(pickle, id, &mut seen, &mut looks);
        let held = holds(call.arguments) || call.state.is_some_and(&mut holds);
        self.count(looks)?;
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
        let passing = entry("_non_persistent_buffers_set");
        self.count(passing.and_then(|set| pickle.elements(set)).map_or(0, <[Id]>::len))?;
        let passing = passing.map(|set| texts(&pickle, set));
        let passing = passing.unwrap_or_default();
        if TABLES.iter().any(|table| entry(table).is_none()) {
            return self.items(state, name);
        }
        for table in TABLES {
            let kept = |key: Id| pickle.text(key).is_none_or(|key| !passing.contains(key));
            let of = entry(table).expect("it was looked for above");
            let items = items_of(&pickle, of);
            self.count(items.len())?;
            let items: Vec<_> = items.iter().copied().filter(|&(key, _)| kept(key)).collect();
            self.items(&items, name)?;
        }
        Ok(())
    }

    /// Returns the tensor that a function of `torch._utils` would rebuild of a storage, also where it is wrapped
    /// once as a tensor of another type.
    fn rebuilt(&self, pickle: &Pickle, callable: Id, arguments: &[Id]) -> Option<Source> {
        if pickle.global(callable)? != ("torch._tensor", "_rebuild_from_type_v2") {
            return self.plain(pickle, callable, arguments);
        }
        // func, type, arguments of func, state
        let [function, _, inner, ..] = arguments else { return None };
        let inner = pickle.elements(*inner)?;
        let (module, name) = pickle.global(*function)?;
        match (inner.first().map(|&data| pickle.get(data)), module) {
            (Some(Value::Call(data)), "torch._utils") if name.starts_with("_rebuild_par") => {
                self.plain(pickle, data.callable, pickle.elements(data.arguments)?)
            }
            _ => self.plain(pickle, *function, inner),
        }
    }

    /// Returns the tensor that `_rebuild_tensor` or one of its later versions would make.
    fn plain(&self, pickle: &Pickle, callable: Id, arguments: &[Id]) -> Option<Source> {
        let (module, name) = pickle.global(callable)?;
        if module != "torch._utils" || !name.starts_with("_rebuild_tensor") {
            return None;
        }
        let [storage, offset, shape, strides, ..] = arguments else { return None };
        let Value::Persistent(storage) = pickle.get(*storage) else { return None };
        let storage = pickle.elements(*storage)?;
        let class = class(pickle, *storage.get(1)?)?;
        let Some((mut size, mut float)) = number(class) else {
            return Some(unread(pickle, *shape));
        };
        if name.ends_with("_v3") {
            match number(pickle.global(*arguments.get(6)?)?.1) {
                Some(known) => (size, float) = known,
                None => return Some(unread(pickle, *shape)),
            }
        }
        let mut start = pickle.size(*offset)?;
        // The oldest files have views of storages: key, offset, size.
        if let Some(view) = storage.get(5).and_then(|&view| pickle.elements(view)) {
            start = start.checked_add(pickle.size(*view.get(1)?)?)?;
        }
        let view = Strided::new(axes(pickle, *shape)?, axes(pickle, *strides)?, start, size)?;
        let (storages, key) = (Arc::clone(&self.storages), key_of(pickle, *storage.get(2)?)?);
        Some(Source::new(view.shape(), float, Place::Storage { storages, key, view }))
    }
}

/// Returns a tensor whose shape is the only thing that is known of it.
fn unread(pickle: &Pickle, shape: Id) -> Source {
    let shape = axes(pickle, shape).unwrap_or_default();
    Source::unknown(
        shape.into_iter().map(|axis| usize::try_from(axis).unwrap_or(usize::MAX)).collect(),
    )
}

/// Returns how many values a value names.
fn named_by(value: &Value) -> usize {
    match value {
        Value::Dict(items) => 2 * items.len(),
        Value::List(elements) => elements.len(),
        Value::Tuple(elements) => elements.len(),
        Value::Call(call) => 3 + 2 * call.items.len() + call.elements.len(),
        _ => 0,
    }
}

/// Returns whether a value can be a tensor or hold one.
fn may_hold(pickle: &Pickle, id: Id) -> bool {
    let value = pickle.get(id);
    matches!(
        value,
        Value::Dict(_) | Value::List(_) | Value::Tuple(_) | Value::Call(_) | Value::Persistent(_)
    )
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
    TABLES.iter().all(has)
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
fn holds_storage(pickle: &Pickle, id: Id, seen: &mut HashSet<Id>, looks: &mut usize) -> bool {
    let mut open = vec![id];
    while let Some(id) = open.pop() {
        *looks += 1;
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
