//! Refuses networks and memories that no machine could hold, before a tensor of them is made: a recipe or the
//! description in a file may have any width.
//!
//! Making a network cannot fail, because its parts are made in many places. So the part that would be too
//! large unwinds the stack with the refusal, without a call of the panic hook, and [`fitted`] turns that into an
//! error. Other panics pass through as they are.

use std::{
    cell::Cell,
    fmt,
    panic::{self, AssertUnwindSafe},
};

/// More memory than a machine has, in bytes, for systems that do not tell theirs.
const LARGEST_MEMORY: u64 = 1 << 44;

/// A piece of memory that the machine does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    needed: u64,
    total: u64,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |bytes: u64| match bytes >> 40 {
            0..10 => format!("{} GiB", bytes.div_ceil(1 << 30)),
            tebibytes => format!("{tebibytes} TiB"),
        };
        match self.needed {
            u64::MAX => f.write_str("more memory than any machine has")?,
            needed => write!(f, "at least {} of memory", shown(needed))?,
        }
        write!(f, ", and this machine has {}", shown(self.total))
    }
}

impl std::error::Error for TooLarge {}

/// Checks that `bytes` fit into the memory of this machine, swap space included, with nothing else in it.
///
/// # Errors
/// The memory does not suffice.
pub fn check_memory(bytes: u64) -> Result<(), TooLarge> {
    let total = memory().unwrap_or(LARGEST_MEMORY);
    if bytes <= total { Ok(()) } else { Err(TooLarge { needed: bytes, total }) }
}

/// Returns the memory of this machine with its swap space, in bytes; `None` where the system does not say.
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some((kib("MemTotal:")? + kib("SwapTotal:").unwrap_or(0)) << 10)
}

thread_local! {
    /// The bytes that were claimed on this thread inside [`fitted`]; `None` outside of it.
    static CLAIMED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes something of tensors by `make`.
///
/// # Errors
/// The memory of this machine cannot hold the tensors.
///
/// # Panics
/// `make` panics for another reason.
pub fn fitted<T>(make: impl FnOnce() -> T) -> Result<T, TooLarge> {
    let before = CLAIMED.replace(Some(0));
    let made = panic::catch_unwind(AssertUnwindSafe(make));
    CLAIMED.set(before);
    made.or_else(|payload| match payload.downcast::<TooLarge>() {
        Ok(refused) => Err(*refused),
        Err(payload) => panic::resume_unwind(payload),
    })
}

/// Claims the memory of single-precision numbers of the shape `shape`.
///
/// # Panics
/// Inside [`fitted`], when all claims together exceed the memory of this machine.
pub fn claim(shape: &[usize]) {
    let Some(claimed) = CLAIMED.get() else { return };
    let bytes = shape.iter().fold(4_u64, |bytes, &size| bytes.saturating_mul(size as u64));
    let claimed = claimed.saturating_add(bytes);
    CLAIMED.set(Some(claimed));
    if let Err(refused) = check_memory(claimed) {
        panic::resume_unwind(Box::new(refused));
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::layers::{Init, Linear};

    #[test]
    fn absurd_sizes_are_refused_with_both_numbers() {
        assert_eq!(check_memory(1 << 20), Ok(()));
        let refused = check_memory(1 << 50).unwrap_err().to_string();
        assert!(
            refused.starts_with("at least 1024 TiB of memory, and this machine has "),
            "{refused}"
        );
        assert!(
            check_memory(u64::MAX)
                .unwrap_err()
                .to_string()
                .contains("more memory than any machine")
        );
    }

    #[test]
    fn another_panic_passes_with_its_payload() {
        let made = panic::catch_unwind(|| fitted(|| panic::panic_any(7_u8)));
        assert_eq!(made.unwrap_err().downcast_ref::<u8>(), Some(&7));
        assert_eq!(fitted(|| claim(&[usize::MAX])).unwrap_err().needed, u64::MAX);
    }

    #[test]
    fn a_layer_of_absurd_width_is_an_error_and_makes_no_tensor() {
        let device = Device::flex();
        let layer = |width| fitted(|| Linear::new(width, width, &Init::new(&device, 0)));
        assert!(layer(8).is_ok());
        let refused = layer(1 << 31).err().unwrap().to_string();
        assert!(refused.contains("GiB") || refused.contains("TiB"), "{refused}");
        assert!(layer(usize::MAX).is_err());
        assert!(layer(8).is_ok(), "the refusal is over");
    }
}
