//! Which tensor of a checkpoint becomes which tensor of the GGUF file.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use llm::quant::GgmlType;

use super::awq::{AwqFormat, AwqMatrix};
use super::checkpoint::Checkpoint;
use super::family::{Form, LayerTensor, Size};
use super::gptq::{self, GptqMatrix};
use super::quantization::Scheme;
use super::weight::{Order, Weight};
use super::{Fallbacks, MatrixTypes, ModelConfig, ModelShape, TypeChooser};

/// A tensor to be written.
#[derive(Debug)]
pub struct OutputTensor<'c> {
    pub name: String,
    pub ty: GgmlType,
    pub rows: usize,
    pub cols: usize,
    /// Of the rows.
    pub order: Order,
    pub col_order: Order,
    pub source: Source<'c>,
    /// How many matrices of this size stand behind each other, one of each expert; 1 without experts.
    pub n_matrices: usize,
    shape: Shape,
}

/// How many dimensions a tensor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Vector,
    Matrix,
    /// A matrix that keeps the type it has.
    ExactMatrix,
    Experts,
}

/// Where the values come from.
#[derive(Debug)]
pub enum Source<'c> {
    /// One tensor, or one of each expert.
    Weights(Vec<Weight<'c>>),
    /// A matrix that stays quantised.
    Awq(AwqMatrix<'c>),
    /// Computed.
    Values(Vec<f32>),
}

impl<'c> OutputTensor<'c> {
    fn new(name: String, ty: GgmlType, [rows, cols]: [usize; 2], source: Source<'c>, shape: Shape) -> Self {
        let (order, col_order) = (Order::Same, Order::Same);
        OutputTensor { name, ty, rows, cols, order, col_order, source, n_matrices: 1, shape }
    }

    /// A vector of these values.
    fn computed(name: &str, values: Vec<f32>) -> Self {
        let len = values.len();
        OutputTensor::new(name.to_owned(), GgmlType::F32, [1, len], Source::Values(values), Shape::Vector)
    }
    /// In ggml's order.
    pub fn dims(&self) -> Vec<u64> {
        let [cols, rows, n_matrices] = [self.cols, self.rows, self.n_matrices].map(|n| n as u64);
        match self.shape {
            Shape::Vector => vec![cols],
            Shape::Matrix | Shape::ExactMatrix => vec![cols, rows],
            Shape::Experts => vec![cols, rows, n_matrices],
        }
    }
}

/// Tensors that repeat what the hyper-parameters say.
const REDUNDANT: &str = ".rotary_emb.inv_freq";

/// Lists the tensors of the file in its order.
///
/// # Errors
///
/// When a tensor is missing, has another shape than the hyper-parameters say, or has no place.
pub fn plan<'c>(
    config: &ModelConfig,
    checkpoint: &'c Checkpoint<'c>,
    scheme: Option<Scheme>,
) -> Result<Vec<OutputTensor<'c>>> {
    let mut planner = Planner {
        checkpoint,
        scheme,
        prefix: None,
        left_out: &[],
        tensors: Vec::new(),
        taken: BTreeSet::new(),
    };
    let [n_embd, n_ff, n_vocab, head_len] =
        [config.hidden_size, config.intermediate_size, config.vocab_size, config.head_dim()]
            .map(|n| n as usize);
    let n_q = config.num_attention_heads as usize * head_len;
    let n_kv = config.num_key_value_heads() as usize * head_len;
    let size = |size: Size| match size {
        Size::Embedding => n_embd,
        Size::FeedForward => n_ff,
        Size::ExpertFeedForward => config.expert_feed_forward() as usize,
        Size::Queries => n_q,
        Size::Keys => n_kv,
        Size::Head => head_len,
        Size::ExpertCount => config.n_expert() as usize,
        Size::Vocabulary => n_vocab,
        Size::Positions => config.max_position_embeddings as usize,
        Size::Types => config.type_vocab_size() as usize,
    };
    let family = config.family();
    let n_expert = config.n_expert() as usize;
    let turned = match family.turns_neighbours {
        true => Order::Interleaved { head_len },
        false => Order::Same,
    };

    let frame = family.frame;
    planner.prefix = frame.prefixes.iter().copied().find(|prefix| {
        let first = frame.before.first().map(|tensor| format!("{prefix}{}.weight", tensor.from));
        first.is_some_and(|name| checkpoint.has(&name))
    });
    let add = |planner: &mut Planner<'c>, to: &str, layer: &str, tensor: &LayerTensor| {
        let from = format!("{layer}{}", tensor.from);
        match tensor.form {
            Form::Matrix(rows, cols) => planner.matrix(to, &from, [size(rows), size(cols)], Order::Same),
            Form::TurnedMatrix(rows, cols) => planner.matrix(to, &from, [size(rows), size(cols)], turned),
            Form::Vector(len) => planner.vector(to, &from, size(len)),
            Form::Float(rows, cols) => planner.float_matrix(to, &from, [size(rows), size(cols)]),
            Form::Exact(rows, cols) => planner.exact_matrix(to, &from, [size(rows), size(cols)]),
            Form::Experts(rows, cols) => {
                let names =
                    (0..n_expert).map(|expert| format!("{layer}mlp.experts.{expert}.{}", tensor.from));
                planner.experts(to, names, [size(rows), size(cols)])
            }
        }
    };
    for tensor in frame.before {
        add(&mut planner, tensor.to, "", tensor)?;
    }
    for layer in 0..config.num_hidden_layers {
        let from = format!("{}.{layer}.", frame.layers);
        for tensor in family.layer.iter().copied().flatten() {
            add(&mut planner, &format!("blk.{layer}.{}", tensor.to), &from, tensor)?;
        }
    }
    // Only now, since as many of them are made as the heads that were found say; they stand before the layers.
    if let Some(factors) = config.rope_factors()? {
        let tensor = OutputTensor::computed("rope_freqs.weight", factors);
        planner.tensors.insert(1, tensor);
    }
    for tensor in frame.after {
        add(&mut planner, tensor.to, "", tensor)?;
    }
    if !frame.is_decoder {
        planner.left_out = frame.left_out;
    } else if config.tie_word_embeddings {
        // Some writers store the tied matrix twice.
        planner.taken.insert("lm_head.weight".to_owned());
    } else {
        planner.float_matrix("output", "lm_head", [n_vocab, n_embd])?;
    }
    planner.finish()
}

