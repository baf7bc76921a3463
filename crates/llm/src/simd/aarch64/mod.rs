//! Inner loops for aarch64: base NEON, which every such CPU has, and what newer ones add.
//!
//! [`load`] moves vectors to and from memory, [`lanes`] are the vectors that everything but products is
//! written in, [`float`] and [`float_product`] multiply floats, [`round`] rounds activations, [`product`]
//! multiplies integers with whichever instruction [`neon`] or [`dotprod`] names. Of packed weights, [`packed`] and
//! [`packed256`] multiply a token or a few, [`batch`] many, and [`mla`] any number in its own way.

mod attention;
mod batch;
mod dotprod;
mod float;
mod float_product;
mod i8mm;
mod interleave;
mod lanes;
mod load;
mod mla;
mod neon;
mod one_token;
mod packed;
mod packed256;
mod product;
mod round;
mod sdot;
mod smmla;
mod types;
mod weights256;
mod weights32;

use super::Kernels;
#[cfg(any(test, feature = "std"))]
use super::std;

/// Optional instructions of an aarch64 CPU.
///
/// Build it from the ID registers (`ID_AA64ISAR0_EL1`, `ID_AA64ISAR1_EL1`) or from what the
/// operating system reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuFeatures {
    /// FEAT_DotProd: `SDOT`.
    pub dotprod: bool,
    /// FEAT_I8MM: `SMMLA`.
    pub i8mm: bool,
}

impl CpuFeatures {
    /// What the operating system reports.
    #[cfg(any(test, feature = "std"))]
    fn of_this_cpu() -> Self {
        Self {
            dotprod: std::arch::is_aarch64_feature_detected!("dotprod"),
            i8mm: std::arch::is_aarch64_feature_detected!("i8mm"),
        }
    }
}

impl Kernels {
    /// The sets for a CPU with these features, each needing more of them than the one before.
    ///
    /// # Safety
    ///
    /// Every core that calls a function of the sets must have the features.
    pub unsafe fn for_cpu(features: CpuFeatures) -> impl DoubleEndedIterator<Item = &'static Self> {
        let dotprod = features.dotprod.then_some(&dotprod::KERNELS);
        let i8mm = (features.dotprod && features.i8mm).then_some(&i8mm::KERNELS);
        [&neon::KERNELS, &mla::KERNELS].into_iter().chain(dotprod).chain(i8mm)
    }

    /// Every set that this CPU has, from the scalar one to the fastest.
    #[cfg(any(test, feature = "std"))]
    pub fn available() -> impl DoubleEndedIterator<Item = &'static Self> {
        // SAFETY: the operating system vouches for every core.
        core::iter::once(Self::scalar()).chain(unsafe { Self::for_cpu(CpuFeatures::of_this_cpu()) })
    }
}
