//! Where tensors live: `--device cpu`, `cuda:1`, … Called by the command line.
//!
//! The CPU is always there (Burn's Flex backend). Every other backend is a cargo feature of the
//! same name, because each pulls in its own compiler and drivers.

use std::{fmt, str::FromStr};

use burn::{backend::DispatchDevice, tensor::Device};

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The processor.
    Cpu,
    /// NVIDIA.
    Cuda,
    /// AMD.
    Rocm,
    /// Any GPU with a Vulkan driver.
    Vulkan,
    /// Apple.
    Metal,
    /// Any GPU, by way of WebGPU.
    Webgpu,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Cpu, Self::Cuda, Self::Rocm, Self::Vulkan, Self::Metal, Self::Webgpu];

    /// What the user calls it; also the cargo feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Rocm => "rocm",
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
            Self::Webgpu => "webgpu",
        }
    }

    /// Whether this program was built with it.
    pub fn is_built(self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Rocm => cfg!(feature = "rocm"),
            Self::Vulkan => cfg!(feature = "vulkan"),
            Self::Metal => cfg!(feature = "metal"),
            Self::Webgpu => cfg!(feature = "webgpu"),
        }
    }
}

/// A backend and, where there may be several, which of its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceChoice {
    /// What computes.
    pub backend: Backend,
    /// Counted from 0; the backend's own choice when it is not given.
    pub index: Option<usize>,
}

/// A device that cannot be had.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No such name.
    #[error(
        "device {got:?}: expected cpu, metal, or one of cuda, rocm, vulkan and webgpu, these with \
         an index if there are several, as in cuda:1"
    )]
    Unknown {
        /// As typed.
        got: String,
    },
    /// The program lacks the backend.
    #[error(
        "device {choice}: this program was built without it; build it with \
         `cargo build --release --features {}`", choice.backend.name()
    )]
    NotBuilt {
        /// What was asked for.
        choice: DeviceChoice,
    },
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.backend.name())?;
        match self.index {
            Some(index) => write!(f, ":{index}"),
            None => Ok(()),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown { got: text.to_owned() };
        let (name, index) = match text.split_once(':') {
            None => (text, None),
            // `+1` is a number to Rust and a slip to us.
            Some((name, index)) if index.bytes().all(|byte| byte.is_ascii_digit()) => {
                (name, Some(index.parse().map_err(|_| unknown())?))
            }
            Some(_) => return Err(unknown()),
        };
        let backend = Backend::ALL.into_iter().find(|backend| backend.name() == name);
        let backend = backend.ok_or_else(unknown)?;
        let single = matches!(backend, Backend::Cpu | Backend::Metal);
        if single && index.is_some() { Err(unknown()) } else { Ok(Self { backend, index }) }
    }
}

impl DeviceChoice {
    /// The device itself. Whether it exists on this machine shows when it is first used.
    ///
    /// # Errors
    /// When the program was built without its backend; the message says how to build it.
    pub fn resolve(self) -> Result<Device, DeviceError> {
        match self.backend {
            Backend::Cpu => Ok(Device::flex()),
            #[cfg(feature = "cuda")]
            Backend::Cuda => Ok(Device::cuda(self.burn_index())),
            #[cfg(feature = "rocm")]
            Backend::Rocm => Ok(Device::rocm(self.burn_index())),
            #[cfg(feature = "vulkan")]
            Backend::Vulkan => Ok(Device::vulkan(self.burn_kind())),
            #[cfg(feature = "metal")]
            Backend::Metal => Ok(Device::metal(self.burn_kind())),
            #[cfg(feature = "webgpu")]
            Backend::Webgpu => Ok(Device::webgpu(self.burn_kind())),
            // Not reached when every backend is built.
            #[allow(unreachable_patterns, reason = "depends on the features")]
            _ => Err(DeviceError::NotBuilt { choice: self }),
        }
    }

    #[cfg(any(feature = "cuda", feature = "rocm"))]
    fn burn_index(self) -> burn::tensor::DeviceIndex {
        self.index.map_or(burn::tensor::DeviceIndex::Default, Into::into)
    }

    #[cfg(any(feature = "vulkan", feature = "metal", feature = "webgpu"))]
    fn burn_kind(self) -> burn::tensor::DeviceKind {
        use burn::tensor::DeviceKind;
        self.index.map_or(DeviceKind::DefaultDevice, DeviceKind::DiscreteGpu)
    }
}

/// Whether this is the processor, under autodiff or not.
pub(crate) fn is_cpu(device: &Device) -> bool {
    matches!(device.clone().inner().as_dispatch(), DispatchDevice::Flex(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_written_alike() {
        for text in ["cpu", "cuda", "cuda:0", "rocm:3", "vulkan:1", "metal", "webgpu"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_device_is_refused_with_the_list() {
        for text in ["", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "cpu:0", "metal:0"]
        {
            let error = text.parse::<DeviceChoice>().unwrap_err();
            assert!(error.to_string().contains("cuda:1"), "{text}: {error}");
        }
    }

    #[test]
    fn a_backend_that_is_not_built_names_its_feature() {
        for backend in Backend::ALL.into_iter().filter(|backend| !backend.is_built()) {
            let error = DeviceChoice { backend, index: None }.resolve().unwrap_err().to_string();
            assert!(error.contains(&format!("--features {}", backend.name())), "{error}");
        }
    }
}
