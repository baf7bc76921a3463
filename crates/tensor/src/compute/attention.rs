//! Scaled dot-product attention of a batch (Vaswani et al. 2017), divided among cores.
//!
//! A batch is a list of spans; each span attends to its own sequence. Heads that share their keys and values are computed
//! together, a few at a time. If there are only few such heads, several positions are computed together as well. Each key and
//! value is then loaded once for all of them. [`Kernels`](crate::simd::Kernels) does the computation.

use core::ops::Range;

use super::Compute;
use crate::kv_cache::{CacheType, HeadElements, HeadPages};
use crate::parallel::for_each;
use crate::simd::{Attend, MAX_QUERIES, Query, RelativeBias, Vectors};

/// Least number of pieces of work for each core, so that a core taken away for a while delays the others only a little.
const CHUNKS_PER_WORKER: usize = 2;

/// Attention of all heads of a batch.
pub struct BatchAttention<'a> {
    /// The instruction set and the cores that compute.
    pub compute: Compute<'a>,
    /// Heads with queries.
    pub n_head: usize,
    /// Heads with keys and values; each is shared by the same number of query heads.
    pub n_head_kv: usize,
    /// Elements of a query and a key.
    pub head_len_k: usize,
    /// Elements of a value and an output.
    pub head_len_v: usize,
    /// The factor for products of queries and keys.
    pub scale: f32,
    /// Scores become `c · tanh(score / c)`.
    pub softcap: Option<f32>,
    /// What is then added to scores, depending on the distance between key and query.
    pub relative: Option<RelativeBias<'a>>,
    /// The positions that queries attend to, in the form of [`Attend::mask`], if they do not attend to all visible positions.
    pub mask: Option<&'a [u64]>,
}

/// Consecutive tokens of one sequence within a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSpan {
    /// The slot that holds the sequence's state.
    pub slot: usize,
    /// The position of the first token in its sequence.
    pub first_position: usize,
    /// The index of the first token in the batch.
    pub first_token: usize,
    /// Number of tokens.
    pub n_tokens: usize,
}

impl BatchSpan {
    /// Its range within the rows of the whole batch, `[n_tokens][width]`.
    pub fn rows(&self, width: usize) -> Range<usize> {
        self.first_token * width..(self.first_token + self.n_tokens) * width
    }
}

/// The keys and values of one head of a sequence.
#[derive(Debug, Clone, Copy)]
pub struct Context<'c> {
    /// In each page, `[PAGE_LEN][stride_k]`.
    pub keys: HeadPages<'c>,
    /// In each page, `[PAGE_LEN][stride_v]`; a value may be the beginning of a longer vector.
    pub values: HeadPages<'c>,
    /// Elements from one key to the next.
    pub stride_k: usize,
    /// Elements from one value to the next.
    pub stride_v: usize,
    /// The sequence's pages, in order.
    pub pages: &'c [u32],
}

/// What a query sees, and how scores change.
#[derive(Debug, Clone)]
pub struct QueryMask {
    /// The visible positions.
    pub visible: Range<usize>,
    /// How much a score loses per position of distance between key and query (ALiBi).
    pub slope: f32,
    /// An additional score that takes part in the softmax but adds nothing to the output.
    pub sink: Option<f32>,
    /// Index of the query's first word in [`BatchAttention::mask`].
    pub mask_at: usize,
}

/// How a span is divided: into pieces of several tokens with all heads, or of a single token with some of the heads that share
/// keys and values.
#[derive(Debug, Clone, Copy)]
struct Tiling {
    n_tokens: usize,
    n_heads: usize,
}

/// A piece of work for one core: some heads of some tokens of a span.
struct Piece<'o> {
    span: BatchSpan,
    /// Index of the first token, counted from the span's first.
    first_token: usize,
    first_head: usize,
    has_all_heads: bool,
    /// The outputs of its tokens and heads.
    output: &'o mut [f32],
}

