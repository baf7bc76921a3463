//! Attention of every kernel set, compared with its definition in double precision, and bit for bit with the scalar set.

use crate::random::Random;
use half::f16;
use llm::blocks::BlockQ8_0;
use llm::kv_cache::CacheType;
use llm::quant::{GgmlType, dequantize, quantize};
use llm::simd::{Attend, BLOCK_LEN, Kernels, Query, RelativeBias, RelativeBuckets, Vectors};
use zerocopy::{FromBytes, IntoBytes};

const N_CTX: usize = 150;

/// One head's keys and values in every type that has a routine of its own.
struct Head {
    f32: Vec<f32>,
    f16: Vec<f16>,
    q8_0: Vec<BlockQ8_0>,
    len: usize,
}

impl Head {
    fn new(random: &mut Random, len: usize) -> Self {
        let f32 = random.normals(N_CTX * len);
        let f16 = f32.iter().map(|&x| f16::from_f32(x)).collect();
        let mut bytes = vec![0; if len.is_multiple_of(32) { f32.len() / 32 * 34 } else { 0 }];
        if !bytes.is_empty() {
            quantize(GgmlType::Q8_0, &f32, &mut bytes);
        }
        let q8_0 = <[BlockQ8_0]>::ref_from_bytes(&bytes).unwrap().to_vec();
        Self { f32, f16, q8_0, len }
    }

    /// The elements in this type, as bytes.
    fn bytes(&self, ty: CacheType) -> Vec<u8> {
        let mut bytes = vec![0; ty.row_format(self.f32.len()).bytes];
        match ty {
            CacheType::F16 => bytes.copy_from_slice(self.f16.as_bytes()),
            CacheType::F32 => bytes.copy_from_slice(self.f32.as_bytes()),
            _ => quantize(ty.ggml_type(), &self.f32, &mut bytes),
        }
        bytes
    }

    /// The values that the elements of a type represent, for keys or for values.
    fn values(&self, kv: Kv, are_keys: bool) -> Vec<f32> {
        match kv {
            Kv::F16 => self.f16.iter().map(|x| x.to_f32()).collect(),
            Kv::Q8_0 => {
                let mut bytes = vec![0; self.f32.len() / 32 * 34];
                quantize(GgmlType::Q8_0, &self.f32, &mut bytes);
                let mut values = vec![0.0; self.f32.len()];
                dequantize(GgmlType::Q8_0, &bytes, &mut values);
                values
            }
            Kv::Unpacked(keys, values) => {
                let ty = if are_keys { keys } else { values };
                let mut values = vec![0.0; self.f32.len()];
                dequantize(ty.ggml_type(), &self.bytes(ty), &mut values);
                values
            }
        }
    }
}

/// Vectors in sequence, as if their pages were in order.
fn in_order<E>(elements: &[E], stride: usize) -> Vectors<'_, E> {
    Vectors { elements, page_len: BLOCK_LEN * stride, first: 0, stride, pages: &[0, 1, 2] }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kv {
    F16,
    Q8_0,
    /// Keys and values of these types, for the routine that unpacks any type.
    Unpacked(CacheType, CacheType),
}

/// Every routine; for the one that unpacks, all types and pairs of types.
const KVS: [Kv; 10] = [
    Kv::F16,
    Kv::Q8_0,
    Kv::Unpacked(CacheType::F32, CacheType::F32),
    Kv::Unpacked(CacheType::F16, CacheType::F16),
    Kv::Unpacked(CacheType::Q8_0, CacheType::Q8_0),
    Kv::Unpacked(CacheType::Q5_0, CacheType::Q5_0),
    Kv::Unpacked(CacheType::Q4_0, CacheType::Q4_0),
    Kv::Unpacked(CacheType::Q8_0, CacheType::Q4_0),
    Kv::Unpacked(CacheType::F16, CacheType::Q5_0),
    Kv::Unpacked(CacheType::Q4_0, CacheType::F32),
];

impl Kv {
    /// Whether keys and values of these lengths are whole blocks.
    fn suits(self, len_k: usize, len_v: usize) -> bool {
        let (keys, values) = match self {
            Kv::F16 => return true,
            Kv::Q8_0 => (CacheType::Q8_0, CacheType::Q8_0),
            Kv::Unpacked(keys, values) => (keys, values),
        };
        len_k.is_multiple_of(keys.block_len()) && len_v.is_multiple_of(values.block_len())
    }
}

