//! Downloads from a server on this machine.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use md5::{Digest, Md5};
use tempfile::{TempDir, tempdir};
use vssl_data::DataError;
use vssl_data::fetch::{Progress, Source, download, fetch, unpack};

use crate::dataset::assert_says;

/// What the server does with the file.
#[derive(Clone, Copy, PartialEq)]
enum Behaviour {
    Ranges,
    NoRanges,
    /// Promises everything, closes the connection after this many bytes.
    Stops(usize),
    NotFound,
}

/// Serves one file under every path and remembers the requests.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Request {
    path: String,
    range: Option<String>,
    sent: usize,
}

impl Server {
    fn start(file: Vec<u8>, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let request = answer(stream.unwrap(), &file, behaviour);
                record.lock().unwrap().push(request);
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> Vec<Request> {
        // The client is done when it has the bytes, the server a moment later.
        for _ in 0..200 {
            if !self.requests.lock().unwrap().is_empty() {
                break;
            }
            thread::sleep(std::time::Duration::from_millis(10));
        }
        self.requests.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, file: &[u8], behaviour: Behaviour) -> Request {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_string();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let range = headers
        .iter()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("range"))
        .map(|(_, value)| value.to_string());
    let from: Option<usize> = range
        .as_ref()
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let (status, extra, body) = match (behaviour, from) {
        (Behaviour::NotFound, _) => ("404 Not Found", String::new(), &b"<html>"[..]),
        (Behaviour::Ranges, Some(from)) if from >= file.len() => (
            "416 Range Not Satisfiable",
            format!("Content-Range: bytes */{}\r\n", file.len()),
            &[][..],
        ),
        (Behaviour::Ranges, Some(from)) => {
            let range =
                format!("Content-Range: bytes {from}-{}/{}\r\n", file.len() - 1, file.len());
            ("206 Partial Content", range, &file[from..])
        }
        _ => ("200 OK", String::new(), file),
    };
    let length = body.len();
    let sent = match behaviour {
        Behaviour::Stops(count) => &body[..count],
        _ => body,
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{extra}Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The client may have gone already.
    let _ = stream.write_all(sent);
    Request { path, range, sent: sent.len() }
}

fn content() -> Vec<u8> {
    (0..300_000_u32).map(|value| (value.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A folder, the file to download to, and its partial file.
fn place() -> (TempDir, PathBuf, PathBuf) {
    let folder = tempdir().unwrap();
    let (to, part) = (folder.path().join("a.gz"), folder.path().join("a.gz.part"));
    (folder, to, part)
}

fn get(server: &Server, to: &Path) -> Result<(), DataError> {
    download(&format!("{}/a.gz", server.address), &md5(&content()), to, &mut |_| {})
}

#[test]
fn a_file_arrives_whole_and_is_not_fetched_again() {
    let server = Server::start(content(), Behaviour::Ranges);
    let (_folder, to, part) = place();
    let mut last = (0, None);
    let mut progress = |now: Progress| {
        assert_eq!(now.file, "a.gz");
        last = (now.done, now.total);
    };
    let url = format!("{}/a.gz", server.address);
    download(&url, &md5(&content()), &to, &mut progress).unwrap();
    assert_eq!(last, (300_000, Some(300_000)));
    assert_eq!(fs::read(&to).unwrap(), content());
    assert!(!part.exists());
    let once = [Request { path: "/a.gz".into(), range: None, sent: 300_000 }];
    assert_eq!(server.requests(), once);
    get(&server, &to).unwrap();
    assert_eq!(server.requests(), once);
}

#[test]
fn a_damaged_file_is_replaced() {
    let server = Server::start(content(), Behaviour::Ranges);
    let (_folder, to, _) = place();
    fs::write(&to, &content()[..1000]).unwrap();
    get(&server, &to).unwrap();
    assert_eq!(fs::read(&to).unwrap(), content());
}

#[test]
fn a_partial_file_is_resumed_where_it_ends() {
    let server = Server::start(content(), Behaviour::Ranges);
    let (_folder, to, part) = place();
    fs::write(&part, &content()[..123_456]).unwrap();
    get(&server, &to).unwrap();
    assert_eq!(fs::read(&to).unwrap(), content());
    let range = Some("bytes=123456-".to_string());
    let rest = Request { path: "/a.gz".into(), range, sent: 300_000 - 123_456 };
    assert_eq!(server.requests(), [rest]);
}

#[test]
fn a_complete_partial_file_needs_no_request() {
    let server = Server::start(content(), Behaviour::NotFound);
    let (_folder, to, part) = place();
    fs::write(&part, content()).unwrap();
    get(&server, &to).unwrap();
    assert_eq!(fs::read(&to).unwrap(), content());
    assert!(!part.exists());
}

#[test]
fn a_partial_file_that_is_too_long_is_started_anew() {
    let server = Server::start(content(), Behaviour::Ranges);
    let (_folder, to, part) = place();
    fs::write(&part, vec![1; 300_001]).unwrap();
    get(&server, &to).unwrap();
    assert_eq!(fs::read(&to).unwrap(), content());
}

#[test]
fn a_server_without_ranges_sends_everything_again() {
    let server = Server::start(content(), Behaviour::NoRanges);
    let (_folder, to, part) = place();
    fs::write(&part, vec![7; 123_456]).unwrap();
    get(&server, &to).unwrap();
    assert_eq!(fs::read(&to).unwrap(), content());
    assert_eq!(server.requests()[0].range.as_deref(), Some("bytes=123456-"));
    assert_eq!(server.requests()[0].sent, 300_000);
}

#[test]
fn a_wrong_checksum_removes_the_file_and_says_both() {
    let other = vec![5; 1000];
    let server = Server::start(other.clone(), Behaviour::Ranges);
    let (_folder, to, part) = place();
    let message = get(&server, &to).unwrap_err().to_string();
    let parts = [&server.address, &md5(&other), &md5(&content()), "partial file was removed"];
    assert_says(&message, &parts);
    assert!(!part.exists() && !to.exists());
}

#[test]
fn an_early_end_keeps_what_came_and_says_so() {
    let (_folder, to, part) = place();
    let server = Server::start(content(), Behaviour::Stops(200_000));
    let message = get(&server, &to).unwrap_err().to_string();
    assert_says(&message, &["got 200000 of 300000 bytes", "a.gz.part is kept", "resume"]);
    assert_eq!(fs::read(&part).unwrap(), content()[..200_000]);
    assert!(!to.exists());
    let server = Server::start(content(), Behaviour::Ranges);
    get(&server, &to).unwrap();
    assert_eq!(server.requests()[0].sent, 100_000);
    assert_eq!(fs::read(&to).unwrap(), content());
}

#[test]
fn a_file_that_is_not_there_names_its_address() {
    let server = Server::start(content(), Behaviour::NotFound);
    let (_folder, to, part) = place();
    let message = get(&server, &to).unwrap_err().to_string();
    assert_says(&message, &[&format!("{}/a.gz", server.address), "404", "VSSL_MIRROR"]);
    assert!(!part.exists() && !to.exists());
}

#[test]
fn a_server_that_is_not_there_names_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a.gz", listener.local_addr().unwrap());
    drop(listener);
    let (_folder, to, _) = place();
    let message = download(&url, "", &to, &mut |_| {}).unwrap_err().to_string();
    assert_says(&message, &[&url, "check the network"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_to_be_full() {
    let server = Server::start(content(), Behaviour::Ranges);
    let (_folder, to, part) = place();
    std::os::unix::fs::symlink("/dev/full", part).unwrap();
    let message = get(&server, &to).unwrap_err().to_string();
    assert_says(&message, &["no space left", "a.gz.part"]);
}

#[test]
fn the_mirror_takes_the_place_of_the_server() {
    let server = Server::start(content(), Behaviour::Ranges);
    let folder = tempdir().unwrap();
    let mirror = format!("{}/data/", server.address);
    for (source, file) in [
        ("cifar10", "cifar-10-binary.tar.gz"),
        ("cifar100", "cifar-100-binary.tar.gz"),
        ("fashion-mnist", "train-images-idx3-ubyte.gz"),
        ("stl10", "stl10_binary.tar.gz"),
        ("tiny-imagenet", "tiny-imagenet-200.zip"),
    ] {
        let source: Source = source.parse().unwrap();
        let error = fetch(source, folder.path(), Some(&mirror), &mut |_| {}).unwrap_err();
        assert!(matches!(error, DataError::Checksum { .. }), "{error}");
        assert_says(&error.to_string(), &[&format!("{mirror}{file}")]);
    }
}

#[test]
fn an_unknown_set_lists_the_known_ones() {
    let message = "mnist".parse::<Source>().unwrap_err().to_string();
    assert_says(&message, &["\"mnist\"", "cifar10, cifar100, fashion-mnist, stl10, tiny-imagenet"]);
}

/// A ZIP archive of files.
fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn an_archive_is_unpacked_without_its_folder_and_begun_anew_after_an_interruption() {
    let files: [(&str, &[u8]); 3] =
        [("set/train/a/1.txt", b"one"), ("set/val/2.txt", b"two"), ("set/words.txt", b"three")];
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    }
    let packed = crate::dataset::gzip(&tar.into_inner().unwrap());
    for (name, bytes) in [("set.zip", zipped(&files)), ("set.tar.gz", packed)] {
        let folder = tempdir().unwrap();
        let (archive, at) = (folder.path().join(name), |name: &str| folder.path().join(name));
        // What an interrupted call left.
        for left in [".unpacking/set/train/half.txt", "train/half.txt"] {
            crate::dataset::write(at(left), b"half");
        }
        fs::write(&archive, &bytes[..bytes.len() - 30]).unwrap();
        let message = unpack(&archive, folder.path()).unwrap_err().to_string();
        assert_says(&message, &[name, "cannot be unpacked", "fetch it again"]);
        assert!(archive.exists() && !at(".unpacked").exists());
        fs::write(&archive, &bytes).unwrap();
        unpack(&archive, folder.path()).unwrap();
        assert_eq!(fs::read(at("train/a/1.txt")).unwrap(), b"one");
        assert_eq!(fs::read(at("words.txt")).unwrap(), b"three");
        assert!(!at("train/half.txt").exists() && !at(".unpacking").exists() && !archive.exists());
    }
}

#[test]
fn files_of_an_archive_stay_in_its_folder() {
    let folder = tempdir().unwrap();
    let archive = folder.path().join("in/set.zip");
    crate::dataset::write(&archive, &zipped(&[("set/../../../out.txt", b"x")]));
    unpack(&archive, archive.parent().unwrap()).unwrap_err();
    assert!(!folder.path().join("out.txt").exists());
}

#[test]
fn a_set_that_was_unpacked_is_not_fetched_again() {
    let folder = tempdir().unwrap();
    let server = Server::start(content(), Behaviour::NotFound);
    for source in [Source::Stl10, Source::TinyImageNet] {
        crate::dataset::write(folder.path().join(source.name()).join(".unpacked"), b"");
        fetch(source, folder.path(), Some(&server.address), &mut |_| {}).unwrap();
    }
    assert!(server.requests.lock().unwrap().is_empty());
}
