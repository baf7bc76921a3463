//! Keys and values of the positions computed so far.
//!
//! [`KvCache`] is allocated once for `n_ctx` positions and overwritten from the start when a new
//! text begins. Keys and values lie per layer and per head, positions one after the other, so that
//! attention over one head reads a single run of memory.

use half::f16;

use crate::arena::{Arena, OutOfMemory};

/// The number format of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvType {
    /// Half precision: half the memory, as accurate as the weights of most files.
    #[default]
    F16,
    /// Single precision, for comparison with a reference.
    F32,
}

impl KvType {
    /// The type of this name (`f16`, `f32`).
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "f16" => Some(KvType::F16),
            "f32" => Some(KvType::F32),
            _ => None,
        }
    }
}

/// The dimensions of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Layers that attend.
    pub n_layer: usize,
    /// Heads per layer that have keys and values of their own.
    pub n_head_kv: usize,
    /// Positions.
    pub n_ctx: usize,
    /// Elements of one key.
    pub head_len_k: usize,
    /// Elements of one value.
    pub head_len_v: usize,
}

/// Keys and values of all layers.
#[derive(Debug)]
pub struct KvCache<'m> {
    shape: KvShape,
    /// `[n_layer][n_head_kv][n_ctx][head_len_k]`
    keys: Elements<'m>,
    /// `[n_layer][n_head_kv][n_ctx][head_len_v]`
    values: Elements<'m>,
}

#[derive(Debug)]
enum Elements<'m> {
    F16(&'m mut [f16]),
    F32(&'m mut [f32]),
}

/// The elements of one head's keys or values: `[n_ctx][head_len]`, of which the first positions are
/// filled.
#[derive(Debug, Clone, Copy)]
pub enum HeadElements<'c> {
    /// In half precision.
    F16(&'c [f16]),
    /// In single precision.
    F32(&'c [f32]),
}

impl<'m> KvCache<'m> {
    /// Takes the cache's memory from `arena`.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if the arena is too small.
    pub fn carve(shape: KvShape, kv_type: KvType, arena: &mut Arena<'m>) -> Result<Self, OutOfMemory> {
        let KvShape { n_layer, n_head_kv, n_ctx, head_len_k, head_len_v } = shape;
        let vectors = [n_layer, n_head_kv, n_ctx].into_iter().try_fold(1_usize, usize::checked_mul);
        let mut elements = |head_len: usize| {
            // A product past the address space is refused by `take` like any other that does not fit.
            let len = vectors.and_then(|n| n.checked_mul(head_len)).unwrap_or(usize::MAX);
            Ok(match kv_type {
                KvType::F16 => Elements::F16(arena.take(len)?),
                KvType::F32 => Elements::F32(arena.take(len)?),
            })
        };
        Ok(KvCache { shape, keys: elements(head_len_k)?, values: elements(head_len_v)? })
    }

    /// The dimensions.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// Stores the keys and values of one position of one layer.
    ///
    /// `keys` is `[n_head_kv][head_len_k]`, `values` `[n_head_kv][head_len_v]`.
    ///
    /// # Panics
    ///
    /// If `layer`, `position` or a length is outside of the shape.
    pub fn store(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let shape = self.shape;
        assert!(
            layer < shape.n_layer && position < shape.n_ctx,
            "position {position} of layer {layer} in {shape:?}"
        );
        self.keys.store(keys, shape.head_len_k, |head| shape.vector_index(layer, head, position));
        self.values.store(values, shape.head_len_v, |head| shape.vector_index(layer, head, position));
    }

    /// The keys of one head.
    ///
    /// # Panics
    ///
    /// If `layer` or `head` is outside of the shape.
    pub fn keys(&self, layer: usize, head: usize) -> HeadElements<'_> {
        self.keys.head(self.shape.vector_index(layer, head, 0), self.shape.n_ctx, self.shape.head_len_k)
    }

    /// The values of one head.
    ///
    /// # Panics
    ///
    /// If `layer` or `head` is outside of the shape.
    pub fn values(&self, layer: usize, head: usize) -> HeadElements<'_> {
        self.values.head(self.shape.vector_index(layer, head, 0), self.shape.n_ctx, self.shape.head_len_v)
    }
}

