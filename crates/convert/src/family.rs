//! What a family of checkpoints is: what config.json calls it, what GGUF calls it, and which tensors its layers have. The
//! table of them is `families`.

use anyhow::{Result, bail};

use super::ModelConfig;
use super::families::FAMILIES;
use super::weight::Change;

/// A family of checkpoints.
#[derive(Debug)]
pub struct Family {
    /// `model_type` of config.json, and of the part `text_config` of one of a model that sees, too.
    pub model_types: &'static [&'static str],
    /// `general.architecture` of GGUF.
    pub architecture: &'static str,
    /// Whether the rotary embedding of GGUF's architecture turns neighbours where the checkpoint's turns halves, so that
    /// rows of queries and keys have to change places.
    pub turns_neighbours: bool,
    /// Whether attention looks back `sliding_window` positions.
    pub window: Window,
    /// Whether a part of a head can be rotated.
    pub rotates_parts: bool,
    /// What `hidden_act` may be.
    pub activation: &'static str,
    /// The tensors around the layers.
    pub frame: &'static Frame,
    /// The tensors of a layer, in the order of the file.
    pub layer: &'static [&'static [LayerTensor]],
    /// Those of a layer with a recurrent mixer in place of attention; none where all have attention.
    pub recurrent_layer: &'static [&'static [LayerTensor]],
    /// What `layer_types` calls such a layer.
    pub recurrent: &'static str,
    /// Whether GGUF tells such layers by their number of key and value heads, which is 0.
    pub tells_by_heads: bool,
    /// The hyper-parameters that only some families have: keys of GGUF behind the architecture, and the values.
    pub keys: &'static [Key],
    /// What config.json may leave out, as an object.
    pub defaults: &'static str,
    pub vocabulary: VocabularyRules,
    /// What must hold of config.json, since GGUF has no way to say otherwise.
    pub check: fn(&ModelConfig) -> Result<()>,
}

/// Whether attention looks back `sliding_window` positions only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// In the original, if config.json says so, and not in GGUF's architecture.
    IfSaid,
    /// In the original, unless config.json says otherwise, and not in GGUF's architecture.
    LeftOut,
    /// In both.
    Kept,
}

/// How a family's vocabulary is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VocabularyRules {
    /// Whether tokenizer.model comes before tokenizer.json, where there are both.
    pub prefers_sentencepiece: bool,
    /// Whether added tokens that look like control tokens are such.
    pub judges_by_looks: bool,
    /// A flag of added tokens, `lstrip` or `rstrip`, that the family's have and that is left out: programs that know a model
    /// by its name take the spaces beside them away, or no text has them.
    pub strips: Option<&'static str>,
    /// Whether it is XLM-R's, which comes from sentencepiece.bpe.model or a tokenizer.json of kind Unigram.
    pub is_unigram: bool,
    /// Whether each text stands between two tokens, as BERT's, though the vocabulary is byte-level BPE.
    pub is_framed: bool,
}

/// The tensors around the layers, and whether it is a decoder that they make.
#[derive(Debug)]
pub struct Frame {
    /// What the names of all tensors may have in front, and what that of the matrix of the output has then.
    pub prefixes: &'static [(&'static str, &'static str)],
    /// The tensors in front of the layers; their `from` is a whole name.
    pub before: &'static [LayerTensor],
    /// What stands in front of the numbers of layers.
    pub layers: &'static str,
    /// The tensors behind the layers.
    pub after: &'static [LayerTensor],
    /// Whether positions are rotations of queries and keys, and texts are continued, through a matrix of their own
    /// or the embedding.
    pub is_decoder: bool,
    /// Beginnings of the names of tensors that are for training, or for other uses than embeddings.
    pub left_out: &'static [&'static str],
}

