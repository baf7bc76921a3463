//! What a family of checkpoints is: what config.json calls it, what GGUF calls it, and which tensors its layers have. The
//! table of them is `families`.

use anyhow::{Result, bail};
use serde_json::{Map, Value};

use super::ModelConfig;
use super::families;
use super::weight::Change;

/// A family of checkpoints.
#[derive(Debug)]
pub struct Family {
    /// `model_type` of config.json, and of the part `text_config` of one of a model that sees, too.
    pub model_types: &'static [&'static str],
    /// What else tells it from others with the same `model_type`, which stand behind it in the table.
    pub is_meant: fn(&Map<String, Value>) -> bool,
    /// `general.architecture` of GGUF.
    pub architecture: &'static str,
    /// Whether the rotary embedding of GGUF's architecture turns neighbours where the checkpoint's turns halves, so that
    /// rows of queries and keys have to change places.
    pub turns_neighbours: bool,
    /// Whether attention looks back `sliding_window` positions.
    pub window: Window,
    /// Whether a part of a head can be rotated.
    pub rotates_parts: bool,
    /// What `hidden_act` may be, between `|`.
    pub activation: &'static str,
    /// How learned positions are counted.
    pub positions: Positions,
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
    /// Other names of keys: the usual one, and what config.json calls it.
    pub names: &'static [(&'static str, &'static str)],
    /// What keys may say, since GGUF has no way to say otherwise: an object of lists. They may always be missing.
    pub fixed: &'static str,
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

/// Which positions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// As many as `max_position_embeddings` says.
    All,
    /// Those behind the padding's id.
    BehindPadding,
    /// Nomic's: those that the model was trained for, which are fewer than its config.json says.
    Trained,
}

/// Where the tokens of a Unigram vocabulary are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unigram {
    /// It is none.
    No,
    /// XLM-R's: in sentencepiece.bpe.model, with tokens of its own in front, or tokenizer.json.
    XlmR,
    /// T5's: in spiece.model or tokenizer.model as they are, or tokenizer.json.
    Plain,
    /// CamemBERT's: in tokenizer.json alone.
    JsonOnly,
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
    pub unigram: Unigram,
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
    /// What stands in front of the numbers of layers: in the checkpoint, and in GGUF.
    pub layers: (&'static str, &'static str),
    /// The tensors behind the layers.
    pub after: &'static [LayerTensor],
    /// The tensors of a classifier, the last of which makes a checkpoint have one. Their names may be without the prefix.
    pub classifier: &'static [LayerTensor],
    /// Whether positions are rotations of queries and keys, and texts are continued, through a matrix of their own
    /// or the embedding.
    pub is_decoder: bool,
    /// Beginnings of the names of tensors that are for training, or for other uses than embeddings; behind `*`, ends.
    pub left_out: &'static [&'static str],
    /// Parts of names of tensors that are left out, and the line that says so.
    pub told: &'static [(&'static str, &'static str)],
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

/// A tensor: its name, behind `blk.N.` in a layer, that in the checkpoint, behind the layer's number, and its form. Between
/// `|` are several names, of which the first that is there counts.
#[derive(Debug, Clone, Copy)]
pub struct LayerTensor {
    pub to: &'static str,
    pub from: &'static str,
    pub form: Form,
    pub rows: Rows,
    /// Of the columns; of a vector, too.
    pub cols: Rows,
    pub change: Change,
    pub needed: Needed,
}

/// Where a tensor must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    Always,
    /// It is taken where it is there.
    Never,
    /// In layers without experts, where only some have them; in the others it is not.
    WithoutExperts,
    /// In layers with experts.
    WithExperts,
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
    /// A matrix of each expert: `from` is what comes behind the expert's number. Where all experts are one tensor, that is
    /// its name, and this is which of how many parts of each expert's rows.
    Experts(Size, Size, Stack),
    /// A matrix of each expert, one below the other in one tensor of this whole name; there with rows and columns
    /// exchanged, or not.
    FlatExperts(Size, Size, bool),
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
    /// What a classifier tells apart.
    Labels,
    /// All heads, each a number.
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

    /// Taken where it is there.
    pub const fn maybe(self) -> Self {
        self.needed(Needed::Never)
    }

    /// The names that it may have in the checkpoint.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.from.split('|')
    }
}

impl Family {
    /// The first of the table.
    pub fn first() -> &'static Self {
        &super::decoders::LLAMA
    }

    /// The family that config.json names, by its `model_type` and the rest.
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

    /// Makes sure of what GGUF has no way to say otherwise.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        (self.check)(config)
    }

    /// The same of what the keys say, whose names may be other ones, which become the usual ones; and what may be missing.
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

    /// Whether the layers, or some of them, have experts.
    pub fn has_experts(&self) -> bool {
        let is_experts = |form| matches!(form, Form::Experts(..) | Form::FlatExperts(..));
        self.layer.iter().copied().flatten().any(|tensor| is_experts(tensor.form))
    }
}
