//! Maps the tensors of a checkpoint to the tensors of the GGUF file.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use llm::quant::GgmlType;

use super::awq::{AwqFormat, AwqMatrix};
use super::checkpoint::{ADAPTED, Checkpoint};
use super::family::{Form, LayerTensor, Needed, Rows, Size, Stack};
use super::gptq::{self, GptqMatrix};
use super::quantization::Scheme;
use super::weight::{Change, Order, Weight};
use super::{Fallbacks, MatrixTypes, ModelConfig, ModelShape, TypeChooser};

/// A tensor to be written.
#[derive(Debug)]
pub struct OutputTensor<'c> {
    pub name: String,
    pub ty: GgmlType,
    pub rows: usize,
    pub cols: usize,
    /// The order of the rows.
    pub order: Order,
    pub col_order: Order,
    pub change: Change,
    pub source: Source<'c>,
    /// How many matrices of this size follow each other, one for each expert; 1 without experts.
    pub n_matrices: usize,
    shape: Shape,
}

/// The kind of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Vector,
    Matrix,
    /// A matrix that keeps its type.
    ExactMatrix,
    Experts,
}

/// The source of the values.
#[derive(Debug)]
pub enum Source<'c> {
    /// One weight, or one for each expert.
    Weights(Vec<Weight<'c>>),
    /// A matrix that stays quantised, or one for each expert.
    Awq(Vec<AwqMatrix<'c>>),
    /// Computed values.
    Values(Vec<f32>),
}

impl<'c> OutputTensor<'c> {
    fn new(name: String, ty: GgmlType, [rows, cols]: [usize; 2], source: Source<'c>, shape: Shape) -> Self {
        let (order, col_order, change) = (Order::Same, Order::Same, Change::None);
        OutputTensor { name, ty, rows, cols, order, col_order, change, source, n_matrices: 1, shape }
    }

    /// A vector of these values.
    fn computed(name: &str, values: Vec<f32>) -> Self {
        let len = values.len();
        OutputTensor::new(name.to_owned(), GgmlType::F32, [1, len], Source::Values(values), Shape::Vector)
    }
    /// The dimensions in ggml's order.
    pub fn dims(&self) -> Vec<u64> {
        let [cols, rows, n_matrices] = [self.cols, self.rows, self.n_matrices].map(|n| n as u64);
        match self.shape {
            Shape::Vector => vec![cols],
            Shape::Matrix | Shape::ExactMatrix => vec![cols, rows],
            Shape::Experts => vec![cols, rows, n_matrices],
        }
    }
}

/// The suffix of tensors that repeat what the hyper-parameters say.
const REDUNDANT: &str = ".rotary_emb.inv_freq";

/// Lists the tensors of the file in order.
///
/// # Errors
///
/// If a tensor is missing, has another shape than the hyper-parameters say, or has no counterpart in the file.
pub fn plan<'c>(
    config: &ModelConfig,
    checkpoint: &'c Checkpoint<'c>,
    scheme: Option<Scheme>,
) -> Result<Vec<OutputTensor<'c>>> {
    let mut planner = Planner {
        checkpoint,
        scheme,
        prefix: "",
        left_out: &[],
        tensors: Vec::new(),
        taken: BTreeSet::new(),
    };
    let family = config.family();
    let frame = family.frame;
    let is_first = |(prefix, _): &&(&str, &str)| {
        let mut names = frame.before.first().into_iter().flat_map(LayerTensor::names);
        names.any(|name| checkpoint.has_any(&format!("{prefix}{name}")))
    };
    let (prefix, output_prefix) = *frame.prefixes.iter().find(is_first).unwrap_or(&frame.prefixes[0]);
    planner.prefix = prefix;

    let n_expert = config.n_expert() as usize;
    let size = |size| config.size(size);
    let order = |rows| match rows {
        Rows::AsTheyAre => Order::Same,
        Rows::Turned if family.turns_neighbours => Order::Interleaved { head_len: size(Size::Head) },
        Rows::Turned => Order::Same,
        Rows::Values { before, head } => config.value_order(size(before), size(head)),
        Rows::Behind(before) => Order::Behind { n_before: size(before) },
    };
    let add = |planner: &mut Planner<'c>, to: &str, layer: &str, tensor: &LayerTensor| {
        let is_there =
            |name: &&str| planner.checkpoint.has_any(&planner.full_name(&format!("{layer}{name}")));
        let name = match tensor.names().find(is_there) {
            Some(name) => name,
            None if tensor.needed == Needed::Never => return Ok(()),
            None => tensor.names().next().unwrap_or_default(),
        };
        let from = format!("{layer}{name}");
        let first = planner.tensors.len();
        match tensor.form {
            Form::Matrix(rows, cols) => {
                let orders = [order(tensor.rows), order(tensor.cols)];
                planner.matrix(to, &from, [size(rows), size(cols)], orders)?;
            }
            Form::Vector(len) => planner.vector(to, &from, size(len))?,
            Form::Float(rows, cols) => planner.float_matrix(to, &from, [size(rows), size(cols)])?,
            Form::Exact(rows, cols) => {
                let n_before = if let Rows::Behind(before) = tensor.rows { size(before) } else { 0 };
                planner.exact_matrix(to, &from, [size(rows), size(cols)], n_before)?;
            }
            Form::Experts(rows, cols, stack) => {
                let experts = Experts { layer, n: n_expert, name: tensor.from, stack };
                planner.experts(to, experts, [size(rows), size(cols)])?;
            }
            Form::FlatExperts(rows, cols, is_transposed) => {
                planner.flat_experts(to, &from, n_expert, [size(rows), size(cols)], is_transposed)?;
            }
        }
        if !matches!(tensor.form, Form::Matrix(..)) {
            for added in &mut planner.tensors[first..] {
                (added.order, added.col_order) = (order(tensor.rows), order(tensor.cols));
                added.change = tensor.change;
            }
        }
        Ok::<(), anyhow::Error>(())
    };
    for tensor in frame.before {
        add(&mut planner, tensor.to, "", tensor)?;
    }
    for layer in 0..config.num_hidden_layers {
        let (from, to) = frame.layers;
        let from = format!("{from}.{layer}.");
        let tensors = if config.is_recurrent(layer) { family.recurrent_layer } else { family.layer };
        let has_experts = config.has_experts(layer);
        let is_here = |tensor: &&LayerTensor| match tensor.needed {
            Needed::Always | Needed::Never => true,
            Needed::WithExperts => has_experts,
            Needed::WithoutExperts => !has_experts,
        };
        for tensor in tensors.iter().copied().flatten().filter(is_here) {
            add(&mut planner, &format!("{to}.{layer}.{}", tensor.to), &from, tensor)?;
        }
    }
    if (0..config.num_hidden_layers).all(|layer| config.is_recurrent(layer)) {
        bail!("no layer has attention, expected at least one");
    }
    // This comes late because the number of factors depends on the heads that were found. The factors come before the layers.
    for (name, factors) in config.rope_factors()? {
        planner.tensors.insert(1, OutputTensor::computed(name, factors));
    }
    for tensor in frame.after {
        add(&mut planner, tensor.to, "", tensor)?;
    }
    let is_there = |planner: &Planner<'_>, tensor: &LayerTensor| {
        ["", planner.prefix]
            .into_iter()
            .find(|prefix| checkpoint.has_any(&format!("{prefix}{}", tensor.from)))
    };
    if frame.classifier.last().is_some_and(|tensor| is_there(&planner, tensor).is_some()) {
        config.check_classifier()?;
        for tensor in frame.classifier {
            planner.prefix = is_there(&planner, tensor).unwrap_or(prefix);
            add(&mut planner, tensor.to, "", tensor)?;
            planner.prefix = prefix;
        }
    }
    planner.left_out = frame.left_out;
    if frame.is_decoder {
        let output = format!("{output_prefix}lm_head");
        if config.tie_word_embeddings {
            // Some programs store the tied matrix twice.
            planner.taken.insert(format!("{output}.weight"));
        } else {
            planner.prefix = "";
            planner.float_matrix("output", &output, [size(Size::Vocabulary), size(Size::Embedding)])?;
            planner.prefix = prefix;
        }
    }
    planner.finish()
}