/// A key of GGUF, without the architecture in front, and its value.
pub type Key = (&'static str, fn(&ModelConfig) -> Option<Entry>);

/// The value of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    U32(u32),
    F32(f32),
    Text(&'static str),
    I32s(Vec<i32>),
    Bools(Vec<bool>),
}

/// A tensor: its name, behind `blk.N.` in a layer, that in the checkpoint, behind the layer's number, and its form.
#[derive(Debug, Clone, Copy)]
pub struct LayerTensor {
    pub to: &'static str,
    pub from: &'static str,
    pub form: Form,
    pub rows: Rows,
    /// Of the columns; of a vector, too.
    pub cols: Rows,
    pub change: Change,
}

/// The order of rows or columns.
#[derive(Debug, Clone, Copy)]
pub enum Rows {
    AsTheyAre,
    /// Those that the rotary embedding turns.
    Turned,
    /// Those of a gated delta net's heads of values, of this length, behind so many others.
    Values {
        before: Size,
        head: Size,
    },
    /// Those behind so many others, which are left out.
    Behind(Size),
}

/// The form of a layer's tensor.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// A matrix of so many rows and columns, with a bias where the checkpoint has one.
    Matrix(Size, Size),
    /// A vector of this length.
    Vector(Size),
    /// The same, if it is there.
    MaybeVector(Size),
    /// A matrix of each expert: `from` is what comes behind the expert's number. Where all experts are one tensor, that is
    /// its name, and this is which of how many parts of each expert's rows.
    Experts(Size, Size, Stack),
    /// A matrix that is never quantised.
    Float(Size, Size),
    /// A small matrix, which is in F32.
    Exact(Size, Size),
}

/// The tensor of all experts, for checkpoints that have one: its name, and which of how many parts it is.
pub type Stack = (&'static str, usize, usize);

/// A length that config.json gives.
#[derive(Debug, Clone, Copy)]
pub enum Size {
    /// `hidden_size`.
    Embedding,
    /// `intermediate_size`.
    FeedForward,
    /// `moe_intermediate_size`.
    ExpertFeedForward,
    /// All heads.
    Queries,
    /// All heads, and a gate for each of their elements.
    GatedQueries,
    /// Queries, keys and values.
    QueriesKeysValues,
    /// Two vectors of `intermediate_size`.
    GateUp,
    /// The shared expert's `shared_expert_intermediate_size`.
    SharedFeedForward,
    /// All of a delta net's heads of values.
    DeltaValues,
    /// One of them.
    DeltaValue,
    /// How many there are.
    DeltaValueCount,
    /// Its heads of queries and of keys.
    DeltaQueriesKeys,
    /// These and its heads of values.
    DeltaChannels,
    /// A filter of its, or of a short, convolution.
    Filter,
    /// Three vectors of `hidden_size`.
    ThreeEmbeddings,
    One,
    Zero,
    /// All heads that have keys and values of their own.
    Keys,
    /// One head.
    Head,
    /// `num_experts`.
    ExpertCount,
    /// `vocab_size`.
    Vocabulary,
    /// `max_position_embeddings`, but for rows that no position has.
    Positions,
    /// These rows: those of the padding and in front of it.
    Unplaced,
    /// `type_vocab_size`.
    Types,
}

pub const fn tensor(to: &'static str, from: &'static str, form: Form) -> LayerTensor {
    LayerTensor { to, from, form, rows: Rows::AsTheyAre, cols: Rows::AsTheyAre, change: Change::None }
}

impl LayerTensor {
    pub const fn rows(self, rows: Rows) -> Self {
        LayerTensor { rows, ..self }
    }

    pub const fn cols(self, cols: Rows) -> Self {
        LayerTensor { cols, ..self }
    }

    pub const fn change(self, change: Change) -> Self {
        LayerTensor { change, ..self }
    }
}

impl Family {
    /// The family that config.json names.
    pub fn of(model_type: &str) -> Result<&'static Self> {
        match FAMILIES.iter().find(|family| family.model_types.contains(&model_type)) {
            Some(family) => Ok(family),
            None => {
                let names: Vec<_> = FAMILIES.iter().filter_map(|family| family.model_types.first()).collect();
                bail!(
                    "model_type is {model_type:?}, expected one of {}; files of other families are made by llama.cpp's \
                     convert_hf_to_gguf.py",
                    names.iter().map(|name| name.trim_end_matches("_text")).collect::<Vec<_>>().join(", ")
                )
            }
        }
    }

    /// Makes sure of what GGUF has no way to say otherwise.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        (self.check)(config)
    }

    /// Whether the layers have experts.
    pub fn has_experts(&self) -> bool {
        self.layer.iter().copied().flatten().any(|tensor| matches!(tensor.form, Form::Experts(..)))
    }
}
