//! Opens files of tensors: safetensors, and what `torch.save` wrote at any time.
//!
//! PyTorch's files are archives (since 1.6), or pickles followed by the storages (since 0.1.10), or tar files
//! (before). A pickle without storages can hold numpy's arrays. Everything is read as data; no code in a
//! pickle is run. Names are the paths through the dictionaries (`state_dict.backbone.conv1.weight`). Called
//! by [`super::read`].

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek},
    path::Path,
    sync::Arc,
};

use burn::tensor::DType;
use safetensors::Dtype;

use super::{
    ForeignError,
    source::{Place, Source, Sources},
    storages::Storages,
    strided::Strided,
    tensors::{Walk, class, key_of, number},
};
use crate::{
    encoder::other_file,
    formats::{
        pickle::{Id, Pickle, PickleError, Value},
        safetensors as format,
    },
};

/// The version of the pickles-then-storages format; there has been one.
const VERSION: u64 = 1001;
/// Where a tar file says that it is one.
const TAR: std::ops::Range<usize> = 257..262;

/// The tensors of a file, and what its metadata say.
pub(super) struct Opened {
    pub(super) sources: Sources,
    /// The metadata of a safetensors file; empty for other files.
    pub(super) metadata: BTreeMap<String, String>,
}

/// Lists the tensors of `path`. The content decides the format, not the file's name.
///
/// # Errors
/// A file that cannot be read, is cut short, or has no known format.
pub(super) fn open(path: &Path) -> Result<Opened, ForeignError> {
    let io = |source| ForeignError::Io { path: path.to_owned(), source };
    let kind = fs::metadata(path).map_err(io)?;
    if kind.is_dir() {
        return Err(damaged(path, &"a folder; a run folder is read without an import"));
    }
    // A pipe would keep the reader waiting, and it cannot be read twice.
    if !kind.is_file() {
        return Err(damaged(
            path,
            &"a pipe or device; a file is read several times: save it first",
        ));
    }
    let mut file = File::open(path).map_err(io)?;
    let mut start = Vec::new();
    file.by_ref().take(TAR.end as u64).read_to_end(&mut start).map_err(io)?;
    // A safetensors file begins with the length of its header, then the header's brace.
    if start.get(8) == Some(&b'{') && start[4..8] == [0; 4] {
        return safetensors(path, fs::read(path).map_err(io)?);
    }
    if let Some(what) = other_file::named(&start) {
        return Err(ForeignError::NotWeights { path: path.to_owned(), what });
    }
    let sources = if start.starts_with(b"PK") {
        archive(path)
    } else if start.get(TAR) == Some(b"ustar") {
        tar(path)
    } else {
        pickles(path)
    };
    let sources = sources.map_err(|problem| match problem {
        Problem::Io(source) if source.raw_os_error().is_some() => io(source),
        Problem::Io(error) => damaged(path, &error),
        Problem::Content(what) => damaged(path, &what),
    })?;
    Ok(Opened { sources, metadata: BTreeMap::new() })
}

