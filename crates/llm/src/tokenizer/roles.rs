//! Tokens with a role: those that begin or end a text, those that end a generation.
//!
//! Files name some of them by key. The others are recognised by their text, as in llama.cpp, because many files omit
//! the keys or give the wrong kind.

use alloc::vec::Vec;

use super::error::{TokenizerError, out_of_memory, push};
use super::vocabulary::{TokenKind, Vocabulary};
use crate::gguf::Gguf;
use crate::sort;

pub(super) const BOS_KEY: &str = "tokenizer.ggml.bos_token_id";
pub(super) const EOS_KEY: &str = "tokenizer.ggml.eos_token_id";
/// The key is misspelt in the format.
pub(super) const SEP_KEY: &str = "tokenizer.ggml.seperator_token_id";
pub(super) const UNKNOWN_KEY: &str = "tokenizer.ggml.unknown_token_id";
const EOT_KEY: &str = "tokenizer.ggml.eot_token_id";
const EOM_KEY: &str = "tokenizer.ggml.eom_token_id";
const FIM_PREFIX_KEY: &str = "tokenizer.ggml.fim_pre_token_id";
const FIM_SUFFIX_KEY: &str = "tokenizer.ggml.fim_suf_token_id";
const FIM_MIDDLE_KEY: &str = "tokenizer.ggml.fim_mid_token_id";
const FIM_PAD_KEY: &str = "tokenizer.ggml.fim_pad_token_id";
const FIM_REPOSITORY_KEY: &str = "tokenizer.ggml.fim_rep_token_id";
const FIM_FILE_KEY: &str = "tokenizer.ggml.fim_sep_token_id";

/// Tokens that end a generation, by their text.
const END_TEXTS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// For each key, the texts of tokens used to fill a gap in code: before the gap, after it, inside it, and between
/// files. The last three end a generation.
const FIM_TEXTS: &[(&str, bool, &[&str])] = &[
    (
        FIM_PREFIX_KEY,
        false,
        &[
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<｜fim▁begin｜>",
            "<PRE>",
            "▁<PRE>",
            "<|code_prefix|>",
            "<|prefix|>",
        ],
    ),
    (
        FIM_SUFFIX_KEY,
        false,
        &[
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<｜fim▁hole｜>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
        ],
    ),
    (
        FIM_MIDDLE_KEY,
        false,
        &[
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<｜fim▁end｜>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ],
    ),
    (FIM_PAD_KEY, true, &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"]),
    (FIM_REPOSITORY_KEY, true, &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"]),
    (FIM_FILE_KEY, true, &["<|file_sep|>"]),
];

/// Tokens of gpt-oss that are part of its visible output.
const VISIBLE_TEXTS: &[&str] = &["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

/// Tokens that end a generation in families where `</s>` is ordinary text.
const ENDS_BESIDE_ORDINARY_S: &[&str] = &["<|tool_response>", "<|plamo:eos|>"];

/// The defaults of a kind of tokenizer for keys that a file does not have.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Defaults {
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) unknown: Option<u32>,
    pub(super) separator: Option<u32>,
    pub(super) add_bos: bool,
    pub(super) add_eos: bool,
}

/// The tokens with a role.
#[derive(Debug)]
pub(super) struct Roles {
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) unknown: Option<u32>,
    pub(super) separator: Option<u32>,
    pub(super) add_bos: bool,
    pub(super) add_eos: bool,
    /// Sorted.
    pub(super) ends: Vec<u32>,
    pub(super) infill: InfillTokens,
}

/// Tokens that mark a gap in code for a model to fill, if the vocabulary has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InfillTokens {
    /// Precedes the code before the gap.
    pub prefix: Option<u32>,
    /// Precedes the code after the gap.
    pub suffix: Option<u32>,
    /// Precedes the code that fills the gap.
    pub middle: Option<u32>,
    /// Precedes the name of a repository.
    pub repository: Option<u32>,
    /// Precedes the name of a file.
    pub file: Option<u32>,
}

