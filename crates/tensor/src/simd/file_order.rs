//! Integer products of weights in the order of the file: several rows with several tokens at once.
//!
//! Where a scale covers 32 weights, four rows share each load of activations, and up to [`Set::TOKENS`] tokens each unpacked
//! group of weights. Blocks of 256 are unpacked once for up to [`MAX_TOKENS`] tokens. The partial sums of four rows are folded
//! to one vector with a lane for each row before they become floats. A [`Set`] says how integers are multiplied, and
//! [`Vectors`] which vectors hold them.

use super::Q8;
use super::lanes::Work;
use super::table::TileFn;
use super::tiles::{Tile, store_rows};
use crate::blocks::{Block32, Block256, GgmlType, Group32, Group256, with_block_of};
use core::marker::PhantomData;

/// The vectors of an architecture.
///
/// Like those of a [`Set`], the functions are called only from [`Work`] that [`Set::enter`] runs, that is, only where the CPU
/// has the instructions.
pub trait Vectors {
    /// 32 integers.
    type Quants: Copy;
    /// A float for each of four rows.
    type Floats: Copy;

    /// The integers of a group.
    fn of_group(group: &Group32) -> Self::Quants;

    /// The 32 activations at `p`. Moves `p` past them.
    ///
    /// # Safety
    ///
    /// They must be readable.
    unsafe fn next(p: &mut *const u8) -> Self::Quants;

    /// `x` four times.
    fn splat(x: f32) -> Self::Floats;

    /// A vector of these values.
    fn of(x: [f32; 4]) -> Self::Floats;

    /// The values of the lanes.
    fn to_array(x: Self::Floats) -> [f32; 4];

    /// `x · factor`.
    fn scale(x: Self::Floats, factor: f32) -> Self::Floats;

    /// `sum + a · b`, rounded once.
    fn add(sum: Self::Floats, a: Self::Floats, b: Self::Floats) -> Self::Floats;

    /// `sum - a · b`, rounded once.
    fn subtract(sum: Self::Floats, a: Self::Floats, b: Self::Floats) -> Self::Floats;
}

