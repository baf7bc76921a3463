//! [`Classifier`] computes a score for each label from the vector that represents a text, as rerankers do.

use alloc::vec::Vec;

use super::architecture::ClassifierHead;
use super::config::Config;
use super::error::ModelError;
use super::tensors::Tensors;
use crate::compute::{Compute, Linear, Norm, NormKind, Normalisation};
use crate::gguf::Name;
use crate::quant::activation_bytes;

/// `output · norm(f(dense · x))`, without the parts that the file does not have.
#[derive(Debug)]
pub struct Classifier<'a> {
    head: ClassifierHead,
    /// `[n_embd × n_embd]`, or `[n_labels × n_embd]` if nothing follows.
    dense: Option<Linear<'a>>,
    norm: Option<Norm<'a>>,
    /// `[n_labels × n_embd]`; without it, the first elements of the previous result are the scores.
    output: Option<Linear<'a>>,
    n_labels: usize,
}

/// The buffers of a classifier: the output of its first matrix, and its scores.
pub struct ClassifierScratch {
    hidden: Vec<f32>,
    scores: Vec<f32>,
    quantized: Vec<u8>,
}

impl<'a> Classifier<'a> {
    /// Takes the tensors `cls`, `cls.norm` and `cls.output`, if the family can have them; `None` if the file has none.
    pub(super) fn load(tensors: &mut Tensors<'_, 'a>, config: &Config) -> Result<Option<Self>, ModelError> {
        let Some(head) = config.architecture.classifier else { return Ok(None) };
        let Config { n_embd, n_labels, .. } = *config;
        let dense = match tensors.optional_rows(&Name::from("cls.weight"), n_embd)? {
            Some(weight) => Some(Linear {
                bias: tensors.optional_vector(&Name::from("cls.bias"), weight.n_rows())?,
                ..Linear::new(weight)
            }),
            None => None,
        };
        let output = match tensors.optional_matrix(&Name::from("cls.output.weight"), n_labels, n_embd)? {
            Some(weight) => Some(Linear {
                bias: tensors.optional_vector(&Name::from("cls.output.bias"), n_labels)?,
                ..Linear::new(weight)
            }),
            None => None,
        };
        let weight = tensors.optional_vector(&Name::from("cls.norm.weight"), n_embd)?;
        let norm = weight.map(|weight| Norm { weight: Some(weight), bias: None });
        if let Some(dense) = &dense {
            // Its output is multiplied again, or begins with the scores.
            let n_rows = dense.weight.n_rows();
            let is_multiplied = output.is_some() || norm.is_some();
            if n_rows != n_embd && (is_multiplied || n_rows < n_labels) {
                let (key, value) = (Name::from("rows of cls.weight"), n_rows as f64);
                return Err(ModelError::InvalidKey { key, value, expected: "as many as the model is wide" });
            }
        }
        Ok((dense.is_some() || output.is_some()).then_some(Self { head, dense, norm, output, n_labels }))
    }

    /// The number of scores.
    pub fn n_labels(&self) -> usize {
        self.n_labels
    }

    /// Allocates the buffers, for a model of this width. The error is the number of bytes needed.
    pub fn scratch(&self, n_embd: usize) -> Result<ClassifierScratch, usize> {
        let (mut hidden, mut scores, mut quantized) = (Vec::new(), Vec::new(), Vec::new());
        let n_hidden = self.dense.as_ref().map_or(0, |dense| dense.weight.n_rows());
        let n_quantized = activation_bytes(n_embd, 1);
        let reserved = hidden
            .try_reserve_exact(n_hidden)
            .and_then(|()| scores.try_reserve_exact(self.n_labels()))
            .and_then(|()| quantized.try_reserve_exact(n_quantized));
        let needed_bytes = n_quantized.saturating_add((n_hidden + self.n_labels()) * size_of::<f32>());
        reserved.map_err(|_| needed_bytes)?;
        hidden.resize(n_hidden, 0.0);
        scores.resize(self.n_labels(), 0.0);
        quantized.resize(n_quantized, 0);
        Ok(ClassifierScratch { hidden, scores, quantized })
    }

    /// The scores of a text that is represented by `x`, `[n_embd]`; with [`ClassifierHead::Softmax`] they are
    /// probabilities.
    pub fn scores<'s>(
        &self,
        compute: &Compute<'_>,
        eps: f32,
        x: &[f32],
        scratch: &'s mut ClassifierScratch,
    ) -> &'s [f32] {
        let ClassifierScratch { hidden, scores, quantized } = scratch;
        let x = match &self.dense {
            Some(dense) => {
                compute.linear(dense, x, quantized, hidden);
                match self.head {
                    ClassifierHead::Gelu => compute.kernels.gelu(hidden),
                    ClassifierHead::Tanh | ClassifierHead::Softmax => compute.kernels.tanh(hidden),
                }
                if let Some(norm) = &self.norm {
                    Normalisation { kind: NormKind::Layer, eps }.apply(compute.kernels, norm, hidden);
                }
                &*hidden
            }
            None => x,
        };
        match &self.output {
            Some(output) => compute.linear(output, x, quantized, scores),
            None => scores.copy_from_slice(&x[..self.n_labels]),
        }
        if self.head == ClassifierHead::Softmax {
            softmax(scores);
        }
        scores
    }
}

/// Turns scores into probabilities.
fn softmax(scores: &mut [f32]) {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|score| *score = libm::expf(*score - max));
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
}
