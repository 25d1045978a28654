//! Files that hold no weights of an encoder and are named as one: what such a file is, by its first bytes, and what to name
//! instead. Called by the readers of encoders, [`super::file`] and [`super::foreign`].

/// What a file is, and what to do about it.
type Known = (&'static str, &'static str);

const EXPORTED: &str = "it is written for other programs and not read back: name the run folder or the file that it was \
                        exported from. `vssl export RUN --to encoder.safetensors` writes an encoder that is read";
const FEATURES: &str = "these are numbers of images and no encoder: name the encoder that computed them, a run folder or \
                        a file of weights";
const WEIGHTS: &str = "save the weights of the network with torch.save or as safetensors";
const PACKED: &str = "unpack it and name the file of weights in it";
const DOWNLOAD: &str = "download the file of weights itself";
const IMAGE: &str =
    "images are named with --images, the encoder is a run folder or a file of weights";

/// Signatures: where they stand, the bytes, and the file that has them.
const SIGNATURES: [(usize, &[u8], Known); 18] = [
    (0, b"NRUB", ("a Burn record (.bpk)", EXPORTED)),
    (0, b"BURN", ("a Burn record (.bpk)", EXPORTED)),
    (0, b"\x93NUMPY", ("a numpy array (.npy)", FEATURES)),
    (0, b"PAR1", ("a Parquet table", FEATURES)),
    (0, b"\x89HDF", ("an HDF5 file, such as one of Keras", WEIGHTS)),
    (0, b"GGUF", ("a GGUF file", WEIGHTS)),
    (0, b"\x1f\x8b", ("a gzip archive", PACKED)),
    (0, b"7z\xbc\xaf\x27\x1c", ("a 7z archive", PACKED)),
    (0, b"BZh", ("a bzip2 archive", PACKED)),
    (0, b"\x28\xb5\x2f\xfd", ("a Zstandard archive", PACKED)),
    (
        0,
        b"version https://git-lfs.github.com/spec/",
        ("a pointer of Git LFS and not the weights", "run `git lfs pull`"),
    ),
    (0, b"<!DOCTYPE", ("an HTML page, such as the error page of a server", DOWNLOAD)),
    (0, b"<!doctype", ("an HTML page, such as the error page of a server", DOWNLOAD)),
    (0, b"<html", ("an HTML page, such as the error page of a server", DOWNLOAD)),
    (0, b"\xff\xd8\xff", ("a JPEG image", IMAGE)),
    (0, b"\x89PNG", ("a PNG image", IMAGE)),
    (0, b"{", ("a JSON file", "name the file of weights beside it")),
    (0, b"%PDF", ("a PDF", DOWNLOAD)),
];

/// Returns what a file is that begins with `start` and holds no weights, and what to do about it; `None` for every other
/// file.
pub(super) fn named(start: &[u8]) -> Option<String> {
    // A safetensors file begins with the length of its header, which can be any bytes, then the header's brace.
    if start.get(8) == Some(&b'{') && start[4..8] == [0; 4] {
        return None;
    }
    let (what, instead) = match start {
        [] => ("an empty file", "copy or download it again"),
        _ if is_onnx(start) => ("an ONNX model", EXPORTED),
        _ => {
            SIGNATURES
                .iter()
                .find(|(at, signature, _)| {
                    start.get(*at..).is_some_and(|rest| rest.starts_with(signature))
                })?
                .2
        }
    };
    Some(format!("this is {what}; {instead}"))
}

/// Whether a file begins as the message `ModelProto` of ONNX does: its version, a number below 128, is the first field,
/// and the name of the program that wrote it, its model version, its graph or its operators follow.
fn is_onnx(start: &[u8]) -> bool {
    matches!(start, [0x08, 1..=127, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_hold_no_weights_are_called_what_they_are() {
        for (start, expected) in [
            (&b"\x08\x08\x12\x04vssl"[..], "an ONNX model; it is written for other programs"),
            (b"\x08\x0a\x12\x07pytorch", "vssl export RUN --to encoder.safetensors"),
            (b"NRUB\x01\0", "a Burn record"),
            (b"\x93NUMPY\x01\0", "the encoder that computed them"),
            (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            (b"<!DOCTYPE html>", "an HTML page"),
            (b"\x1f\x8b\x08", "unpack"),
            (b"", "an empty file"),
        ] {
            let said = named(start).unwrap();
            assert!(said.contains(expected), "{said:?} lacks {expected:?}");
        }
        // A pickle of any protocol, an archive of PyTorch, and safetensors.
        for start in
            [&b"\x80\x02}q\0"[..], b"(dp0\n", b"}q\0", b"PK\x03\x04", b"{\x12\x12\0\0\0\0\0{"]
        {
            assert_eq!(named(start), None, "{start:?}");
        }
    }
}
