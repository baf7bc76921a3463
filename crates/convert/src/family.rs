//! A family of checkpoints: its names in config.json and in GGUF, and the tensors of its layers. The table of families is in
//! `families`.

use anyhow::{Result, bail};
use serde_json::{Map, Value};

use super::ModelConfig;
use super::families;
use super::weight::Change;

/// A family of checkpoints.
#[derive(Debug)]
pub struct Family {
    /// `model_type` in config.json, and in its part `text_config` for models with vision.
    pub model_types: &'static [&'static str],
    /// Whether the other keys mean this family, as opposed to families with the same `model_type` that follow it in the table.
    pub is_meant: fn(&Map<String, Value>) -> bool,
    /// `general.architecture` of GGUF.
    pub architecture: &'static str,
    /// Whether the rotary embedding of GGUF's architecture rotates neighbouring elements while the checkpoint's rotates elements
    /// of the two halves, so that rows of queries and keys have to be reordered.
    pub turns_neighbours: bool,
    /// Whether attention is limited to a window of `sliding_window` positions.
    pub window: Window,
    /// Whether only a part of each head may be rotated.
    pub rotates_parts: bool,
    /// The allowed values of `hidden_act`, separated by `|`.
    pub activation: &'static str,
    /// How learned positions are counted.
    pub positions: Positions,
    /// The tensors around the layers.
    pub frame: &'static Frame,
    /// The tensors of a layer, in the order of the file.
    pub layer: &'static [&'static [LayerTensor]],
    /// The tensors of a layer with a recurrent mixer instead of attention; empty if all layers have attention.
    pub recurrent_layer: &'static [&'static [LayerTensor]],
    /// The name of such a layer in `layer_types`.
    pub recurrent: &'static str,
    /// Whether GGUF marks such layers by giving them 0 key and value heads.
    pub tells_by_heads: bool,
    /// Hyper-parameters that only some families have: GGUF's keys, without the architecture, and the values.
    pub keys: &'static [Key],
    /// The keys that config.json may leave out with their default values, as an object.
    pub defaults: &'static str,
    /// Other names of keys: the usual name, and the name in config.json.
    pub names: &'static [(&'static str, &'static str)],
    /// The only values that certain keys may have, because GGUF cannot express others: an object of lists. These keys may always
    /// be missing.
    pub fixed: &'static str,
    pub vocabulary: VocabularyRules,
    /// Checks that config.json has no values that GGUF cannot express.
    pub check: fn(&ModelConfig) -> Result<()>,
}

/// Whether attention is limited to a window of `sliding_window` positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The original has a window if config.json says so; GGUF's architecture has none.
    IfSaid,
    /// The original has a window unless config.json says otherwise; GGUF's architecture has none.
    LeftOut,
    /// Both have a window.
    Kept,
}

/// Which learned positions a model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// As many as `max_position_embeddings` says.
    All,
    /// Those from the id after the padding's on.
    BehindPadding,
    /// Nomic's: the positions that the model was trained for, which are fewer than its config.json says.
    Trained,
}

/// Which files hold a Unigram vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unigram {
    /// The vocabulary is not Unigram.
    No,
    /// XLM-R's: sentencepiece.bpe.model, with additional tokens at the beginning, or tokenizer.json.
    XlmR,
    /// T5's: spiece.model or tokenizer.model without changes, or tokenizer.json.
    Plain,
    /// CamemBERT's: only tokenizer.json.
    JsonOnly,
}

/// The rules for reading a family's vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VocabularyRules {
    /// Whether tokenizer.model is preferred to tokenizer.json if both exist.
    pub prefers_sentencepiece: bool,
    /// Whether added tokens that look like control tokens are treated as such.
    pub judges_by_looks: bool,
    /// A flag of the family's added tokens, `lstrip` or `rstrip`, that GGUF leaves out: programs that know the model by its name
    /// remove the spaces beside these tokens, or no text contains them.
    pub strips: Option<&'static str>,
    pub unigram: Unigram,
    /// Whether each text is enclosed in two tokens, as for BERT, although the vocabulary is byte-level BPE.
    pub is_framed: bool,
}

