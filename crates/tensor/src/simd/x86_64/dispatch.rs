//! Which loads go with which type, for every set alike.

use super::file_order::Weights32;
use super::weights32;
use crate::blocks::{Block256, GgmlType, with_block_of};
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
    unsafe fn product_256<W: Block256>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>);
}

/// The product of set `S` for weights of this type, `None` if it is not a quantised one.
pub fn product<S: Set>(ty: GgmlType) -> Option<TileFn> {
    Some(match ty {
        GgmlType::Q4_0 => S::product_32::<weights32::Q4_0>,
        GgmlType::Q4_1 => S::product_32::<weights32::Q4_1>,
        GgmlType::Q5_0 => S::product_32::<weights32::Q5_0>,
        GgmlType::Q5_1 => S::product_32::<weights32::Q5_1>,
        GgmlType::Q8_0 => S::product_32::<weights32::Q8_0>,
        _ => with_block_of!(
            ty,
            Block32 => S::product_32::<weights32::Unpacked<B>>,
            Block256 => S::product_256::<B>,
            _ => return None,
        ),
    })
}
