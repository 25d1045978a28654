//! Arrays of numpy in a pickle. Called by [`super::tensors`].

use std::sync::Arc;

use burn::tensor::DType;

use super::{
    source::{Place, Source},
    strided::{Strided, axes},
};
use crate::formats::pickle::{Call, Id, Pickle, Value};

/// The parts of an array: shape and kind of its numbers, how they are ordered, and their bytes.
struct Parts {
    shape: Id,
    kind: Id,
    columns_first: bool,
    /// Which stored axis each axis of the array is, where the array was transposed.
    turned: Option<Id>,
    data: Id,
}

/// Returns the array that numpy would make: by `_reconstruct` and a state, or by `_frombuffer`. An array whose
/// making is not understood is a tensor that cannot be read; texts, objects and single numbers are none.
pub(super) fn array(pickle: &Arc<Pickle>, call: &Call, arguments: &[Id]) -> Option<Source> {
    let (module, name) = pickle.global(call.callable)?;
    if !module.starts_with("numpy") || ["scalar", "dtype"].contains(&name) {
        return None;
    }
    let parts = parts(pickle, call, name, arguments);
    if parts.as_ref().is_some_and(|parts| is_no_number(pickle, parts.kind)) {
        return None;
    }
    let understood = parts.and_then(|parts| made(pickle, &parts));
    let holds_bytes = || arguments.iter().any(|&id| is_bytes(pickle, id));
    understood.or_else(|| holds_bytes().then(Source::unreadable))
}

fn parts(pickle: &Pickle, call: &Call, name: &str, arguments: &[Id]) -> Option<Parts> {
    match (name, arguments) {
        ("_reconstruct", _) => match *pickle.elements(call.state?)? {
            [_version, shape, kind, order, data] => {
                let columns_first = matches!(pickle.get(order), Value::Bool(true));
                Some(Parts { shape, kind, columns_first, turned: None, data })
            }
            _ => None,
        },
        ("_frombuffer", &[data, kind, shape, order, ref turned @ ..]) => {
            // Order K means that the fifth argument is the order of the axes.
            let (columns_first, turned) = match (pickle.text(order)?, turned) {
                ("K", &[turned]) => (false, Some(turned)),
                ("F", _) => (true, None),
                ("C", _) => (false, None),
                _ => return None,
            };
            Some(Parts { shape, kind, columns_first, turned, data })
        }
        _ => None,
    }
}

fn made(pickle: &Arc<Pickle>, parts: &Parts) -> Option<Source> {
    let (size, float, swapped) = kind_of(pickle, parts.kind)?;
    let view = Strided::whole(axes(pickle, parts.shape)?, parts.columns_first, size)?;
    let view = match parts.turned {
        Some(turned) => view.turned(&axes(pickle, turned)?)?,
        None => view,
    };
    if length_of(pickle, parts.data) != Some(view.window().1) {
        return Some(Source::unreadable());
    }
    let (pickle, data) = (Arc::clone(pickle), parts.data);
    Some(Source::new(view.shape(), float, Place::Array { pickle, data, view, swapped }))
}

/// Returns whether a value is bytes, or the call that makes them of a text in protocols before 3.
fn is_bytes(pickle: &Pickle, id: Id) -> bool {
    match pickle.get(id) {
        Value::Bytes(_) => true,
        Value::Call(call) => pickle.global(call.callable).is_some_and(|(module, name)| {
            module == "_codecs" || ["bytes", "bytearray"].contains(&name)
        }),
        _ => false,
    }
}

/// Returns the name of a `numpy.dtype`, such as `f4`.
fn name_of(pickle: &Pickle, id: Id) -> Option<&str> {
    let Value::Call(call) = pickle.get(id) else { return None };
    pickle.text(*pickle.elements(call.arguments)?.first()?)
}

/// Returns whether an array holds objects, texts, records or times.
fn is_no_number(pickle: &Pickle, kind: Id) -> bool {
    name_of(pickle, kind).is_some_and(|name| name.starts_with(['O', 'U', 'S', 'a', 'V', 'M', 'm']))
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
    let name = name_of(pickle, id)?;
    let Value::Call(call) = pickle.get(id) else { return None };
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
