//! What adapters add to affine maps: products with matrices of low rank (LoRA, Hu et al. 2021).

use alloc::{boxed::Box, string::String, vec::Vec};
use core::fmt;
use core::ops::Range;

use super::{Compute, Linear};

/// Memory that holds matrices: a vector, or another kind of memory that the caller has.
pub trait Floats: fmt::Debug + Send + Sync {
    /// All elements.
    fn floats(&self) -> &[f32];

    /// All elements, to be filled.
    fn floats_mut(&mut self) -> &mut [f32];
}

impl Floats for Vec<f32> {
    fn floats(&self) -> &[f32] {
        self
    }

    fn floats_mut(&mut self) -> &mut [f32] {
        self
    }
}

/// `s B A x`, which is added to the product `W x` with one tensor `W`. If the tensor is a stack of matrices, there are as many
/// `A` and `B`.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// The number of the tensor in the model.
    pub tensor: usize,
    /// Where `A` is among the adapter's floats, `[n_matrices][rank][n_cols]`.
    pub a: Range<usize>,
    /// Where `B` is, `[n_matrices][rank][n_rows]`: transposed.
    pub b: Range<usize>,
    /// Rows of `A`.
    pub rank: usize,
    /// Elements of `x`.
    pub n_cols: usize,
    /// Elements of the product.
    pub n_rows: usize,
    /// `s`, as in the file.
    pub scale: f32,
}

/// An adapter.
#[derive(Debug)]
pub struct LowRanks {
    /// The name that the adapter was given when it was loaded.
    pub name: String,
    /// In the order of tensor numbers.
    pub list: Vec<LowRank>,
    /// The elements of all matrices.
    pub floats: Box<dyn Floats>,
}

/// Which adapters change the rows of a batch, and how much.
#[derive(Debug, Clone, Copy, Default)]
pub struct Adaptation<'c> {
    /// The adapters.
    pub adapters: &'c [LowRanks],
    /// `[n_slots][n_adapters]`: a factor for what each adapter adds; nothing is computed if it is 0.
    pub scales: &'c [f32],
    /// Which tokens the rows belong to.
    pub rows: Rows<'c>,
}

/// Which tokens the rows of a product's activations belong to.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'c> {
    /// One token of each of these slots, in this order.
    OfSlots(&'c [u32]),
    /// Of the tokens of these slots, those that were sent to one expert.
    OfExpert {
        /// The slot of each token.
        slots: &'c [u32],
        /// `[n_tokens][n_used]`: the experts that each token is sent to.
        chosen: &'c [u32],
        /// How many experts a token is sent to.
        n_used: usize,
        /// The expert.
        expert: u32,
    },
}

impl Default for Rows<'_> {
    fn default() -> Self {
        Rows::OfSlots(&[])
    }
}

impl LowRanks {
    /// What the adapter adds to the product with a tensor.
    pub fn of(&self, tensor: usize) -> Option<&LowRank> {
        let place = self.list.binary_search_by_key(&tensor, |low_rank| low_rank.tensor).ok()?;
        Some(&self.list[place])
    }

    /// `A` and `B` of one of the adapter's products.
    fn matrices(&self, low_rank: &LowRank) -> [&[f32]; 2] {
        let floats = self.floats.floats();
        [&floats[low_rank.a.clone()], &floats[low_rank.b.clone()]]
    }
}

impl Adaptation<'_> {
    /// Whether an adapter changes a product with this tensor.
    pub fn changes(&self, tensor: Option<usize>) -> bool {
        !self.adapters.is_empty()
            && tensor.is_some_and(|tensor| self.adapters.iter().any(|adapter| adapter.of(tensor).is_some()))
    }

    /// The factor for adapter number `index` in a slot.
    pub fn scale(&self, slot: u32, index: usize) -> f32 {
        self.scales[slot as usize * self.adapters.len() + index]
    }
}

impl<'c> Compute<'c> {
    /// The same adapters and factors for other rows.
    pub fn of_rows(&self, rows: Rows<'c>) -> Self {
        Self { adaptation: Adaptation { rows, ..self.adaptation }, ..*self }
    }

    /// Adds what the adapters contribute to the outputs, `[n_rows]` each, of a map applied to the rows of `x`.
    pub(super) fn add_low_ranks(&self, linear: &Linear<'_>, x: &[f32], output: &mut [f32]) {
        let Some(tensor) = linear.tensor else { return };
        let Adaptation { adapters, rows, .. } = self.adaptation;
        let n_outputs = linear.weight.n_rows();
        for (index, adapter) in adapters.iter().enumerate() {
            let Some(low_rank) = adapter.of(tensor) else { continue };
            let matrices = adapter.matrices(low_rank);
            let x = x.chunks_exact(low_rank.n_cols);
            let rows_of_x = output.chunks_exact_mut(n_outputs).zip(x);
            let add = |slot: u32, output: &mut [f32], x: &[f32]| {
                let scale = self.adaptation.scale(slot, index);
                self.add_low_rank(low_rank, matrices, scale, linear.first_row, x, output);
            };
            match rows {
                Rows::OfSlots(slots) => {
                    self.each_token(rows_of_x.zip(slots), |((output, x), &slot)| add(slot, output, x));
                }
                Rows::OfExpert { slots, chosen, n_used, expert } => {
                    let choices = slots.iter().zip(chosen.chunks_exact(n_used));
                    let sent = choices.filter(|(_, chosen)| chosen.contains(&expert));
                    sent.zip(rows_of_x).for_each(|((&slot, _), (output, x))| add(slot, output, x));
                }
            }
        }
    }

    /// Adds what the adapters contribute to a token's embedding, which is row `token` of a tensor; the token is number `row` in
    /// the batch.
    pub fn adapt_embedding(&self, tensor: usize, token: u32, row: usize, embedding: &mut [f32]) {
        let Adaptation { adapters, rows: Rows::OfSlots(slots), .. } = self.adaptation else { return };
        for (index, adapter) in adapters.iter().enumerate() {
            let Some(low_rank) = adapter.of(tensor) else { continue };
            let scale = self.adaptation.scale(slots[row], index) * low_rank.scale;
            if scale == 0.0 {
                continue;
            }
            // `x` is the token's row of the identity matrix: `A` has a column for each token.
            let [a, b] = adapter.matrices(low_rank);
            for (a, b) in a.chunks_exact(low_rank.n_cols).zip(b.chunks_exact(low_rank.n_rows)) {
                self.kernels.add_scaled(embedding, scale * a[token as usize], b);
            }
        }
    }

    /// `output += scale · s B A x`, for the rows of `B` from `first_row` on, counted through all matrices.
    fn add_low_rank(
        &self,
        low_rank: &LowRank,
        [a, b]: [&[f32]; 2],
        scale: f32,
        first_row: usize,
        x: &[f32],
        output: &mut [f32],
    ) {
        let LowRank { rank, n_cols, n_rows, .. } = low_rank;
        if scale == 0.0 {
            return;
        }
        let (matrix, first_row) = (first_row / n_rows, first_row % n_rows);
        let a = a[matrix * rank * n_cols..].chunks_exact(*n_cols);
        let b = b[matrix * rank * n_rows..].chunks_exact(*n_rows);
        for (a, b) in a.zip(b).take(*rank) {
            let factor = scale * low_rank.scale * self.kernels.dot_f32(a, x);
            self.kernels.add_scaled(output, factor, &b[first_row..][..output.len()]);
        }
    }
}