#[derive(Debug, Clone, Copy)]
struct Scores {
    scale: f32,
    softcap: Option<f32>,
    /// Whether the scores have a relative position bias.
    has_relative: bool,
    /// Whether some positions are hidden.
    has_mask: bool,
}

/// Number of words in a query's mask.
const MASK_WORDS: usize = 3;

fn is_hidden(query: &Query, position: usize) -> bool {
    position % (query.mask_at / MASK_WORDS + 2) == 1 && position != query.position
}

fn mask(queries: &[Query]) -> Vec<u64> {
    let n_words = queries.iter().map(|query| query.mask_at + MASK_WORDS).max().unwrap_or(0);
    let mut mask = vec![0; n_words];
    for query in queries {
        for position in (0..MASK_WORDS * BLOCK_LEN).filter(|position| !is_hidden(query, *position)) {
            mask[query.mask_at + position / BLOCK_LEN] |= 1 << (position % BLOCK_LEN);
        }
    }
    mask
}

/// Buckets of distances, and the bias of each bucket for three heads.
fn relative() -> (RelativeBuckets, Vec<f32>) {
    (RelativeBuckets::new(16), Random(7).normals(16 * N_HEAD))
}

const N_HEAD: usize = 3;

fn attend(
    kernels: &Kernels,
    kv: Kv,
    q: &[f32],
    keys: &Head,
    values: &Head,
    scores: Scores,
    queries: &[Query],
) -> Vec<f32> {
    let mut output = vec![f32::NAN; queries.len() * values.len];
    let (buckets, weights) = relative();
    let relative = RelativeBias { buckets: &buckets, weights: &weights, n_head: N_HEAD };
    let mask = mask(queries);
    macro_rules! run {
        ($function:ident, $elements:ident, $len:expr) => {{
            let attend = Attend {
                q,
                keys: in_order(&keys.$elements, keys.len / $len),
                values: in_order(&values.$elements, values.len / $len),
                head_len_k: keys.len,
                head_len_v: values.len,
                scale: scores.scale,
                softcap: scores.softcap,
                relative: scores.has_relative.then_some(relative),
                mask: scores.has_mask.then_some(&mask[..]),
            };
            kernels.$function(&attend, queries, &mut output);
        }};
    }
    match kv {
        Kv::F16 => run!(attend_f16, f16, 1),
        Kv::Q8_0 => run!(attend_q8_0, q8_0, 32),
        Kv::Unpacked(keys_type, values_type) => {
            let formats = [keys_type.row_format(keys.len), values_type.row_format(values.len)];
            let (keys_bytes, values_bytes) = (keys.bytes(keys_type), values.bytes(values_type));
            let attend = Attend {
                q,
                keys: in_order(&keys_bytes[..], formats[0].bytes),
                values: in_order(&values_bytes[..], formats[1].bytes),
                head_len_k: keys.len,
                head_len_v: values.len,
                scale: scores.scale,
                softcap: scores.softcap,
                relative: scores.has_relative.then_some(relative),
                mask: scores.has_mask.then_some(&mask[..]),
            };
            kernels.attend_unpacked(&attend, formats, queries, &mut output);
        }
    }
    output
}

/// Attention as the papers define it, in double precision.
fn definition(
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    len_v: usize,
    scores: Scores,
    query: Query,
) -> Vec<f64> {
    let len_k = q.len();
    let visible = query.first..query.end;
    let (buckets, weights) = relative();
    let score = |p: usize| {
        let dot: f64 = q.iter().zip(&keys[p * len_k..]).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
        let score = dot * f64::from(scores.scale);
        let score = scores.softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh());
        let gained = match scores.has_relative {
            true => f64::from(weights[buckets.bucket(p, query.position) * N_HEAD + query.head]),
            false => 0.0,
        };
        score + gained - f64::from(query.slope) * query.position.abs_diff(p) as f64
    };
    let is_hidden = |p: &usize| scores.has_mask && is_hidden(&query, *p);
    let visible: Vec<usize> = visible.filter(|p| !is_hidden(p)).collect();
    let weights: Vec<f64> = visible.iter().map(|p| score(*p).exp()).collect();
    let sum = weights.iter().sum::<f64>() + query.sink.map_or(0.0, |sink| f64::from(sink).exp());
    let output = |i: usize| weights.iter().zip(&visible).map(move |(w, p)| (w, values[p * len_v + i]));
    (0..len_v).map(|i| output(i).map(|(w, v)| w / sum * f64::from(v)).sum()).collect()
}

