//! Downloads the published archives. A download can be resumed, and a file gets its name only when
//! its checksum is right. Called by `vssl data fetch`.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use md5::{Digest, Md5};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

mod unpack;

use unpack::is_unpacked;
pub use unpack::unpack;

use crate::DataError;

/// Environment variable that replaces the server in all addresses.
pub const MIRROR: &str = "VSSL_MIRROR";

/// Longest time to wait for a connection, and for the next bytes of an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A dataset that can be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// CIFAR-10, binary version: 170 MB.
    Cifar10,
    /// CIFAR-100, binary version: 169 MB.
    Cifar100,
    /// Fashion-MNIST: 31 MB.
    FashionMnist,
    /// STL-10, binary version: 2.6 GB, unpacked 3.1 GB.
    Stl10,
    /// Tiny-ImageNet: 248 MB, unpacked 120,000 files.
    TinyImageNet,
}

impl Source {
    /// All datasets that can be fetched.
    pub const ALL: [Self; 5] =
        [Self::Cifar10, Self::Cifar100, Self::FashionMnist, Self::Stl10, Self::TinyImageNet];

    /// Name of the dataset on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::FashionMnist => "fashion-mnist",
            Self::Stl10 => "stl10",
            Self::TinyImageNet => "tiny-imagenet",
        }
    }

    /// Address of the folder that the dataset is published in.
    fn server(self) -> &'static str {
        match self {
            Self::Cifar10 | Self::Cifar100 => "https://www.cs.toronto.edu/~kriz",
            // The authors give this address only; the checksums make up for the missing TLS.
            Self::FashionMnist => "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            Self::Stl10 => "http://ai.stanford.edu/~acoates/stl10",
            Self::TinyImageNet => "http://cs231n.stanford.edu",
        }
    }

    /// Whether the archive is unpacked: its images are read where they lie.
    fn is_unpacked(self) -> bool {
        matches!(self, Self::Stl10 | Self::TinyImageNet)
    }

    /// Names and MD5 checksums of the dataset's files, as its publisher gives them; the publishers of STL-10 and
    /// Tiny-ImageNet give none, and these are the ones that torchvision and Avalanche check.
    fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Cifar10 => &[("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")],
            Self::Cifar100 => &[("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8")],
            Self::FashionMnist => &[
                ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
                ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
                ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
                ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
            ],
            Self::Stl10 => &[("stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb")],
            Self::TinyImageNet => &[("tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de")],
        }
    }
}

impl FromStr for Source {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        Self::ALL.into_iter().find(|source| source.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            DataError::Setting(format!(
                "dataset {name:?} cannot be fetched; expected one of {names}"
            ))
        })
    }
}

/// Progress of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Name of the file.
    pub file: &'a str,
    /// Bytes received so far, including those of earlier attempts.
    pub done: u64,
    /// Bytes of the whole file, if the server states the size.
    pub total: Option<u64>,
}

