//! Products of packed weights with many tokens.
//!
//! The weights of eight rows are unpacked once for all tokens of a tile, a slab of columns at a time, so that they stay in the
//! first-level cache. [`TOKENS`] tokens then share each load of them. Each [`ManyTokens`], one for each instruction and kind of
//! blocks, has its own layout for unpacked weights and for tokens: [`sdot`](super::sdot), [`smmla`](super::smmla). Code that
//! does not depend on how a type is unpacked is in functions that are not inlined, so that types share it.

use super::load::{load_f32x4, load_f32x8, load_i32x4, store_f32x8};
use super::rows::ROWS;
use crate::simd::{Q8, tiles::Tile};
use core::arch::aarch64::*;
use core::mem::MaybeUninit;

/// Tokens that share each load of weights.
pub const TOKENS: usize = 4;

/// The most tokens for which weights are unpacked once.
const MAX_TOKENS: usize = 128;

/// Groups of 32 columns in a slab.
pub const SLAB_32: usize = 32;

/// Blocks of 256 columns in a slab.
pub const SLAB_256: usize = 4;

/// Where the eight sums of each token are. Until the last slab is done, their order is up to the [`ManyTokens`].
pub type Sums = [*mut f32; TOKENS];

/// Products with many tokens, for one instruction and kind of blocks.
pub trait ManyTokens {
    /// Weights in a block.
    const LEN: usize;
    /// Bytes of one block of each of the eight rows.
    const BYTES: usize;
    /// The most blocks of a row in a slab.
    const SLAB: usize;
    /// The panel: unpacked weights of eight rows in a slab.
    type Panel;
    /// Activations of [`TOKENS`] tokens in a slab.
    type Tokens;

    /// Arranges blocks `first..first + len` of the tokens.
    ///
    /// # Safety
    ///
    /// The tokens must have these blocks, `len` must be at most [`SLAB`](Self::SLAB), and `x` must hold [`TOKENS`] tokens.
    /// `out` may point into `x`, which must outlive its use.
    unsafe fn arrange(x: Q8<'_>, first: usize, len: usize, out: &mut MaybeUninit<Self::Tokens>);

    /// Unpacks `len` blocks of eight rows.
    ///
    /// # Safety
    ///
    /// They must be readable at `w`, `len` must be at most [`SLAB`](Self::SLAB), and the CPU must have the instruction.
    unsafe fn unpack(w: *const u8, len: usize, out: &mut MaybeUninit<Self::Panel>);

    /// Adds the products of the panel with all `tokens` to the slab's sums.
    ///
    /// # Safety
    ///
    /// `slab.len` must not be 0, and as many blocks must be unpacked in `panel` and arranged in `tokens`. Eight sums of each
    /// token must be readable and writable, and the CPU must have the instruction.
    unsafe fn multiply(panel: &MaybeUninit<Self::Panel>, tokens: &[MaybeUninit<Self::Tokens>], slab: Slab);
}

/// A slab of eight rows, and the place of their sums.
#[derive(Clone, Copy)]
pub struct Slab {
    /// Blocks of each row in the slab.
    pub len: usize,
    /// The sums of the first [`TOKENS`] tokens.
    sums: Sums,
    /// Elements from one token's sums to the next token's.
    stride: usize,
    is_first: bool,
    is_last: bool,
}

impl Slab {
    /// Calls `add` with each [`TOKENS`] tokens and their sums, which are zeros in the first slab. In the last slab `finish`
    /// then puts the sums in the order of rows.
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
                    // SAFETY: the caller guarantees eight sums; NEON is part of every target that this module is built for.
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
/// `w` must hold the blocks of the tile's rows, `x` its tokens, and the CPU must have FEAT_DotProd and the instruction of `B`.
#[target_feature(enable = "neon,dotprod")]
pub unsafe fn product<B: ManyTokens>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
    for token in (0..x.n_tokens()).step_by(MAX_TOKENS) {
        let tokens = token..x.n_tokens().min(token + MAX_TOKENS);
        // SAFETY: the caller guarantees `w`, `x` and the instruction; these tokens are part of `x`.
        unsafe { some_tokens::<B>(w, x.tokens(tokens), token, out) };
    }
}

/// Like [`product`], with at most [`MAX_TOKENS`] tokens, which begin at the tile's token `first_token`.
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
            // SAFETY: the `len` blocks, at most `SLAB`, are within the row, and `x` holds `TOKENS` tokens for each quad.
            unsafe { B::arrange(x.tokens(quad * TOKENS..(quad + 1) * TOKENS), first, len, tokens) };
        }
        for (group, w) in w.chunks_exact(row_blocks * B::BYTES).enumerate() {
            // SAFETY: the slab is within the rows, and by the assertions the sums are within the tile. Panel and tokens have
            // just been filled; the caller guarantees the instruction.
            unsafe {
                B::unpack(w.as_ptr().add(first * B::BYTES), len, &mut panel);
                let sums = core::array::from_fn(|t| origin.add((first_token + t) * stride + group * ROWS));
                let (is_first, is_last) = (first == 0, first + len == row_blocks);
                B::multiply(&panel, tokens, Slab { len, sums, stride, is_first, is_last });
            }
        }
    }
}

/// Scales and minimums of 256 weights of eight rows, in `N` vectors of four lanes. Each of these is multiplied lane by lane
/// with each vector of the [`TokenEnds`].
#[repr(C, align(16))]
pub struct BlockEnds<const N: usize> {
    /// Minimums of each 32 weights.
    pub mins: [[[i32; 4]; N]; 8],
    /// Scales of the scales.
    pub d: [[f32; 4]; N],
    /// Scales of the minimums.
    pub d_min: [[f32; 4]; N],
}

/// Scales and sums of 256 activations of four tokens, in `N` vectors of four lanes.
#[repr(C, align(16))]
pub struct TokenEnds<const N: usize> {
    /// Sums of each 32 quants.
    pub sums: [[[i32; 4]; N]; 8],
    /// Scales.
    pub scales: [[f32; 4]; N],
}

/// Adds the integer `products` of a block, times its scales, to the sums, and subtracts the minimums' share if there are any.
/// Vector `r * T + t` of the sums belongs to vector `r` of the rows and `t` of the tokens; with `TOKENS_FIRST`, `t * R + r`
/// does.
///
/// # Safety
///
/// Eight sums of each token must be readable and writable.
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
        // SAFETY: the caller guarantees that eight sums are readable.
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
        // SAFETY: the caller guarantees that eight sums are writable.
        store_f32x8(unsafe { &mut *sums.cast() }, *two);
    }
}
