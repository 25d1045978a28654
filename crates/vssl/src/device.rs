//! The devices on which tensors live: `--device cpu`, `cuda:1`, `libtorch:cuda:0`, … Called by the command
//! line.
//!
//! The CPU is always there (Burn's Flex backend). Every other backend is a cargo feature of the
//! same name, because each pulls in its own compiler and drivers. LibTorch is a library with devices
//! of its own, so its name has a second part.

use std::{fmt, str::FromStr};

use burn::{backend::DispatchDevice, tensor::Tensor};

pub use burn::tensor::Device;
#[cfg(any(feature = "vulkan", feature = "metal", feature = "webgpu"))]
use burn::tensor::DeviceKind;
#[cfg(any(feature = "vulkan", feature = "webgpu"))]
use burn::tensor::DeviceType;

/// A backend: the kind of hardware, and the library that computes on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The processor, by Burn's Flex.
    Cpu,
    /// NVIDIA GPUs, by CUDA.
    Cuda,
    /// AMD GPUs, by ROCm.
    Rocm,
    /// Any GPU with a Vulkan driver.
    Vulkan,
    /// Apple GPUs, by Metal.
    Metal,
    /// Any GPU, by way of `wgpu`, the WebGPU implementation: on Vulkan, Metal, DirectX 12 or OpenGL.
    Webgpu,
    /// The processor, by PyTorch's library.
    Libtorch,
    /// NVIDIA or AMD GPUs, by PyTorch's library.
    LibtorchCuda,
}

impl Backend {
    /// All backends, whether this program was built with them or not.
    pub const ALL: [Self; 8] = [
        Self::Cpu,
        Self::Cuda,
        Self::Rocm,
        Self::Vulkan,
        Self::Metal,
        Self::Webgpu,
        Self::Libtorch,
        Self::LibtorchCuda,
    ];

    /// Returns the name of the backend in `--device`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Rocm => "rocm",
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
            Self::Webgpu => "webgpu",
            Self::Libtorch => "libtorch",
            Self::LibtorchCuda => "libtorch:cuda",
        }
    }

    /// Returns the cargo feature that builds the backend.
    pub fn feature(self) -> &'static str {
        match self {
            Self::LibtorchCuda => "libtorch",
            other => other.name(),
        }
    }

    /// Returns whether a machine may have several devices of the backend, told apart by an index.
    pub fn has_several(self) -> bool {
        !matches!(self, Self::Cpu | Self::Metal | Self::Libtorch)
    }

    /// Returns whether this program was built with the backend.
    pub fn is_built(self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Rocm => cfg!(feature = "rocm"),
            Self::Vulkan => cfg!(feature = "vulkan"),
            Self::Metal => cfg!(feature = "metal"),
            Self::Webgpu => cfg!(feature = "webgpu"),
            Self::Libtorch | Self::LibtorchCuda => cfg!(feature = "libtorch"),
        }
    }
}

/// A backend and, where a machine may have several of its devices, the index of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceChoice {
    /// The backend that computes.
    pub backend: Backend,
    /// The index of the device, counted from 0; without it the backend chooses.
    pub index: Option<usize>,
}

/// Why a device cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// There is no device of this name.
    #[error(
        "device {got:?}: expected cpu, metal, libtorch, or one of cuda, rocm, vulkan, webgpu and \
         libtorch:cuda, these with an index if there are several, as in cuda:1"
    )]
    Unknown {
        /// The name that the user gave.
        got: String,
    },
    /// The program was built without the backend.
    #[error(
        "device {choice}: this program was built without it; build it with \
         `cargo build --release --features {}`", choice.backend.feature()
    )]
    NotBuilt {
        /// The device that was asked for.
        choice: DeviceChoice,
    },
    /// The machine has no adapter of this index.
    #[error(
        "device {choice}: the machine has {adapters} adapters for {}, counted from 0 (discrete GPUs, \
         integrated ones, virtual ones, others, software); expected an index below that number, or \
         none for the best adapter",
        choice.backend.name()
    )]
    NoAdapter {
        /// The device that was asked for.
        choice: DeviceChoice,
        /// The number of adapters that the machine has.
        adapters: usize,
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
        // Rust's parser accepts `+1` as a number; here it is a mistake.
        let is_index = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (name, index) = match text.rsplit_once(':') {
            Some((name, index)) if is_index(index) => {
                (name, Some(index.parse().map_err(|_| unknown())?))
            }
            _ => (text, None),
        };
        let backend = Backend::ALL.into_iter().find(|backend| backend.name() == name);
        let backend = backend.ok_or_else(unknown)?;
        match index {
            Some(_) if !backend.has_several() => Err(unknown()),
            _ => Ok(Self { backend, index }),
        }
    }
}