/// The tensors around the layers, and whether they make a decoder.
#[derive(Debug)]
pub struct Frame {
    /// Possible prefixes of all tensors' names, and for each the prefix of the output matrix's name.
    pub prefixes: &'static [(&'static str, &'static str)],
    /// The tensors before the layers; their `from` is a whole name.
    pub before: &'static [LayerTensor],
    /// The text before the numbers of layers: in the checkpoint, and in GGUF.
    pub layers: (&'static str, &'static str),
    /// The tensors after the layers.
    pub after: &'static [LayerTensor],
    /// The tensors of a classifier. A checkpoint that has the last of them has a classifier. Their names may lack the prefix.
    pub classifier: &'static [LayerTensor],
    /// Whether the model continues texts, with an output matrix of its own or the embedding, and positions are rotations of
    /// queries and keys.
    pub is_decoder: bool,
    /// Names of tensors that are not needed because they are for training or for uses other than embeddings: prefixes or, after
    /// `*`, suffixes.
    pub left_out: &'static [&'static str],
    /// Parts of the names of tensors that are left out, and the line that reports it.
    pub told: &'static [(&'static str, &'static str)],
}

/// A key of GGUF without the architecture, and its value.
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

/// A tensor: its name, after `blk.N.` in a layer; its name in the checkpoint, after the layer's number; and its form. Alternative
/// names are separated by `|`; the first one that exists is used.
#[derive(Debug, Clone, Copy)]
pub struct LayerTensor {
    pub to: &'static str,
    pub from: &'static str,
    pub form: Form,
    pub rows: Rows,
    /// The order of the columns, or of a vector's elements.
    pub cols: Rows,
    pub change: Change,
    pub needed: Needed,
}

/// In which layers a tensor is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    Always,
    /// It is optional.
    Never,
    /// Required in layers without experts and absent from the others, for models in which only some layers have experts.
    WithoutExperts,
    /// Required in layers with experts.
    WithExperts,
}

/// The order of rows or columns.
#[derive(Debug, Clone, Copy)]
pub enum Rows {
    AsTheyAre,
    /// The order that the rotary embedding requires.
    Turned,
    /// The order of a gated delta net's value heads of this length, after some other rows.
    Values {
        before: Size,
        head: Size,
    },
    /// Rows that follow this many others; those are left out.
    Behind(Size),
}

/// The form of a layer's tensor.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// A matrix with these numbers of rows and columns, and with a bias if the checkpoint has one.
    Matrix(Size, Size),
    /// A vector of this length.
    Vector(Size),
    /// One matrix for each expert: `from` is the part of the name after the expert's number. If a single tensor holds all
    /// experts, the last field gives its name, which part of each expert's rows this is, and the number of parts.
    Experts(Size, Size, Stack),
    /// The matrices of all experts, one below the other in one tensor with this whole name. The flag says whether rows and
    /// columns are exchanged there.
    FlatExperts(Size, Size, bool),
    /// A matrix that is never quantised.
    Float(Size, Size),
    /// A small matrix, which is stored in F32.
    Exact(Size, Size),
}

