//! Which loads go with which type, for every set alike.

use super::file_order::{Weights32, Weights256};
use super::{weights32, weights256};
use crate::blocks::{GgmlType, with_block_of};
use crate::simd::table::TileFn;
use crate::simd::{Q8, tiles::Tile};

/// The products of a set.
pub trait Set {
    /// Weights that have a scale for each 32.
    ///
    /// # Safety
    ///
    /// The CPU must have the set's instructions.
    unsafe fn product_32<W: Weights32>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>);

    /// Weights in blocks of 256.
    ///
    /// # Safety
    ///
    /// The CPU must have the set's instructions.
    unsafe fn product_256<W: Weights256>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>);
}

/// The product of set `S` for weights of this type, `None` if it is not a quantised one.
pub fn product<S: Set>(ty: GgmlType) -> Option<TileFn> {
    Some(match ty {
        GgmlType::Q4_0 => S::product_32::<weights32::Q4_0>,
        GgmlType::Q4_1 => S::product_32::<weights32::Q4_1>,
        GgmlType::Q5_0 => S::product_32::<weights32::Q5_0>,
        GgmlType::Q5_1 => S::product_32::<weights32::Q5_1>,
        GgmlType::Q8_0 => S::product_32::<weights32::Q8_0>,
        GgmlType::IQ4_NL => S::product_32::<weights32::Iq4Nl>,
        GgmlType::MXFP4 => S::product_32::<weights32::Mxfp4>,
        GgmlType::Q2_K => S::product_256::<weights256::Q2K>,
        GgmlType::Q3_K => S::product_256::<weights256::Q3K>,
        GgmlType::Q4_K => S::product_256::<weights256::Q4K>,
        GgmlType::Q5_K => S::product_256::<weights256::Q5K>,
        GgmlType::Q6_K => S::product_256::<weights256::Q6K>,
        GgmlType::IQ4_XS => S::product_256::<weights256::Iq4Xs>,
        _ => {
            return with_block_of!(
                ty,
                Block32 => Some(S::product_32::<weights32::Unpacked<B>>),
                Block256 => Some(S::product_256::<weights256::Unpacked<B>>),
                _ => None,
            );
        }
    })
}
