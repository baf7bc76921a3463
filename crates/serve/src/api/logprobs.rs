//! Log-probabilities of tokens. Tokens are kept as ids until they are sent, and then written with the vocabulary's texts.

use alloc::string::String;
use alloc::vec::Vec;

use llm::front::{LogprobWish, Logprobs, TokenLogprob};
use llm::tokenizer::Tokenizer;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::route::Shape;
use crate::error::ApiError;

/// Most bytes written for a token besides its text.
const MAX_RECORD_BYTES: usize = 24;

/// Tokens that have arrived and were not sent yet.
#[derive(Debug, Default)]
pub struct LogprobLog {
    entries: Vec<Entry>,
    /// The likeliest tokens at each of their positions.
    top: Vec<TokenLogprob>,
    /// Number of characters of the tokens that have been sent.
    n_told: usize,
}

#[derive(Debug)]
struct Entry {
    chosen: TokenLogprob,
    n_top: usize,
}

impl LogprobLog {
    /// Adds a token.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn push(&mut self, id: u32, logprobs: &Logprobs<'_>) -> Result<(), ApiError> {
        self.entries.try_reserve(1).map_err(|_| ApiError::out_of_memory())?;
        self.top.try_reserve(logprobs.top.len()).map_err(|_| ApiError::out_of_memory())?;
        let chosen = TokenLogprob { id, logprob: logprobs.chosen };
        self.entries.push(Entry { chosen, n_top: logprobs.top.len() });
        self.top.extend_from_slice(logprobs.top);
        Ok(())
    }

    /// Whether all tokens that have arrived were sent.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets the tokens, which have been sent.
    pub fn clear(&mut self, tokenizer: &Tokenizer<'_>) {
        let mut bytes = Vec::new();
        for entry in &self.entries {
            self.n_told += text(tokenizer, entry.chosen.id, &mut bytes).chars().count();
        }
        self.entries.clear();
        self.top.clear();
    }

    /// The tokens, each with the likeliest tokens at its position.
    fn places(&self) -> impl Iterator<Item = (TokenLogprob, &[TokenLogprob])> {
        let mut rest = &self.top[..];
        self.entries.iter().map(move |entry| {
            let (top, others) = rest.split_at(entry.n_top);
            rest = others;
            (entry.chosen, top)
        })
    }
}

/// The tokens of a piece of an answer, in the shape of its route; `null` if they were not asked for.
#[derive(Clone, Copy, Default)]
pub struct Told<'l>(Option<(&'l LogprobLog, &'l Tokenizer<'l>, Shape, LogprobWish)>);

impl<'l> Told<'l> {
    /// The tokens of a log.
    pub fn new(log: &'l LogprobLog, tokenizer: &'l Tokenizer<'l>, shape: Shape, wish: LogprobWish) -> Self {
        Self(Some((log, tokenizer, shape, wish)))
    }

    /// Whether there is nothing to send.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// An upper bound of the bytes of its texts: each is written as a text and as numbers.
    pub fn text_bytes(&self) -> usize {
        let Some((log, tokenizer, ..)) = self.0 else { return 0 };
        let mut bytes = Vec::new();
        let mut record = |token: &TokenLogprob| {
            text(tokenizer, token.id, &mut bytes);
            2 * bytes.len() + MAX_RECORD_BYTES
        };
        let mut place = |(chosen, top): (TokenLogprob, &[TokenLogprob])| {
            record(&chosen) + top.iter().map(&mut record).sum::<usize>()
        };
        log.places().map(&mut place).sum()
    }
}

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some((log, tokenizer, shape, wish)) = self.0 else { return serializer.serialize_none() };
        let as_probabilities = wish.after_sampling;
        let places = Places {
            log,
            tokenizer,
            with_ids: matches!(shape, Shape::Native | Shape::Infill),
            as_probabilities,
        };
        match shape {
            Shape::Native | Shape::Infill => places.serialize(serializer),
            Shape::Chat => {
                let mut object = serializer.serialize_map(Some(1))?;
                object.serialize_entry("content", &places)?;
                object.end()
            }
            Shape::Completion => {
                let mut object = serializer.serialize_map(Some(4))?;
                object.serialize_entry("tokens", &Column(places, Places::token))?;
                object.serialize_entry("token_logprobs", &Column(places, Places::number))?;
                object.serialize_entry("top_logprobs", &Column(places, Places::top))?;
                object.serialize_entry("text_offset", &Offsets(places))?;
                object.end()
            }
            // These shapes do not report tokens.
            Shape::Messages | Shape::Responses => serializer.serialize_none(),
        }
    }
}

