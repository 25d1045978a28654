//! CIFAR's version for Python: pickles of dictionaries with a numpy array of bytes and lists of labels. They
//! become the bytes of the binary version, which [`super::cifar`] reads.

use crate::pickle::{Call, Id, Pickle, Value};

/// The bytes of the pixels of an image.
const PIXELS: usize = 3 * 32 * 32;

/// The records of the binary version: for every image the labels under `keys`, then the pixels.
///
/// # Errors
/// What is wrong with the pickle.
pub(super) fn records(bytes: &[u8], keys: &[&str]) -> Result<Vec<u8>, String> {
    let pickle = read(bytes)?;
    let data = entry(&pickle, "data").ok_or("it has no data")?;
    let pixels =
        array(&pickle, data).ok_or("its data are no array of bytes, as numpy writes it")?;
    if !pixels.len().is_multiple_of(PIXELS) {
        return Err(format!("{} bytes of pixels, expected a multiple of {PIXELS}", pixels.len()));
    }
    let images = pixels.len() / PIXELS;
    let mut labels = Vec::new();
    for key in keys {
        let own = entry(&pickle, key).and_then(|id| pickle.sizes(id));
        let own = own.ok_or_else(|| format!("it has no {key}"))?;
        if own.len() != images {
            return Err(format!("{} {key} for {images} images", own.len()));
        }
        labels.push(own);
    }
    let mut records = Vec::with_capacity(images * (PIXELS + keys.len()));
    for (image, pixels) in pixels.chunks_exact(PIXELS).enumerate() {
        // A label that is no byte is no class either.
        records.extend(labels.iter().map(|own| u8::try_from(own[image]).unwrap_or(u8::MAX)));
        records.extend_from_slice(pixels);
    }
    Ok(records)
}

/// The names of the classes under `key`, one a line.
///
/// # Errors
/// What is wrong with the pickle.
pub(super) fn names(bytes: &[u8], key: &str) -> Result<Vec<u8>, String> {
    let pickle = read(bytes)?;
    let names = entry(&pickle, key).and_then(|id| {
        let names = pickle.elements(id)?.iter().map(|&id| pickle.text(id));
        names.collect::<Option<Vec<_>>>()
    });
    names.map(|names| names.join("\n").into_bytes()).ok_or_else(|| format!("it has no {key}"))
}

fn read(mut bytes: &[u8]) -> Result<Pickle, String> {
    Pickle::read(&mut bytes).map_err(|error| error.to_string())
}

/// The value under a key of the dictionary. Python 2 wrote keys as bytes.
fn entry(pickle: &Pickle, key: &str) -> Option<Id> {
    let Value::Dict(items) = pickle.get(pickle.root) else { return None };
    items.iter().find(|(own, _)| pickle.text(*own) == Some(key)).map(|(_, value)| *value)
}

/// The bytes of a numpy array of unsigned bytes, in the order of the rows.
fn array(pickle: &Pickle, id: Id) -> Option<&[u8]> {
    let Value::Call(call) = pickle.get(id) else { return None };
    let Call { callable, state: Some(state), .. } = &**call else { return None };
    let (_, name) = pickle.global(*callable)?;
    // (version, shape, type, whether columns come first, bytes)
    let [_, shape, kind, columns_first, bytes] = pickle.elements(*state)? else { return None };
    let Value::Call(kind) = pickle.get(*kind) else { return None };
    let kind = pickle.text(*pickle.elements(kind.arguments)?.first()?)?;
    let by_rows = matches!(pickle.get(*columns_first), Value::Bool(false) | Value::Int(0));
    let Value::Bytes(bytes) = pickle.get(*bytes) else { return None };
    let size = pickle.sizes(*shape)?.iter().try_fold(1_u64, |sum, &side| sum.checked_mul(side))?;
    let fits = name == "_reconstruct" && kind == "u1" && by_rows && size == bytes.len() as u64;
    fits.then_some(bytes)
}
