//! Weights in blocks of 256, unpacked to integers and their scales.

use super::product::Weights256;
use crate::blocks::{Block256, Group256};
use core::marker::PhantomData;

/// Any type, by its definition.
pub struct Unpacked<B>(PhantomData<B>);

impl<B: Block256> Weights256 for Unpacked<B> {
    const BLOCK_BYTES: usize = size_of::<B>();

    #[inline(always)]
    unsafe fn unpack(block: *const u8, out: &mut Group256) {
        // SAFETY: a block is readable there and, being `Unaligned`, a reference to it may be made.
        unsafe { &*block.cast::<B>() }.unpack(out);
    }
}
