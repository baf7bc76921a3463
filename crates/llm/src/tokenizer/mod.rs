//! Text to token ids and back.
//!
//! [`Tokenizer::from_gguf`] reads a vocabulary in place: the pieces stay in the file's bytes, and only index tables of
//! a few bytes per token are built. [`Tokenizer::encode`] turns text into ids, [`Tokenizer::decode`] turns ids into
//! text, [`StreamDecoder`] does so one token at a time.
//!
//! | `tokenizer.ggml.model` | | module |
//! |---|---|---|
//! | `llama` | SentencePiece-style: characters joined in the order of the resulting tokens' scores | `sentencepiece` |
//! | `gpt2` | byte-level BPE: a [pre-tokenizer](self) cuts the text into words, a list of merges joins bytes | `bpe`, `pre_tokenizer` |
//! | `gemma4` | BPE on characters; a character without a token becomes bytes | `bpe` |
//! | `whitespace` | BPE on the characters of words; white space is dropped | `bpe` |
//! | `bert` | WordPiece: words covered by the longest pieces | `wordpiece` |
//! | `t5` | Unigram: the likeliest sequence of tokens that covers a text, after normalisation | `unigram`, `charsmap` |
//! | `rwkv` | the longest token first, on bytes | `rwkv` |
//! | `plamo2` | the likeliest sequence of tokens that covers a text | `plamo2` |
//!
//! The last four find tokens with `prefixes`.
//!
//! The ids are those of llama.cpp. Its rules are followed even where a family's own code differs.
//!
//! # Example
//!
//! A vocabulary of three tokens, of which the longest that fits is always taken:
//!
//! ```
//! use llm::gguf::{Gguf, GgufWriter};
//! use llm::tokenizer::{EncodeOptions, Tokenizer};
//!
//! let mut header = GgufWriter::new();
//! header.put_str("tokenizer.ggml.model", "rwkv")?;
//! header.put_strings("tokenizer.ggml.tokens", ["a", "b", "ab"].iter())?;
//! let mut file = Vec::new();
//! header.write_header(|bytes| {
//!     file.extend_from_slice(bytes);
//!     Ok::<_, std::convert::Infallible>(())
//! })?;
//!
//! let gguf = Gguf::parse(&file, file.len() as u64)?;
//! let tokenizer = Tokenizer::from_gguf(&gguf)?;
//! let mut ids = Vec::new();
//! tokenizer.encode("abba", EncodeOptions::default(), &mut ids)?;
//! assert_eq!(ids, [2, 1, 0]);
//! assert_eq!(tokenizer.decode_text(&ids)?, "abba");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod adjacency;
mod bpe;
mod byte_level;
mod charsmap;
mod error;
mod hash;
mod merge;
mod outside;
mod plamo2;
mod pre_tokenizer;
mod prefixes;
mod roles;
mod rwkv;
mod sentencepiece;
mod special;
mod stream;
mod unicode;
mod unigram;
mod vocabulary;
mod wordpiece;

use alloc::string::String;
use alloc::vec::Vec;

pub use error::TokenizerError;
pub use roles::InfillTokens;
pub use stream::StreamDecoder;
pub use vocabulary::TokenKind;

use bpe::{Bpe, DroppedSpace};
use error::{MAX_TEXT_BYTES, push};
use plamo2::Plamo2;
use pre_tokenizer::{Alphabet, PreTokenizer};
use prefixes::Prefixes;
use roles::{BOS_KEY, Defaults, EOS_KEY, Roles, SEP_KEY};
use rwkv::Rwkv;
use sentencepiece::SentencePiece;
use special::{Fragment, SpecialTokens};
use unigram::Unigram;
use vocabulary::{Spelling, Vocabulary};
use wordpiece::WordPiece;

use crate::gguf::{Gguf, Name};

/// How a text is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EncodeOptions {
    /// Add the tokens that begin and end a text, where the file asks for them.
    pub add_special: bool,
    /// Recognise the texts of control tokens, such as `<|im_start|>`, as these tokens. User-defined tokens are always
    /// recognised.
    pub parse_special: bool,
}

/// The vocabulary of a model and the algorithm that encodes with it.
#[derive(Debug)]
pub struct Tokenizer<'a> {
    vocabulary: Vocabulary<'a>,
    special: SpecialTokens,
    roles: Roles,
    algorithm: Algorithm<'a>,
    longest_piece_bytes: usize,
}

#[derive(Debug)]
enum Algorithm<'a> {
    SentencePiece(SentencePiece),
    Bpe(Bpe),
    WordPiece(WordPiece),
    Unigram(Unigram<'a>),
    Rwkv(Rwkv),
    Plamo2(Plamo2),
}

