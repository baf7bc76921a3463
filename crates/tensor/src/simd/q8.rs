//! Activations rounded to 8 bits, in arrays that suit vector loads.
//!
//! ggml's `block_q8_0`, `block_q8_1` and `block_q8_K` interleave integers, scales and sums. Here each has an array of its own,
//! in which groups of integers begin at multiples of 32 bytes, and scales have the range of f32: activations too large or too
//! small for the f16 scales of ggml's blocks keep their precision.

use crate::blocks::{GgmlType, with_block_of};

/// How many activations share a scale and how many a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Q8Format {
    /// A scale and a sum for each 32 values, for weights in blocks of 32 (ggml's Q8_0 and Q8_1).
    Blocks32,
    /// A scale for each 256 values, a sum for each 16, for weights in blocks of 256 (ggml's Q8_K).
    Blocks256,
}

impl Q8Format {
    /// The format that weights of this type are multiplied with, `None` for floats.
    pub fn for_weights(ty: GgmlType) -> Option<Self> {
        with_block_of!(ty, Block32 => Some(Self::Blocks32), Block256 => Some(Self::Blocks256), _ => None)
    }

    /// Number of values that share a scale.
    pub const fn scale_len(self) -> usize {
        match self {
            Self::Blocks32 => 32,
            Self::Blocks256 => 256,
        }
    }

    /// Number of values in a sum.
    pub const fn sum_len(self) -> usize {
        match self {
            Self::Blocks32 => 32,
            Self::Blocks256 => 16,
        }
    }
}

/// Rounded activations of some tokens: `x ≈ scale * quant`, `scale = max |x| / 127`, rounded to the eight
/// significant bits of a bf16.
///
/// A block that contains a NaN, an infinity or a magnitude above 1e31 has the scale NaN.
#[derive(Debug, Clone, Copy)]
pub struct Q8<'a> {
    /// `[n_tokens × cols]`
    pub quants: &'a [i8],
    /// `[n_tokens × cols / scale_len]`
    pub scales: &'a [f32],
    /// Sums of quants, `[n_tokens × cols / sum_len]`
    pub sums: &'a [i32],
    /// Number of values of a token.
    pub cols: usize,
}

/// One token's arrays while they are filled.
#[derive(Debug)]
pub struct Q8Mut<'a> {
    /// `[cols]`
    pub quants: &'a mut [i8],
    /// `[cols / scale_len]`
    pub scales: &'a mut [f32],
    /// `[cols / sum_len]`
    pub sums: &'a mut [i32],
}

impl<'a> Q8<'a> {
    /// Number of tokens.
    pub fn n_tokens(&self) -> usize {
        self.quants.len() / self.cols
    }

    /// Only the tokens in `range`.
    ///
    /// # Panics
    ///
    /// If the range runs past the last token.
    #[inline(always)]
    pub fn tokens(&self, range: core::ops::Range<usize>) -> Q8<'a> {
        // All of them, as whenever a single token is generated: no need to compute offsets.
        if range.start == 0 && range.end * self.cols == self.quants.len() {
            return *self;
        }
        self.some_tokens(range)
    }

    #[inline(never)]
    fn some_tokens(&self, range: core::ops::Range<usize>) -> Q8<'a> {
        let n_tokens = self.n_tokens();
        let n_scales = self.scales.len() / n_tokens;
        let n_sums = self.sums.len() / n_tokens;
        Q8 {
            quants: &self.quants[range.start * self.cols..range.end * self.cols],
            scales: &self.scales[range.start * n_scales..range.end * n_scales],
            sums: &self.sums[range.start * n_sums..range.end * n_sums],
            cols: self.cols,
        }
    }
}
