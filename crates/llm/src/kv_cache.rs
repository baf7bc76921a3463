//! Keys and values of the positions computed so far.
//!
//! [`KvCache`] is allocated once for `n_ctx` positions and overwritten from the start when a new
//! text begins. Keys and values lie per layer and per head, positions one after the other, so that
//! attention over one head reads a single run of memory.

use alloc::vec::Vec;

use half::f16;
use zerocopy::IntoBytes;

use crate::arena::{Arena, OutOfMemory};
use crate::blocks::BlockQ8_0;
use crate::quant::{GgmlType, quantize};
use crate::simd::Kernels;

/// The number format of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvType {
    /// Half precision: half the memory, as accurate as the weights of most files.
    #[default]
    F16,
    /// Single precision, for comparison with a reference.
    F32,
    /// Integers of 8 bits with a half-precision scale for each 32 elements of a vector: little more
    /// than half the memory of [`F16`](Self::F16). Vectors must be whole blocks.
    Q8_0,
}

impl KvType {
    /// The type of this name (`f16`, `f32`, `q8_0`).
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "f16" => Some(KvType::F16),
            "f32" => Some(KvType::F32),
            "q8_0" => Some(KvType::Q8_0),
            _ => None,
        }
    }

    /// Elements that are stored together: keys and values must be a multiple of them.
    pub fn block_len(self) -> usize {
        match self {
            KvType::F16 | KvType::F32 => 1,
            KvType::Q8_0 => Q8_0_LEN,
        }
    }
}

const Q8_0_LEN: usize = 32;

/// What one layer keeps of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Heads that have keys and values of their own.
    pub n_head_kv: usize,
    /// Elements of one key.
    pub head_len_k: usize,
    /// Elements of one value; 0 where values are the beginnings of keys.
    pub head_len_v: usize,
}

/// Keys and values of all layers.
#[derive(Debug)]
pub struct KvCache<'m> {
    n_ctx: usize,
    /// One per layer.
    places: Vec<Place>,
    /// Of each layer, `[n_head_kv][n_ctx][head_len_k]`.
    keys: Elements<'m>,
    /// Of each layer, `[n_head_kv][n_ctx][head_len_v]`.
    values: Elements<'m>,
}

/// Where a layer's part begins.
#[derive(Debug)]
struct Place {
    shape: KvShape,
    first_key: usize,
    first_value: usize,
}