impl<'a> Tokenizer<'a> {
    /// Reads the tokenizer of a model file.
    ///
    /// # Errors
    /// The error names the key that is missing or wrong, or the kind of tokenizer that is not supported.
    pub fn from_gguf(gguf: &Gguf<'a>) -> Result<Self, TokenizerError> {
        let pre_tokenizer = || PreTokenizer::by_name(gguf.str_value("tokenizer.ggml.pre")?);
        match gguf.require_str("tokenizer.ggml.model")? {
            "llama" => Self::sentencepiece(gguf),
            "gpt2" => Self::bpe(gguf, pre_tokenizer()?, FIRST_SPECIAL, None),
            "whitespace" => {
                let pre_tokenizer = pre_tokenizer()?;
                let lowercase = lowercase(gguf, pre_tokenizer.alphabet != Alphabet::PlainChars)?;
                Self::bpe(gguf, pre_tokenizer, FIRST_SPECIAL, Some(DroppedSpace { lowercase }))
            }
            "gemma4" => Self::bpe(gguf, PreTokenizer::by_name(Some("gemma4"))?, None, None),
            "bert" => Self::wordpiece(gguf),
            "t5" => Self::unigram(gguf),
            "rwkv" => {
                let rwkv = |vocabulary: &mut _| Rwkv::new(vocabulary).map(Algorithm::Rwkv);
                Self::new(gguf, Spelling::Backslashes, Defaults::default(), rwkv).map(Self::adding_nothing)
            }
            "plamo2" => {
                let defaults =
                    Defaults { bos: Some(1), eos: Some(2), unknown: Some(0), ..Defaults::default() };
                let plamo2 = |vocabulary: &mut _| Plamo2::new(vocabulary).map(Algorithm::Plamo2);
                Self::new(gguf, Spelling::Plain, defaults, plamo2).map(Self::adding_nothing)
            }
            model => Err(TokenizerError::UnsupportedModel { model: Name::from(model) }),
        }
    }

