//! Products of float weights: groups of four rows share each load of activations, and several tokens each load of weights.
//!
//! A sum has one partial sum per lane, made with fused multiply-adds in order; [`Quad::fold_groups`] adds these up.

use super::lanes::{LANES, Work};
use super::quads::{Quad, ROWS};
use super::table::FloatTileFn;
use super::tiles::Tile;
use crate::blocks::GgmlType;
use half::{bf16, f16};

/// The product for weights of a float type; `None` for other types. It takes `G` groups of four rows and up to `T` tokens at a
/// time, as many as the registers hold.
pub fn product<Q: Quad, const G: usize, const T: usize>(ty: GgmlType) -> Option<FloatTileFn> {
    match ty {
        GgmlType::F32 => Some(tile::<Q, f32, G, T>),
        GgmlType::F16 => Some(tile::<Q, f16, G, T>),
        GgmlType::BF16 => Some(tile::<Q, bf16, G, T>),
        _ => None,
    }
}

/// A type of weights.
trait Weight: Copy + Default {
    /// Eight weights of each row, at any address.
    ///
    /// # Safety
    ///
    /// They must be readable.
    unsafe fn load<Q: Quad>(rows: [*const Self; ROWS]) -> Q;
}

macro_rules! weights {
    ($($ty:ty: $load:ident;)+) => {$(
        impl Weight for $ty {
            #[inline(always)]
            unsafe fn load<Q: Quad>(rows: [*const Self; ROWS]) -> Q {
                // SAFETY: the caller guarantees that the weights are readable.
                unsafe { Q::$load(rows) }
            }
        }
    )+};
}

weights! {
    f32: load_f32;
    f16: load_f16;
    bf16: load_bf16;
}

/// The product of a tile of `E` weights with f32 activations, `cols` for each token.
///
/// # Safety
///
/// The CPU must have the instructions of `Q`'s set.
unsafe fn tile<Q: Quad, E: Weight, const G: usize, const T: usize>(
    w: &[u8],
    x: &[f32],
    cols: usize,
    out: &mut Tile<'_>,
) {
    // SAFETY: the caller guarantees that the CPU has the instructions.
    unsafe { Q::enter::<(Q, E)>(Product::<G, T> { w, x, cols, out }) }
}

struct Product<'a, 't, const G: usize, const T: usize> {
    w: &'a [u8],
    x: &'a [f32],
    cols: usize,
    out: &'a mut Tile<'t>,
}

impl<Q: Quad, E: Weight, const G: usize, const T: usize> Work<(Q, E)> for Product<'_, '_, G, T> {
    #[inline(always)]
    fn run(self) {
        let Self { w, x, cols, out } = self;
        let n_rows = out.rows().len();
        assert_eq!(w.len(), n_rows * cols * size_of::<E>());
        let w = w.as_ptr().cast::<E>();
        let mut token = 0;
        // The activations of `T` tokens stay in the cache while all rows are read.
        for x in x.chunks(T * cols) {
            for row in (0..n_rows).step_by(G * ROWS) {
                // The last row stands in for rows past it.
                let row_at = |i: usize| w.wrapping_add((row + i).min(n_rows - 1) * cols);
                let rows = core::array::from_fn(|group| {
                    let first = group * ROWS;
                    [row_at(first), row_at(first + 1), row_at(first + 2), row_at(first + 3)]
                });
                let (mut at, mut x) = (token, x);
                while !x.is_empty() {
                    // SAFETY: the assertion and `row_at` make `cols` weights readable in each row, and each arm takes only
                    // tokens that `x` holds; by `FloatTileFn`'s contract these are whole.
                    let n = unsafe {
                        match x.len() / cols {
                            6.. if T >= 6 => some_tokens::<Q, E, G, 6>(rows, x, cols, out, [row, at]),
                            4.. if T >= 4 => some_tokens::<Q, E, G, 4>(rows, x, cols, out, [row, at]),
                            2.. => some_tokens::<Q, E, G, 2>(rows, x, cols, out, [row, at]),
                            _ => some_tokens::<Q, E, G, 1>(rows, x, cols, out, [row, at]),
                        }
                    };
                    (at, x) = (at + n, &x[n * cols..]);
                }
            }
            token += T;
        }
    }
}

/// Writes the products of `rows` with the first `T` tokens of `x` to the tile's outputs from `row` and `token` on. Returns `T`.
///
/// # Safety
///
/// `cols` weights must be readable in each row, and `x` must hold `T` tokens.
#[inline(always)]
unsafe fn some_tokens<Q: Quad, E: Weight, const G: usize, const T: usize>(
    rows: [[*const E; ROWS]; G],
    x: &[f32],
    cols: usize,
    out: &mut Tile<'_>,
    [row, token]: [usize; 2],
) -> usize {
    let mut sums = [[Q::splat(0.0); G]; T];
    let whole = cols / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        // SAFETY: the caller guarantees `cols` elements of each row and token, and `at + LANES <= cols`.
        unsafe {
            let w = rows.map(|rows| E::load::<Q>(rows.map(|row| row.add(at))));
            for (t, sums) in sums.iter_mut().enumerate() {
                add(sums, w, &*x.as_ptr().add(t * cols + at).cast());
            }
        }
    }
    if whole < cols {
        // SAFETY: `cols - whole` elements are left of each row and each token.
        unsafe {
            let w = rows.map(|rows| {
                let rest = rows.map(|row| padded(row.add(whole), cols - whole));
                E::load::<Q>(rest.each_ref().map(|row| row.as_ptr()))
            });
            for (t, sums) in sums.iter_mut().enumerate() {
                add(sums, w, &padded(x.as_ptr().add(t * cols + whole), cols - whole));
            }
        }
    }
    for (t, sums) in sums.into_iter().enumerate() {
        if let Some(out) = out.token(token + t).get_mut(row..) {
            Q::fold_groups(sums, out);
        }
    }
    T
}

/// Adds the products of eight columns.
#[inline(always)]
fn add<Q: Quad, const G: usize>(sums: &mut [Q; G], w: [Q; G], x: &[f32; LANES]) {
    let x = Q::of_columns(x);
    for (sum, w) in sums.iter_mut().zip(w) {
        *sum = w.fma(x, *sum);
    }
}

/// The `n` elements at `row`, at most eight, followed by zeros.
///
/// # Safety
///
/// The elements must be readable.
#[inline(always)]
unsafe fn padded<E: Weight>(row: *const E, n: usize) -> [E; LANES] {
    let mut padded = [E::default(); LANES];
    for (i, x) in padded[..n].iter_mut().enumerate() {
        // SAFETY: the caller guarantees that the elements are readable.
        *x = unsafe { row.add(i).read_unaligned() };
    }
    padded
}
