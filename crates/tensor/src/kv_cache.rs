//! Keys and values of the positions computed so far.
//!
//! [`KvCache`] is allocated once, as pages of [`PAGE_LEN`] positions of all layers. Within a page, keys and values lie
//! per layer and per head, position after position, so that attention over one head reads contiguous memory in each page. The
//! owner of a sequence keeps track of which pages it has and in which order.

use alloc::vec::Vec;

use half::f16;
use zerocopy::IntoBytes;

use crate::arena::{Arena, OutOfMemory};
use crate::blocks::BlockQ8_0;
use crate::quant::{GgmlType, dequantize, quantize_plain};
use crate::simd::{BLOCK_LEN, Kernels, MAX_UNPACKED_LEN, RowFormat};

/// The number format of keys, or of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheType {
    /// Half precision: half the memory of [`F32`](Self::F32), as accurate as the weights of most files.
    #[default]
    F16,
    /// Single precision, for comparison with a reference.
    F32,
    /// Integers of 8 bits, with a half-precision scale for every 32 elements of a vector. Vectors must be whole blocks, also for
    /// the next two types.
    Q8_0,
    /// Integers of 5 bits, in the same way.
    Q5_0,
    /// Integers of 4 bits, in the same way.
    Q4_0,
}

impl CacheType {
    /// All types, with ggml's types and names.
    const ALL: [(CacheType, GgmlType, &'static str); 5] = [
        (CacheType::F16, GgmlType::F16, "f16"),
        (CacheType::F32, GgmlType::F32, "f32"),
        (CacheType::Q8_0, GgmlType::Q8_0, "q8_0"),
        (CacheType::Q5_0, GgmlType::Q5_0, "q5_0"),
        (CacheType::Q4_0, GgmlType::Q4_0, "q4_0"),
    ];

    /// The names that [`from_name`](Self::from_name) knows, for messages.
    pub const EXPECTED: &'static str = "f16, f32, q8_0, q5_0 or q4_0";

    /// The names that [`from_name`](Self::from_name) knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().map(|&(_, _, name)| name)
    }

    /// The type of this name (`f16`, `q8_0`).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, _, known)| *known == name).map(|&(ty, _, _)| ty)
    }

    /// Its name (`f16`, `q8_0`).
    pub fn name(self) -> &'static str {
        match Self::ALL.iter().find(|(ty, _, _)| *ty == self) {
            Some(&(_, _, name)) => name,
            None => unreachable!("all types are in the table"),
        }
    }

    /// ggml's type.
    pub fn ggml_type(self) -> GgmlType {
        match Self::ALL.iter().find(|(ty, _, _)| *ty == self) {
            Some(&(_, ty, _)) => ty,
            None => unreachable!("all types are in the table"),
        }
    }

    /// Number of elements that are stored together; vectors must be a multiple of it.
    pub fn block_len(self) -> usize {
        self.ggml_type().block_len()
    }

    /// How to unpack a vector of `len` elements, which must be whole blocks.
    pub fn row_format(self, len: usize) -> RowFormat {
        let unpack: fn(&[u8], &mut [f32]) = match self {
            CacheType::F16 => |bytes, out| dequantize(GgmlType::F16, bytes, out),
            CacheType::F32 => |bytes, out| dequantize(GgmlType::F32, bytes, out),
            CacheType::Q8_0 => |bytes, out| dequantize(GgmlType::Q8_0, bytes, out),
            CacheType::Q5_0 => |bytes, out| dequantize(GgmlType::Q5_0, bytes, out),
            CacheType::Q4_0 => |bytes, out| dequantize(GgmlType::Q4_0, bytes, out),
        };
        RowFormat { unpack, bytes: self.bytes_of(len) }
    }

    /// Bytes of `len` elements, which must be whole blocks; saturates on overflow.
    fn bytes_of(self, len: usize) -> usize {
        (len / self.block_len()).saturating_mul(self.ggml_type().block_bytes())
    }
}

/// The number formats of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KvType {
    /// The format of keys, and of values that are the beginnings of keys.
    pub keys: CacheType,
    /// The format of values.
    pub values: CacheType,
}

impl KvType {
    /// Keys and values in half precision.
    pub const F16: Self = Self::both(CacheType::F16);
    /// Keys and values in single precision.
    pub const F32: Self = Self::both(CacheType::F32);
    /// Keys and values in 8-bit integers.
    pub const Q8_0: Self = Self::both(CacheType::Q8_0);