/// Gives the matrices, which are in F16 so far, the types that were asked for.
pub fn choose_types(config: &ModelConfig, tensors: &mut [OutputTensor<'_>], types: MatrixTypes) -> Fallbacks {
    let shape = ModelShape {
        architecture: config.architecture(),
        n_layer: config.num_hidden_layers,
        n_head: config.num_attention_heads,
        n_head_kv: config.num_key_value_heads(),
        n_expert: config.n_expert(),
    };
    let has_choice = |tensor: &OutputTensor<'_>| matches!(tensor.shape, Shape::Matrix | Shape::Experts);
    let matrices = tensors.iter().filter(|tensor| has_choice(tensor)).map(|tensor| tensor.name.as_str());
    let mut chooser = TypeChooser::new(types, shape, matrices);
    for tensor in tensors.iter_mut().filter(|tensor| has_choice(tensor)) {
        tensor.ty = chooser.choose(&tensor.name, tensor.cols);
    }
    chooser.fallbacks()
}

struct Planner<'c> {
    checkpoint: &'c Checkpoint<'c>,
    scheme: Option<Scheme>,
    /// What the names of all tensors have in front.
    prefix: Option<&'static str>,
    /// Beginnings of the names of tensors that have no place and need none.
    left_out: &'static [&'static str],
    tensors: Vec<OutputTensor<'c>>,
    taken: BTreeSet<String>,
}

impl<'c> Planner<'c> {
    /// `<from>.weight`, and `<from>.bias` where there is one; or what was made of the weight when it was quantised.
    fn matrix(&mut self, to: &str, from: &str, shape: [usize; 2], order: Order) -> Result<()> {
        let name = format!("{to}.weight");
        let tensor = match self.scheme {
            Some(Scheme::Awq(format)) if self.is_quantized(from) => {
                self.awq_matrix(name, from, shape, format)?
            }
            _ => {
                let weight = Source::Weights(vec![self.weight(from, shape)?]);
                OutputTensor::new(name, GgmlType::F16, shape, weight, Shape::Matrix)
            }
        };
        self.tensors.push(OutputTensor { order, ..tensor });
        let bias = format!("{from}.bias");
        if self.checkpoint.has(&self.full_name(&bias)) {
            let tensor = self.vector_tensor(&format!("{to}.bias"), &bias, shape[0])?;
            self.tensors.push(OutputTensor { col_order: order, ..tensor });
        }
        Ok(())
    }

    /// Whether there is a matrix of this name that was quantised.
    fn is_quantized(&self, from: &str) -> bool {
        self.scheme.is_some() && self.checkpoint.has(&self.full_name(&format!("{from}.qweight")))
    }

