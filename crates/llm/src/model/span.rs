//! The input of one pass: spans of sequences.
//!
//! A batch is a list of [`Span`]s, each of them consecutive positions of one sequence: a prompt or a part of one, or
//! one generated token. Matrix products process the tokens of all spans at once; operations that mix positions
//! ([`Batch::spans`]) process one span after the other.

use crate::compute::BatchSpan;

/// Consecutive positions of one sequence.
#[derive(Debug, Clone, Copy)]
pub struct Span<'t> {
    /// The number of the sequence's state.
    pub slot: usize,
    /// The position of the first token; the sequence's state has those before it.
    pub first_position: usize,
    /// The inputs at these positions.
    pub input: Input<'t>,
    /// The positions whose logits are requested.
    pub logits: Logits<'t>,
}

/// The input of a model.
#[derive(Debug, Clone, Copy)]
pub enum Input<'t> {
    /// Ids of tokens.
    Tokens(&'t [u32]),
    /// `[n_tokens][n_embd]`: vectors that replace rows of the embedding matrix, for example from an image encoder,
    /// already scaled as the model does. Embeddings per layer are those of token 0.
    Embeddings(&'t [f32]),
}

/// The positions of a span whose logits are requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logits<'t> {
    /// None: the span is only added to the sequence's state.
    None,
    /// The logits after the last token.
    Last,
    /// The logits after each of the last N tokens.
    Tail(usize),
    /// The logits after every token.
    All,
    /// The logits after the tokens with these indices, counted from the span's first token, ascending.
    Rows(&'t [usize]),
}

impl Input<'_> {
    /// The number of tokens, in a model of this width.
    pub fn n_tokens(&self, n_embd: usize) -> usize {
        match self {
            Input::Tokens(tokens) => tokens.len(),
            Input::Embeddings(rows) => rows.len() / n_embd,
        }
    }
}

impl Logits<'_> {
    /// How many rows of logits a span of `n_tokens` gives.
    pub fn rows(&self, n_tokens: usize) -> usize {
        match self {
            Logits::None => 0,
            Logits::Last => n_tokens.min(1),
            Logits::Tail(n) => *n,
            Logits::All => n_tokens,
            Logits::Rows(rows) => rows.len(),
        }
    }

    /// Whether the requested tokens are all in a span of `n_tokens`, and in ascending order.
    pub(crate) fn are_in(&self, n_tokens: usize) -> bool {
        match self {
            Logits::Rows(rows) => {
                rows.is_sorted_by(|a, b| a < b) && rows.last().is_none_or(|&row| row < n_tokens)
            }
            Logits::Tail(n) => *n <= n_tokens,
            _ => true,
        }
    }

    /// The index of the token of row `row`, counted from the span's first token.
    fn token(&self, row: usize, n_tokens: usize) -> usize {
        match self {
            Logits::Rows(rows) => rows[row],
            _ => n_tokens - self.rows(n_tokens) + row,
        }
    }
}

/// The tokens that a layer computes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch<'b> {
    /// The layer's number.
    pub layer: usize,
    /// Tokens of all spans.
    pub n_tokens: usize,
    n_embd: usize,
    spans: &'b [Span<'b>],
}

impl<'b> Batch<'b> {
    /// The batch of these spans, for the first layer of a model of this width.
    pub fn new(spans: &'b [Span<'b>], n_embd: usize) -> Self {
        let n_tokens = spans.iter().map(|span| span.input.n_tokens(n_embd)).sum();
        Batch { layer: 0, n_tokens, n_embd, spans }
    }

    /// The same in layer number `layer`.
    pub fn in_layer(self, layer: usize) -> Self {
        Batch { layer, ..self }
    }

    /// The ranges and positions of the spans, in order.
    pub fn spans(self) -> impl Iterator<Item = BatchSpan> + Clone + Send {
        let mut first_token = 0;
        self.spans.iter().map(move |span| {
            let n_tokens = span.input.n_tokens(self.n_embd);
            let place =
                BatchSpan { slot: span.slot, first_position: span.first_position, first_token, n_tokens };
            first_token += n_tokens;
            place
        })
    }

    /// Each token's slot and position.
    pub fn places(self) -> impl Iterator<Item = (usize, usize)> + Clone {
        self.spans().flat_map(|span| {
            (span.first_position..span.first_position + span.n_tokens)
                .map(move |position| (span.slot, position))
        })
    }

    /// Each token's position.
    pub fn positions(self) -> impl Iterator<Item = usize> + Clone {
        self.places().map(|(_, position)| position)
    }

    /// Each token's id; token 0's for an embedding.
    pub fn token_ids(self) -> impl Iterator<Item = u32> {
        self.spans.iter().flat_map(move |span| {
            let ids = match span.input {
                Input::Tokens(ids) => ids,
                Input::Embeddings(_) => &[],
            };
            (0..span.input.n_tokens(self.n_embd)).map(|token| ids.get(token).copied().unwrap_or(0))
        })
    }

    /// The inputs of all spans.
    pub fn inputs(self) -> impl Iterator<Item = Input<'b>> {
        self.spans.iter().map(|span| span.input)
    }

    /// How many rows of logits are requested.
    pub fn n_rows(self) -> usize {
        self.spans.iter().map(|span| span.logits.rows(span.input.n_tokens(self.n_embd))).sum()
    }

    /// The indices of the tokens whose logits are requested, counted from the batch's first token.
    pub fn wanted(self) -> impl Iterator<Item = usize> {
        self.spans.iter().zip(self.spans()).flat_map(|(span, place)| {
            let n_rows = span.logits.rows(place.n_tokens);
            (0..n_rows).map(move |row| place.first_token + span.logits.token(row, place.n_tokens))
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    #[test]
    fn tokens_places_and_rows_follow_the_order_of_the_spans() {
        let spans = [
            Span {
                slot: 2,
                first_position: 5,
                input: Input::Tokens(&[7, 8, 9]),
                logits: Logits::Rows(&[0, 2]),
            },
            Span { slot: 0, first_position: 0, input: Input::Embeddings(&[0.0; 8]), logits: Logits::None },
            Span { slot: 1, first_position: 9, input: Input::Tokens(&[3]), logits: Logits::Last },
            Span { slot: 3, first_position: 1, input: Input::Tokens(&[4, 5]), logits: Logits::All },
            Span { slot: 4, first_position: 1, input: Input::Tokens(&[6, 6, 6]), logits: Logits::Tail(2) },
        ];
        let batch = Batch::new(&spans, 4);
        assert_eq!(batch.n_tokens, 11);
        assert_eq!(
            batch.places().collect::<Vec<_>>(),
            [(2, 5), (2, 6), (2, 7), (0, 0), (0, 1), (1, 9), (3, 1), (3, 2), (4, 1), (4, 2), (4, 3)]
        );
        assert_eq!(batch.token_ids().collect::<Vec<_>>(), [7, 8, 9, 0, 0, 3, 4, 5, 6, 6, 6]);
        assert_eq!(batch.wanted().collect::<Vec<_>>(), [0, 2, 5, 6, 7, 9, 10]);
        assert_eq!(batch.n_rows(), 7);
        assert!(Logits::Tail(3).are_in(3) && !Logits::Tail(4).are_in(3));
    }
}