impl KvShape {
    fn vector_index(&self, layer: usize, head: usize, position: usize) -> usize {
        assert!(head < self.n_head_kv, "head {head} of {}", self.n_head_kv);
        (layer * self.n_head_kv + head) * self.n_ctx + position
    }
}

impl Elements<'_> {
    fn store(&mut self, heads: &[f32], head_len: usize, vector_index: impl Fn(usize) -> usize) {
        for (head, source) in heads.chunks_exact(head_len).enumerate() {
            let range = vector_index(head) * head_len..(vector_index(head) + 1) * head_len;
            match self {
                Elements::F16(elements) => {
                    for (stored, &x) in elements[range].iter_mut().zip(source) {
                        *stored = f16::from_f32(x);
                    }
                }
                Elements::F32(elements) => elements[range].copy_from_slice(source),
            }
        }
    }

    fn head(&self, first_vector: usize, n_ctx: usize, head_len: usize) -> HeadElements<'_> {
        let range = first_vector * head_len..(first_vector + n_ctx) * head_len;
        match self {
            Elements::F16(elements) => HeadElements::F16(&elements[range]),
            Elements::F32(elements) => HeadElements::F32(&elements[range]),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;
    use std::vec::Vec;

    use super::*;

    const SHAPE: KvShape = KvShape { n_layer: 2, n_head_kv: 3, n_ctx: 4, head_len_k: 2, head_len_v: 1 };

    fn memory(kv_type: KvType) -> Vec<u8> {
        let mut arena = Arena::measuring();
        KvCache::carve(SHAPE, kv_type, &mut arena).unwrap();
        vec![0xff; arena.used_bytes() + crate::arena::ALIGN]
    }

    fn as_f32(elements: HeadElements<'_>) -> Vec<f32> {
        match elements {
            HeadElements::F16(elements) => elements.iter().map(|x| x.to_f32()).collect(),
            HeadElements::F32(elements) => elements.to_vec(),
        }
    }

    #[test]
    fn what_is_stored_is_found_at_its_layer_head_and_position() {
        for kv_type in [KvType::F16, KvType::F32] {
            let mut memory = memory(kv_type);
            let mut cache = KvCache::carve(SHAPE, kv_type, &mut Arena::new(&mut memory)).unwrap();
            for layer in 0..2 {
                for position in 0..4 {
                    let base = (layer * 100 + position * 10) as f32;
                    let keys = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5].map(|x| base + x);
                    cache.store(layer, position, &keys, &[base, base + 1.0, base + 2.0]);
                }
            }
            assert_eq!(as_f32(cache.keys(1, 2)), [102.0, 102.5, 112.0, 112.5, 122.0, 122.5, 132.0, 132.5]);
            assert_eq!(as_f32(cache.values(0, 1)), [1.0, 11.0, 21.0, 31.0]);
        }
    }

    #[test]
    fn half_precision_takes_half_the_memory() {
        let bytes = |kv_type| {
            let shape = KvShape { n_ctx: 64, ..SHAPE };
            let mut arena = Arena::measuring();
            KvCache::carve(shape, kv_type, &mut arena).unwrap();
            arena.used_bytes()
        };
        assert_eq!(bytes(KvType::F32), 2 * bytes(KvType::F16));
    }

    #[test]
    fn a_cache_past_the_address_space_is_refused() {
        let shape = KvShape { n_ctx: usize::MAX / 4, ..SHAPE };
        assert!(KvCache::carve(shape, KvType::F16, &mut Arena::measuring()).is_err());
    }

    #[test]
    #[should_panic(expected = "position 4 of layer 0")]
    fn a_position_past_the_context_panics() {
        let mut memory = memory(KvType::F32);
        let mut cache = KvCache::carve(SHAPE, KvType::F32, &mut Arena::new(&mut memory)).unwrap();
        cache.store(0, 4, &[0.0; 6], &[0.0; 3]);
    }
}
