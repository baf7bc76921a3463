//! Products of packed weights with many tokens.
//!
//! The weights of eight rows are unpacked once for all tokens of a tile, a slab of columns at a time
//! so that they stay in the first-level cache; [`TOKENS`] tokens then share each load of them. How
//! weights and tokens are arranged in between is the affair of a [`ManyTokens`], one for each instruction
//! and kind of blocks: [`sdot`](super::sdot), [`smmla`](super::smmla). What does not depend on how a type's weights are
//! unpacked is in functions that are not inlined, so that types share them.

use super::load::{load_f32x4, load_f32x8, load_i32x4, store_f32x8};
use super::rows::ROWS;
use crate::simd::{Q8, tiles::Tile};
use core::arch::aarch64::*;
use core::mem::MaybeUninit;

/// Tokens that share each load of weights.
pub const TOKENS: usize = 4;

/// Tokens for which weights are unpacked once.
const MAX_TOKENS: usize = 128;

/// Groups of 32 columns in a slab.
pub const SLAB_32: usize = 32;

/// Blocks of 256 columns in a slab.
pub const SLAB_256: usize = 4;

/// Where eight sums of each token lie. Until the last slab they have an order of the batch's own.
pub type Sums = [*mut f32; TOKENS];

/// A loop for many tokens.
pub trait ManyTokens {
    /// Weights of a block.
    const LEN: usize;
    /// Bytes of the blocks of eight rows.
    const BYTES: usize;
    /// Blocks of a row in a slab.
    const SLAB: usize;
    /// Unpacked weights of eight rows in a slab.
    type Panel;
    /// Activations of [`TOKENS`] tokens in a slab.
    type Tokens;

    /// Arranges blocks `first..first + len` of the tokens.
    ///
    /// # Safety
    ///
    /// There must be so many, at most [`SLAB`](Self::SLAB), and `x` must hold [`TOKENS`] tokens. What is
    /// arranged may point into `x`.
    unsafe fn arrange(x: Q8<'_>, first: usize, len: usize, out: &mut MaybeUninit<Self::Tokens>);

    /// Unpacks `len` blocks of eight rows.
    ///
    /// # Safety
    ///
    /// They must be readable at `w`, at most [`SLAB`](Self::SLAB).
    unsafe fn unpack(w: *const u8, len: usize, out: &mut MaybeUninit<Self::Panel>);

    /// Adds the products of the panel with all `tokens` to the sums.
    ///
    /// # Safety
    ///
    /// As many blocks as the slab has must have been unpacked and arranged, not 0; eight sums must be writable for
    /// each token, and the CPU must have the instruction.
    unsafe fn multiply(panel: &MaybeUninit<Self::Panel>, tokens: &[MaybeUninit<Self::Tokens>], slab: Slab);
}

/// A slab of eight rows, and where their sums lie.
#[derive(Clone, Copy)]
pub struct Slab {
    /// Blocks of each row in it.
    pub len: usize,
    /// The sums of the first tokens.
    sums: Sums,
    /// Sums of a token, of which the tile has eight.
    stride: usize,
    is_first: bool,
    is_last: bool,
}

impl Slab {
    /// Calls `add` with each [`TOKENS`] tokens and their sums, zeros in the first slab; after the last one `finish` puts
    /// these in the order of rows.
    ///
    /// # Safety
    ///
    /// As for [`ManyTokens::multiply`].
    #[inline(always)]
    pub unsafe fn each<T>(
        self,
        tokens: &[MaybeUninit<T>],
        add: impl Fn(&MaybeUninit<T>, Sums),
        finish: impl Fn(Sums),
    ) {
        let mut sums = self.sums;
        for tokens in tokens {
            if self.is_first {
                for sums in sums {
                    // SAFETY: eight sums are writable, as is asked of the caller; NEON is part of every target that this is
                    // built for.
                    unsafe { store_f32x8(&mut *sums.cast(), [vdupq_n_f32(0.0); 2]) };
                }
            }
            add(tokens, sums);
            if self.is_last {
                finish(sums);
            }
            sums = sums.map(|sums| sums.wrapping_add(TOKENS * self.stride));
        }
    }
}

/// The product of a tile of whole groups of rows with a multiple of [`TOKENS`] tokens.
///
/// # Safety
///
/// `w` must hold the blocks of the tile's rows, `x` its tokens, and the CPU must have the
/// instruction of the batch.
#[target_feature(enable = "neon,dotprod")]
pub unsafe fn product<B: ManyTokens>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
    for token in (0..x.n_tokens()).step_by(MAX_TOKENS) {
        let tokens = token..x.n_tokens().min(token + MAX_TOKENS);
        // SAFETY: `w` holds the rows, `x` the tokens, and the CPU has the instruction, as is asked of the caller.
        unsafe { some_tokens::<B>(w, x.tokens(tokens), token, out) };
    }
}

