//! Keys and values of the positions computed so far.
//!
//! [`KvCache`] is allocated once, as pages of [`PAGE_LEN`] positions of all layers. Within a page, keys and values lie
//! per layer and per head, positions one after the other, so that attention over one head reads a run of memory in each
//! page. Which pages a sequence has, and in which order, is kept by [`state`](crate::state).

use alloc::vec::Vec;

use half::f16;
use zerocopy::IntoBytes;

use crate::arena::{Arena, OutOfMemory};
use crate::blocks::BlockQ8_0;
use crate::quant::{GgmlType, quantize};
use crate::simd::{BLOCK_LEN, Kernels};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KvShape {
    /// Heads that have keys and values of their own.
    pub n_head_kv: usize,
    /// Elements of one key.
    pub head_len_k: usize,
    /// Elements of one value.
    pub head_len_v: usize,
    /// Whether values are the beginnings of keys, and not kept beside them.
    pub values_in_keys: bool,
}

impl KvShape {
    /// Elements of a value that are kept beside the key's.
    fn stored_len_v(&self) -> usize {
        if self.values_in_keys { 0 } else { self.head_len_v }
    }
}

/// Positions of a page.
pub const PAGE_LEN: usize = BLOCK_LEN;

/// Keys and values of all layers, in pages of [`PAGE_LEN`] positions.
#[derive(Debug)]
pub struct KvCache<'m> {
    n_pages: usize,
    /// One per layer.
    places: Vec<Place>,
    /// Of each page, of each layer, `[n_head_kv][PAGE_LEN][head_len_k]`.
    keys: Elements<'m>,
    /// Of each page, of each layer, `[n_head_kv][PAGE_LEN][head_len_v]`.
    values: Elements<'m>,
    /// Elements of the keys of a page.
    page_len_k: usize,
    /// Elements of the values of a page.
    page_len_v: usize,
}

/// Where a layer's part begins in each page.
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

/// The keys or values of one head, in all pages.
#[derive(Debug, Clone, Copy)]
pub struct HeadPages<'c> {
    /// The elements of all pages.
    pub elements: HeadElements<'c>,
    /// Elements from the start of one page to the next one's.
    pub page_len: usize,
    /// Elements from the start of a page to the head's `[PAGE_LEN][head_len]`.
    pub first: usize,
}