/// `n` queries that see different positions, in different ways.
fn queries(n: usize, len_k: usize, len_v: usize, random: &mut Random) -> Vec<Query> {
    let ranges = [0..1, 0..64, 0..65, 37..128, 0..150, 63..66, 149..150, 5..70];
    (0..n)
        .map(|i| {
            let visible = ranges[random.below(ranges.len())].clone();
            Query {
                at: i * len_k,
                output_at: i * len_v,
                // Somewhere among what it sees.
                position: visible.start + random.below(visible.len()),
                first: visible.start,
                end: visible.end,
                slope: [0.0, 0.25][random.below(2)],
                sink: [None, Some(1.5)][random.below(2)],
                head: random.below(N_HEAD),
                mask_at: i * MASK_WORDS,
            }
        })
        .collect()
}

fn each_case(mut check: impl FnMut(Kv, &Head, &Head, &[f32], Scores, &[Query])) {
    let mut random = Random(3);
    let shapes = [(64, 64), (128, 96), (32, 32), (8, 6), (24, 40), (1, 1), (13, 43), (80, 8)];
    for (len_k, len_v) in shapes {
        let (keys, values) = (Head::new(&mut random, len_k), Head::new(&mut random, len_v));
        for kv in KVS {
            if !kv.suits(len_k, len_v) {
                continue;
            }
            for n in 1..=8 {
                let q = random.normals(n * len_k);
                let scale = 1.0 / (len_k as f32).sqrt();
                let softcap = [None, Some(2.0)][n % 2];
                let queries = queries(n, len_k, len_v, &mut random);
                check(
                    kv,
                    &keys,
                    &values,
                    &q,
                    Scores { scale, softcap, has_relative: n % 3 == 0, has_mask: n % 4 > 1 },
                    &queries,
                );
            }
        }
    }
}

/// The differences between the results of a set and the definition.
fn errors(
    kernels: &Kernels,
    kv: Kv,
    q: &[f32],
    keys: &Head,
    values: &Head,
    scores: Scores,
    queries: &[Query],
) -> Vec<f64> {
    let got = attend(kernels, kv, q, keys, values, scores, queries);
    let (exact_keys, exact_values) = (keys.values(kv, true), values.values(kv, false));
    let errors = queries.iter().zip(got.chunks_exact(values.len)).flat_map(|(query, got)| {
        let q = &q[query.at..][..keys.len];
        let want = definition(q, &exact_keys, &exact_values, values.len, scores, *query);
        got.iter().zip(want).map(|(got, want)| (f64::from(*got) - want).abs()).collect::<Vec<_>>()
    });
    errors.collect()
}

/// The largest; NaN if any is NaN.
fn largest(errors: &[f64]) -> f64 {
    // In this order a NaN is above all numbers.
    errors.iter().copied().max_by(f64::total_cmp).expect("there are queries")
}

#[test]
fn outputs_are_those_of_the_definition() {
    each_case(|kv, keys, values, q, scores, queries| {
        for kernels in [Kernels::scalar(), Kernels::detect()] {
            let error = largest(&errors(kernels, kv, q, keys, values, scores, queries));
            assert!(error < 3e-6, "{kernels:?} {kv:?} {queries:?} {scores:?}: {error}");
        }
    });
}

/// Rounding to eleven bits has an error of at most 2^-11, and the sums of a block are rounded many times. The mean square over
/// all cases, and the number of errors of 2e-3 (four roundings) or more, show whether the arithmetic is as good as it should
/// be, because other random numbers hardly change them. The largest of the 8640 errors of a set depends on chance: with twenty
/// seeds it was between 1.2e-3 and 3.6e-3.
#[test]
fn half_precision_is_as_good_as_its_eleven_bits() {
    let mut all = Vec::new();
    each_case(|kv, keys, values, q, scores, queries| {
        for kernels in Kernels::in_half_precision() {
            if kv == Kv::F16 && keys.len.is_multiple_of(8) && values.len.is_multiple_of(8) {
                let errors = errors(kernels, kv, q, keys, values, scores, queries);
                assert!(largest(&errors) < 5e-3, "{kernels:?} {queries:?} {scores:?}: {}", largest(&errors));
                all.extend(errors);
            } else {
                let got = attend(kernels, kv, q, keys, values, scores, queries);
                let single = attend(Kernels::scalar(), kv, q, keys, values, scores, queries);
                assert_eq!(got, single, "{kernels:?} {kv:?} {queries:?}");
            }
        }
    });
    if Kernels::in_half_precision().next().is_some() {
        let root_mean_square = (all.iter().map(|error| error * error).sum::<f64>() / all.len() as f64).sqrt();
        // Half a rounding; less than 1e-5 would be single precision.
        assert!((1e-5..3e-4).contains(&root_mean_square), "{root_mean_square} of {} outputs", all.len());
        let n_large = all.iter().filter(|error| **error >= 2e-3).count();
        assert!(1000 * n_large <= all.len(), "{n_large} of {} outputs", all.len());
    }
}