    fn awq_matrix(
        &mut self,
        name: String,
        from: &str,
        shape: [usize; 2],
        format: AwqFormat,
    ) -> Result<OutputTensor<'c>> {
        let from = self.full_name(from);
        let matrix = AwqMatrix::open(self.checkpoint, &from, format)?;
        check_shape(&from, matrix.shape(), shape)?;
        self.taken.extend(["qweight", "qzeros", "scales"].map(|part| format!("{from}.{part}")));
        Ok(OutputTensor::new(name, GgmlType::Q4_1, shape, Source::Awq(matrix), Shape::Matrix))
    }

    /// `<from>.weight`, or what GPTQ made of it.
    fn weight(&mut self, from: &str, shape: [usize; 2]) -> Result<Weight<'c>> {
        match self.scheme {
            Some(Scheme::Gptq(format)) if self.is_quantized(from) => {
                let from = self.full_name(from);
                let matrix = GptqMatrix::open(self.checkpoint, &from, format)?;
                check_shape(&from, matrix.shape(), shape)?;
                self.taken.extend(gptq::PARTS.map(|part| format!("{from}.{part}")));
                Ok(Weight::Gptq(matrix))
            }
            _ => self.floats(&format!("{from}.weight"), shape),
        }
    }

    /// The tensor of this whole name.
    fn floats(&mut self, from: &str, shape: [usize; 2]) -> Result<Weight<'c>> {
        let from = self.full_name(from);
        let floats = self.checkpoint.floats(&from)?;
        check_shape(&from, floats.shape, shape)?;
        self.taken.insert(from);
        Ok(Weight::Floats(floats))
    }

    /// The name of a tensor, or of a part of a model, in the checkpoint.
    fn full_name(&self, from: &str) -> String {
        format!("{}{from}", self.prefix.unwrap_or_default())
    }

    /// A matrix that AutoAWQ leaves as it is.
    fn float_matrix(&mut self, to: &str, from: &str, shape: [usize; 2]) -> Result<()> {
        let weight = Source::Weights(vec![self.weight(from, shape)?]);
        let name = format!("{to}.weight");
        self.tensors.push(OutputTensor::new(name, GgmlType::F16, shape, weight, Shape::Matrix));
        Ok(())
    }

    /// A matrix in F32, whatever is asked for.
    fn exact_matrix(&mut self, to: &str, from: &str, shape: [usize; 2]) -> Result<()> {
        let weight = Source::Weights(vec![self.weight(from, shape)?]);
        let name = format!("{to}.weight");
        self.tensors.push(OutputTensor::new(name, GgmlType::F32, shape, weight, Shape::ExactMatrix));
        Ok(())
    }

    /// One tensor of the matrices of all experts, each at `<name>.weight`.
    fn experts(&mut self, to: &str, names: impl Iterator<Item = String>, shape: [usize; 2]) -> Result<()> {
        if matches!(self.scheme, Some(Scheme::Awq(_))) {
            bail!("experts that AutoAWQ quantised are not understood; expected plain ones");
        }
        let experts = names.map(|name| self.weight(&name, shape)).collect::<Result<Vec<_>>>()?;
        let (name, n_matrices) = (format!("{to}.weight"), experts.len());
        let tensor = OutputTensor::new(name, GgmlType::F16, shape, Source::Weights(experts), Shape::Experts);
        self.tensors.push(OutputTensor { n_matrices, ..tensor });
        Ok(())
    }

    fn vector(&mut self, to: &str, from: &str, len: usize) -> Result<()> {
        let tensor = self.vector_tensor(to, from, len)?;
        self.tensors.push(tensor);
        Ok(())
    }

    fn vector_tensor(&mut self, to: &str, from: &str, len: usize) -> Result<OutputTensor<'c>> {
        let weight = Source::Weights(vec![self.floats(from, [1, len])?]);
        Ok(OutputTensor::new(to.to_owned(), GgmlType::F32, [1, len], weight, Shape::Vector))
    }

    fn finish(self) -> Result<Vec<OutputTensor<'c>>> {
        let is_left_out = |name: &str| {
            let name = name.strip_prefix(self.prefix.unwrap_or_default()).unwrap_or(name);
            name.ends_with(REDUNDANT) || self.left_out.iter().any(|beginning| name.starts_with(beginning))
        };
        let left_over =
            self.checkpoint.names().find(|name| !self.taken.contains(*name) && !is_left_out(name));
        match left_over {
            Some(name) => bail!("tensor {name} has no place in this family"),
            None => Ok(self.tensors),
        }
    }
}

fn check_shape(name: &str, shape: [usize; 2], expected: [usize; 2]) -> Result<()> {
    if shape != expected {
        bail!("tensor {name} has shape {shape:?}, config.json says {expected:?}");
    }
    Ok(())
}
