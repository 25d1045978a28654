//! Why no encoder could be imported from a file of another program.

use std::{io, path::PathBuf};

use crate::encoder::export::ExportError;

/// Why no encoder could be imported from a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignError {
    /// The operating system refused.
    #[error("{}: {}", path.display(), vssl_data::explained(path, source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file has neither format, or ends early.
    #[error(
        "{}: {problem}; expected a state dict that torch.save wrote (.pth, .pt, .ckpt) or a \
         safetensors file",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What its reader said.
        problem: String,
    },
    /// The file holds no weights.
    #[error("{}: {what}", path.display())]
    NotWeights {
        /// The file.
        path: PathBuf,
        /// What it is, and what to name instead.
        what: String,
    },
    /// A tensor of the encoder does not hold floats.
    #[error(
        "{}: tensor {key:?} holds no floats of 16, 32 or 64 bits, which are the numbers that are read; others, such \
         as floats of 8 bits, have to be converted first, in PyTorch by .float()", path.display()
    )]
    Type {
        /// The file.
        path: PathBuf,
        /// The tensor.
        key: String,
    },
    /// A tensor of the encoder holds values that are not numbers.
    #[error(
        "{}: tensor {key:?}: of its {values} values, {count} {} infinite or not a number (as 32-bit floats); the \
         training diverged, or the file was damaged: take an earlier checkpoint",
        path.display(), if *count == 1 { "is" } else { "are" }
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        key: String,
        /// Number of values that are not finite.
        count: usize,
        /// Number of all values.
        values: usize,
    },
    /// No tensor has the name of an encoder's first layer.
    #[error(
        "{}; expected the first layer of a known encoder (ResNet, Wide ResNet-28, vision transformer)",
        without_encoder(*tensors, keys)
    )]
    NoEncoder {
        /// Number of tensors in the file.
        tensors: usize,
        /// The first few names in the file.
        keys: Vec<String>,
    },
    /// The file has no encoder at the requested prefix.
    #[error("there is no encoder at {wanted:?}; there are encoders at {available:?}")]
    Prefix {
        /// The requested prefix.
        wanted: String,
        /// The prefixes of the encoders in the file.
        available: Vec<String>,
    },
    /// The file has several encoders, and the request does not choose one.
    #[error("there are several encoders, at {available:?}; choose one with --prefix")]
    Several {
        /// Their prefixes.
        available: Vec<String>,
    },
    /// The teacher was requested, but no encoder has the name of a moving average.
    #[error("no encoder has the name of a teacher; there are encoders at {available:?}")]
    NoTeacher {
        /// Their prefixes.
        available: Vec<String>,
    },
    /// The network is not an architecture that this program has.
    #[error("not a known architecture: {0}")]
    Architecture(String),
    /// The tensors contradict an argument.
    #[error("{0}")]
    Contradiction(String),
    /// Neither the tensors nor the arguments give a needed setting.
    #[error("{what}")]
    Unknown {
        /// What is not known, and how to say it.
        what: String,
        /// The number of channels of the images that the network takes, by the shape of its first layer.
        channels: usize,
    },
    /// The tensors of the file are not exactly the tensors of the network.
    #[error(
        "{}: {}; --allow-partial takes over what fits{}",
        faults(*missing, *mismatched, *unexpected),
        few(tensors),
        if missing + mismatched > 0 { " and leaves the rest at its initial values" } else { "" }
    )]
    Incomplete {
        /// Number of tensors that the file lacks.
        missing: usize,
        /// Number of tensors of another shape.
        mismatched: usize,
        /// Number of tensors that do not belong to the network or to a known part of a checkpoint.
        unexpected: usize,
        /// The names of all of them.
        tensors: Vec<String>,
    },
    /// No tensor of the network is in the file.
    #[error("none of the network's tensors fits the file: there is nothing to import")]
    Nothing,
    /// The encoder could not be written.
    #[error(transparent)]
    Write(#[from] ExportError),
}

fn faults(missing: usize, mismatched: usize, unexpected: usize) -> String {
    let verb = |count, one: &'static str, several| if count == 1 { one } else { several };
    format!(
        "{missing} {} missing, {mismatched} {} another shape and {unexpected} {} unexpected",
        verb(missing, "tensor is", "tensors are"),
        verb(mismatched, "has", "have"),
        verb(unexpected, "is", "are"),
    )
}

fn without_encoder(tensors: usize, keys: &[String]) -> String {
    match tensors {
        0 => "the file holds no tensor".to_owned(),
        1 => format!(
            "the only tensor, {:?}, is no encoder",
            keys.first().cloned().unwrap_or_default()
        ),
        _ => format!(
            "none of the {tensors} tensors begins an encoder; the first names are {}",
            keys.join(", ")
        ),
    }
}

/// The first names of a list, and how many more there are.
fn few(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