/// Gives the requested types to the matrices, which are in F16 so far.
pub fn choose_types(config: &ModelConfig, tensors: &mut [OutputTensor<'_>], types: MatrixTypes) -> Fallbacks {
    let shape = ModelShape {
        architecture: config.architecture(),
        n_layer: config.num_hidden_layers,
        n_head: config.num_attention_heads,
        n_head_kv: config.num_key_value_heads(),
        n_expert: config.n_expert(),
    };
    // Except the scores of distances, which stay in F16, as in llama.cpp's quantiser.
    let is_float = matches!(types, MatrixTypes::All(GgmlType::F32 | GgmlType::F16 | GgmlType::BF16));
    let has_choice = |tensor: &OutputTensor<'_>| {
        matches!(tensor.shape, Shape::Matrix | Shape::Experts)
            && (is_float || !tensor.name.ends_with("attn_rel_b.weight"))
    };
    let matrices = tensors.iter().filter(|tensor| has_choice(tensor)).map(|tensor| tensor.name.as_str());
    let mut chooser = TypeChooser::new(types, shape, matrices);
    for tensor in tensors.iter_mut().filter(|tensor| has_choice(tensor)) {
        let n_matrices = if matches!(tensor.shape, Shape::Experts) { shape.n_expert as usize } else { 1 };
        tensor.ty = chooser.choose(&tensor.name, tensor.cols, n_matrices);
    }
    chooser.fallbacks()
}

