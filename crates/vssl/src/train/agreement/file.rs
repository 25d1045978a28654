//! The CPU's numbers in a safetensors file, so that another machine compares with the very same ones.
//! Each tensor's name is that of its method, `start`, `end` or what it holds, and its path:
//! `byol/end/student.backbone.conv1.weight`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::{DType, TensorData};
use safetensors::SafeTensors;

use super::{Agreement, Reference, STEPS, Trace, trace::numbers};
use crate::{
    run::whole_file,
    tensors::{
        file::{self as tensor_file, TensorFileError},
        state::{StateError, Tensors, of_shape},
    },
};

/// Where the metadata say which network and views the numbers are of.
const KEY: &str = "vssl.agreement";

/// Why a file gave no numbers, or could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// Not a file of tensors, or one that cannot be read or written.
    #[error(transparent)]
    Tensors(#[from] TensorFileError),
    /// A file of something else.
    #[error(
        "{}: the metadata have no readable {KEY:?} ({problem}); expected a file that `vssl bench \
         agreement --store` wrote", path.display()
    )]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// A tensor that is missing or of another form.
    #[error("{}: {source}; write the file again with `vssl bench agreement --store`", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The tensor.
        source: StateError,
    },
}

/// Writes the numbers of some methods, the file whole or not at all.
///
/// # Errors
/// [`FileError::Tensors`].
pub fn write(
    path: &Path,
    agreement: &Agreement,
    references: &[(String, Reference)],
) -> Result<(), FileError> {
    let mut tensors = Tensors::new();
    for (method, reference) in references {
        let Reference { views, trace, spreads } = reference;
        let mut put = |name: &str, tensor: TensorData| {
            tensors.insert(format!("{method}/{name}"), tensor);
        };
        for (index, view) in views.iter().enumerate() {
            put(&format!("view/{index}"), view.clone());
        }
        for (when, values) in [("start", &trace.start), ("end", &trace.end)] {
            values.iter().for_each(|(path, value)| put(&format!("{when}/{path}"), value.clone()));
        }
        put("losses", TensorData::new(trace.losses.clone(), [trace.losses.len()]));
        put("norms", TensorData::new(trace.norms.clone(), [trace.norms.len()]));
        let spreads: Vec<f32> = spreads.iter().flatten().map(|spread| *spread as f32).collect();
        put("spreads", TensorData::new(spreads, [3, 4]));
    }
    let settings = serde_json::to_string(agreement).expect("settings are plain values");
    let bytes = tensor_file::bytes(path, &tensors, &[(KEY, &settings)])?;
    let io = |source| TensorFileError::Io { path: path.to_owned(), source };
    Ok(whole_file::write(path, bytes).map_err(io)?)
}

/// Reads what [`write()`] wrote: the methods in the order of their names.
///
/// # Errors
/// A file that is none of [`write()`]'s or was damaged; the message names the tensor.
pub fn read(path: &Path) -> Result<(Agreement, Vec<(String, Reference)>), FileError> {
    let bytes =
        fs::read(path).map_err(|source| TensorFileError::Io { path: path.to_owned(), source })?;
    let agreement = metadata(path, &bytes)?;
    let mut methods: Vec<(String, Tensors)> = Vec::new();
    for (name, tensor) in tensor_file::parse(path, &bytes)? {
        let (method, rest) = name.split_once('/').unwrap_or((&name, ""));
        if methods.last().is_none_or(|(last, _)| last != method) {
            methods.push((method.to_owned(), Tensors::new()));
        }
        let (_, tensors) = methods.last_mut().expect("one was pushed where there was none");
        tensors.insert(rest.to_owned(), tensor);
    }
    let references = methods.into_iter().map(|(method, tensors)| {
        let reference = reference(&agreement, &method, tensors)
            .map_err(|source| FileError::Content { path: path.to_owned(), source })?;
        Ok((method, reference))
    });
    let references = references.collect::<Result<_, FileError>>()?;
    Ok((agreement, references))
}

fn metadata(path: &Path, bytes: &[u8]) -> Result<Agreement, FileError> {
    let (_, header) = SafeTensors::read_metadata(bytes)
        .map_err(|source| TensorFileError::Format { path: path.to_owned(), source })?;
    let text = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
    let read: Result<Agreement, String> = text
        .ok_or_else(|| "there is none".to_owned())
        .and_then(|text| serde_json::from_str(text).map_err(|error| error.to_string()));
    read.map_err(|problem| FileError::Metadata { path: path.to_owned(), problem })
}

fn reference(
    agreement: &Agreement,
    method: &str,
    mut tensors: Tensors,
) -> Result<Reference, StateError> {
    let name = |rest: &str| format!("{method}/{rest}");
    let mut take = |rest: &str, shape: &[usize]| {
        let found = tensors.remove(rest).ok_or_else(|| StateError::Missing(name(rest)))?;
        of_shape(found, &name(rest), shape)
    };
    let Agreement { size, batch, .. } = *agreement;
    let views = ["view/0", "view/1"].map(|view| take(view, &[batch, size, size, 3]));
    let views = views.into_iter().collect::<Result<_, _>>()?;
    let losses = numbers(&take("losses", &[STEPS as usize])?).to_vec();
    let norms = numbers(&take("norms", &[STEPS as usize])?).to_vec();
    let spreads = take("spreads", &[3, 4])?;
    let mut values = numbers(&spreads).iter().map(|spread| f64::from(*spread));
    let spreads = [(); 3].map(|()| [(); 4].map(|()| values.next().expect("twelve were checked")));
    let (mut start, mut end) = (Tensors::new(), Tensors::new());
    for (rest, tensor) in tensors {
        let (part, path) = match rest.split_once('/') {
            Some(("start", path)) => (&mut start, path),
            Some(("end", path)) => (&mut end, path),
            _ => return Err(StateError::Unexpected(name(&rest))),
        };
        if tensor.dtype() != DType::F32 {
            return Err(StateError::Type { name: name(&rest), got: tensor.dtype() });
        }
        part.insert(path.to_owned(), tensor);
    }
    if let Some(path) = start.keys().find(|path| !end.contains_key(*path)) {
        return Err(StateError::Missing(name(&format!("end/{path}"))));
    }
    for (path, tensor) in &end {
        let first = start.get(path);
        let first = first.ok_or_else(|| StateError::Missing(name(&format!("start/{path}"))))?;
        of_shape(tensor.clone(), &name(&format!("end/{path}")), first.shape().as_slice())?;
    }
    Ok(Reference { views, trace: Trace { start, end, losses, norms }, spreads })
}

/// Tensors as they come back from the bytes of a checkpoint's file.
pub(super) fn through_bytes(tensors: &Tensors) -> Result<Tensors, TensorFileError> {
    let path = Path::new("a checkpoint in memory");
    tensor_file::parse(path, &tensor_file::bytes(path, tensors, &[])?)
}
