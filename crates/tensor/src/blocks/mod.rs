//! ggml's weight blocks: their layout in memory and what their bytes mean.
//!
//! A quantised row is a sequence of blocks. However it is packed, a block unpacks to small integers with scales, in one of two
//! shapes: [`Group32`] for types whose blocks have plain scales ([`Block32`]), and [`Group256`] for types whose scales are
//! quantised themselves ([`Block256`]). `unpack` defines a type; dequantisation and the scalar dot products follow from it.
//!
//! Neighbours: [`crate::quant`] converts whole rows, [`crate::simd`] multiplies them.

use half::f16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

mod codebooks;
mod ggml_type;
mod iq;
mod k;
mod packing;
mod table;
mod ternary;
mod uniform;

pub use ggml_type::GgmlType;
pub use iq::{BlockIQ1M, BlockIQ1S, BlockIQ2S, BlockIQ2XS, BlockIQ2XXS, BlockIQ3S, BlockIQ3XXS};
pub use k::{BlockQ2K, BlockQ3K, BlockQ4K, BlockQ5K, BlockQ6K, six_bits};
#[cfg(test)]
pub(crate) use packing::PACKED;
pub use packing::Packing;
pub use table::{
    BlockIQ4NL, BlockIQ4XS, BlockMXFP4, BlockNVFP4, E2M1_DOUBLED, IQ4_VALUES, e8m0_half, ue4m3_half,
};
pub use ternary::{BlockQ1_0, BlockQ2_0, BlockTQ1_0, BlockTQ2_0};
pub use uniform::{BlockQ4_0, BlockQ4_1, BlockQ5_0, BlockQ5_1, BlockQ8_0};

/// An f16 as stored in a file: little-endian, at any address.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub struct HalfBytes([u8; 2]);

impl HalfBytes {
    /// The nearest f16, ties to even.
    pub fn from_f32(x: f32) -> Self {
        Self(f16::from_f32(x).to_le_bytes())
    }

    /// The value.
    pub fn to_f32(self) -> f32 {
        f16::from_le_bytes(self.0).to_f32()
    }
}

/// Thirty-two unpacked weights: `y[i] = scales[i / 16] * quants[i] + min`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub struct Group32 {
    /// The integers.
    pub quants: [i8; 32],
    /// One scale for each half; both are equal unless the type has [`Block32::HALVES`].
    pub scales: [f32; 2],
    /// Added to every weight; 0 in types that are symmetric around zero.
    pub min: f32,
}

/// 256 unpacked weights: `y[i] = d * scales[i / 16] * quants[i] - d_min * mins[i / 16]`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub struct Group256 {
    /// The integers.
    pub quants: [i8; 256],
    /// An integer scale for each 16 weights.
    pub scales: [i16; 16],
    /// An integer minimum for each 16 weights.
    pub mins: [i16; 16],
    /// The scale of the scales.
    pub d: f32,
    /// The scale of the minimums, 0 in types that have none.
    pub d_min: f32,
}

impl Group256 {
    /// Zeros, to unpack into.
    pub const ZERO: Self = Self { quants: [0; 256], scales: [0; 16], mins: [0; 16], d: 0.0, d_min: 0.0 };
}

/// A block made of groups of 32 weights. Such rows are multiplied with activations that have one scale for every 32 values.
pub trait Block32: FromBytes + Immutable + KnownLayout + Unaligned {
    /// Groups in the block.
    const GROUPS: usize = 1;
    /// Whether the two halves of a group have their own scales; true only for NVFP4.
    const HALVES: bool = false;
    /// Whether the type has minimums.
    const MINS: bool = false;

    /// Unpacks group `index < GROUPS`.
    fn unpack(&self, index: usize) -> Group32;
}

/// A block of 256 weights. Such rows are multiplied with activations that have one scale for every 256 values.
pub trait Block256: FromBytes + Immutable + KnownLayout + Unaligned {
    /// Whether the type has minimums.
    const MINS: bool = false;

    /// Unpacks the block.
    fn unpack(&self, out: &mut Group256) {
        self.unpack_quants(&mut out.quants);
        self.unpack_scales(out);
    }

    /// Unpacks only the integers.
    fn unpack_quants(&self, quants: &mut [i8; 256]);

    /// Unpacks everything but the integers.
    fn unpack_scales(&self, out: &mut Group256);
}

/// Views the bytes of a row as its blocks.
///
/// # Panics
///
/// If `bytes` is not a whole number of blocks: rows are checked when a matrix is made.
pub(crate) fn cast<B: FromBytes + Immutable + KnownLayout + Unaligned>(bytes: &[u8]) -> &[B] {
    match <[B]>::ref_from_bytes(bytes) {
        Ok(blocks) => blocks,
        Err(_) => panic!("{} bytes are no whole number of {}-byte blocks", bytes.len(), size_of::<B>()),
    }
}

/// Evaluates one of two expressions, with `B` standing for the block type of `$ty`: the first for a [`Block32`], the second for a
/// [`Block256`]. The third expression is for all other types.
macro_rules! with_block_of {
    ($ty:expr, Block32 => $of_32:expr, Block256 => $of_256:expr, _ => $of_none:expr $(,)?) => {
        $crate::blocks::with_block_of!(@match $ty, $of_32, $of_256, $of_none,
            [Q4_0 BlockQ4_0, Q4_1 BlockQ4_1, Q5_0 BlockQ5_0, Q5_1 BlockQ5_1, Q8_0 BlockQ8_0,
             Q1_0 BlockQ1_0, Q2_0 BlockQ2_0, IQ4_NL BlockIQ4NL, MXFP4 BlockMXFP4, NVFP4 BlockNVFP4],
            [Q2_K BlockQ2K, Q3_K BlockQ3K, Q4_K BlockQ4K, Q5_K BlockQ5K, Q6_K BlockQ6K,
             IQ1_S BlockIQ1S, IQ1_M BlockIQ1M, IQ2_XXS BlockIQ2XXS, IQ2_XS BlockIQ2XS, IQ2_S BlockIQ2S,
             IQ3_XXS BlockIQ3XXS, IQ3_S BlockIQ3S, IQ4_XS BlockIQ4XS,
             TQ1_0 BlockTQ1_0, TQ2_0 BlockTQ2_0])
    };
    (@match $ty:expr, $of_32:expr, $of_256:expr, $of_none:expr,
     [$($ty_32:ident $block_32:ident),*], [$($ty_256:ident $block_256:ident),*]) => {
        match $ty {
            $($crate::blocks::GgmlType::$ty_32 => {
                #[allow(dead_code, reason = "the expression may ask for the shape alone")]
                type B = $crate::blocks::$block_32;
                $of_32
            })*
            $($crate::blocks::GgmlType::$ty_256 => {
                #[allow(dead_code, reason = "the expression may ask for the shape alone")]
                type B = $crate::blocks::$block_256;
                $of_256
            })*
            _ => $of_none,
        }
    };
}

pub(crate) use with_block_of;