/// Implements [`Vectors`] for a type, each function by an expression of intrinsics.
macro_rules! vectors {
    ($(#[$doc:meta])* $name:ident: $quants:ty, $floats:ty; $(
        $([$unsafe:ident])? $function:ident($($argument:ident: $ty:ty),+) -> $result:ty { $value:expr }
    )+) => {
        $(#[$doc])*
        pub struct $name;

        impl crate::simd::file_order::Vectors for $name {
            type Quants = $quants;
            type Floats = $floats;

            $(
                #[inline(always)]
                $($unsafe)? fn $function($($argument: $ty),+) -> $result {
                    // SAFETY: by the contract of `Vectors`, the CPU has the instructions. The caller of `next` guarantees that
                    // the activations are readable, and arrays are as large as vectors.
                    unsafe { $value }
                }
            )+
        }
    };
}
pub(super) use vectors;

/// How a set multiplies integers.
///
/// Except for `own_product`, the functions are called only from [`Work`] that [`enter`](Self::enter) runs, that is, only where
/// the CPU has the instructions.
pub trait Set: Sized {
    /// The vectors of its architecture.
    type Vectors: Vectors;
    /// Four unpacked blocks of 256, one of each row, prepared for products.
    type Blocks;
    /// Tokens that share each unpacked group of 32, at most four.
    const TOKENS: usize;

    /// Runs `work` compiled for the set's instructions.
    ///
    /// # Safety
    ///
    /// The CPU must have them.
    unsafe fn enter<V>(work: impl Work<V>);

    /// The product for a type whose weights the set loads in a way of its own; `None` for other types.
    fn own_product(ty: GgmlType) -> Option<TileFn>;

    /// Prepares the integers of a group for products with `T` tokens.
    #[inline(always)]
    fn for_tokens<W: Weights32<Vectors = Self::Vectors>, const T: usize>(
        w: [Quants<Self>; 4],
    ) -> [Quants<Self>; 4] {
        w
    }

    /// For each row: the sum of the products of 32 weights, less `W::OFFSET`, with the activations `x`, whose sum lies at
    /// `x_sum`. `w` is what [`for_tokens`](Self::for_tokens) returned.
    ///
    /// # Safety
    ///
    /// `x_sum` must be readable, and the CPU must have the set's instructions.
    unsafe fn dots<W: Weights32<Vectors = Self::Vectors>, const T: usize>(
        w: &[Quants<Self>; 4],
        x: Quants<Self>,
        x_sum: *const i32,
    ) -> Floats<Self>;

    /// For each row: the sum of the products of the first 16 integers with their activations, and that of the second 16.
    fn half_dots(w: &[Quants<Self>; 4], x: Quants<Self>) -> [Floats<Self>; 2];

    /// Prepares the blocks of four rows.
    fn blocks(groups: &[Group256; 4]) -> Self::Blocks;

    /// The sums of `scale * quant * x`, where `x` are the activations of a block.
    fn block_dots<W: Weights256>(
        groups: &[Group256; 4],
        blocks: &Self::Blocks,
        x: &[i8; 256],
    ) -> Floats<Self>;

    /// The sums of `min * x_sum`.
    fn min_dots(groups: &[Group256; 4], blocks: &Self::Blocks, x_sums: &[i32; 16]) -> Floats<Self>;
}

/// The integers of a set.
pub type Quants<S> = <<S as Set>::Vectors as Vectors>::Quants;

/// The floats of a set.
pub type Floats<S> = <<S as Set>::Vectors as Vectors>::Floats;

/// The range of the integers of weights. (Those of activations are in -127..=127.)
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(target_arch = "x86_64", allow(dead_code, reason = "AVX2 asks for signs alone"))]
pub enum Range {
    /// 0..=64: the sum of four products fits 16 bits.
    Unsigned,
    /// -64..=64: likewise.
    Small,
    /// -128..=127
    Full,
}

/// A group of 32 weights of each of four rows.
pub struct FourGroups<V: Vectors> {
    /// The integers.
    pub quants: [V::Quants; 4],
    /// Scales of the four rows, for the first 16 weights and for the second.
    pub scales: [V::Floats; 2],
    /// Minimums of the four rows.
    pub mins: V::Floats,
}

impl<V: Vectors> FourGroups<V> {
    /// Integers with one scale for each row.
    #[inline(always)]
    pub fn symmetric(quants: [V::Quants; 4], scales: V::Floats) -> Self {
        Self { quants, scales: [scales; 2], mins: V::splat(0.0) }
    }
}

/// How to load weights with a scale for each 32 of them (with `HALVES`, for each 16).
pub trait Weights32 {
    /// The vectors that hold them.
    type Vectors: Vectors;
    /// A block as it is in a file.
    type Block;
    /// Groups of 32 weights in a block.
    const GROUPS: usize = 1;
    /// The range of the integers as they are loaded. If [`Set::for_tokens`] subtracts `OFFSET`, integers of range `Unsigned`
    /// get into the range `Small`, so the set's products for `Unsigned` must be right for `Small` too.
    const RANGE: Range = Range::Unsigned;
    /// The number to subtract from every integer, a multiple of 8.
    const OFFSET: i32 = 0;
    /// Whether there are minimums.
    const MINS: bool = false;
    /// Whether the two halves of a group have their own scales.
    const HALVES: bool = false;

    /// Loads group `index` of the blocks at `rows`.
    ///
    /// # Safety
    ///
    /// A block must be readable at each pointer, `index` must be below `GROUPS`, and the CPU must have the instructions of the
    /// set that calls this.
    unsafe fn load(rows: [*const u8; 4], index: usize) -> FourGroups<Self::Vectors>;
}

