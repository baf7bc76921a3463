//! Inner loops for aarch64: base NEON, which every such CPU has, and the extensions of newer CPUs.
//!
//! # Layers
//!
//! Each module uses only those below it.
//!
//! | module | what it is |
//! |---|---|
//! | `attention_f16` | the sets with attention over f16 caches in half precision |
//! | `i8mm` | the set with `SMMLA` |
//! | `smmla256` | packed blocks of 256 times many tokens, with `SMMLA` |
//! | `dotprod`, `mla`, `smmla_few` | the set with `SDOT`; the set with `MLA` for packed weights; packed weights times four to fifteen tokens |
//! | `neon` | the set of base NEON |
//! | `packed`, `file_order` | products of packed weights; products of weights in file order |
//! | `sdot`, `smmla`, `weights256` | packed weights times many tokens, with `SDOT` and `SMMLA`; blocks of 256 in file order |
//! | `many_tokens`, `weights32`, `packed256` | shared parts of `sdot` and `smmla`; blocks of 32 in file order; packed blocks of 256 |
//! | `lanes`, `rows`, `repack` | vectors of eight floats; groups of packed rows; packing |
//! | `one_token`, `attention_f32` | loops in assembly |
//! | `asm`, `load` | macros for assembly; loads and stores of vectors |

mod asm;
mod attention_f16;
mod attention_f32;
mod dotprod;
mod file_order;
mod i8mm;
mod lanes;
mod load;
mod many_tokens;
mod mla;
mod neon;
mod one_token;
mod packed;
mod packed256;
mod repack;
mod rows;
mod sdot;
mod smmla;
mod smmla256;
mod smmla_few;
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
    /// FEAT_FP16: `FMLA` on eight f16.
    pub fp16: bool,
}

impl CpuFeatures {
    /// The features that the operating system reports.
    #[cfg(any(test, feature = "std"))]
    fn of_this_cpu() -> Self {
        Self {
            dotprod: std::arch::is_aarch64_feature_detected!("dotprod"),
            i8mm: std::arch::is_aarch64_feature_detected!("i8mm"),
            fp16: std::arch::is_aarch64_feature_detected!("fp16"),
        }
    }
}

impl Kernels {
    /// The sets that a CPU with these features supports, those that need the fewest features first. All give the same bits.
    ///
    /// # Safety
    ///
    /// Every core that calls a function of the sets must have the features.
    pub unsafe fn for_cpu(features: CpuFeatures) -> impl DoubleEndedIterator<Item = &'static Self> {
        let dotprod = features.dotprod.then_some(&dotprod::KERNELS);
        let i8mm = (features.dotprod && features.i8mm).then_some(&i8mm::KERNELS);
        [&neon::KERNELS, &mla::KERNELS].into_iter().chain(dotprod).chain(i8mm)
    }

    /// The sets that compute attention over f16 caches in half precision, if a CPU with these features supports them. One
    /// instruction multiplies twice as many elements, but sums have only 11 significant bits, so results differ from those of
    /// the other sets. Each is named after the set that it otherwise equals, with `+fp16` added.
    ///
    /// # Safety
    ///
    /// As for [`for_cpu`](Self::for_cpu).
    pub unsafe fn in_half_precision_for_cpu(features: CpuFeatures) -> impl Iterator<Item = &'static Self> {
        let CpuFeatures { dotprod, i8mm, fp16 } = features;
        let dotprod_set = (fp16 && dotprod).then_some(&attention_f16::DOTPROD);
        let i8mm_set = (fp16 && dotprod && i8mm).then_some(&attention_f16::I8MM);
        dotprod_set.into_iter().chain(i8mm_set)
    }

    /// The sets of this CPU that compute attention over f16 caches in half precision.
    #[cfg(any(test, feature = "std"))]
    pub fn in_half_precision() -> impl Iterator<Item = &'static Self> {
        // SAFETY: the operating system reports only features that every core has.
        unsafe { Self::in_half_precision_for_cpu(CpuFeatures::of_this_cpu()) }
    }

    /// Every set that this CPU supports and that gives the same bits as the scalar one; the scalar one first, the fastest last.
    #[cfg(any(test, feature = "std"))]
    pub fn available() -> impl DoubleEndedIterator<Item = &'static Self> {
        // SAFETY: the operating system reports only features that every core has.
        core::iter::once(Self::scalar()).chain(unsafe { Self::for_cpu(CpuFeatures::of_this_cpu()) })
    }
}