#[derive(Debug)]
enum Elements<'m> {
    F16(&'m mut [f16]),
    F32(&'m mut [f32]),
    Q8_0(&'m mut [BlockQ8_0]),
}

/// The elements of one head's keys or values: `[n_ctx][head_len]`, of which the first positions are
/// filled.
#[derive(Debug, Clone, Copy)]
pub enum HeadElements<'c> {
    /// In half precision.
    F16(&'c [f16]),
    /// In single precision.
    F32(&'c [f32]),
    /// In blocks of 32.
    Q8_0(&'c [BlockQ8_0]),
}

impl<'m> KvCache<'m> {
    /// Takes the memory for `n_ctx` positions from `arena`, and a few bytes per layer from the heap.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if either is too small.
    ///
    /// # Panics
    ///
    /// If a length is not a multiple of the type's [`block_len`](KvType::block_len).
    pub fn carve(
        shapes: impl ExactSizeIterator<Item = KvShape>,
        n_ctx: usize,
        kv_type: KvType,
        arena: &mut Arena<'m>,
    ) -> Result<Self, OutOfMemory> {
        let mut places = Vec::new();
        places.try_reserve_exact(shapes.len()).map_err(|_| OutOfMemory {
            needed_bytes: shapes.len() * size_of::<Place>(),
            available_bytes: 0,
        })?;
        // Lengths past the address space are refused by `take` like any others that do not fit.
        let (mut n_keys, mut n_values) = (0_usize, 0_usize);
        for shape in shapes {
            let block_len = kv_type.block_len();
            assert!([shape.head_len_k, shape.head_len_v].iter().all(|len| len.is_multiple_of(block_len)));
            places.push(Place { shape, first_key: n_keys, first_value: n_values });
            let vectors = shape.n_head_kv.saturating_mul(n_ctx);
            n_keys = n_keys.saturating_add(vectors.saturating_mul(shape.head_len_k));
            n_values = n_values.saturating_add(vectors.saturating_mul(shape.head_len_v));
        }
        let mut elements = |len| {
            Ok(match kv_type {
                KvType::F16 => Elements::F16(arena.take(len)?),
                KvType::F32 => Elements::F32(arena.take(len)?),
                KvType::Q8_0 => Elements::Q8_0(arena.take(len / Q8_0_LEN)?),
            })
        };
        Ok(KvCache { n_ctx, places, keys: elements(n_keys)?, values: elements(n_values)? })
    }

    /// Stores the keys and values of one position of one layer.
    ///
    /// `keys` is `[n_head_kv][head_len_k]`, `values` `[n_head_kv][head_len_v]`.
    ///
    /// # Panics
    ///
    /// If `layer`, `position` or a length is outside of the shape.
    pub fn store(&mut self, kernels: &Kernels, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let (n_ctx, place) = (self.n_ctx, &self.places[layer]);
        assert!(position < n_ctx, "position {position} of {n_ctx}");
        let KvShape { n_head_kv, head_len_k, head_len_v } = place.shape;
        assert_eq!((keys.len(), values.len()), (n_head_kv * head_len_k, n_head_kv * head_len_v));
        for head in 0..n_head_kv {
            let vector = head * n_ctx + position;
            let (key, value) =
                (&keys[head * head_len_k..][..head_len_k], &values[head * head_len_v..][..head_len_v]);
            self.keys.store(kernels, place.first_key + vector * head_len_k, key);
            self.values.store(kernels, place.first_value + vector * head_len_v, value);
        }
    }

    /// The keys of one head.
    ///
    /// # Panics
    ///
    /// If `layer` or `head` is outside of the shape.
    pub fn keys(&self, layer: usize, head: usize) -> HeadElements<'_> {
        let Place { shape, first_key, .. } = &self.places[layer];
        assert!(head < shape.n_head_kv, "head {head} of {}", shape.n_head_kv);
        let len = self.n_ctx * shape.head_len_k;
        self.keys.range(first_key + head * len, len)
    }

    /// The values of one head.
    ///
    /// # Panics
    ///
    /// If `layer` or `head` is outside of the shape.
    pub fn values(&self, layer: usize, head: usize) -> HeadElements<'_> {
        let Place { shape, first_value, .. } = &self.places[layer];
        assert!(head < shape.n_head_kv, "head {head} of {}", shape.n_head_kv);
        let len = self.n_ctx * shape.head_len_v;
        self.values.range(first_value + head * len, len)
    }
}

impl Elements<'_> {
    fn store(&mut self, kernels: &Kernels, at: usize, vector: &[f32]) {
        match self {
            Elements::F16(elements) => kernels.to_f16(vector, &mut elements[at..][..vector.len()]),
            Elements::F32(elements) => elements[at..][..vector.len()].copy_from_slice(vector),
            Elements::Q8_0(blocks) => {
                let blocks = &mut blocks[at / Q8_0_LEN..][..vector.len() / Q8_0_LEN];
                quantize(GgmlType::Q8_0, vector, blocks.as_mut_bytes());
            }
        }
    }

    fn range(&self, first: usize, len: usize) -> HeadElements<'_> {
        match self {
            Elements::F16(elements) => HeadElements::F16(&elements[first..][..len]),
            Elements::F32(elements) => HeadElements::F32(&elements[first..][..len]),
            Elements::Q8_0(blocks) => HeadElements::Q8_0(&blocks[first / Q8_0_LEN..][..len / Q8_0_LEN]),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    const N_CTX: usize = 4;
    const SHAPES: [KvShape; 2] = [
        KvShape { n_head_kv: 3, head_len_k: 2, head_len_v: 1 },
        KvShape { n_head_kv: 1, head_len_k: 5, head_len_v: 0 },
    ];

    fn carve<'m>(n_ctx: usize, kv_type: KvType, arena: &mut Arena<'m>) -> Result<KvCache<'m>, OutOfMemory> {
        KvCache::carve(SHAPES.into_iter(), n_ctx, kv_type, arena)
    }

    fn memory(kv_type: KvType) -> Vec<u8> {
        let mut arena = Arena::measuring();
        carve(N_CTX, kv_type, &mut arena).unwrap();
        vec![0xff; arena.used_bytes() + crate::arena::ALIGN]
    }

    fn as_f32(elements: HeadElements<'_>) -> Vec<f32> {
        match elements {
            HeadElements::F16(elements) => elements.iter().map(|x| x.to_f32()).collect(),
            HeadElements::F32(elements) => elements.to_vec(),
            HeadElements::Q8_0(blocks) => {
                let values = blocks.iter().map(|block| block.qs.map(|q| f32::from(q) * block.d.to_f32()));
                values.flatten().collect()
            }
        }
    }

    #[test]
    fn what_is_stored_is_found_at_its_layer_head_and_position() {
        for kv_type in [KvType::F16, KvType::F32] {
            let mut memory = memory(kv_type);
            let mut cache = carve(N_CTX, kv_type, &mut Arena::new(&mut memory)).unwrap();
            for position in 0..N_CTX {
                let base = position as f32 * 10.0;
                cache.store(
                    Kernels::scalar(),
                    0,
                    position,
                    &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5].map(|x| base + x),
                    &[base, base + 1.0, base + 2.0],
                );
                cache.store(Kernels::scalar(), 1, position, &[base + 100.0; 5], &[]);
            }
            assert_eq!(as_f32(cache.keys(0, 2)), [2.0, 2.5, 12.0, 12.5, 22.0, 22.5, 32.0, 32.5]);
            assert_eq!(as_f32(cache.values(0, 1)), [1.0, 11.0, 21.0, 31.0]);
            assert_eq!(as_f32(cache.keys(1, 0))[3..7], [100.0, 100.0, 110.0, 110.0]);
            assert_eq!(as_f32(cache.values(1, 0)), []);
        }
    }

    #[test]
    fn blocks_of_32_keep_each_vector_to_half_a_step() {
        let shape = KvShape { n_head_kv: 2, head_len_k: 64, head_len_v: 32 };
        let carve = |arena: &mut Arena<'_>| {
            KvCache::carve([shape; 2].into_iter(), N_CTX, KvType::Q8_0, arena).map(|_| arena.used_bytes())
        };
        let used_bytes = carve(&mut Arena::measuring()).unwrap();
        let n_vectors = 2 * 2 * N_CTX;
        assert_eq!(used_bytes, 34 * n_vectors * 2 + (34 * n_vectors).next_multiple_of(crate::arena::ALIGN));
        let mut memory = vec![0xff; used_bytes + crate::arena::ALIGN];
        let mut arena = Arena::new(&mut memory);
        let mut cache = KvCache::carve([shape; 2].into_iter(), N_CTX, KvType::Q8_0, &mut arena).unwrap();
        let keys: Vec<f32> = (0..128).map(|i| (i as f32 - 40.0) / 7.0).collect();
        let values: Vec<f32> = (0..64).map(|i| i as f32 * -0.01).collect();
        cache.store(Kernels::scalar(), 1, 2, &keys, &values);
        let found_keys = as_f32(cache.keys(1, 1));
        let found_values = as_f32(cache.values(1, 0));
        for (given, found) in [(&keys[64..], &found_keys[2 * 64..]), (&values[..32], &found_values[2 * 32..])]
        {
            for (given, found) in given.chunks(32).zip(found.chunks(32)) {
                let amax = given.iter().map(|x| x.abs()).fold(0.0, f32::max);
                for (x, y) in given.iter().zip(found) {
                    // Half a step, and the scale's own rounding to 11 bits.
                    assert!((x - y).abs() <= amax * (0.5 / 127.0 + 1.0 / 2048.0), "{x} became {y}");
                }
            }
        }
    }

    #[test]
    fn half_precision_takes_half_the_memory() {
        let bytes = |kv_type| {
            let mut arena = Arena::measuring();
            carve(64, kv_type, &mut arena).unwrap();
            arena.used_bytes()
        };
        assert_eq!(bytes(KvType::F32), 2 * bytes(KvType::F16));
    }

    #[test]
    fn a_cache_past_the_address_space_is_refused() {
        assert!(carve(usize::MAX / 4, KvType::F16, &mut Arena::measuring()).is_err());
    }

    #[test]
    #[should_panic(expected = "position 4 of 4")]
    fn a_position_past_the_context_panics() {
        let mut memory = memory(KvType::F32);
        let mut cache = carve(N_CTX, KvType::F32, &mut Arena::new(&mut memory)).unwrap();
        cache.store(Kernels::scalar(), 1, 4, &[0.0; 5], &[]);
    }
}