impl BatchAttention<'_> {
    /// `output = softmax(scores(q · keysᵀ)) · values`; `q` is `[n_tokens][n_head][head_len_k]`, `output`
    /// `[n_tokens][n_head][head_len_v]`.
    ///
    /// `spans` cover all tokens of the batch, in order. `context` returns the keys and values of a head in a slot; `query_mask`
    /// returns what the query of a head at a position sees in its span.
    pub fn run<'c>(
        &self,
        spans: impl Iterator<Item = BatchSpan> + Send,
        q: &[f32],
        context: impl Fn(usize, usize) -> Context<'c> + Sync,
        query_mask: impl Fn(&BatchSpan, usize, usize) -> QueryMask + Sync,
        output: &mut [f32],
    ) {
        let BatchAttention { n_head, n_head_kv, head_len_k, head_len_v, .. } = *self;
        let n_group = n_head / n_head_kv;
        let token_len = n_head * head_len_v;
        let n_tokens = output.len() / token_len;
        // Where the piece begins, and its outputs, which are contiguous in memory.
        let mut rest = output;
        let pieces = spans.flat_map(|span| {
            let (output, others) = core::mem::take(&mut rest).split_at_mut(span.n_tokens * token_len);
            rest = others;
            let tiling = self.tiling(span.n_tokens, n_tokens);
            let tokens = output.chunks_mut(tiling.n_tokens * token_len).enumerate();
            tokens.flat_map(move |(index, tokens)| {
                let groups =
                    tokens.chunks_mut(tiling.n_tokens * n_group.max(tiling.n_heads) * head_len_v).enumerate();
                groups.flat_map(move |(group, heads)| {
                    let pieces = heads.chunks_mut(tiling.n_tokens * tiling.n_heads * head_len_v).enumerate();
                    pieces.map(move |(part, output)| Piece {
                        span,
                        first_token: index * tiling.n_tokens,
                        first_head: group * n_group + part * tiling.n_heads,
                        has_all_heads: tiling.n_tokens > 1,
                        output,
                    })
                })
            })
        });
        for_each(self.compute.workers, pieces, |piece| {
            let Piece { span, first_token, first_head, has_all_heads, output } = piece;
            let n_vectors = output.len() / head_len_v;
            let n_heads = if has_all_heads { n_head } else { n_vectors };
            for head in (first_head..first_head + n_heads).step_by(n_group) {
                // The heads of the piece that share their keys and values.
                let n_together = n_group.min(n_heads);
                let mut queries = [Query::default(); MAX_QUERIES];
                let queries = &mut queries[..n_vectors / n_heads * n_together];
                for (index, query) in queries.iter_mut().enumerate() {
                    let (token, head) = (index / n_together, head + index % n_together);
                    let position = span.first_position + first_token + token;
                    let QueryMask { visible, slope, sink, mask_at } = query_mask(&span, position, head);
                    *query = Query {
                        at: ((span.first_token + first_token + token) * n_head + head) * head_len_k,
                        output_at: (token * n_heads + head - first_head) * head_len_v,
                        position,
                        first: visible.start,
                        end: visible.end,
                        slope,
                        sink,
                        head,
                        mask_at,
                    };
                }
                self.attend(q, context(span.slot, head / n_group), queries, output);
            }
        });
    }

    /// Chooses how to divide a span of `n_tokens`: into as many queries at once as the kernels take, but such that a batch of
    /// `n_batch` tokens has enough pieces for all cores. The output does not depend on this.
    fn tiling(&self, n_tokens: usize, n_batch: usize) -> Tiling {
        let n_group = self.n_head / self.n_head_kv;
        let n_wanted = match self.compute.workers.count() {
            1 => 1,
            count if n_tokens == n_batch => CHUNKS_PER_WORKER * count,
            // The span's share of the pieces.
            count => (CHUNKS_PER_WORKER * count * n_tokens).div_ceil(n_batch),
        };
        let most_tokens = (MAX_QUERIES / n_group).min(n_tokens / n_wanted);
        if most_tokens > 1 {
            return Tiling { n_tokens: most_tokens, n_heads: self.n_head };
        }
        // Divides each group into as few and as equal parts as possible.
        let n_parts = n_wanted.div_ceil(n_tokens * self.n_head_kv).max(n_group.div_ceil(MAX_QUERIES));
        Tiling { n_tokens: 1, n_heads: n_group.div_ceil(n_parts) }
    }

    fn attend(&self, q: &[f32], context: Context<'_>, queries: &[Query], output: &mut [f32]) {
        let BatchAttention {
            compute: Compute { kernels, .. },
            head_len_k,
            head_len_v,
            scale,
            softcap,
            relative,
            mask,
            ..
        } = *self;
        let Context { keys, values, pages, .. } = context;
        macro_rules! attend {
            ($function:ident, $keys:ident, $values:ident, $block_len:expr) => {{
                let keys = Vectors {
                    elements: $keys,
                    page_len: keys.page_len,
                    first: keys.first,
                    stride: context.stride_k / $block_len,
                    pages,
                };
                let values = Vectors {
                    elements: $values,
                    page_len: values.page_len,
                    first: values.first,
                    stride: context.stride_v / $block_len,
                    pages,
                };
                let attend =
                    Attend { q, keys, values, head_len_k, head_len_v, scale, softcap, relative, mask };
                kernels.$function(&attend, queries, output);
            }};
        }
        match (keys.elements, values.elements) {
            (HeadElements::F16(k), HeadElements::F16(v)) => attend!(attend_f16, k, v, 1),
            (HeadElements::Q8_0(k), HeadElements::Q8_0(v)) => {
                attend!(attend_q8_0, k, v, CacheType::Q8_0.block_len());
            }
            _ => self.attend_unpacked(q, context, queries, output),
        }
    }

    /// Attention over keys and values of types without their own routine, or of two different types.
    fn attend_unpacked<'c>(&self, q: &'c [f32], context: Context<'c>, queries: &[Query], output: &mut [f32]) {
        let BatchAttention { head_len_k, head_len_v, scale, softcap, relative, mask, .. } = *self;
        let vectors = |head: HeadPages<'c>, stride| {
            let (elements, [page_len, first]) = head.bytes();
            let stride = head.ty().row_format(stride).bytes;
            Vectors { elements, page_len, first, stride, pages: context.pages }
        };
        let Context { keys, values, stride_k, stride_v, .. } = context;
        let formats = [keys.ty().row_format(head_len_k), values.ty().row_format(head_len_v)];
        let (keys, values) = (vectors(keys, stride_k), vectors(values, stride_v));
        let attend = Attend { q, keys, values, head_len_k, head_len_v, scale, softcap, relative, mask };
        self.compute.kernels.attend_unpacked(&attend, formats, queries, output);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::{compute::Adaptation, parallel::Workers, quant::Precision, simd::Kernels};
    use std::{vec, vec::Vec};

    /// Claims to have this many cores, but only one ever takes part.
    struct Absent(usize);

    impl Workers for Absent {
        fn count(&self) -> usize {
            self.0
        }

        fn run(&self, job: &(dyn Fn() + Sync)) {
            job();
        }
    }

    #[test]
    fn outputs_do_not_depend_on_the_number_of_cores_or_spans() {
        const LEN: usize = 4;
        let numbers = |n: usize, seed: u32| -> Vec<f32> {
            (0..n as u32)
                .map(|i| ((i + seed).wrapping_mul(2_654_435_761) >> 16) as f32 / 32768.0 - 1.0)
                .collect()
        };
        for (n_head, n_head_kv) in [(14, 2), (8, 1), (6, 6), (71, 1), (9, 3), (1, 1)] {
            for n_tokens in [1, 3, 20] {
                let n_past = 5;
                let n_ctx = n_past + n_tokens;
                let q = numbers(n_tokens * n_head * LEN, 1);
                let keys = numbers(n_head_kv * n_ctx * LEN, 2);
                let values = numbers(n_head_kv * n_ctx * LEN, 3);
                let run = |n_cores: usize, spans: &[(usize, usize)]| {
                    let attention = BatchAttention {
                        compute: Compute {
                            kernels: Kernels::detect(),
                            workers: &Absent(n_cores),
                            precision: Precision::Exact,
                            adaptation: Adaptation::default(),
                        },
                        n_head,
                        n_head_kv,
                        head_len_k: LEN,
                        head_len_v: LEN,
                        scale: 1.0,
                        softcap: None,
                        relative: None,
                        mask: None,
                    };
                    let context = |_, head: usize| {
                        let at = head * n_ctx * LEN..(head + 1) * n_ctx * LEN;
                        let page = |elements| HeadPages {
                            elements: HeadElements::F32(elements),
                            page_len: 0,
                            first: 0,
                        };
                        Context {
                            keys: page(&keys[at.clone()]),
                            values: page(&values[at]),
                            stride_k: LEN,
                            stride_v: LEN,
                            pages: &[0],
                        }
                    };
                    // Each head sees a different number of positions.
                    let query_mask = |_: &BatchSpan, position: usize, head: usize| QueryMask {
                        visible: head % 5..position + 1,
                        slope: 0.0,
                        sink: None,
                        mask_at: 0,
                    };
                    let mut output = vec![f32::NAN; n_tokens * n_head * LEN];
                    let spans = spans.iter().map(|&(first_token, n_tokens)| BatchSpan {
                        slot: 0,
                        first_position: n_past + first_token,
                        first_token,
                        n_tokens,
                    });
                    attention.run(spans, &q, context, query_mask, &mut output);
                    output
                };
                let whole = [(0, n_tokens)];
                let alone = run(1, &whole);
                assert!(alone.iter().all(|x| x.abs() <= 1.0), "{n_head} heads, {n_tokens} tokens");
                let middle = n_tokens / 2;
                let mut parts = vec![(0, 1), (1, middle), (1 + middle, n_tokens - 1 - middle)];
                parts.retain(|&(first, len)| len > 0 && first < n_tokens);
                for n_cores in [1, 2, 3, 8, 64] {
                    for spans in [&whole[..], &parts[..]] {
                        let got = run(n_cores, spans);
                        assert_eq!(got, alone, "{n_head} heads, spans of {spans:?}, {n_cores} cores");
                    }
                }
            }
        }
    }
}