impl DeviceChoice {
    /// Returns the device. Whether it exists on this machine shows when it is first used.
    ///
    /// # Errors
    /// The program was built without the backend (the message says how to build it), or the machine has no
    /// adapter of this index.
    pub fn resolve(self) -> Result<Device, DeviceError> {
        match self.backend {
            Backend::Cpu => Ok(Device::flex()),
            #[cfg(feature = "cuda")]
            Backend::Cuda => Ok(Device::cuda(self.burn_index())),
            #[cfg(feature = "rocm")]
            Backend::Rocm => Ok(Device::rocm(self.burn_index())),
            #[cfg(feature = "vulkan")]
            Backend::Vulkan => match self.index {
                Some(index) => self.adapter(DeviceType::Vulkan, index),
                None => Ok(Device::vulkan(DeviceKind::DefaultDevice)),
            },
            #[cfg(feature = "metal")]
            Backend::Metal => Ok(Device::metal(DeviceKind::DefaultDevice)),
            #[cfg(feature = "webgpu")]
            // `Device::webgpu` is the API of a browser, which a native program does not have.
            Backend::Webgpu => match self.index {
                Some(index) => self.adapter(DeviceType::Wgpu, index),
                None => Ok(Device::wgpu(DeviceKind::DefaultDevice)),
            },
            #[cfg(feature = "libtorch")]
            #[expect(deprecated, reason = "Burn announces an end of this backend, 0.22.1 has it")]
            Backend::Libtorch => Ok(Device::libtorch()),
            #[cfg(feature = "libtorch")]
            #[expect(deprecated, reason = "Burn announces an end of this backend, 0.22.1 has it")]
            Backend::LibtorchCuda => Ok(Device::libtorch_cuda(self.burn_index())),
            // This arm is not reached when every backend is built.
            #[allow(unreachable_patterns, reason = "depends on the features")]
            _ => Err(DeviceError::NotBuilt { choice: self }),
        }
    }

    #[cfg(any(feature = "cuda", feature = "rocm", feature = "libtorch"))]
    fn burn_index(self) -> burn::tensor::DeviceIndex {
        self.index.map_or(burn::tensor::DeviceIndex::Default, Into::into)
    }

    /// Returns the adapter of this index among the adapters that the machine has for a graphics API, in the
    /// order of [`Adapter`].
    #[cfg(any(feature = "vulkan", feature = "webgpu"))]
    fn adapter(self, api: DeviceType, index: usize) -> Result<Device, DeviceError> {
        let found = Device::enumerate(api).into_iter().map(|device| (Adapter::of(&device), device));
        let found: Vec<_> = found.collect();
        let adapters = found.len();
        nth_adapter(found, index).ok_or(DeviceError::NoAdapter { choice: self, adapters })
    }
}

/// The kinds of adapters, in the order in which the index of `vulkan:0` and `webgpu:0` counts the adapters of
/// a machine: discrete GPUs first, software last.
#[cfg(any(feature = "vulkan", feature = "webgpu", test))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Adapter {
    DiscreteGpu,
    IntegratedGpu,
    VirtualGpu,
    Other,
    Software,
}

#[cfg(any(feature = "vulkan", feature = "webgpu"))]
impl Adapter {
    fn of(device: &Device) -> Self {
        use burn::backend::{CubeDevice, WgpuDeviceKind};
        let DispatchDevice::Cube(CubeDevice::Wgpu(adapter)) = device.as_dispatch() else {
            return Self::Other;
        };
        match adapter.kind {
            WgpuDeviceKind::DiscreteGpu(_) => Self::DiscreteGpu,
            WgpuDeviceKind::IntegratedGpu(_) => Self::IntegratedGpu,
            WgpuDeviceKind::VirtualGpu(_) => Self::VirtualGpu,
            WgpuDeviceKind::Cpu => Self::Software,
            _ => Self::Other,
        }
    }
}

