//! The inner loops for each instruction set: the crate's only unsafe code.
//!
//! [`Kernels`] is a table of functions for one instruction set. [`scalar`] defines what each function computes; the other sets
//! compute the same, faster, and are tested against it. [`tiles`] divides a result among cores. Everything except products of
//! quantised weights is written once, in `elementwise`, `attention`, `attention_f32`, `attention_unpacked`, `recurrence`,
//! `convolution`, `quantize` and `float_product`, over the vectors of each set (`lanes`).
//!
//! Neighbours: [`crate::blocks`], below, defines the layouts of weights; [`crate::quant`], above, chooses the function that
//! multiplies a matrix.
//!
//! # Layers
//!
//! Each module uses only modules in rows below its own.
//!
//! | module | what it is |
//! |---|---|
//! | `aarch64`, `x86_64` | the sets of these architectures |
//! | `scalar` | the set for every CPU |
//! | `file_order`, `float_product` | products of weights in the order of the file: integers, floats |
//! | `table` | the functions that a set has |
//! | `attention_f32`, `attention_unpacked` | products of attention in single precision; products with vectors of any type, unpacked |
//! | `attention`, `elementwise`, `recurrence` | attention; functions of each element of a row; recurrences |
//! | `convolution`, `exp`, `portable`, `quads`, `relative_bias` | the convolution before a recurrence; the exponential function; vectors for every CPU; four rows at a time; the relative position bias of attention scores |
//! | `quantize` | rounding activations to 8 bits |
//! | `columns`, `lanes`, `q8`, `tiles` | columns of a matrix; vectors of eight floats; rounded activations; parts of a result |

#![allow(unsafe_code, reason = "instructions of the CPU, and pointers that no bounds check slows down")]

#[cfg(any(test, feature = "std"))]
extern crate std;

/// Repeats the body for each index below a length, without a loop. The compiler unrolls a loop only if the code stays small
/// enough for it, and in a loop that is not unrolled the sums are kept in memory.
macro_rules! each_below {
    ($len:tt in $($index:literal)+, |$i:ident| $body:expr) => {
        $(
            if $index < $len {
                let $i: usize = $index;
                $body
            }
        )+
    };
}

/// Implements a trait with one function for several types of weights. For each type: its blocks, the constants that differ from
/// the trait's defaults, and the function's body.
#[cfg(any(target_arch = "aarch64", all(target_arch = "x86_64", any(test, feature = "std"))))]
macro_rules! types_of_weights {
    ($trait:ident, $signature:tt; $($(#[$doc:meta])* $name:ident($block:ident) { $($const:ident: $ty:ty = $value:expr),* } $body:block)+) => {
        $(types_of_weights!(@ $trait, $signature; $(#[$doc])* $name($block) { $($const: $ty = $value),* } $body);)+
    };
    (@ $trait:ident, { $($signature:tt)+ }; $(#[$doc:meta])* $name:ident($block:ident) { $($const:ident: $ty:ty = $value:expr),* } $body:block) => {
        $(#[$doc])*
        #[allow(non_camel_case_types, reason = "the names of GGUF's types")]
        pub struct $name;

        impl $trait for $name {
            type Block = crate::blocks::$block;
            $(const $const: $ty = $value;)*

            $($signature)+ {
                // SAFETY: the caller guarantees that the blocks are readable and that the CPU has the instructions.
                unsafe { $body }
            }
        }
    };
}

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod attention;
mod attention_f32;
mod attention_unpacked;
mod columns;
mod convolution;
mod elementwise;
mod exp;
#[cfg(any(target_arch = "aarch64", all(target_arch = "x86_64", any(test, feature = "std"))))]
mod file_order;
mod float_product;
mod lanes;
mod portable;
mod q8;
mod quads;
mod quantize;
mod recurrence;
mod relative_bias;
pub mod scalar;
pub(crate) mod table;
pub mod tiles;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::CpuFeatures;
pub use attention::{Attend, BLOCK_LEN, MAX_QUERIES, Query, Vectors};
pub use attention_unpacked::{MAX_UNPACKED_LEN, RowFormat};
pub use columns::Columns;
pub use convolution::Convolve;
pub use q8::{Q8, Q8Format, Q8Mut};
pub use recurrence::{DeltaScan, DiagonalScan, Mamba2Scan, MambaScan, state_len};
pub use relative_bias::{RelativeBias, RelativeBuckets};
pub use table::Kernels;

impl Kernels {
    /// Plain Rust, for every CPU: defines what the other sets compute.
    pub fn scalar() -> &'static Self {
        &scalar::KERNELS
    }

    /// The fastest set that this CPU supports.
    #[cfg(any(test, feature = "std"))]
    pub fn detect() -> &'static Self {
        match Self::available().last() {
            Some(best) => best,
            None => unreachable!("the scalar set is always available"),
        }
    }

    /// Every set that this CPU supports and that gives the same bits as the scalar one; the scalar one first, the fastest last.
    #[cfg(all(any(test, feature = "std"), not(any(target_arch = "aarch64", target_arch = "x86_64"))))]
    pub fn available() -> impl DoubleEndedIterator<Item = &'static Self> {
        [Self::scalar()].into_iter()
    }

    /// The sets of this CPU that compute attention over f16 caches in half precision.
    #[cfg(all(any(test, feature = "std"), not(target_arch = "aarch64")))]
    pub fn in_half_precision() -> impl Iterator<Item = &'static Self> {
        core::iter::empty()
    }

    /// Every set that this CPU supports; those that compute in half precision last.
    #[cfg(any(test, feature = "std"))]
    pub fn all() -> impl Iterator<Item = &'static Self> {
        Self::available().chain(Self::in_half_precision())
    }
}