#[test]
fn nothing_overflows_in_half_precision() {
    let mut random = Random(5);
    let large = |x: f32| x.clamp(-2.0, 2.0) * 30000.0;
    let head = |random: &mut Random| Head {
        f16: random.normals(N_CTX * 64).into_iter().map(|x| f16::from_f32(large(x))).collect(),
        f32: Vec::new(),
        q8_0: Vec::new(),
        len: 64,
    };
    let (keys, values) = (head(&mut random), head(&mut random));
    let q: Vec<f32> = random.normals(64).into_iter().map(|x| 1e9 * large(x)).collect();
    for kernels in Kernels::in_half_precision() {
        for scale in [1e-24, 1e-18] {
            let query = Query { end: N_CTX, position: N_CTX - 1, ..Query::default() };
            let scores = Scores { scale, softcap: None, has_relative: false, has_mask: false };
            let error = largest(&errors(kernels, Kv::F16, &q, &keys, &values, scores, &[query]));
            assert!(error < 60000.0 * 2e-3, "{kernels:?} {scores:?}: {error}");
        }
    }
}

#[test]
fn every_set_gives_the_same_bits() {
    each_case(|kv, keys, values, q, scores, queries| {
        let want = attend(Kernels::scalar(), kv, q, keys, values, scores, queries);
        for kernels in Kernels::available() {
            let got = attend(kernels, kv, q, keys, values, scores, queries);
            assert_eq!(got, want, "{kernels:?} {kv:?} {queries:?}");
        }
    });
}

#[test]
fn unpacked_vectors_give_the_bits_of_a_routine_of_their_own() {
    each_case(|kv, keys, values, q, scores, queries| {
        let own = match kv {
            Kv::Unpacked(CacheType::F16, CacheType::F16) => Kv::F16,
            Kv::Unpacked(CacheType::Q8_0, CacheType::Q8_0) => Kv::Q8_0,
            _ => return,
        };
        let want = attend(Kernels::detect(), own, q, keys, values, scores, queries);
        assert_eq!(attend(Kernels::detect(), kv, q, keys, values, scores, queries), want, "{own:?}");
    });
}

#[test]
fn a_query_gets_the_same_bits_alone_and_in_company() {
    each_case(|kv, keys, values, q, scores, queries| {
        for kernels in Kernels::in_half_precision().chain([Kernels::detect()]) {
            let together = attend(kernels, kv, q, keys, values, scores, queries);
            for (query, want) in queries.iter().zip(together.chunks_exact(values.len)) {
                let alone = Query { output_at: 0, ..*query };
                let got = attend(kernels, kv, q, keys, values, scores, &[alone]);
                assert_eq!(got, want, "{kernels:?} {query:?}");
            }
        }
    });
}

#[test]
fn large_scores_do_not_overflow() {
    let (keys, values) = ([100.0, -100.0, 90.0].map(f16::from_f32), [1.0, 2.0, 3.0].map(f16::from_f32));
    for kernels in Kernels::available() {
        let attend = Attend {
            q: &[50.0],
            keys: in_order(&keys, 1),
            values: in_order(&values, 1),
            head_len_k: 1,
            head_len_v: 1,
            scale: 1.0,
            softcap: None,
            relative: None,
            mask: None,
        };
        let mut output = [0.0];
        kernels.attend_f16(&attend, &[Query { end: 3, position: 2, ..Query::default() }], &mut output);
        assert_eq!(output, [1.0], "{kernels:?}");
    }
}