/// The tensor of all experts, for checkpoints that have one: its name, which part this is, and the number of parts.
pub type Stack = (&'static str, usize, usize);

/// A length that follows from config.json.
#[derive(Debug, Clone, Copy)]
pub enum Size {
    /// `hidden_size`.
    Embedding,
    /// `intermediate_size`.
    FeedForward,
    /// `moe_intermediate_size`.
    ExpertFeedForward,
    /// All query heads.
    Queries,
    /// All query heads, and a gate for each of their elements.
    GatedQueries,
    /// Queries, keys and values.
    QueriesKeysValues,
    /// Two vectors of `intermediate_size`.
    GateUp,
    /// The shared expert's `shared_expert_intermediate_size`.
    SharedFeedForward,
    /// All value heads of a delta net.
    DeltaValues,
    /// One value head of a delta net.
    DeltaValue,
    /// The number of value heads of a delta net.
    DeltaValueCount,
    /// All query and key heads of a delta net.
    DeltaQueriesKeys,
    /// All query, key and value heads of a delta net.
    DeltaChannels,
    /// A filter of a delta net's convolution, or of a short convolution.
    Filter,
    /// Three vectors of `hidden_size`.
    ThreeEmbeddings,
    One,
    Zero,
    /// All heads that have their own keys and values.
    Keys,
    /// One head.
    Head,
    /// `num_experts`.
    ExpertCount,
    /// `vocab_size`.
    Vocabulary,
    /// `max_position_embeddings`, without rows that are never used.
    Positions,
    /// The rows that are never used: that of the padding and those before it.
    Unplaced,
    /// `type_vocab_size`.
    Types,
    /// The classes of a classifier.
    Labels,
    /// One number for each head.
    Heads,
    /// `relative_attention_num_buckets`.
    Buckets,
}

pub const fn tensor(to: &'static str, from: &'static str, form: Form) -> LayerTensor {
    let (rows, cols) = (Rows::AsTheyAre, Rows::AsTheyAre);
    LayerTensor { to, from, form, rows, cols, change: Change::None, needed: Needed::Always }
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

    pub const fn needed(self, needed: Needed) -> Self {
        LayerTensor { needed, ..self }
    }

    /// Makes the tensor optional.
    pub const fn maybe(self) -> Self {
        self.needed(Needed::Never)
    }

    /// The possible names in the checkpoint.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.from.split('|')
    }
}

impl Family {
    /// The first of the table.
    pub fn first() -> &'static Self {
        &super::decoders::LLAMA
    }

    /// The family that config.json describes by its `model_type` and its other keys.
    pub fn of(model_type: &str, keys: &Map<String, Value>) -> Result<&'static Self> {
        let is_meant = |family: &&Self| family.model_types.contains(&model_type) && (family.is_meant)(keys);
        match families::all().find(is_meant) {
            Some(family) => Ok(family),
            None => {
                let mut names: Vec<_> =
                    families::all().filter_map(|family| family.model_types.first()).collect();
                names.dedup();
                bail!(
                    "model_type is {model_type:?}, expected one of {}; files of other families are made by llama.cpp's \
                     convert_hf_to_gguf.py",
                    names.iter().map(|name| name.trim_end_matches("_text")).collect::<Vec<_>>().join(", ")
                )
            }
        }
    }

    /// Checks that the configuration has no values that GGUF cannot express.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        (self.check)(config)
    }

    /// Replaces other names of keys by the usual ones, checks that the keys have no values that GGUF cannot express, and fills in
    /// missing keys.
    pub fn complete(&self, keys: &mut Map<String, Value>) -> Result<()> {
        let is_missing = |keys: &Map<String, Value>, name: &str| keys.get(name).is_none_or(Value::is_null);
        for (name, other) in self.names {
            if is_missing(keys, name)
                && let Some(value) = keys.get(*other).cloned()
            {
                keys.insert((*name).to_owned(), value);
            }
        }
        let fixed: Map<String, Value> = serde_json::from_str(self.fixed)?;
        for (name, allowed) in &fixed {
            let is_same = |a: &Value, b: &Value| a == b || a.is_number() && a.as_f64() == b.as_f64();
            if let Some(value) = keys.get(name).filter(|value| !value.is_null())
                && !allowed
                    .as_array()
                    .is_some_and(|allowed| allowed.iter().any(|other| is_same(value, other)))
            {
                bail!("{name} is {value}, expected one of {allowed}");
            }
        }
        let defaults: Map<String, Value> = serde_json::from_str(self.defaults)?;
        for (name, value) in defaults {
            if is_missing(keys, &name) {
                keys.insert(name, value);
            }
        }
        Ok(())
    }

    /// Whether at least some layers have experts.
    pub fn has_experts(&self) -> bool {
        let is_experts = |form| matches!(form, Form::Experts(..) | Form::FlatExperts(..));
        self.layer.iter().copied().flatten().any(|tensor| is_experts(tensor.form))
    }
}
