//! Converts matrices that AutoAWQ has quantised in its GEMM format to Q4_1.
//!
//! A layer's `qweight` is `[n_in × n_out / 8]`, `qzeros` `[n_in / group × n_out / 8]`, `scales`
//! `[n_in / group × n_out]`. Each 32-bit word holds 4 bits of eight neighbouring outputs, in the order 0 2 4 6 1 3 5 7
//! from the lowest. A weight is `(q - zero) · scale`; without `qzeros` the zero is 8.
//!
//! Q4_1 is `d · q + m` over 32 neighbouring inputs. With `d = scale` and `m = -zero · scale` it holds the same weights, because
//! groups are multiples of 32. `d` is already an f16; only `m` is rounded to f16.

use anyhow::{Result, bail};
use half::f16;
use llm::quant::GgmlType;

use super::checkpoint::{Checkpoint, Floats, Integers};
use super::weight::Order;

/// Outputs in one word.
const PACKED: usize = 8;
/// Which four bits of a word hold each of its outputs.
const NIBBLE_OF_OUTPUT: [u32; PACKED] = [0, 4, 1, 5, 2, 6, 3, 7];
/// Weights in a block of Q4_1.
const BLOCK_LEN: usize = 32;
/// The zero of a matrix without `qzeros`.
const MIDDLE: u32 = 8;

/// What `quantization_config` says about the matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AwqFormat {
    /// Number of inputs that share a scale; `None` if all do.
    pub group_size: Option<usize>,
}

/// One quantised matrix.
#[derive(Debug)]
pub struct AwqMatrix<'c> {
    qweight: Integers<'c>,
    qzeros: Option<Integers<'c>>,
    scales: Floats<'c>,
    group_size: usize,
}

impl<'c> AwqMatrix<'c> {
    /// The matrix `<name>.qweight` with its scales and zeros.
    pub fn open(checkpoint: &'c Checkpoint<'_>, name: &str, format: AwqFormat) -> Result<Self> {
        let qweight = checkpoint.integers(&format!("{name}.qweight"))?;
        let scales = checkpoint.floats(&format!("{name}.scales"))?;
        let zeros_name = format!("{name}.qzeros");
        let qzeros = if checkpoint.has(&zeros_name) { Some(checkpoint.integers(&zeros_name)?) } else { None };
        let [n_in, n_packed] = qweight.shape;
        let group_size = format.group_size.unwrap_or(n_in);
        if group_size == 0 || !group_size.is_multiple_of(BLOCK_LEN) || !n_in.is_multiple_of(group_size) {
            bail!(
                "{name}: groups of {group_size} of {n_in} inputs, expected a divisor that is a multiple of 32"
            );
        }
        let n_groups = n_in / group_size;
        if scales.shape != [n_groups, n_packed * PACKED] {
            bail!("{name}.scales has shape {:?}, expected {:?}", scales.shape, [n_groups, n_packed * PACKED]);
        }
        if let Some(qzeros) = &qzeros
            && qzeros.shape != [n_groups, n_packed]
        {
            bail!("{zeros_name} has shape {:?}, expected {:?}", qzeros.shape, [n_groups, n_packed]);
        }
        Ok(AwqMatrix { qweight, qzeros, scales, group_size })
    }

    /// Outputs and inputs.
    pub fn shape(&self) -> [usize; 2] {
        [self.qweight.shape[1] * PACKED, self.qweight.shape[0]]
    }

    /// Writes all rows, one per output, as blocks of Q4_1.
    pub fn write_q4_1(&self, order: Order, out: &mut [u8]) {
        let [n_out, n_in] = self.shape();
        let block_bytes = GgmlType::Q4_1.block_bytes();
        let row_bytes = n_in / BLOCK_LEN * block_bytes;
        for (index, row) in out.chunks_exact_mut(row_bytes).take(n_out).enumerate() {
            let output = order.source(index);
            for (block_index, block) in row.chunks_exact_mut(block_bytes).enumerate() {
                let first = block_index * BLOCK_LEN;
                let group = first / self.group_size;
                let scale = self.scales.at(group, output);
                let zero = self.qzeros.map_or(MIDDLE, |qzeros| unpack(qzeros, group, output));
                block[0..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
                block[2..4].copy_from_slice(&f16::from_f32(-(zero as f32) * scale).to_le_bytes());
                for (i, byte) in block[4..].iter_mut().enumerate() {
                    let low = unpack(self.qweight, first + i, output);
                    let high = unpack(self.qweight, first + BLOCK_LEN / 2 + i, output);
                    *byte = (low | high << 4) as u8;
                }
            }
        }
    }
}

/// The four bits of an output in a row of words.
fn unpack(words: Integers<'_>, row: usize, output: usize) -> u32 {
    words.at(row, output / PACKED) >> (4 * NIBBLE_OF_OUTPUT[output % PACKED]) & 0xf
}