#[test]
fn every_f16_becomes_the_f32_it_is() {
    for kernels in Kernels::available() {
        for bits in 0..=u16::MAX {
            let value = f16::from_bits(bits);
            // Thirty-two at a time, eight, and one alone.
            let values = [value; 41];
            let attend = Attend {
                q: &[0.0],
                keys: in_order(&[f16::ONE], 1),
                values: in_order(&values, 41),
                head_len_k: 1,
                head_len_v: 41,
                scale: 1.0,
                softcap: None,
                relative: None,
                mask: None,
            };
            let mut output = [0.0; 41];
            kernels.attend_f16(&attend, &[Query { end: 1, ..Query::default() }], &mut output);
            let want = value.to_f32();
            let same = |got: &f32| *got == want || got.is_nan() && want.is_nan();
            assert!(output.iter().all(same), "{kernels:?} {bits:#06x}: {output:?}");
        }
    }
}

#[test]
#[should_panic(expected = "out of range")]
fn a_query_that_sees_past_the_cache_is_refused() {
    let vectors = in_order(&[f16::ONE; 2], 1);
    let attend = Attend {
        q: &[1.0],
        keys: vectors,
        values: vectors,
        head_len_k: 1,
        head_len_v: 1,
        scale: 1.0,
        softcap: None,
        relative: None,
        mask: None,
    };
    Kernels::detect().attend_f16(&attend, &[Query { end: 3, ..Query::default() }], &mut [0.0]);
}

#[test]
#[should_panic(expected = "of 1")]
fn a_query_that_sees_past_the_pages_is_refused() {
    let elements = [f16::ONE; 100];
    let vectors = Vectors { pages: &[0], ..in_order(&elements, 1) };
    let attend = Attend {
        q: &[1.0],
        keys: vectors,
        values: vectors,
        head_len_k: 1,
        head_len_v: 1,
        scale: 1.0,
        softcap: None,
        relative: None,
        mask: None,
    };
    Kernels::detect().attend_f16(&attend, &[Query { end: 65, ..Query::default() }], &mut [0.0]);
}

#[test]
fn lengths_that_wrap_are_refused() {
    let elements = [f16::ONE; 100];
    let refused = |stride, at, output_at| {
        let vectors = Vectors { stride, ..in_order(&elements, 1) };
        let attend = Attend {
            q: &[1.0],
            keys: vectors,
            values: vectors,
            head_len_k: 1,
            head_len_v: 1,
            scale: 1.0,
            softcap: None,
            relative: None,
            mask: None,
        };
        let query = Query { at, output_at, end: 2, ..Query::default() };
        let mut output = [0.0];
        let run = || Kernels::scalar().attend_f16(&attend, &[query], &mut output);
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_err();
        panic.downcast_ref::<String>().unwrap().clone()
    };
    assert!(refused(usize::MAX, 0, 0).contains("at a distance of"));
    assert!(refused(1, usize::MAX, 0).contains("of 1"));
    assert!(refused(1, 0, usize::MAX).contains("into 1"));
}

#[test]
fn where_the_pages_lie_changes_no_bit() {
    each_case(|kv, keys, values, q, scores, queries| {
        if kv != Kv::F16 {
            return;
        }
        let scattered = |head: &Head| {
            // Page 0 at 5, page 1 at 1, page 2 at 3, each behind 7 elements of something else.
            let page_len = 7 + BLOCK_LEN * head.len;
            let mut elements = vec![f16::NAN; 6 * page_len];
            for (page, vectors) in [5, 1, 3].into_iter().zip(head.f16.chunks(BLOCK_LEN * head.len)) {
                elements[page * page_len + 7..][..vectors.len()].copy_from_slice(vectors);
            }
            (elements, page_len)
        };
        let ((keys_at, keys_len), (values_at, values_len)) = (scattered(keys), scattered(values));
        let vectors =
            |elements, page_len, stride| Vectors { elements, page_len, first: 7, stride, pages: &[5, 1, 3] };
        for kernels in Kernels::available() {
            let (buckets, weights) = relative();
            let relative = RelativeBias { buckets: &buckets, weights: &weights, n_head: N_HEAD };
            let mask = mask(queries);
            let attend_scattered = Attend {
                q,
                keys: vectors(&keys_at[..], keys_len, keys.len),
                values: vectors(&values_at[..], values_len, values.len),
                head_len_k: keys.len,
                head_len_v: values.len,
                scale: scores.scale,
                softcap: scores.softcap,
                relative: scores.has_relative.then_some(relative),
                mask: scores.has_mask.then_some(&mask[..]),
            };
            let mut got = vec![f32::NAN; queries.len() * values.len];
            kernels.attend_f16(&attend_scattered, queries, &mut got);
            assert_eq!(got, attend(kernels, kv, q, keys, values, scores, queries), "{kernels:?}");
        }
    });
}