impl Roles {
    /// Reads the keys and searches for known texts. Corrects the kinds of the tokens that it recognises.
    pub(super) fn from_gguf(
        gguf: &Gguf<'_>,
        vocabulary: &mut Vocabulary<'_>,
        defaults: Defaults,
    ) -> Result<Self, TokenizerError> {
        let n_vocab = vocabulary.n_vocab();
        // A key that names a token which does not exist is ignored: many files were made with the ids of another
        // vocabulary, and no such token is essential.
        let named = |key: &'static str| match gguf.get(key) {
            None => Ok(None),
            Some(value) => match value.as_integer() {
                Some(id) => Ok(u32::try_from(id).ok().filter(|&id| (id as usize) < n_vocab)),
                None => gguf.u32_value(key),
            },
        };
        let or_default = |key, default: Option<u32>| {
            Ok::<_, TokenizerError>(named(key)?.or(default.filter(|&id| (id as usize) < n_vocab)))
        };
        let mut roles = Self {
            bos: or_default(BOS_KEY, defaults.bos)?,
            eos: or_default(EOS_KEY, defaults.eos)?,
            unknown: or_default(UNKNOWN_KEY, defaults.unknown)?,
            separator: or_default(SEP_KEY, defaults.separator)?,
            add_bos: gguf.bool_value("tokenizer.ggml.add_bos_token")?.unwrap_or(defaults.add_bos),
            add_eos: gguf.bool_value("tokenizer.ggml.add_eos_token")?.unwrap_or(defaults.add_eos),
            ends: Vec::new(),
            infill: InfillTokens::default(),
        };

        let texts = Texts::find(vocabulary)?;
        for &(key, ends, candidates) in FIM_TEXTS {
            let by_text = candidates.iter().find_map(|&text| texts.id_of(text));
            let id = match named(key)? {
                Some(id) => Some(id),
                None => {
                    if let Some(id) = by_text {
                        vocabulary.set_kind(id, TokenKind::Control);
                    }
                    by_text
                }
            };
            let infill = &mut roles.infill;
            match key {
                FIM_PREFIX_KEY => infill.prefix = id,
                FIM_SUFFIX_KEY => infill.suffix = id,
                FIM_MIDDLE_KEY => infill.middle = id,
                FIM_REPOSITORY_KEY => infill.repository = id,
                FIM_FILE_KEY => infill.file = id,
                _ => {}
            }
            if ends && let Some(id) = id {
                push(&mut roles.ends, id)?;
            }
        }
        for &text in END_TEXTS {
            if let Some(id) = texts.id_of(text) {
                push(&mut roles.ends, id)?;
                vocabulary.set_kind(id, TokenKind::Control);
            }
        }
        for &text in VISIBLE_TEXTS {
            if let Some(id) = texts.id_of(text) {
                vocabulary.set_kind(id, TokenKind::UserDefined);
            }
        }
        for id in [roles.eos, named(EOT_KEY)?, named(EOM_KEY)?].into_iter().flatten() {
            push(&mut roles.ends, id)?;
        }
        roles.drop_false_ends(&texts, vocabulary);
        let ends = core::mem::take(&mut roles.ends);
        for id in ends {
            sort::insert(&mut roles.ends, id).map_err(out_of_memory)?;
        }
        Ok(roles)
    }

    /// Removes texts that end a turn in most families but mean something else in this one.
    fn drop_false_ends(&mut self, texts: &Texts, vocabulary: &mut Vocabulary<'_>) {
        let is_end = |ends: &[u32], text| texts.id_of(text).is_some_and(|id| ends.contains(&id));
        let has_call = is_end(&self.ends, "<|call|>") || is_end(&self.ends, "<|calls|>");
        let has_last = is_end(&self.ends, "<|return|>") || is_end(&self.ends, "<|flush|>");
        if has_call
            && has_last
            && let Some(end) = texts.id_of("<|end|>")
        {
            self.ends.retain(|&id| id != end);
            vocabulary.set_kind(end, TokenKind::UserDefined);
        }
        if ENDS_BESIDE_ORDINARY_S.iter().any(|&text| is_end(&self.ends, text))
            && let Some(end) = texts.id_of("</s>")
        {
            self.ends.retain(|&id| id != end);
            vocabulary.set_kind(end, TokenKind::Normal);
        }
    }
}

/// The known texts that are in a vocabulary, with their ids.
struct Texts(Vec<(&'static str, u32)>);

impl Texts {
    fn find(vocabulary: &Vocabulary<'_>) -> Result<Self, TokenizerError> {
        let known = || {
            let by_key = FIM_TEXTS.iter().flat_map(|&(_, _, texts)| texts);
            by_key.chain(END_TEXTS).chain(VISIBLE_TEXTS).chain(ENDS_BESIDE_ORDINARY_S)
        };
        let mut found = Vec::new();
        for id in 0..vocabulary.n_vocab() as u32 {
            let piece = vocabulary.piece(id);
            // All known texts begin with one of these; most pieces do not.
            if !matches!(piece.first(), Some(b'<' | b'[' | b'_' | 0xe2)) {
                continue;
            }
            if let Some(&text) = known().find(|text| text.as_bytes() == piece) {
                push(&mut found, (text, id))?;
            }
        }
        Ok(Self(found))
    }

    fn id_of(&self, text: &str) -> Option<u32> {
        self.0.iter().find(|&&(known, _)| known == text).map(|&(_, id)| id)
    }
}