    /// Keys and values in the same format.
    pub const fn both(ty: CacheType) -> Self {
        Self { keys: ty, values: ty }
    }

    /// The longest vector that can be cached, if there is a bound.
    pub fn max_head_len(self) -> Option<usize> {
        let has_own_routine = [Self::F16, Self::Q8_0].contains(&self);
        (!has_own_routine).then_some(MAX_UNPACKED_LEN)
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
    /// Whether values are the beginnings of keys and are not stored separately.
    pub values_in_keys: bool,
    /// Elements of the key of an indexer, which chooses the positions that queries attend to; 0 if there is no indexer.
    pub index_len: usize,
}

impl KvShape {
    /// The lengths and types of a key, of a value and of an indexer's key.
    pub fn vectors(&self, kv_type: KvType) -> [(usize, CacheType); 3] {
        let value_type = if self.values_in_keys { kv_type.keys } else { kv_type.values };
        [(self.head_len_k, kv_type.keys), (self.head_len_v, value_type), (self.index_len, kv_type.keys)]
    }

    /// Elements of a value that are stored in addition to the key's.
    fn stored_len_v(&self) -> usize {
        if self.values_in_keys { 0 } else { self.head_len_v }
    }
}

/// Number of positions in a page.
pub const PAGE_LEN: usize = BLOCK_LEN;

/// Keys and values of all layers, in pages of [`PAGE_LEN`] positions.
#[derive(Debug)]
pub struct KvCache<'m> {
    n_pages: usize,
    /// One per layer.
    places: Vec<Place>,
    /// For each page and each layer: `[n_head_kv][PAGE_LEN][head_len_k]`, then `[PAGE_LEN][index_len]`.
    keys: Elements<'m>,
    /// For each page and each layer: `[n_head_kv][PAGE_LEN][head_len_v]`.
    values: Elements<'m>,
    /// Elements of a page's keys.
    page_len_k: usize,
    /// Elements of a page's values.
    page_len_v: usize,
}

/// Where a layer's part begins in each page.
#[derive(Debug)]
struct Place {
    shape: KvShape,
    first_key: usize,
    first_value: usize,
}

impl Place {
    /// Where the indexer's keys begin.
    fn first_index_key(&self) -> usize {
        self.first_key + self.shape.n_head_kv * PAGE_LEN * self.shape.head_len_k
    }
}