    fn sentencepiece(gguf: &Gguf<'a>) -> Result<Self, TokenizerError> {
        let defaults =
            Defaults { bos: Some(1), eos: Some(2), unknown: Some(0), add_bos: true, ..Defaults::default() };
        let add_space_prefix = gguf.bool_value("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        Self::new(gguf, Spelling::Escaped, defaults, |vocabulary| {
            Ok(Algorithm::SentencePiece(SentencePiece::new(vocabulary, add_space_prefix)))
        })
    }

    fn bpe(
        gguf: &Gguf<'a>,
        pre_tokenizer: &'static PreTokenizer,
        first_special: Option<u32>,
        dropped_space: Option<DroppedSpace>,
    ) -> Result<Self, TokenizerError> {
        let defaults = Defaults {
            bos: first_special,
            eos: first_special,
            add_bos: pre_tokenizer.add_bos,
            ..Defaults::default()
        };
        let mut tokenizer = Self::new(gguf, pre_tokenizer.alphabet.spelling(), defaults, |vocabulary| {
            Bpe::from_gguf(gguf, vocabulary, pre_tokenizer, dropped_space).map(Algorithm::Bpe)
        })?;
        // The first files of this family say no although the model needs the token.
        tokenizer.roles.add_bos |= pre_tokenizer.alphabet == Alphabet::CharsWholeNewlines;
        Ok(tokenizer)
    }

    fn wordpiece(gguf: &Gguf<'a>) -> Result<Self, TokenizerError> {
        let defaults = Defaults {
            bos: Some(101),
            unknown: Some(100),
            separator: Some(102),
            add_bos: true,
            ..Defaults::default()
        };
        let lowercase = lowercase(gguf, true)?;
        let strip_accents = gguf.bool_value("tokenizer.ggml.normalizer.strip_accents")?.unwrap_or(lowercase);
        Self::new(gguf, Spelling::Escaped, defaults, |vocabulary| {
            let tokens = Prefixes::of_those(vocabulary.pieces(), &|_| true)?;
            Ok(Algorithm::WordPiece(WordPiece { tokens, lowercase, strip_accents }))
        })
    }

    fn unigram(gguf: &Gguf<'a>) -> Result<Self, TokenizerError> {
        let defaults = Defaults { eos: Some(1), unknown: Some(2), add_eos: true, ..Defaults::default() };
        Self::new(gguf, Spelling::Escaped, defaults, |vocabulary| {
            Unigram::from_gguf(gguf, vocabulary).map(Algorithm::Unigram)
        })
    }

    /// The same tokenizer, but it adds no tokens around a text, whatever the file asks for. The reference does this for
    /// some kinds.
    fn adding_nothing(mut self) -> Self {
        self.roles.add_bos = false;
        self.roles.add_eos = false;
        self
    }

    fn new(
        gguf: &Gguf<'a>,
        spelling: Spelling,
        defaults: Defaults,
        algorithm: impl FnOnce(&mut Vocabulary<'a>) -> Result<Algorithm<'a>, TokenizerError>,
    ) -> Result<Self, TokenizerError> {
        let mut vocabulary = Vocabulary::from_gguf(gguf, spelling)?;
        // Must come before kinds are corrected: the algorithm uses the kinds in the file.
        let algorithm = algorithm(&mut vocabulary)?;
        let roles = Roles::from_gguf(gguf, &mut vocabulary, defaults)?;
        let mut special = SpecialTokens::new(&vocabulary)?;
        special.find_stripping(gguf, &vocabulary)?;
        let longest_piece_bytes = (0..vocabulary.n_vocab() as u32).map(|id| vocabulary.piece(id).len()).max();
        Ok(Self {
            algorithm,
            special,
            roles,
            longest_piece_bytes: longest_piece_bytes.unwrap_or(0),
            vocabulary,
        })
    }

    /// Appends the ids of a text.
    ///
    /// # Errors
    /// [`TokenizerError::MissingToken`] if a token must be added that the file does not name,
    /// [`TokenizerError::UnknownByte`] if the vocabulary cannot spell the text, [`TokenizerError::TextTooLong`],
    /// [`TokenizerError::OutOfMemory`].
    pub fn encode(
        &self,
        text: &str,
        options: EncodeOptions,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        self.encode_bytes(text.as_bytes(), options, out)
    }

    /// Appends the ids of arbitrary bytes, as [`Tokenizer::encode`] does for a text.
    ///
    /// Bytes that are not UTF-8 are kept where the vocabulary has tokens for single bytes.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub fn encode_bytes(
        &self,
        text: &[u8],
        options: EncodeOptions,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(TokenizerError::TextTooLong { len_bytes: text.len() });
        }
        if options.add_special && self.add_bos() {
            push(out, required(self.roles.bos, BOS_KEY)?)?;
        }
        let mut behind_special = true;
        let vocabulary = &self.vocabulary;
        self.special.split(vocabulary, text, options.parse_special, &mut |fragment| {
            let range = match fragment {
                Fragment::Token(id) => {
                    behind_special = true;
                    return push(out, id);
                }
                Fragment::Text(range) => range,
            };
            let first = core::mem::replace(&mut behind_special, false);
            let (text, unknown) = (&text[range], self.roles.unknown);
            match &self.algorithm {
                Algorithm::SentencePiece(model) => model.encode(vocabulary, unknown, text, first, out),
                Algorithm::Bpe(model) => model.encode(vocabulary, text, out),
                Algorithm::WordPiece(model) => model.encode(vocabulary, unknown, text, out),
                Algorithm::Unigram(model) => model.encode(vocabulary, unknown, text, out),
                Algorithm::Rwkv(model) => model.encode(unknown, text, out),
                Algorithm::Plamo2(model) => model.encode(vocabulary, text, out),
            }
        })?;
        if options.add_special {
            match self.algorithm {
                Algorithm::WordPiece(_) => push(out, required(self.roles.separator, SEP_KEY)?)?,
                _ if self.roles.add_eos => push(out, required(self.roles.eos, EOS_KEY)?)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The exact text whose ids [`Tokenizer::encode_bytes`] gave.
    ///
    /// Spaces that encoding added in front are removed again; control tokens give no text. WordPiece loses upper case,
    /// accents and white space; Unigram loses what its character map replaces.
    ///
    /// # Errors
    /// [`TokenizerError::NoSuchToken`], [`TokenizerError::OutOfMemory`].
    pub fn decode(&self, ids: &[u32]) -> Result<Vec<u8>, TokenizerError> {
        let prefixed = match &self.algorithm {
            Algorithm::SentencePiece(model) => model.add_space_prefix,
            Algorithm::Unigram(model) => model.prefixes_space(),
            _ => false,
        };
        let mut text = Vec::new();
        let mut behind_special = true;
        for &id in ids {
            let start = text.len();
            self.token_bytes(id, &mut text)?;
            let special = self.special.contains(&self.vocabulary, id);
            if prefixed && behind_special && !special && text.get(start) == Some(&b' ') {
                text.remove(start);
            }
            behind_special = special;
        }
        Ok(text)
    }

    /// The same as text: each part that is not valid UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    /// Those of [`decode`](Self::decode).
    pub fn decode_text(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        let bytes = match String::from_utf8(self.decode(ids)?) {
            Ok(text) => return Ok(text),
            Err(broken) => broken.into_bytes(),
        };
        let mut text = String::new();
        for chunk in bytes.utf8_chunks() {
            let replacement = if chunk.invalid().is_empty() { "" } else { "\u{fffd}" };
            for piece in [chunk.valid(), replacement] {
                let needed_bytes = text.len() + piece.len();
                text.try_reserve(piece.len()).map_err(|_| TokenizerError::OutOfMemory { needed_bytes })?;
                text.push_str(piece);
            }
        }
        Ok(text)
    }

    /// Appends the bytes of one token: a piece of a text, which may end inside a character. Control tokens have no
    /// bytes.
    ///
    /// # Errors
    /// [`TokenizerError::NoSuchToken`], [`TokenizerError::OutOfMemory`].
    pub fn token_bytes(&self, id: u32, out: &mut Vec<u8>) -> Result<(), TokenizerError> {
        self.check_id(id)?;
        self.vocabulary.append_text(id, out)
    }

    /// A token as the file writes it, such as `▁the`, `Ġthe` or `<|im_start|>`.
    ///
    /// # Errors
    /// [`TokenizerError::NoSuchToken`].
    pub fn piece(&self, id: u32) -> Result<&'a [u8], TokenizerError> {
        self.check_id(id)?;
        Ok(self.vocabulary.piece(id))
    }

    /// The kind of a token.
    ///
    /// # Errors
    /// [`TokenizerError::NoSuchToken`].
    pub fn kind(&self, id: u32) -> Result<TokenKind, TokenizerError> {
        self.check_id(id)?;
        Ok(self.vocabulary.kind(id))
    }

    /// The special token with exactly this text, such as `<|im_end|>`.
    pub fn special_id(&self, text: &str) -> Option<u32> {
        self.special.id_of(&self.vocabulary, text.as_bytes())
    }

    /// Number of tokens.
    pub fn n_vocab(&self) -> usize {
        self.vocabulary.n_vocab()
    }

    /// The token that begins a text.
    pub fn bos_id(&self) -> Option<u32> {
        self.roles.bos
    }

    /// The token that ends a text.
    pub fn eos_id(&self) -> Option<u32> {
        self.roles.eos
    }

    /// The tokens around a gap in code.
    pub fn infill(&self) -> InfillTokens {
        self.roles.infill
    }

    /// The token between two texts, if the file names one or the kind of tokenizer defines one.
    pub fn separator_id(&self) -> Option<u32> {
        self.roles.separator
    }

    /// Whether texts end with [`Tokenizer::separator_id`], as those of BERT's family do.
    pub fn ends_with_separator(&self) -> bool {
        matches!(self.algorithm, Algorithm::WordPiece(_))
    }

    /// Whether encoding with [`EncodeOptions::add_special`] puts [`Tokenizer::eos_id`] at the end.
    pub fn add_eos(&self) -> bool {
        self.roles.add_eos && !self.ends_with_separator()
    }

    /// Whether encoding with [`EncodeOptions::add_special`] puts [`Tokenizer::bos_id`] in front.
    pub fn add_bos(&self) -> bool {
        match self.algorithm {
            Algorithm::WordPiece(_) => true,
            _ => self.roles.add_bos,
        }
    }

    /// Whether a generation ends with this token: the end of a text, of a turn or of a message.
    pub fn is_end_of_generation(&self, id: u32) -> bool {
        self.roles.ends.binary_search(&id).is_ok()
    }

    /// The length of the longest piece: an upper bound for the number of bytes that [`Tokenizer::token_bytes`] appends.
    pub fn longest_piece_bytes(&self) -> usize {
        self.longest_piece_bytes
    }

    fn check_id(&self, id: u32) -> Result<(), TokenizerError> {
        let n_vocab = self.n_vocab();
        if id as usize >= n_vocab {
            return Err(TokenizerError::NoSuchToken { id, n_vocab });
        }
        Ok(())
    }
}

/// The token with which the first byte-level vocabulary began and ended texts. The reference uses it as the default.
const FIRST_SPECIAL: Option<u32> = Some(11);

/// Whether upper case is converted to lower case.
fn lowercase(gguf: &Gguf<'_>, default: bool) -> Result<bool, TokenizerError> {
    Ok(gguf.bool_value("tokenizer.ggml.normalizer.lowercase")?.unwrap_or(default))
}

fn required(id: Option<u32>, key: &'static str) -> Result<u32, TokenizerError> {
    id.ok_or(TokenizerError::MissingToken { key })
}