/// All tokens, in the form of chat completions.
#[derive(Clone, Copy)]
struct Places<'l> {
    log: &'l LogprobLog,
    tokenizer: &'l Tokenizer<'l>,
    with_ids: bool,
    /// Whether probabilities are written instead of their logarithms, as llama.cpp does for those after sampling.
    as_probabilities: bool,
}

impl Serialize for Places<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for (token, top) in self.log.places() {
            list.serialize_element(&Record { places: self, token, top: Some(top) })?;
        }
        list.end()
    }
}

/// A token, and the likeliest tokens at its position.
struct Record<'r> {
    places: &'r Places<'r>,
    token: TokenLogprob,
    top: Option<&'r [TokenLogprob]>,
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        let text = text(self.places.tokenizer, self.token.id, &mut bytes);
        let mut object = serializer.serialize_map(None)?;
        if self.places.with_ids {
            object.serialize_entry("id", &self.token.id)?;
        }
        object.serialize_entry("token", &text)?;
        let (name, number, top_name) = match self.places.as_probabilities {
            true => ("prob", self.token.probability(), "top_probs"),
            false => ("logprob", self.token.logprob, "top_logprobs"),
        };
        object.serialize_entry(name, &number)?;
        object.serialize_entry("bytes", &bytes)?;
        if let Some(top) = self.top {
            object.serialize_entry(top_name, &TopRecords { places: self.places, top })?;
        }
        object.end()
    }
}

struct TopRecords<'r> {
    places: &'r Places<'r>,
    top: &'r [TokenLogprob],
}

impl Serialize for TopRecords<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.top.len()))?;
        for &token in self.top {
            list.serialize_element(&Record { places: self.places, token, top: None })?;
        }
        list.end()
    }
}

type Place<'l> = (TokenLogprob, &'l [TokenLogprob]);

/// One property of each token, in the form of completions.
struct Column<'l, F>(Places<'l>, F);

/// The property.
enum Cell<'l> {
    Text(String),
    Number(f32),
    Top(&'l [TokenLogprob]),
}

impl<'l> Places<'l> {
    fn token(&self, (token, _): Place<'l>) -> Cell<'l> {
        Cell::Text(text(self.tokenizer, token.id, &mut Vec::new()))
    }

    fn number(&self, (token, _): Place<'l>) -> Cell<'l> {
        Cell::Number(token.logprob)
    }

    fn top(&self, (_, top): Place<'l>) -> Cell<'l> {
        Cell::Top(top)
    }
}

impl<'l, F: Fn(&Places<'l>, Place<'l>) -> Cell<'l>> Serialize for Column<'l, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for place in self.0.log.places() {
            match (self.1)(&self.0, place) {
                Cell::Text(text) => list.serialize_element(&text)?,
                Cell::Number(number) => list.serialize_element(&number)?,
                Cell::Top(top) => list.serialize_element(&TopByText { places: &self.0, top })?,
            }
        }
        list.end()
    }
}

struct TopByText<'r> {
    places: &'r Places<'r>,
    top: &'r [TokenLogprob],
}

impl Serialize for TopByText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.top.len()))?;
        for token in self.top {
            object
                .serialize_entry(&text(self.places.tokenizer, token.id, &mut Vec::new()), &token.logprob)?;
        }
        object.end()
    }
}

/// Where each token begins, in characters of the answer.
struct Offsets<'l>(Places<'l>);

impl Serialize for Offsets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        let mut offset = self.0.log.n_told;
        let mut bytes = Vec::new();
        for (token, _) in self.0.log.places() {
            list.serialize_element(&offset)?;
            offset += text(self.0.tokenizer, token.id, &mut bytes).chars().count();
        }
        list.end()
    }
}

/// The text of a token; its bytes are left in `bytes`. An incomplete character is shown as U+FFFD.
fn text(tokenizer: &Tokenizer<'_>, id: u32, bytes: &mut Vec<u8>) -> String {
    bytes.clear();
    // The id comes from the model that this vocabulary belongs to.
    let _ = tokenizer.token_bytes(id, bytes);
    String::from_utf8_lossy(bytes).into_owned()
}