/// Downloads `source` into `root/<name>/` and returns that folder, which is the `data.path` to use.
/// Files that exist and have the right checksum are left alone. The archives of STL-10 and Tiny-ImageNet are unpacked
/// there and then removed.
///
/// The server is `mirror`, else `VSSL_MIRROR`, else the publisher's; the file is directly below it.
///
/// # Errors
/// As [`download`].
pub fn fetch(
    source: Source,
    root: &Path,
    mirror: Option<&str>,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, DataError> {
    let server = mirror
        .map(String::from)
        .or_else(|| env::var(MIRROR).ok().filter(|server| !server.is_empty()))
        .unwrap_or_else(|| source.server().into());
    let folder = root.join(source.name());
    fs::create_dir_all(&folder).map_err(DataError::io(&folder))?;
    if source.is_unpacked() && is_unpacked(&folder) {
        return Ok(folder);
    }
    for (file, md5) in source.files() {
        let url = format!("{}/{file}", server.trim_end_matches('/'));
        download(&url, md5, &folder.join(file), progress)?;
        if source.is_unpacked() {
            unpack(&folder.join(file), &folder)?;
        }
    }
    Ok(folder)
}

/// Downloads one file by way of `<to>.part`, which a later call resumes.
///
/// `md5` is the expected checksum in lower-case hexadecimal digits; it guards against damage, not
/// against an attacker.
///
/// # Errors
/// [`DataError::Download`] when the server refuses or the connection ends early (the partial file
/// is kept), [`DataError::Checksum`] (it is removed), [`DataError::Io`] for the file.
pub fn download(
    url: &str,
    md5: &str,
    to: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), DataError> {
    if to.exists() && checksum(to)? == md5 {
        return Ok(());
    }
    let part = part_of(to);
    // The partial file is complete but not yet renamed: no request is needed.
    if size(&part) > 0 && checksum(&part)? == md5 {
        return fs::rename(&part, to).map_err(DataError::io(to));
    }
    let file = to.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    receive(url, &part, &mut |done, total| progress(Progress { file: &file, done, total }))?;
    let got = checksum(&part)?;
    if got != md5 {
        fs::remove_file(&part).map_err(DataError::io(&part))?;
        return Err(DataError::Checksum { url: url.into(), got, expected: md5.into() });
    }
    fs::rename(&part, to).map_err(DataError::io(to))
}

fn part_of(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn checksum(path: &Path) -> Result<String, DataError> {
    let mut file = File::open(path).map_err(DataError::io(path))?;
    let mut hash = Md5::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(DataError::io(path))? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Appends the missing bytes to `part`, or writes it anew where the server cannot resume.
fn receive(
    url: &str,
    part: &Path,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<(), DataError> {
    let agent = Agent::new_with_config(
        Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .build(),
    );
    let mut done = size(part);
    let mut response = request(&agent, url, done)?;
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        // The partial file is longer than the published file, so it belongs to another one.
        done = 0;
        response = request(&agent, url, done)?;
    }
    if response.status() != StatusCode::PARTIAL_CONTENT || range_start(&response) != Some(done) {
        if response.status() != StatusCode::OK {
            return Err(DataError::Download {
                url: url.into(),
                what: format!("the server answers {}", response.status()),
                advice: format!("expected the file; set {MIRROR} to the address of a mirror"),
            });
        }
        done = 0;
    }
    let rest = header(&response, "content-length").and_then(|text| text.parse::<u64>().ok());
    let total = rest.map(|rest| done + rest);
    let mut file = OpenOptions::new();
    file.create(true).write(true).append(done > 0).truncate(done == 0);
    let file = file.open(part).map_err(DataError::io(part))?;
    Transfer { url, part, done, total }.run(response, file, progress)
}

fn request(agent: &Agent, url: &str, start: u64) -> Result<Response<Body>, DataError> {
    let mut request = agent.get(url);
    if start > 0 {
        request = request.header("range", format!("bytes={start}-"));
    }
    request.call().map_err(|error| DataError::Download {
        url: url.into(),
        what: error.to_string(),
        advice: format!("check the network, or set {MIRROR} to the address of a mirror"),
    })
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// First byte of a partial answer, from a header such as `Content-Range: bytes 100-199/200`.
fn range_start(response: &Response<Body>) -> Option<u64> {
    let range = header(response, "content-range")?.strip_prefix("bytes ")?;
    range.split('-').next()?.trim().parse().ok()
}

/// One answer of the server that is being written to a file.
struct Transfer<'a> {
    url: &'a str,
    part: &'a Path,
    done: u64,
    total: Option<u64>,
}

impl Transfer<'_> {
    fn run(
        mut self,
        response: Response<Body>,
        mut file: File,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<(), DataError> {
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            progress(self.done, self.total);
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.stopped(&format!("connection failed ({error})"))),
            };
            file.write_all(&buffer[..count]).map_err(|error| match error.kind() {
                ErrorKind::StorageFull => self.stopped("no space left on the disk"),
                _ => DataError::Io { path: self.part.into(), source: error },
            })?;
            self.done += count as u64;
        }
        if self.total.is_some_and(|total| self.done < total) {
            return Err(self.stopped("connection ended early"));
        }
        file.flush().map_err(DataError::io(self.part))
    }

    fn stopped(&self, why: &str) -> DataError {
        let total = self.total.map_or("an unknown number of".into(), |total| total.to_string());
        DataError::Download {
            url: self.url.into(),
            what: format!("{why}, got {} of {total} bytes", self.done),
            advice: format!(
                "{} is kept: run the same command again to resume",
                self.part.display()
            ),
        }
    }
}
