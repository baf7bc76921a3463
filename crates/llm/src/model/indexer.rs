//! The indexer of sparse attention: it chooses the positions to which a query attends among those that it sees (DeepSeek-AI 2025,
//! "DeepSeek-V3.2"; over blocks in Qwen).
//!
//! Each position has a small key. The keys of a block of positions become one: their mean, normalised and rotated for
//! the block's first position. A query has small heads of its own; the score of a block that ended before the query is
//! the sum of these heads' products with the block's key, each at least 0. The query attends to the best blocks and to
//! all positions after the last whole block.
//!
//! The cache holds the plain key at each position, and the block's key at the last position of a block. Everything in it depends only on
//! the positions up to there, so a text can be truncated, forked and continued as with other keys.

use super::config::IndexerConfig;
use super::head_norm::HeadNorm;
use super::pass::Pass;
use super::rope::Rope;
use super::scratch::{Angles, IndexScratch, ROWS};
use super::span::Batch;
use crate::compute::{Linear, Norm};
use crate::kv_cache::PAGE_LEN;
use crate::state::StateStore;

/// The weights of an indexer.
#[derive(Debug)]
pub struct Indexer<'a> {
    /// Its lengths.
    pub config: IndexerConfig,
    /// `[n_head · head_len × n_embd]`
    pub wq: Linear<'a>,
    /// `[head_len × n_embd]`
    pub wk: Linear<'a>,
    /// `[head_len]`: the normalisation of each head of a query.
    pub q_norm: &'a [f32],
    /// `[head_len]`: the normalisation of a block's key.
    pub k_norm: &'a [f32],
}

impl Pass<'_> {
    /// Stores the keys of the batch's tokens, where `x` is the layer's input. Returns the positions to which they
    /// attend, in the form of [`Attend::mask`](crate::simd::Attend::mask), and the number of words per token; `None` if
    /// they attend to all positions.
    #[inline(never)]
    pub(super) fn choose_positions<'s>(
        &self,
        indexer: &Indexer<'_>,
        batch: Batch<'_>,
        x: &[f32],
        state: &mut StateStore<'_>,
        rope: Option<(&Rope, &Angles<'_>)>,
        scratch: IndexScratch<'s>,
    ) -> Option<(&'s [u64], usize)> {
        let IndexerConfig { n_head, head_len, block_len, .. } = indexer.config;
        let IndexScratch { q, k, keys, scores, chosen, cos, sin, mask, n_words, quantized } = scratch;
        let (kernels, layer) = (self.compute.kernels, batch.layer);
        let q = &mut q[..batch.n_tokens * n_head * head_len];
        let k = &mut k[..batch.n_tokens * head_len];
        self.compute.linear(&indexer.wq, x, quantized, q);
        self.compute.linear(&indexer.wk, x, quantized, k);
        for (key, place) in k.chunks_exact(head_len).zip(batch.places()) {
            state.store_index(kernels, layer, place, key);
        }
        let (key, others) = keys.split_at_mut(head_len);
        let other = &mut others[..head_len];
        for (slot, last) in batch.places().filter(|(_, position)| (position + 1).is_multiple_of(block_len)) {
            let first = last + 1 - block_len;
            state.index_key(layer, (slot, first), key);
            for position in first + 1..=last {
                state.index_key(layer, (slot, position), other);
                kernels.add(key, other);
            }
            kernels.scale(key, 1.0 / block_len as f32);
            self.normalise_row(&Norm { weight: Some(indexer.k_norm), bias: None }, key);
            if let Some(rope) = &self.ropes.blocks {
                let (cos, sin) = (&mut cos[..rope.n_pairs()], &mut sin[..rope.n_pairs()]);
                rope.angles(first, cos, sin);
                rope.rotate(kernels, key, cos, sin);
            }
            state.store_index(kernels, layer, (slot, last), key);
        }
        let n_chosen = indexer.config.n_chosen();
        if batch.positions().all(|position| position < n_chosen) {
            return None;
        }
        self.normalise_heads(Some(HeadNorm::Head(Some(indexer.q_norm))), q, n_head, head_len);
        if let Some((rope, angles)) = rope {
            self.rope_heads(rope, angles, q, n_head, head_len);
        }
        let state = &*state;
        let mask = &mut mask[..batch.n_tokens * n_words];
        let mut places = batch.places();
        for (q, mask) in q.chunks(ROWS * n_head * head_len).zip(mask.chunks_mut(ROWS * n_words)) {
            let mut some = [(0, 0); ROWS];
            some.iter_mut().zip(&mut places).for_each(|(to, place)| *to = place);
            let rows = keys.chunks_exact_mut(head_len).zip(scores.chunks_exact_mut(scores.len() / ROWS));
            let rows = rows.zip(chosen.chunks_exact_mut(chosen.len() / ROWS));
            let tokens = q.chunks_exact(n_head * head_len).zip(some).zip(mask.chunks_exact_mut(n_words));
            self.compute.each_token(
                tokens.zip(rows),
                |(((q, (slot, position)), mask), ((key, scores), chosen))| {
                    mask.fill(0);
                    let n_seen = position + 1;
                    if n_seen <= n_chosen {
                        (0..n_seen).for_each(|position| set(mask, position));
                        return;
                    }
                    let scores = &mut scores[..n_seen / block_len];
                    for (score, last) in scores.iter_mut().zip((block_len - 1..).step_by(block_len)) {
                        state.index_key(layer, (slot, last), key);
                        let heads = q.chunks_exact(head_len);
                        *score = heads.map(|head| kernels.dot_f32(head, key).max(0.0)).sum();
                    }
                    let chosen = &mut chosen[..n_chosen];
                    // The positions after the last whole block always come first.
                    choose(n_seen, chosen, |at| {
                        scores.get(at as usize / block_len).copied().unwrap_or(f32::INFINITY)
                    });
                    chosen.iter().for_each(|position| set(mask, *position as usize));
                },
            );
        }
        Some((mask, n_words))
    }
}