/// As [`product`] for the tokens from number `first_token` of the tile on, at most [`MAX_TOKENS`].
///
/// # Safety
///
/// As for [`product`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn some_tokens<B: ManyTokens>(w: &[u8], x: Q8<'_>, first_token: usize, out: &mut Tile<'_>) {
    assert!(w.len() <= out.rows().len() / ROWS * (x.cols / B::LEN * B::BYTES));
    assert!(first_token + x.n_tokens() <= out.tokens().len());
    let (origin, stride) = out.as_mut_ptr();
    let row_blocks = x.cols / B::LEN;
    let n_quads = x.n_tokens() / TOKENS;
    let mut panel = MaybeUninit::uninit();
    let mut tokens = [const { MaybeUninit::uninit() }; MAX_TOKENS / TOKENS];
    let tokens = &mut tokens[..n_quads];
    for first in (0..row_blocks).step_by(B::SLAB) {
        let len = B::SLAB.min(row_blocks - first);
        for (quad, tokens) in tokens.iter_mut().enumerate() {
            // SAFETY: the slab lies within the row.
            unsafe { B::arrange(x.tokens(quad * TOKENS..(quad + 1) * TOKENS), first, len, tokens) };
        }
        for (group, w) in w.chunks_exact(row_blocks * B::BYTES).enumerate() {
            // SAFETY: the slab lies within the rows, and the sums within the tile; all has been unpacked
            // and arranged, and the caller vouches for the instruction.
            unsafe {
                B::unpack(w.as_ptr().add(first * B::BYTES), len, &mut panel);
                let sums = core::array::from_fn(|t| origin.add((first_token + t) * stride + group * ROWS));
                let (is_first, is_last) = (first == 0, first + len == row_blocks);
                B::multiply(&panel, tokens, Slab { len, sums, stride, is_first, is_last });
            }
        }
    }
}

/// What belongs to the 256 weights under one scale, in vectors of four rows: as the sums need it, so
/// that each of `N` vectors meets each of the tokens'.
#[repr(C, align(16))]
pub struct BlockEnds<const N: usize> {
    /// Minimums of each 32 weights.
    pub mins: [[[i32; 4]; N]; 8],
    /// Scales of the scales.
    pub d: [[f32; 4]; N],
    /// Scales of the minimums.
    pub d_min: [[f32; 4]; N],
}

/// What belongs to 256 activations, in vectors of tokens.
#[repr(C, align(16))]
pub struct TokenEnds<const N: usize> {
    /// Sums of each 32 quants.
    pub sums: [[[i32; 4]; N]; 8],
    /// Scales.
    pub scales: [[f32; 4]; N],
}

/// Adds integer `products` of a block, times its scales, to the sums, and takes the minimums' share off
/// if there are any. Vector `r * T + t` of the sums is that of the `r`-th vector of rows and the
/// `t`-th of tokens; or `t * R + r` where the tokens' vectors come first.
///
/// # Safety
///
/// Eight sums must be writable for each token.
#[target_feature(enable = "neon")]
#[inline]
pub unsafe fn add_block<const R: usize, const T: usize, const MINS: bool, const TOKENS_FIRST: bool>(
    products: [int32x4_t; 2 * TOKENS],
    block: &BlockEnds<R>,
    tokens: &TokenEnds<T>,
    sums: Sums,
) {
    let place = |r, t| if TOKENS_FIRST { t * R + r } else { r * T + t };
    let mut min_products = [vdupq_n_s32(0); 2 * TOKENS];
    if MINS {
        for (mins, sums) in block.mins.iter().zip(&tokens.sums) {
            for (r, mins) in mins.iter().enumerate() {
                for (t, sums) in sums.iter().enumerate() {
                    let product = &mut min_products[place(r, t)];
                    *product = vmlaq_s32(*product, load_i32x4(mins), load_i32x4(sums));
                }
            }
        }
    }
    let mut all = [vdupq_n_f32(0.0); 2 * TOKENS];
    for (two, sums) in all.as_chunks_mut::<2>().0.iter_mut().zip(sums) {
        // SAFETY: the caller vouches for the sums.
        *two = unsafe { load_f32x8(sums.cast()) };
    }
    for r in 0..R {
        for t in 0..T {
            let (scale, i) = (load_f32x4(&tokens.scales[t]), place(r, t));
            let d = vmulq_f32(load_f32x4(&block.d[r]), scale);
            all[i] = vfmaq_f32(all[i], vcvtq_f32_s32(products[i]), d);
            if MINS {
                let d_min = vmulq_f32(load_f32x4(&block.d_min[r]), scale);
                all[i] = vfmsq_f32(all[i], vcvtq_f32_s32(min_products[i]), d_min);
            }
        }
    }
    for (two, sums) in all.as_chunks::<2>().0.iter().zip(sums) {
        // SAFETY: the caller vouches for the sums.
        store_f32x8(unsafe { &mut *sums.cast() }, *two);
    }
}