/// How to unpack weights with a float scale for each 256 of them, by which their integer scales are multiplied.
#[cfg_attr(target_arch = "x86_64", allow(dead_code, reason = "AVX2 asks for minimums alone"))]
pub trait Weights256 {
    /// A block as it is in a file.
    type Block;
    /// The range of the integers.
    const RANGE: Range = Range::Small;
    /// Whether scales come in equal pairs: one for each 32 weights.
    const PAIRED: bool = false;
    /// Whether there are minimums.
    const MINS: bool = false;

    /// Unpacks a block.
    ///
    /// # Safety
    ///
    /// The CPU must have the instructions of the set that calls this.
    unsafe fn unpack(block: &Self::Block, out: &mut Group256);
}

/// Weights of any type, unpacked by the definition of their blocks.
struct Unpacked<V, B>(PhantomData<(V, B)>);

impl<V: Vectors, B: Block32> Weights32 for Unpacked<V, B> {
    type Vectors = V;
    type Block = B;
    const GROUPS: usize = B::GROUPS;
    const RANGE: Range = Range::Full;
    const HALVES: bool = B::HALVES;

    #[inline(always)]
    unsafe fn load(rows: [*const u8; 4], index: usize) -> FourGroups<V> {
        // SAFETY: the caller guarantees a block at each pointer; blocks are `Unaligned`, so a reference to one is valid.
        let [a, b, c, d] = rows.map(|row| unsafe { (*row.cast::<B>()).unpack(index) });
        let [first, second] = [0, 1].map(|half| [&a, &b, &c, &d].map(|group| group.scales[half]));
        let quants = [V::of_group(&a), V::of_group(&b), V::of_group(&c), V::of_group(&d)];
        FourGroups { quants, scales: [V::of(first), V::of(second)], mins: V::splat(0.0) }
    }
}

impl<V, B: Block256> Weights256 for Unpacked<V, B> {
    type Block = B;
    const RANGE: Range = Range::Full;
    const MINS: bool = B::MINS;

    #[inline(always)]
    unsafe fn unpack(block: &B, out: &mut Group256) {
        block.unpack(out);
    }
}

/// The product of set `S` for weights of this type; `None` if the type is not quantised.
pub fn product<S: Set>(ty: GgmlType) -> Option<TileFn> {
    if let Some(product) = S::own_product(ty) {
        return Some(product);
    }
    with_block_of!(
        ty,
        Block32 => Some(tile_32::<S, Unpacked<S::Vectors, B>>),
        Block256 => Some(tile_256::<S, Unpacked<S::Vectors, B>>),
        _ => None,
    )
}

/// The product of a tile, as work that a set runs.
struct Product<'a, 't> {
    w: &'a [u8],
    x: Q8<'a>,
    out: &'a mut Tile<'t>,
}

/// Markers for [`Work`]: set `S` multiplies weights `W`, which are [`Weights32`] or [`Weights256`].
struct Of32<S, W>(PhantomData<(S, W)>);
struct Of256<S, W>(PhantomData<(S, W)>);

/// The product of a tile whose weights have a scale for each 32.
///
/// # Safety
///
/// The CPU must have the set's instructions.
pub unsafe fn tile_32<S: Set, W: Weights32<Vectors = S::Vectors>>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
    // SAFETY: the caller guarantees that the CPU has the instructions.
    unsafe { S::enter::<Of32<S, W>>(Product { w, x, out }) }
}

/// The product of a tile whose weights have a scale for each 256.
///
/// # Safety
///
/// The CPU must have the set's instructions.
pub unsafe fn tile_256<S: Set, W: Weights256>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
    // SAFETY: the caller guarantees that the CPU has the instructions.
    unsafe { S::enter::<Of256<S, W>>(Product { w, x, out }) }
}