fn set(mask: &mut [u64], position: usize) {
    mask[position / PAGE_LEN] |= 1 << (position % PAGE_LEN);
}

/// Chooses the numbers below `n` with the highest scores, as many as `chosen` has room for but at most `n`, in any
/// order.
///
/// All positions of a block have equal scores. Among equal scores it makes the same choice as the reference, which uses a heap with the
/// lowest score at its top: a replaced element goes down to a leaf along the lower of two children (the second one if they are equal), and
/// up again from there.
fn choose(n: usize, chosen: &mut [u32], score: impl Fn(u32) -> f32) {
    chosen.iter_mut().zip(0..).for_each(|(at, number)| *at = number);
    for parent in (0..chosen.len() / 2).rev() {
        let number = chosen[parent];
        sift(chosen, parent, number, &score);
    }
    for number in chosen.len() as u32..n as u32 {
        if score(number) > score(chosen[0]) {
            sift(chosen, 0, number, &score);
        }
    }
}

/// Replaces the element at `top` by `number`, and moves it to its place in the part of the heap that begins there.
fn sift(heap: &mut [u32], top: usize, number: u32, score: impl Fn(u32) -> f32) {
    let mut hole = top;
    while 2 * hole + 1 < heap.len() {
        let mut child = (2 * hole + 2).min(heap.len() - 1);
        if child == 2 * hole + 2 && score(heap[child]) > score(heap[child - 1]) {
            child -= 1;
        }
        heap[hole] = heap[child];
        hole = child;
    }
    while hole > top && score(heap[(hole - 1) / 2]) > score(number) {
        heap[hole] = heap[(hole - 1) / 2];
        hole = (hole - 1) / 2;
    }
    heap[hole] = number;
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn the_highest_are_chosen_and_of_equal_ones_those_that_the_reference_chooses() {
        let choice = |scores: &[f32], n_chosen: usize| {
            let mut chosen = vec![0; n_chosen];
            choose(scores.len(), &mut chosen, |at| scores[at as usize]);
            chosen.sort_unstable();
            chosen
        };
        assert_eq!(choice(&[1.0, 5.0, 3.0, 4.0, 2.0], 3), [1, 2, 3]);
        assert_eq!(choice(&[0.0; 3], 3), [0, 1, 2]);
        // The expected values are those that `std::partial_sort` of GNU's library leaves at the front.
        let mut scores: Vec<f32> =
            [2.0, 0.0, 3.0, 1.0, 0.0, 2.0, 5.0, 0.0].iter().flat_map(|x| [*x; 3]).collect();
        scores.push(f32::INFINITY);
        assert_eq!(choice(&scores, 7), [6, 7, 8, 18, 19, 20, 24]);
        assert_eq!(choice(&scores, 8), [6, 7, 8, 15, 18, 19, 20, 24]);
        assert_eq!(choice(&scores, 11), [1, 6, 7, 8, 15, 16, 17, 18, 19, 20, 24]);
        assert_eq!(choice(&scores, 14), [0, 1, 2, 6, 7, 8, 9, 15, 16, 17, 18, 19, 20, 24]);
        let mut scores = [0.0; 20];
        assert_eq!(choice(&scores, 6), [0, 1, 2, 3, 4, 5]);
        (scores[9], scores[13], scores[14]) = (1.0, 1.0, 2.0);
        assert_eq!(choice(&scores, 7), [1, 3, 4, 5, 9, 13, 14]);
    }
}