/// The names of a layer's expert matrices in the checkpoint.
struct Experts<'n> {
    /// The prefix of the names of the layer's tensors.
    layer: &'n str,
    n: usize,
    /// The part of the name after the expert's number.
    name: &'n str,
    stack: Stack,
}

struct Planner<'c> {
    checkpoint: &'c Checkpoint<'c>,
    scheme: Option<Scheme>,
    /// The prefix of all tensors' names.
    prefix: &'static str,
    /// Prefixes of the names of tensors that are left out.
    left_out: &'static [&'static str],
    tensors: Vec<OutputTensor<'c>>,
    taken: BTreeSet<String>,
}

impl<'c> Planner<'c> {
    /// Adds `<from>.weight`, and `<from>.bias` if it exists; the weight may be quantised.
    fn matrix(
        &mut self,
        to: &str,
        from: &str,
        shape: [usize; 2],
        [order, col_order]: [Order; 2],
    ) -> Result<()> {
        let name = format!("{to}.weight");
        let tensor = match self.scheme {
            Some(Scheme::Awq(_)) if self.is_quantized(from) && col_order != Order::Same => {
                bail!(
                    "{from} is quantised by AutoAWQ, and its columns change places; expected a plain matrix"
                )
            }
            Some(Scheme::Awq(format)) if self.is_quantized(from) => {
                let matrix = self.awq_matrix(from, shape, format)?;
                OutputTensor::new(name, GgmlType::Q4_1, shape, Source::Awq(vec![matrix]), Shape::Matrix)
            }
            _ => {
                let weight = Source::Weights(vec![self.weight(from, shape)?]);
                OutputTensor::new(name, GgmlType::F16, shape, weight, Shape::Matrix)
            }
        };
        self.tensors.push(OutputTensor { order, col_order, ..tensor });
        let bias = format!("{from}.bias");
        if self.checkpoint.has(&self.full_name(&bias)) {
            let tensor = self.vector_tensor(&format!("{to}.bias"), &bias, shape[0])?;
            self.tensors.push(OutputTensor { col_order: order, ..tensor });
        }
        Ok(())
    }

    /// Whether there is a quantised matrix of this name.
    fn is_quantized(&self, from: &str) -> bool {
        self.scheme.is_some() && self.checkpoint.has(&self.full_name(&format!("{from}.qweight")))
    }

