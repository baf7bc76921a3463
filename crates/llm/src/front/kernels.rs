//! [`kernels_called`]: the set of inner loops that `--kernels` names.

use alloc::string::String;
use alloc::vec::Vec;

use crate::simd::Kernels;

/// The set with this name among those that the CPU supports.
///
/// # Errors
/// [`UnknownKernels`] if there is no such set.
pub fn kernels_called(
    name: &str,
    available: impl IntoIterator<Item = &'static Kernels>,
) -> Result<&'static Kernels, UnknownKernels> {
    let mut names = Vec::new();
    for kernels in available {
        if kernels.name() == name {
            return Ok(kernels);
        }
        names.push(kernels.name());
    }
    Err(UnknownKernels { name: name.into(), available: names })
}

/// The CPU has no set of inner loops with this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this CPU has no instruction set {name:?}; expected {}", .available.join(", "))]
pub struct UnknownKernels {
    /// The name that was given.
    pub name: String,
    /// The names of the sets that the CPU supports.
    pub available: Vec<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_set_is_found_by_name_or_refused_with_the_names_there_are() {
        let scalar = Kernels::scalar();
        assert_eq!(kernels_called("scalar", [scalar]).unwrap().name(), "scalar");
        let refused = kernels_called("abacus", [scalar, scalar]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "this CPU has no instruction set \"abacus\"; expected scalar, scalar"
        );
    }
}