#[derive(Debug)]
enum Elements<'m> {
    F16(&'m mut [f16]),
    F32(&'m mut [f32]),
    Q8_0(&'m mut [BlockQ8_0]),
    /// Blocks of another type.
    Blocks(CacheType, &'m mut [u8]),
}

/// The keys or values of one head, in all pages.
#[derive(Debug, Clone, Copy)]
pub struct HeadPages<'c> {
    /// The elements of all pages.
    pub elements: HeadElements<'c>,
    /// Distance from the start of one page to the start of the next, in elements of the slice's type.
    pub page_len: usize,
    /// Distance from the start of a page to the head's `[PAGE_LEN][head_len]`, in elements of the slice's type.
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
    /// In blocks of another type.
    Blocks(CacheType, &'c [u8]),
}

impl<'c> HeadPages<'c> {
    /// The type of the elements.
    pub fn ty(&self) -> CacheType {
        match self.elements {
            HeadElements::F16(_) => CacheType::F16,
            HeadElements::F32(_) => CacheType::F32,
            HeadElements::Q8_0(_) => CacheType::Q8_0,
            HeadElements::Blocks(ty, _) => ty,
        }
    }

    /// The elements as bytes, and both distances in bytes.
    pub fn bytes(&self) -> (&'c [u8], [usize; 2]) {
        let (bytes, size): (&[u8], _) = match self.elements {
            HeadElements::F16(elements) => (elements.as_bytes(), size_of::<f16>()),
            HeadElements::F32(elements) => (elements.as_bytes(), size_of::<f32>()),
            HeadElements::Q8_0(blocks) => (blocks.as_bytes(), size_of::<BlockQ8_0>()),
            HeadElements::Blocks(_, bytes) => (bytes, 1),
        };
        (bytes, [self.page_len * size, self.first * size])
    }
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
    /// If a length is not a multiple of its type's [`block_len`](CacheType::block_len).
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
        // Lengths beyond the address space saturate; `take` refuses them like any others that do not fit.
        let (mut page_len_k, mut page_len_v) = (0_usize, 0_usize);
        for shape in shapes {
            assert!(shape.vectors(kv_type).iter().all(|(len, ty)| len.is_multiple_of(ty.block_len())));
            places.push(Place { shape, first_key: page_len_k, first_value: page_len_v });
            let vectors = shape.n_head_kv.saturating_mul(PAGE_LEN);
            page_len_k = page_len_k.saturating_add(vectors.saturating_mul(shape.head_len_k));
            page_len_k = page_len_k.saturating_add(shape.index_len.saturating_mul(PAGE_LEN));
            page_len_v = page_len_v.saturating_add(vectors.saturating_mul(shape.stored_len_v()));
        }
        let mut elements = |ty: CacheType, page_len: usize| {
            let len = page_len.saturating_mul(n_pages);
            Ok(match ty {
                CacheType::F16 => Elements::F16(arena.take(len)?),
                CacheType::F32 => Elements::F32(arena.take(len)?),
                CacheType::Q8_0 => Elements::Q8_0(arena.take(len / Q8_0_LEN)?),
                CacheType::Q5_0 | CacheType::Q4_0 => Elements::Blocks(ty, arena.take(ty.bytes_of(len))?),
            })
        };
        let (keys, values) = (elements(kv_type.keys, page_len_k)?, elements(kv_type.values, page_len_v)?);
        Ok(KvCache { n_pages, places, keys, values, page_len_k, page_len_v })
    }

    /// Stores the keys and values of position number `row` of a page, of one layer.
    ///
    /// `keys` is `[n_head_kv][head_len_k]`. `values` is `[n_head_kv][head_len_v]`, or empty if values are the beginnings of keys.
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

    /// Stores the key of a layer's indexer at position number `row` of a page.
    ///
    /// # Panics
    ///
    /// If `layer`, `page`, `row` or the length is outside of the shape.
    pub fn store_index(&mut self, kernels: &Kernels, layer: usize, (page, row): (usize, usize), key: &[f32]) {
        let place = &self.places[layer];
        assert!(page < self.n_pages && row < PAGE_LEN && key.len() == place.shape.index_len);
        let first = page * self.page_len_k + place.first_index_key();
        self.keys.store(kernels, first + row * key.len(), key);
    }

    /// Unpacks the key of a layer's indexer at position number `row` of a page.
    ///
    /// # Panics
    ///
    /// Under the same conditions as [`store_index`](Self::store_index).
    pub fn index_key(&self, layer: usize, (page, row): (usize, usize), key: &mut [f32]) {
        let place = &self.places[layer];
        assert!(page < self.n_pages && row < PAGE_LEN && key.len() == place.shape.index_len);
        let pages = self.keys.pages(self.page_len_k, place.first_index_key());
        let format = pages.ty().row_format(key.len());
        let (bytes, [page_bytes, first]) = pages.bytes();
        (format.unpack)(&bytes[page * page_bytes + first + row * format.bytes..][..format.bytes], key);
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

    /// The values of one head, if they are not the beginnings of its keys.
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
                quantize_plain(GgmlType::Q8_0, vector, blocks.as_mut_bytes());
            }
            Elements::Blocks(ty, bytes) => {
                let bytes = &mut bytes[ty.bytes_of(at)..][..ty.bytes_of(vector.len())];
                quantize_plain(ty.ggml_type(), vector, bytes);
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
            Elements::Blocks(ty, bytes) => HeadPages {
                elements: HeadElements::Blocks(*ty, bytes),
                page_len: ty.bytes_of(page_len),
                first: ty.bytes_of(first),
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
            Elements::Blocks(ty, bytes) => {
                bytes.copy_within(ty.bytes_of(from)..ty.bytes_of(from + len), ty.bytes_of(to));
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
        KvShape { n_head_kv: 3, head_len_k: 2, head_len_v: 1, values_in_keys: false, index_len: 3 },
        KvShape { n_head_kv: 1, head_len_k: 5, head_len_v: 3, values_in_keys: true, index_len: 0 },
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
            HeadElements::Blocks(ty, bytes) => {
                let mut values = vec![0.0; PAGE_LEN * len];
                dequantize(ty.ggml_type(), &bytes[at..][..ty.bytes_of(values.len())], &mut values);
                values
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
                cache.store_index(Kernels::scalar(), 0, (page, row), &[base + 0.25; 3]);
            }
            cache.copy_page(2, 1);
            for (page, row, base) in [(0, 0, 0.0), (0, 63, 63.0), (2, 1, 201.0), (1, 1, 201.0)] {
                assert_eq!(as_f32(cache.keys(0, 2), page, 2)[2 * row..][..2], [base + 2.0, base + 2.5]);
                assert_eq!(as_f32(cache.values(0, 1), page, 1)[row], base + 1.0);
                assert_eq!(as_f32(cache.keys(1, 0), page, 5)[5 * row..][..5], [base + 300.0; 5]);
                assert!(as_f32(cache.values(1, 0), page, 0).is_empty());
                let mut key = [0.0; 3];
                cache.index_key(0, (page, row), &mut key);
                assert_eq!(key, [base + 0.25; 3]);
            }
        }
    }

    #[test]
    fn what_is_unpacked_has_a_longest_vector() {
        assert_eq!([KvType::F16, KvType::Q8_0].map(KvType::max_head_len), [None; 2]);
        let mixed = KvType { keys: CacheType::F16, values: CacheType::F32 };
        assert_eq!([KvType::F32, mixed].map(KvType::max_head_len), [Some(MAX_UNPACKED_LEN); 2]);
    }

    #[test]
    fn blocks_of_32_keep_each_vector_to_half_a_step() {
        let shape =
            KvShape { n_head_kv: 2, head_len_k: 64, head_len_v: 32, values_in_keys: false, index_len: 0 };
        // Bytes of a block, and half a step as a fraction of the largest magnitude. With 4 and 5 bits the range is not
        // symmetrical, so that the error can be a whole step on one side.
        let types = [
            (CacheType::Q8_0, 34, 0.5 / 127.0),
            (CacheType::Q5_0, 22, 1.0 / 16.0),
            (CacheType::Q4_0, 18, 1.0 / 8.0),
        ];
        for (keys_type, k_bytes, _) in types {
            for (values_type, v_bytes, _) in types {
                let kv_type = KvType { keys: keys_type, values: values_type };
                let mut arena = Arena::measuring();
                KvCache::carve([shape; 2].into_iter(), N_PAGES, kv_type, &mut arena).unwrap();
                let used_bytes = arena.used_bytes();
                let n_vectors = 2 * 2 * N_PAGES * PAGE_LEN;
                let align = crate::arena::ALIGN;
                let k_bytes = (k_bytes * 2 * n_vectors).next_multiple_of(align);
                assert_eq!(used_bytes, k_bytes + (v_bytes * n_vectors).next_multiple_of(align));
                let mut memory = vec![0xff; used_bytes + align];
                let mut arena = Arena::new(&mut memory);
                let mut cache = KvCache::carve([shape; 2].into_iter(), N_PAGES, kv_type, &mut arena).unwrap();
                let keys: Vec<f32> = (0..128).map(|i| (i as f32 - 40.0) / 7.0).collect();
                let values: Vec<f32> = (0..64).map(|i| i as f32 * -0.01).collect();
                cache.store(Kernels::scalar(), 1, (2, 5), &keys, &values);
                let found_keys = as_f32(cache.keys(1, 1), 2, 64);
                let found_values = as_f32(cache.values(1, 0), 2, 32);
                cache.copy_page(2, 0);
                // The other positions hold whatever was in the memory, possibly NaN.
                assert_eq!(as_f32(cache.keys(1, 1), 0, 64)[5 * 64..][..64], found_keys[5 * 64..][..64]);
                assert_eq!(as_f32(cache.values(1, 0), 0, 32)[5 * 32..][..32], found_values[5 * 32..][..32]);
                let step = |ty| types.iter().find(|(known, _, _)| *known == ty).unwrap().2;
                for (ty, given, found) in [
                    (keys_type, &keys[64..], &found_keys[5 * 64..]),
                    (values_type, &values[..32], &found_values[5 * 32..]),
                ] {
                    for (given, found) in given.chunks(32).zip(found.chunks(32)) {
                        let amax = given.iter().map(|x| x.abs()).fold(0.0, f32::max);
                        for (x, y) in given.iter().zip(found) {
                            // Half a step, and the rounding of the scale to 11 bits.
                            assert!((x - y).abs() <= amax * (step(ty) + 1.0 / 2048.0), "{x} became {y}");
                        }
                    }
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
