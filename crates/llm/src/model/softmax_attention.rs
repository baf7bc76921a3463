//! Scaled dot-product attention of a batch (Vaswani et al. 2017), divided among cores.
//!
//! The heads that share their keys and values are taken together, a few at a time, and where they are
//! few, several positions with them: each key and value is then loaded once for all of them. The
//! computation is [`Kernels`]'.

use core::ops::Range;

use crate::kv_cache::{HeadElements, KvType};
use crate::parallel::{Workers, for_each_chunk};
use crate::simd::{Attend, Kernels, MAX_QUERIES, Query, Vectors};

/// Pieces of work for each core at least, so that a core taken away for a while holds little back.
const CHUNKS_PER_WORKER: usize = 2;

/// Attention of all heads of a batch.
pub struct BatchAttention<'a> {
    /// The instruction set.
    pub kernels: &'static Kernels,
    /// The cores.
    pub workers: &'a dyn Workers,
    /// Heads with queries.
    pub n_head: usize,
    /// Heads with keys and values, each shared by the same number of queries.
    pub n_head_kv: usize,
    /// Elements of a query and a key.
    pub head_len_k: usize,
    /// Elements of a value and an output.
    pub head_len_v: usize,
    /// The position of the first token.
    pub n_past: usize,
    /// What products of queries and keys are multiplied by.
    pub scale: f32,
    /// Scores are bent to `c · tanh(score / c)`.
    pub softcap: Option<f32>,
}

/// The keys and values of one head.
#[derive(Debug, Clone, Copy)]
pub struct Context<'c> {
    /// `[n_ctx][stride_k]`
    pub keys: HeadElements<'c>,
    /// `[n_ctx][stride_v]`; each value may be the beginning of a longer vector.
    pub values: HeadElements<'c>,
    /// Elements from one key to the next.
    pub stride_k: usize,
    /// Elements from one value to the next.
    pub stride_v: usize,
}

/// What a query sees, and how.
#[derive(Debug, Clone)]
pub struct QuerySight {
    /// The positions that it sees.
    pub visible: Range<usize>,
    /// What a score loses for each position between key and query (ALiBi).
    pub slope: f32,
    /// A score that takes its share of the softmax and gives nothing.
    pub sink: Option<f32>,
}

/// A rectangle of the batch whose outputs are one run of memory.
#[derive(Debug, Clone, Copy)]
struct Piece {
    n_tokens: usize,
    n_heads: usize,
}

impl BatchAttention<'_> {
    /// `output = softmax(scores(q · keysᵀ)) · values`; `q` is `[n_tokens][n_head][head_len_k]`, `output`
    /// `[n_tokens][n_head][head_len_v]`.
    ///
    /// `context` gives the keys and values of a head, `sight` what the query at a position of a head
    /// sees.
    pub fn run<'c>(
        &self,
        q: &[f32],
        context: impl Fn(usize) -> Context<'c> + Sync,
        sight: impl Fn(usize, usize) -> QuerySight + Sync,
        output: &mut [f32],
    ) {
        let n_tokens = output.len() / (self.n_head * self.head_len_v);
        let piece = self.piece(n_tokens);
        let chunk_len = piece.n_tokens * piece.n_heads * self.head_len_v;
        for_each_chunk(self.workers, output, chunk_len, |index, output| {
            let vector = index * piece.n_tokens * piece.n_heads;
            let (first_token, first_head) = (vector / self.n_head, vector % self.n_head);
            let n_tokens = output.len() / (piece.n_heads * self.head_len_v);
            let n_group = (self.n_head / self.n_head_kv).min(piece.n_heads);
            for head in (first_head..first_head + piece.n_heads).step_by(n_group) {
                let mut queries = [Query::default(); MAX_QUERIES];
                let queries = &mut queries[..n_tokens * n_group];
                for (index, query) in queries.iter_mut().enumerate() {
                    let (token, head) = (index / n_group, head + index % n_group);
                    let position = self.n_past + first_token + token;
                    let QuerySight { visible, slope, sink } = sight(position, head);
                    *query = Query {
                        at: ((first_token + token) * self.n_head + head) * self.head_len_k,
                        output_at: (token * piece.n_heads + head - first_head) * self.head_len_v,
                        position,
                        first: visible.start,
                        end: visible.end,
                        slope,
                        sink,
                    };
                }
                self.attend(q, context(head / (self.n_head / self.n_head_kv)), queries, output);
            }
        });
    }

    /// How the batch is cut: as many queries at once as the kernels take, but enough pieces for all
    /// cores. The output does not depend on it.
    fn piece(&self, n_tokens: usize) -> Piece {
        let n_group = self.n_head / self.n_head_kv;
        let n_wanted = match self.workers.count() {
            1 => 1,
            count => CHUNKS_PER_WORKER * count,
        };
        let most_tokens = (MAX_QUERIES / n_group).min(n_tokens / n_wanted);
        if most_tokens > 1 {
            return Piece { n_tokens: most_tokens, n_heads: self.n_head };
        }
        let is_enough = |n: usize| n == 1 || n_tokens * self.n_head / n >= n_wanted;
        let n_heads =
            (1..=n_group.min(MAX_QUERIES)).rev().find(|&n| n_group.is_multiple_of(n) && is_enough(n));
        Piece { n_tokens: 1, n_heads: n_heads.unwrap_or(1) }
    }

    fn attend(&self, q: &[f32], context: Context<'_>, queries: &[Query], output: &mut [f32]) {
        let BatchAttention { kernels, head_len_k, head_len_v, scale, softcap, .. } = *self;
        let Context { stride_k, stride_v, .. } = context;
        match (context.keys, context.values) {
            (HeadElements::F16(keys), HeadElements::F16(values)) => {
                let keys = Vectors { elements: keys, stride: stride_k };
                let values = Vectors { elements: values, stride: stride_v };
                let attend = Attend { q, keys, values, head_len_k, head_len_v, scale, softcap };
                kernels.attend_f16(&attend, queries, output);
            }
            (HeadElements::F32(keys), HeadElements::F32(values)) => {
                let keys = Vectors { elements: keys, stride: stride_k };
                let values = Vectors { elements: values, stride: stride_v };
                let attend = Attend { q, keys, values, head_len_k, head_len_v, scale, softcap };
                kernels.attend_f32(&attend, queries, output);
            }
            (HeadElements::Q8_0(keys), HeadElements::Q8_0(values)) => {
                let block_len = KvType::Q8_0.block_len();
                let keys = Vectors { elements: keys, stride: stride_k / block_len };
                let values = Vectors { elements: values, stride: stride_v / block_len };
                let attend = Attend { q, keys, values, head_len_k, head_len_v, scale, softcap };
                kernels.attend_q8_0(&attend, queries, output);
            }
            (keys, values) => unreachable!("a cache of one type has {keys:?} and {values:?}"),
        }
    }
}