/// Pointers to four rows from row `first` on. The last row stands in for rows past it, so all four are readable if `w` holds
/// `n_rows` rows.
#[inline(always)]
fn row_pointers(w: &[u8], row_bytes: usize, n_rows: usize, first: usize) -> [*const u8; 4] {
    core::array::from_fn(|i| w.as_ptr().wrapping_add((first + i).min(n_rows - 1) * row_bytes))
}

/// Writes the sums of four rows for each token, except for rows that do not exist.
#[inline(always)]
fn store<V: Vectors>(out: &mut Tile<'_>, row: usize, token: usize, sums: &[V::Floats]) {
    for (i, &sums) in sums.iter().enumerate() {
        store_rows(&mut out.token(token + i)[row..], &V::to_array(sums));
    }
}

impl<S: Set, W: Weights32<Vectors = S::Vectors>> Work<Of32<S, W>> for Product<'_, '_> {
    #[inline(always)]
    fn run(self) {
        let Self { w, x, out } = self;
        let n_rows = out.rows().len();
        let n_tokens = x.n_tokens();
        let n_blocks = x.cols / (32 * W::GROUPS);
        let row_bytes = n_blocks * size_of::<W::Block>();
        assert_eq!(w.len(), n_rows * row_bytes);
        let n_groups = n_tokens * n_blocks * W::GROUPS;
        assert!(x.scales.len() >= n_groups && x.sums.len() >= n_groups);
        if n_tokens == 1 {
            // A loop of its own, in which no address depends on the token.
            for row in (0..n_rows).step_by(4) {
                let rows = row_pointers(w, row_bytes, n_rows, row);
                // SAFETY: the assertions and `row_pointers` make rows and the token readable; `S::enter` runs this, so the CPU
                // has the instructions.
                store::<S::Vectors>(out, row, 0, &unsafe { rows_32::<S, W, 1>(rows, n_blocks, &x, 0) });
            }
            return;
        }
        for row in (0..n_rows).step_by(4) {
            let rows = row_pointers(w, row_bytes, n_rows, row);
            let mut token = 0;
            while token < n_tokens {
                macro_rules! tokens {
                    ($t:literal) => {{
                        // SAFETY: the assertions and `row_pointers` make rows and tokens readable; `S::enter` runs this, so
                        // the CPU has the instructions.
                        let sums = unsafe { rows_32::<S, W, $t>(rows, n_blocks, &x, token) };
                        store::<S::Vectors>(out, row, token, &sums);
                    }};
                }
                match S::TOKENS.min(n_tokens - token) {
                    1 => tokens!(1),
                    2 => tokens!(2),
                    3 => tokens!(3),
                    _ => tokens!(4),
                }
                token += S::TOKENS;
            }
        }
    }
}