/// Why a file of PyTorch could not be read.
enum Problem {
    Io(io::Error),
    Content(String),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<String> for Problem {
    fn from(what: String) -> Self {
        Self::Content(what)
    }
}

impl From<PickleError> for Problem {
    fn from(error: PickleError) -> Self {
        match error {
            PickleError::Io(error) => Self::Io(error),
            other => Self::Content(other.to_string()),
        }
    }
}

fn fault<T>(what: &str) -> Result<T, Problem> {
    Err(Problem::Content(what.to_owned()))
}

fn archive(path: &Path) -> Result<Sources, Problem> {
    let (storages, pickle) = Storages::archive(path)?;
    let pickle = Pickle::read(&mut pickle.as_slice())?;
    Ok(Walk::tensors(pickle, Arc::new(storages), Sources::new())?)
}

/// Reads a file that begins with a pickle: the state dict itself, or the mark of the format before archives,
/// in which the storages follow behind the pickles, each behind its number of elements.
fn pickles(path: &Path) -> Result<Sources, Problem> {
    let mut reader = BufReader::new(File::open(path)?);
    let first = Pickle::read(&mut reader)?;
    let file = File::open(path)?;
    // The mark is a number of ten bytes.
    if !matches!(first.get(first.root), Value::Wide) {
        let none = Storages::Runs { file, runs: BTreeMap::new() };
        return Ok(Walk::tensors(first, Arc::new(none), Sources::new())?);
    }
    let version = Pickle::read(&mut reader)?;
    if version.size(version.root) != Some(VERSION) {
        return fault("its version is not 1001, the only one before archives");
    }
    little_endian(&Pickle::read(&mut reader)?)?;
    let root = Pickle::read(&mut reader)?;
    let keys = Pickle::read(&mut reader)?;
    let sizes = sizes_of_storages(&root);
    let mut runs = BTreeMap::new();
    let mut at = reader.stream_position()?;
    let length = file.metadata()?.len();
    for &key in keys.elements(keys.root).unwrap_or_default() {
        let Some(key) = key_of(&keys, key) else { return fault("a storage has no key") };
        let numbers = read_number(&mut reader)?;
        let bytes = sizes.get(&key).and_then(|size| size.checked_mul(numbers));
        let start = at + 8;
        let Some(bytes) = bytes.filter(|bytes| start.saturating_add(*bytes) <= length) else {
            return fault("it ends before its last storage");
        };
        at = start + bytes;
        reader.seek(io::SeekFrom::Start(at))?;
        runs.insert(key, (start, bytes));
    }
    let storages = Arc::new(Storages::Runs { file, runs });
    Ok(Walk::tensors(root, storages, Sources::new())?)
}

/// The sizes of the numbers in the storages that a pickle names, by key.
fn sizes_of_storages(pickle: &Pickle) -> BTreeMap<String, u64> {
    let storage = |value: &Value| {
        let Value::Persistent(id) = value else { return None };
        let [_, kind, key, ..] = pickle.elements(*id)? else { return None };
        Some((key_of(pickle, *key)?, number(class(pickle, *kind)?)?.0))
    };
    pickle.values().filter_map(storage).collect()
}

/// Reads a tar file: an entry with the storages, one with the tensors, and a pickle that refers to tensors by
/// key.
fn tar(path: &Path) -> Result<Sources, Problem> {
    let mut archive = tar::Archive::new(BufReader::new(File::open(path)?));
    let mut entries = BTreeMap::new();
    for entry in archive.entries()? {
        let entry = entry?;
        let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        entries.insert(name, (entry.raw_file_position(), entry.size()));
    }
    let file = File::open(path)?;
    let open = |name: &str| -> Result<BufReader<io::Take<File>>, Problem> {
        let Some(&(at, size)) = entries.get(name) else {
            return fault("the tar file lacks an entry");
        };
        let mut file = File::open(path)?;
        file.seek(io::SeekFrom::Start(at))?;
        Ok(BufReader::new(file.take(size)))
    };
    if entries.contains_key("sys_info") {
        little_endian(&Pickle::read(&mut open("sys_info")?)?)?;
    }
    let (start, _) = entries.get("storages").copied().unwrap_or_default();
    let (runs, kinds) = runs_of_tar(&mut open("storages")?, start)?;
    let storages = Arc::new(Storages::Runs { file, runs });
    let named = tensors_of_tar(&mut open("tensors")?, &kinds, &storages)?;
    let root = Pickle::read(&mut open("pickle")?)?;
    Ok(Walk::tensors(root, storages, named)?)
}

/// The places of storages in the file, and the types of their numbers, by key.
type Tar = (BTreeMap<String, (u64, u64)>, BTreeMap<String, (u64, Option<DType>)>);

/// Reads the entry of storages, which begins at `start`: their number; for each a key, a device and a type,
/// then its length and its bytes; then the storages that are parts of others.
fn runs_of_tar(reader: &mut BufReader<io::Take<File>>, start: u64) -> Result<Tar, Problem> {
    let whole = reader.get_ref().limit() + reader.buffer().len() as u64;
    let count = Pickle::read(reader)?;
    let (mut runs, mut kinds) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..count.size(count.root).unwrap_or(0) {
        let about = Pickle::read(reader)?;
        let [key, _device, kind] = fields(&about, about.root)?;
        let kind = class(&about, kind).and_then(number);
        let (Some(key), Some(kind)) = (key_of(&about, key), kind) else {
            return fault("a storage of the tar file has no known type");
        };
        let length = read_number(reader)?;
        let left = reader.get_ref().limit() + reader.buffer().len() as u64;
        let Some(bytes) = length.checked_mul(kind.0).filter(|&bytes| bytes <= left) else {
            return fault("it ends before its last storage");
        };
        runs.insert(key.clone(), (start + whole - left, bytes));
        kinds.insert(key, kind);
        io::copy(&mut reader.take(bytes), &mut io::sink())?;
    }
    let parts = Pickle::read(reader)?;
    for &part in parts.elements(parts.root).unwrap_or_default() {
        let [key, of, offset, length] = fields(&parts, part)?;
        let names = key_of(&parts, key).zip(key_of(&parts, of));
        let sizes = parts.size(offset).zip(parts.size(length));
        let known = names.as_ref().and_then(|(_, of)| Some((*runs.get(of)?, *kinds.get(of)?)));
        let (Some((key, _)), Some((offset, length)), Some(((at, bytes), kind))) =
            (names, sizes, known)
        else {
            return fault("a part of a storage of the tar file is damaged");
        };
        let begin = offset.checked_mul(kind.0).filter(|&begin| begin <= bytes);
        let Some(begin) = begin else { return fault("a part lies outside of its storage") };
        let rest = length.saturating_mul(kind.0).min(bytes - begin);
        runs.insert(key.clone(), (at + begin, rest));
        kinds.insert(key, kind);
    }
    Ok((runs, kinds))
}

/// Reads the entry of tensors: their number; for each its key, its storage and a type, then its rank, shape,
/// strides and offset.
fn tensors_of_tar(
    reader: &mut impl BufRead,
    kinds: &BTreeMap<String, (u64, Option<DType>)>,
    storages: &Arc<Storages>,
) -> Result<Sources, Problem> {
    let count = Pickle::read(reader)?;
    let mut sources = Sources::new();
    for _ in 0..count.size(count.root).unwrap_or(0) {
        let about = Pickle::read(reader)?;
        let [key, storage, _kind] = fields(&about, about.root)?;
        // The rank is an integer of four bytes; four unused bytes follow.
        let rank = read_number(reader)? & 0xffff_ffff;
        if rank > 64 {
            return fault("a tensor of the tar file has more than 64 axes");
        }
        let numbers = (0..2 * rank + 1).map(|_| read_number(reader));
        let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
        let (shape, rest) = numbers.split_at(rank as usize);
        let (strides, start) = rest.split_at(rank as usize);
        let storage = key_of(&about, storage);
        let kind = storage.as_ref().and_then(|storage| kinds.get(storage));
        let (Some(key), Some(storage), Some(&(size, float))) = (key_of(&about, key), storage, kind)
        else {
            return fault("a tensor of the tar file has no storage");
        };
        let Some(view) = Strided::new(shape.to_vec(), strides.to_vec(), start[0], size) else {
            return fault("a tensor of the tar file has a shape that no memory holds");
        };
        let (shape, storages) = (view.shape(), Arc::clone(storages));
        sources.insert(
            key,
            Source::new(shape, float, Place::Storage { storages, key: storage, view }),
        );
    }
    Ok(sources)
}

fn fields<const N: usize>(pickle: &Pickle, id: Id) -> Result<[Id; N], Problem> {
    let found = pickle.elements(id).and_then(|elements| elements.try_into().ok());
    found.map_or_else(|| fault("an entry of the tar file is damaged"), Ok)
}

fn read_number(reader: &mut impl Read) -> Result<u64, Problem> {
    let mut bytes = [0; 8];
    reader.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Refuses a file from a machine whose numbers have their highest byte first.
fn little_endian(system: &Pickle) -> Result<(), Problem> {
    let Value::Dict(items) = system.get(system.root) else {
        return fault("it does not say of which system it is");
    };
    let order = items.iter().find(|&&(key, _)| system.text(key) == Some("little_endian"));
    match order.map(|&(_, order)| system.get(order)) {
        Some(Value::Bool(true)) => Ok(()),
        _ => fault("the numbers have their highest byte first"),
    }
}

fn safetensors(path: &Path, bytes: Vec<u8>) -> Result<Opened, ForeignError> {
    let bytes = Arc::new(bytes);
    let metadata = format::metadata(&bytes).map_err(|error| damaged(path, &error))?;
    let file = format::from_bytes(&bytes).map_err(|error| damaged(path, &error))?;
    let base = bytes.as_ptr().addr();
    let sources = file.iter().map(|(name, view)| {
        let float = match view.dtype() {
            Dtype::F64 => Some(DType::F64),
            Dtype::F32 => Some(DType::F32),
            Dtype::F16 => Some(DType::F16),
            Dtype::BF16 => Some(DType::BF16),
            _ => None,
        };
        let start = view.data().as_ptr().addr() - base;
        let place = Place::Bytes(Arc::clone(&bytes), start..start + view.data().len());
        (name.to_owned(), Source::new(view.shape().to_vec(), float, place))
    });
    let sources = sources.collect();
    Ok(Opened { sources, metadata: metadata.into_iter().collect() })
}

fn damaged(path: &Path, problem: &dyn ToString) -> ForeignError {
    ForeignError::Damaged { path: path.to_owned(), problem: problem.to_string() }
}