    fn awq_matrix(&mut self, from: &str, shape: [usize; 2], format: AwqFormat) -> Result<AwqMatrix<'c>> {
        let from = self.full_name(from);
        let matrix = AwqMatrix::open(self.checkpoint, &from, format)?;
        check_shape(&from, matrix.shape(), shape)?;
        self.taken.extend(["qweight", "qzeros", "scales"].map(|part| format!("{from}.{part}")));
        Ok(matrix)
    }

    /// `<from>.weight`, or its form quantised by GPTQ.
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

    /// The tensor with this whole name; a tensor with adapters has another name.
    fn floats(&mut self, from: &str, shape: [usize; 2]) -> Result<Weight<'c>> {
        let mut from = self.full_name(from);
        if let Some(name) = from.strip_suffix(".weight").map(|name| format!("{name}{ADAPTED}"))
            && self.checkpoint.has(&name)
        {
            from = name;
        }
        let floats = self.checkpoint.floats(&from)?;
        check_shape(&from, floats.shape, shape)?;
        self.taken.insert(from);
        Ok(Weight::Floats(floats))
    }

    /// The name of a tensor, or of a part of a model, in the checkpoint.
    fn full_name(&self, from: &str) -> String {
        format!("{}{from}", self.prefix)
    }

    /// Adds a matrix without a bias, which AutoAWQ does not quantise.
    fn float_matrix(&mut self, to: &str, from: &str, shape: [usize; 2]) -> Result<()> {
        let weight = Source::Weights(vec![self.weight(from, shape)?]);
        let name = format!("{to}.weight");
        self.tensors.push(OutputTensor::new(name, GgmlType::F16, shape, weight, Shape::Matrix));
        Ok(())
    }

    /// Adds a matrix in F32, whatever type is requested. Its first `n_before` rows are left out.
    fn exact_matrix(&mut self, to: &str, from: &str, shape: [usize; 2], n_before: usize) -> Result<()> {
        let weight = Source::Weights(vec![self.weight(from, [n_before + shape[0], shape[1]])?]);
        let name = format!("{to}.weight");
        self.tensors.push(OutputTensor::new(name, GgmlType::F32, shape, weight, Shape::ExactMatrix));
        Ok(())
    }

    /// Adds one tensor with the matrices of all experts, which are either each at `<name>.weight` or all in one tensor.
    fn experts(&mut self, to: &str, experts: Experts<'_>, shape: [usize; 2]) -> Result<()> {
        let Experts { layer, n, name, stack: (stack, part, n_parts) } = experts;
        let stack = self.full_name(&format!("{layer}mlp.experts.{stack}"));
        let (ty, source) = if self.checkpoint.has(&stack) {
            let (n_stacked, floats) = self.checkpoint.stacked_floats(&stack)?;
            let rows = shape[0].checked_mul(n_parts).context("the experts are too large")?;
            if n_stacked != n || floats.shape[1] != shape[1] || Some(floats.shape[0]) != rows.checked_mul(n) {
                let found = [n_stacked, floats.shape[0] / n_stacked, floats.shape[1]];
                bail!("tensor {stack} has shape {found:?}, config.json says {:?}", [n, rows, shape[1]]);
            }
            self.taken.insert(stack);
            let first = |expert| expert * rows + part * shape[0];
            let weights = (0..n).map(|expert| Weight::Floats(floats.rows(first(expert), shape[0])));
            (GgmlType::F16, Source::Weights(weights.collect()))
        } else {
            let names = (0..n).map(|expert| format!("{layer}mlp.experts.{expert}.{name}"));
            match self.scheme {
                Some(Scheme::Awq(format)) if self.is_quantized(&format!("{layer}mlp.experts.0.{name}")) => {
                    let matrices = names.map(|name| self.awq_matrix(&name, shape, format));
                    (GgmlType::Q4_1, Source::Awq(matrices.collect::<Result<_>>()?))
                }
                _ => {
                    let weights = names.map(|name| self.weight(&name, shape));
                    (GgmlType::F16, Source::Weights(weights.collect::<Result<_>>()?))
                }
            }
        };
        let tensor = OutputTensor::new(format!("{to}.weight"), ty, shape, source, Shape::Experts);
        self.tensors.push(OutputTensor { n_matrices: n, ..tensor });
        Ok(())
    }

    /// Adds one tensor with the matrices of all experts, which are stored one below the other.
    fn flat_experts(
        &mut self,
        to: &str,
        from: &str,
        n: usize,
        shape: [usize; 2],
        is_transposed: bool,
    ) -> Result<()> {
        let [rows, cols] = if is_transposed { [shape[1], shape[0]] } else { shape };
        let n_rows = rows.checked_mul(n).context("the experts are too large")?;
        let Weight::Floats(floats) = self.floats(from, [n_rows, cols])? else { bail!("{from} is quantised") };
        let weights = (0..n).map(|expert| floats.rows(expert * rows, rows));
        let weights = match is_transposed {
            true => weights.map(Weight::Transposed).collect(),
            false => weights.map(Weight::Floats).collect::<Vec<_>>(),
        };
        let name = format!("{to}.weight");
        let tensor = OutputTensor::new(name, GgmlType::F16, shape, Source::Weights(weights), Shape::Experts);
        self.tensors.push(OutputTensor { n_matrices: n, ..tensor });
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
            let rest = name.strip_prefix(self.prefix).unwrap_or(name);
            let is_left_out = |part: &&str| match part.strip_prefix('*') {
                Some(end) => name.ends_with(end),
                None => name.starts_with(part) || rest.starts_with(part),
            };
            name.ends_with(REDUNDANT) || self.left_out.iter().any(is_left_out)
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