/// Returns the number of adapters of this machine for a graphics API that are not software; `None` for other
/// backends, which have none in software.
pub fn hardware_adapters(backend: Backend) -> Option<usize> {
    match backend {
        #[cfg(feature = "vulkan")]
        Backend::Vulkan => Some(hardware(DeviceType::Vulkan)),
        #[cfg(feature = "webgpu")]
        Backend::Webgpu => Some(hardware(DeviceType::Wgpu)),
        _ => None,
    }
}

#[cfg(any(feature = "vulkan", feature = "webgpu"))]
fn hardware(api: DeviceType) -> usize {
    let adapters = Device::enumerate(api).into_iter();
    adapters.filter(|device| Adapter::of(device) != Adapter::Software).count()
}

/// Sorts adapters by kind; adapters of one kind stay in the order in which they were found.
#[cfg(any(feature = "vulkan", feature = "webgpu", test))]
fn nth_adapter<T>(mut found: Vec<(Adapter, T)>, index: usize) -> Option<T> {
    found.sort_by_key(|(adapter, _)| *adapter);
    found.into_iter().nth(index).map(|(_, device)| device)
}

/// Sends a number to the device and reads it back.
///
/// # Panics
/// The machine has no such device; Burn has no way to ask.
pub fn use_once(device: &Device) {
    let _ = Tensor::<1>::from_floats([1.0], device).into_data();
}

/// Returns whether the device is the processor, under autodiff or not.
pub(crate) fn is_cpu(device: &Device) -> bool {
    matches!(device.clone().inner().as_dispatch(), DispatchDevice::Flex(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_written_alike() {
        for text in ["cpu", "cuda", "cuda:0", "rocm:3", "vulkan:1", "metal", "webgpu", "libtorch"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        let second = DeviceChoice { backend: Backend::LibtorchCuda, index: Some(1) };
        assert_eq!("libtorch:cuda:1".parse(), Ok(second));
        assert_eq!(second.to_string(), "libtorch:cuda:1");
        let any = DeviceChoice { backend: Backend::LibtorchCuda, index: None };
        assert_eq!("libtorch:cuda".parse(), Ok(any));
    }

    #[test]
    fn what_is_no_device_is_refused_with_the_list() {
        let wrong = [
            "",
            "gpu",
            "CUDA",
            "cuda:",
            "cuda:x",
            "cuda:-1",
            "cuda:+1",
            "cuda:0:1",
            "cpu:0",
            "metal:0",
            "libtorch:0",
            "libtorch:",
            "libtorch:cuda:",
            "libtorch:gpu:0",
            "torch",
        ];
        for text in wrong {
            let error = text.parse::<DeviceChoice>().unwrap_err();
            assert!(error.to_string().contains("cuda:1"), "{text}: {error}");
        }
    }

    #[test]
    fn an_index_counts_all_adapters_discrete_ones_first() {
        use Adapter::{DiscreteGpu, IntegratedGpu, Other, Software, VirtualGpu};
        // A laptop, and a machine of two cards whose driver lists them behind the others.
        let laptop = [(Software, "llvmpipe"), (IntegratedGpu, "integrated")];
        assert_eq!(nth_adapter(laptop.into(), 0), Some("integrated"));
        assert_eq!(nth_adapter(laptop.into(), 1), Some("llvmpipe"));
        assert_eq!(nth_adapter(laptop.into(), 2), None);
        let server = [
            (Software, "llvmpipe"),
            (Other, "unknown"),
            (VirtualGpu, "virtual"),
            (DiscreteGpu, "first card"),
            (IntegratedGpu, "integrated"),
            (DiscreteGpu, "second card"),
        ];
        let order = ["first card", "second card", "integrated", "virtual", "unknown", "llvmpipe"];
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(|index| nth_adapter(server.into(), index).unwrap()),
            order
        );
    }

    #[test]
    fn a_backend_that_is_not_built_names_its_feature() {
        for backend in Backend::ALL.into_iter().filter(|backend| !backend.is_built()) {
            let error = DeviceChoice { backend, index: None }.resolve().unwrap_err().to_string();
            assert!(error.contains(&format!("--features {}", backend.feature())), "{error}");
        }
    }
}