/// Four rows times tokens `token..token + T`. Lane `r` of result `t` is the product of row `r` and token `token + t`.
///
/// # Safety
///
/// `n_blocks` blocks must be readable at each of `rows`. `x` must hold the tokens, each as long as a row, and their scales and
/// sums. The CPU must have the set's instructions.
#[inline(always)]
unsafe fn rows_32<S: Set, W: Weights32<Vectors = S::Vectors>, const T: usize>(
    mut rows: [*const u8; 4],
    n_blocks: usize,
    x: &Q8<'_>,
    token: usize,
) -> [Floats<S>; T] {
    let n_groups = n_blocks * W::GROUPS;
    let mut sums = [S::Vectors::splat(0.0); T];
    let first = x.quants.as_ptr().wrapping_add(token * x.cols).cast::<u8>();
    let mut quants: [_; T] = core::array::from_fn(|t| first.wrapping_add(t * x.cols));
    let mut scales = x.scales.as_ptr().wrapping_add(token * n_groups);
    let mut x_sums = x.sums.as_ptr().wrapping_add(token * n_groups);
    for _ in 0..n_blocks {
        for index in 0..W::GROUPS {
            // SAFETY: the caller guarantees that rows and tokens are readable, and the loops visit each of their groups once.
            // Tokens lie `cols` quants and `n_groups` scales and sums apart. The caller also guarantees the instructions.
            unsafe {
                let w = W::load(rows, index);
                let w_quants = S::for_tokens::<W, T>(w.quants);
                each_below!(T in 0 1 2 3, |t| {
                    let sum = &mut sums[t];
                    let x = S::Vectors::next(&mut quants[t]);
                    let scale = *scales.add(t * n_groups);
                    let x_sum = x_sums.add(t * n_groups);
                    if W::HALVES {
                        let [first, second] = S::half_dots(&w_quants, x);
                        *sum = S::Vectors::add(*sum, first, S::Vectors::scale(w.scales[0], scale));
                        *sum = S::Vectors::add(*sum, second, S::Vectors::scale(w.scales[1], scale));
                    } else {
                        let dots = S::dots::<W, T>(&w_quants, x, x_sum);
                        *sum = S::Vectors::add(*sum, dots, S::Vectors::scale(w.scales[0], scale));
                    }
                    if W::MINS {
                        let x_sum = S::Vectors::splat(*x_sum as f32);
                        *sum = S::Vectors::add(*sum, S::Vectors::scale(w.mins, scale), x_sum);
                    }
                });
                scales = scales.add(1);
                x_sums = x_sums.add(1);
            }
        }
        // SAFETY: still within the row, or one past its end.
        rows = rows.map(|row| unsafe { row.add(size_of::<W::Block>()) });
    }
    sums
}

/// Tokens for which a block is unpacked once.
const MAX_TOKENS: usize = 32;

impl<S: Set, W: Weights256> Work<Of256<S, W>> for Product<'_, '_> {
    #[inline(always)]
    fn run(self) {
        let Self { w, x, out } = self;
        let n_rows = out.rows().len();
        let n_tokens = x.n_tokens();
        let n_blocks = x.cols / 256;
        let row_bytes = n_blocks * size_of::<W::Block>();
        assert_eq!(w.len(), n_rows * row_bytes);
        let mut groups = [Group256::ZERO; 4];
        for row in (0..n_rows).step_by(4) {
            for token in (0..n_tokens).step_by(MAX_TOKENS) {
                let mut rows = row_pointers(w, row_bytes, n_rows, row);
                let tokens = token..n_tokens.min(token + MAX_TOKENS);
                let mut sums = [S::Vectors::splat(0.0); MAX_TOKENS];
                for block in 0..n_blocks {
                    for (group, row) in groups.iter_mut().zip(&mut rows) {
                        // SAFETY: the assertion and `row_pointers` make the block readable; blocks are `Unaligned`, so a
                        // reference to one is valid. `S::enter` runs this, so the CPU has the instructions.
                        unsafe {
                            W::unpack(&*row.cast::<W::Block>(), group);
                            *row = row.add(size_of::<W::Block>());
                        }
                    }
                    let blocks = S::blocks(&groups);
                    let scales = S::Vectors::of(groups.each_ref().map(|group| group.d));
                    let min_scales = S::Vectors::of(groups.each_ref().map(|group| group.d_min));
                    for (token, sum) in tokens.clone().zip(&mut sums) {
                        let at = token * n_blocks + block;
                        let scale = x.scales[at];
                        let dots = S::block_dots::<W>(&groups, &blocks, &x.quants.as_chunks().0[at]);
                        *sum = S::Vectors::add(*sum, dots, S::Vectors::scale(scales, scale));
                        if W::MINS {
                            let mins = S::min_dots(&groups, &blocks, &x.sums.as_chunks().0[at]);
                            *sum = S::Vectors::subtract(*sum, mins, S::Vectors::scale(min_scales, scale));
                        }
                    }
                }
                store::<S::Vectors>(out, row, token, &sums[..tokens.len()]);
            }
        }
    }
}