/// The elements of all pages.
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
    /// Takes the memory for `n_pages` from `arena`, and a few bytes per layer from the heap.
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
        n_pages: usize,
        kv_type: KvType,
        arena: &mut Arena<'m>,
    ) -> Result<Self, OutOfMemory> {
        let mut places = Vec::new();
        places.try_reserve_exact(shapes.len()).map_err(|_| OutOfMemory {
            needed_bytes: shapes.len() * size_of::<Place>(),
            available_bytes: 0,
        })?;
        // Lengths past the address space are refused by `take` like any others that do not fit.
        let (mut page_len_k, mut page_len_v) = (0_usize, 0_usize);
        for shape in shapes {
            let block_len = kv_type.block_len();
            assert!([shape.head_len_k, shape.head_len_v].iter().all(|len| len.is_multiple_of(block_len)));
            places.push(Place { shape, first_key: page_len_k, first_value: page_len_v });
            let vectors = shape.n_head_kv.saturating_mul(PAGE_LEN);
            page_len_k = page_len_k.saturating_add(vectors.saturating_mul(shape.head_len_k));
            page_len_v = page_len_v.saturating_add(vectors.saturating_mul(shape.stored_len_v()));
        }
        let mut elements = |page_len: usize| {
            let len = page_len.saturating_mul(n_pages);
            Ok(match kv_type {
                KvType::F16 => Elements::F16(arena.take(len)?),
                KvType::F32 => Elements::F32(arena.take(len)?),
                KvType::Q8_0 => Elements::Q8_0(arena.take(len / Q8_0_LEN)?),
            })
        };
        let (keys, values) = (elements(page_len_k)?, elements(page_len_v)?);
        Ok(KvCache { n_pages, places, keys, values, page_len_k, page_len_v })
    }

    /// Stores the keys and values of position number `row` of a page, of one layer.
    ///
    /// `keys` is `[n_head_kv][head_len_k]`, `values` `[n_head_kv][head_len_v]`, or empty where they are in the keys.
    ///
    /// # Panics
    ///
    /// If `layer`, `page`, `row` or a length is outside of the shape.
    pub fn store(
        &mut self,
        kernels: &Kernels,
        layer: usize,
        (page, row): (usize, usize),
        keys: &[f32],
        values: &[f32],
    ) {
        let place = &self.places[layer];
        assert!(page < self.n_pages && row < PAGE_LEN, "position {row} of page {page} of {}", self.n_pages);
        let KvShape { n_head_kv, head_len_k, .. } = place.shape;
        let head_len_v = place.shape.stored_len_v();
        assert_eq!((keys.len(), values.len()), (n_head_kv * head_len_k, n_head_kv * head_len_v));
        let first_key = page * self.page_len_k + place.first_key;
        let first_value = page * self.page_len_v + place.first_value;
        for head in 0..n_head_kv {
            let vector = head * PAGE_LEN + row;
            let (key, value) =
                (&keys[head * head_len_k..][..head_len_k], &values[head * head_len_v..][..head_len_v]);
            self.keys.store(kernels, first_key + vector * head_len_k, key);
            self.values.store(kernels, first_value + vector * head_len_v, value);
        }
    }

    /// The keys of one head.
    ///
    /// # Panics
    ///
    /// If `layer` or `head` is outside of the shape.
    pub fn keys(&self, layer: usize, head: usize) -> HeadPages<'_> {
        let Place { shape, first_key, .. } = &self.places[layer];
        assert!(head < shape.n_head_kv, "head {head} of {}", shape.n_head_kv);
        self.keys.pages(self.page_len_k, first_key + head * PAGE_LEN * shape.head_len_k)
    }

    /// The values of one head that are not in its keys.
    ///
    /// # Panics
    ///
    /// If `layer` or `head` is outside of the shape.
    pub fn values(&self, layer: usize, head: usize) -> HeadPages<'_> {
        let Place { shape, first_value, .. } = &self.places[layer];
        assert!(head < shape.n_head_kv, "head {head} of {}", shape.n_head_kv);
        self.values.pages(self.page_len_v, first_value + head * PAGE_LEN * shape.stored_len_v())
    }

    /// Makes page `to` a copy of page `from`.
    ///
    /// # Panics
    ///
    /// If either does not exist.
    pub fn copy_page(&mut self, from: usize, to: usize) {
        self.keys.copy(from * self.page_len_k, to * self.page_len_k, self.page_len_k);
        self.values.copy(from * self.page_len_v, to * self.page_len_v, self.page_len_v);
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

    fn pages(&self, page_len: usize, first: usize) -> HeadPages<'_> {
        match self {
            Elements::F16(elements) => HeadPages { elements: HeadElements::F16(elements), page_len, first },
            Elements::F32(elements) => HeadPages { elements: HeadElements::F32(elements), page_len, first },
            Elements::Q8_0(blocks) => HeadPages {
                elements: HeadElements::Q8_0(blocks),
                page_len: page_len / Q8_0_LEN,
                first: first / Q8_0_LEN,
            },
        }
    }

    fn copy(&mut self, from: usize, to: usize, len: usize) {
        match self {
            Elements::F16(elements) => elements.copy_within(from..from + len, to),
            Elements::F32(elements) => elements.copy_within(from..from + len, to),
            Elements::Q8_0(blocks) => {
                blocks.copy_within(from / Q8_0_LEN..(from + len) / Q8_0_LEN, to / Q8_0_LEN);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    const N_PAGES: usize = 3;
    const SHAPES: [KvShape; 2] = [
        KvShape { n_head_kv: 3, head_len_k: 2, head_len_v: 1, values_in_keys: false },
        KvShape { n_head_kv: 1, head_len_k: 5, head_len_v: 3, values_in_keys: true },
    ];

    fn carve<'m>(n_pages: usize, kv_type: KvType, arena: &mut Arena<'m>) -> Result<KvCache<'m>, OutOfMemory> {
        KvCache::carve(SHAPES.into_iter(), n_pages, kv_type, arena)
    }

    fn memory(kv_type: KvType) -> Vec<u8> {
        let mut arena = Arena::measuring();
        carve(N_PAGES, kv_type, &mut arena).unwrap();
        vec![0xff; arena.used_bytes() + crate::arena::ALIGN]
    }

    /// A head's vectors of `len` elements in one page.
    fn as_f32(head: HeadPages<'_>, page: usize, len: usize) -> Vec<f32> {
        let at = page * head.page_len + head.first;
        match head.elements {
            HeadElements::F16(elements) => {
                elements[at..][..PAGE_LEN * len].iter().map(|x| x.to_f32()).collect()
            }
            HeadElements::F32(elements) => elements[at..][..PAGE_LEN * len].to_vec(),
            HeadElements::Q8_0(blocks) => {
                let blocks = &blocks[at..][..PAGE_LEN * len / Q8_0_LEN];
                let values = blocks.iter().map(|block| block.qs.map(|q| f32::from(q) * block.d.to_f32()));
                values.flatten().collect()
            }
        }
    }

    #[test]
    fn what_is_stored_is_found_at_its_layer_head_and_position_and_in_a_copy_of_its_page() {
        for kv_type in [KvType::F16, KvType::F32] {
            let mut memory = memory(kv_type);
            let mut cache = carve(N_PAGES, kv_type, &mut Arena::new(&mut memory)).unwrap();
            for (page, row) in [(0, 0), (0, 63), (2, 1)] {
                let base = (page * 100 + row) as f32;
                cache.store(
                    Kernels::scalar(),
                    0,
                    (page, row),
                    &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5].map(|x| base + x),
                    &[base, base + 1.0, base + 2.0],
                );
                cache.store(Kernels::scalar(), 1, (page, row), &[base + 300.0; 5], &[]);
            }
            cache.copy_page(2, 1);
            for (page, row, base) in [(0, 0, 0.0), (0, 63, 63.0), (2, 1, 201.0), (1, 1, 201.0)] {
                assert_eq!(as_f32(cache.keys(0, 2), page, 2)[2 * row..][..2], [base + 2.0, base + 2.5]);
                assert_eq!(as_f32(cache.values(0, 1), page, 1)[row], base + 1.0);
                assert_eq!(as_f32(cache.keys(1, 0), page, 5)[5 * row..][..5], [base + 300.0; 5]);
                assert!(as_f32(cache.values(1, 0), page, 0).is_empty());
            }
        }
    }

    #[test]
    fn blocks_of_32_keep_each_vector_to_half_a_step() {
        let shape = KvShape { n_head_kv: 2, head_len_k: 64, head_len_v: 32, values_in_keys: false };
        let carve = |arena: &mut Arena<'_>| {
            KvCache::carve([shape; 2].into_iter(), N_PAGES, KvType::Q8_0, arena).map(|_| arena.used_bytes())
        };
        let used_bytes = carve(&mut Arena::measuring()).unwrap();
        let n_vectors = 2 * 2 * N_PAGES * PAGE_LEN;
        assert_eq!(used_bytes, 34 * n_vectors * 2 + (34 * n_vectors).next_multiple_of(crate::arena::ALIGN));
        let mut memory = vec![0xff; used_bytes + crate::arena::ALIGN];
        let mut arena = Arena::new(&mut memory);
        let mut cache = KvCache::carve([shape; 2].into_iter(), N_PAGES, KvType::Q8_0, &mut arena).unwrap();
        let keys: Vec<f32> = (0..128).map(|i| (i as f32 - 40.0) / 7.0).collect();
        let values: Vec<f32> = (0..64).map(|i| i as f32 * -0.01).collect();
        cache.store(Kernels::scalar(), 1, (2, 5), &keys, &values);
        let found_keys = as_f32(cache.keys(1, 1), 2, 64);
        let found_values = as_f32(cache.values(1, 0), 2, 32);
        cache.copy_page(2, 0);
        // Other positions hold what was in the memory, which may be no number.
        assert_eq!(as_f32(cache.keys(1, 1), 0, 64)[5 * 64..][..64], found_keys[5 * 64..][..64]);
        assert_eq!(as_f32(cache.values(1, 0), 0, 32)[5 * 32..][..32], found_values[5 * 32..][..32]);
        for (given, found) in [(&keys[64..], &found_keys[5 * 64..]), (&values[..32], &found_values[5 * 32..])]
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
            carve(1, kv_type, &mut arena).unwrap();
            arena.used_bytes()
        };
        assert_eq!(bytes(KvType::F32), 2 * bytes(KvType::F16));
    }

    #[test]
    fn a_cache_past_the_address_space_is_refused() {
        assert!(carve(usize::MAX / 4, KvType::F16, &mut Arena::measuring()).is_err());
    }

    #[test]
    #[should_panic(expected = "page 3 of 3")]
    fn a_position_past_the_pages_panics() {
        let mut memory = memory(KvType::F32);
        let mut cache = carve(N_PAGES, KvType::F32, &mut Arena::new(&mut memory)).unwrap();
        cache.store(Kernels::scalar(), 1, (3, 0), &[0.0; 5], &[]);
    }
}
