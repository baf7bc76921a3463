//! Values that show whether a computation is sound: the range of logits, the magnitudes of weights.

use alloc::vec;
use core::fmt;
use core::ops::ControlFlow;

use super::describe::Show;
use crate::gguf::{Gguf, TensorInfo};
use crate::quant::{Matrix, ModelBytes};

/// The least and the largest of some logits. In a sound computation both are numbers, and they differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitsRange {
    /// The least.
    pub min: f32,
    /// The largest.
    pub max: f32,
}

impl LogitsRange {
    /// The range of these logits.
    pub fn of(logits: &[f32]) -> Self {
        let min = logits.iter().copied().fold(f32::INFINITY, f32::min);
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        Self { min, max }
    }
}

impl fmt::Display for LogitsRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "logits from {:.3} to {:.3}", self.min, self.max)
    }
}

/// Shows the mean and the largest magnitude of each tensor in `file`, one line each; `gguf` is the header of the file. Weights that are all
/// zero, or not numbers, were read wrongly. Stops where `show` breaks off.
pub fn weight_magnitudes(gguf: &Gguf<'_>, file: ModelBytes<&[u8]>, show: &mut Show<'_>) -> ControlFlow<()> {
    for tensor in gguf.tensors() {
        let TensorInfo { name, ty, .. } = tensor;
        let cols = tensor.dims[0] as usize;
        let rows = (tensor.n_elements() / tensor.dims[0]) as usize;
        let Ok(data) = gguf.tensor_data_in(tensor, file.bytes()) else { continue };
        let matrix = Matrix::new(*ty, rows, cols, data);
        let Ok(matrix) = matrix.map(|matrix| matrix.packed(file.packing())) else {
            show(format_args!("{name}: {} weights of type {ty}, not computed with", tensor.n_elements()))?;
            continue;
        };
        let mut row = vec![0.0; cols];
        let mut sum = 0.0;
        let mut max: f32 = 0.0;
        for index in 0..rows {
            matrix.dequantize_row(index, &mut row);
            for weight in &row {
                sum += f64::from(weight.abs());
                max = max.max(weight.abs());
            }
        }
        let mean = sum / tensor.n_elements() as f64;
        show(format_args!("{name}: {ty} [{rows} x {cols}], mean magnitude {mean:.6}, largest {max:.6}"))?;
    }
    ControlFlow::Continue(())
}
