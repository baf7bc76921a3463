//! For any bytes, the reader returns a result and allocates no more than the length of the bytes justifies.

use std::alloc::System;
use std::ops::Range;

use llm::gguf::{Array, Gguf, GgufError, Value};
use llm::model::Model;
use llm::quant::ModelBytes;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Reads everything that the reader offers, and the model.
fn read_all(bytes: &[u8], file_bytes: u64) -> Result<(), GgufError> {
    let region = Region::new(ALLOCATOR);
    let parsed = Gguf::parse(bytes, file_bytes);
    let allocated = region.change();
    // Tables, and the copies made while they grow.
    let most = 20 * bytes.len() + 8192;
    assert!(allocated.bytes_allocated + allocated.bytes_reallocated.unsigned_abs() <= most);

    let gguf = parsed?;
    for (key, value) in gguf.metadata() {
        assert_eq!(gguf.get(key).map(|value| value.ty()), Some(value.ty()));
        if let Value::Array(array) = value {
            read_array(&array);
        }
    }
    for tensor in gguf.tensors() {
        assert_eq!(gguf.tensor(tensor.name), Some(tensor));
        match gguf.tensor_data(tensor) {
            Ok(data) => assert_eq!(data.len() as u64, tensor.size_bytes),
            Err(error) => assert!(matches!(error, GgufError::Truncated { .. })),
        }
    }
    assert!(gguf.end_offset() <= file_bytes);
    let _ = Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes()));
    Ok(())
}

fn read_array(array: &Array<'_>) {
    assert_eq!(array.values().count(), array.len());
    if let Some(strings) = array.strings() {
        assert_eq!(strings.count(), array.len());
    }
    if let Some(u32s) = array.u32s() {
        assert_eq!(u32s.len(), array.len());
    }
    if let Some(arrays) = array.arrays() {
        arrays.for_each(|inner| read_array(&inner));
    }
}

/// A change of a good file.
#[derive(Debug, Clone)]
enum Mutation {
    /// Replaces one byte.
    Byte(usize, u8),
    /// Replaces eight bytes, as in a count or an offset.
    Word(usize, u64),
    /// Removes bytes.
    Remove(usize, usize),
    /// Repeats a part elsewhere.
    Copy(usize, usize, usize),
}

/// The range that holds most of the header's structure.
const STRUCTURE: [Range<usize>; 2] = [0..1024, 6500..8200];

fn mutations(len: usize) -> impl Strategy<Value = Vec<Mutation>> {
    let [first, last] = STRUCTURE;
    let place = prop_oneof![3 => first, 3 => last, 1 => 0..len];
    let word = prop_oneof![any::<u64>(), 0..300u64, (0..64u32).prop_map(|bit| 1 << bit), Just(u64::MAX)];
    let mutation = prop_oneof![
        (place.clone(), any::<u8>()).prop_map(|(at, byte)| Mutation::Byte(at, byte)),
        (place.clone(), word).prop_map(|(at, word)| Mutation::Word(at, word)),
        (place.clone(), 1..64usize).prop_map(|(at, n)| Mutation::Remove(at, n)),
        (place.clone(), place, 1..64usize).prop_map(|(from, to, n)| Mutation::Copy(from, to, n)),
    ];
    prop::collection::vec(mutation, 1..4)
}

fn mutate(good: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for mutation in mutations {
        match *mutation {
            Mutation::Byte(at, byte) => bytes[at % good.len()] = byte,
            Mutation::Word(at, word) => {
                let at = at.min(bytes.len() - 8);
                bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
            Mutation::Remove(at, n) => {
                let at = at.min(bytes.len() - n);
                bytes.drain(at..at + n);
                bytes.resize(good.len(), 0);
            }
            Mutation::Copy(from, to, n) => {
                let last = bytes.len() - n;
                bytes.copy_within(from.min(last)..from.min(last) + n, to.min(last));
            }
        }
    }
    bytes
}

// One test: the allocator counts for the whole process.
#[test]
fn no_bytes_make_it_panic_or_allocate_absurdly() {
    let config = ProptestConfig { cases: 3000, failure_persistence: None, ..Default::default() };

    let noise = (prop::collection::vec(any::<u8>(), 0..600), any::<u64>());
    TestRunner::new(config.clone())
        .run(&noise, |(mut bytes, file_bytes)| {
            let _ = read_all(&bytes, file_bytes);
            // Noise after a plausible beginning gets further.
            if let Some(start) = bytes.get_mut(..24) {
                start[..8].copy_from_slice(b"GGUF\x03\0\0\0");
                start[9..16].fill(0);
                start[17..24].fill(0);
                let _ = read_all(&bytes, file_bytes);
            }
            Ok(())
        })
        .unwrap();

    let good = broken_gguf::good();
    assert_eq!(read_all(&good, good.len() as u64), Ok(()));

    // Whatever number is the largest one, in a file of any length: a tensor's end must not overflow.
    for at in STRUCTURE.into_iter().flatten() {
        let _ = read_all(&mutate(&good, &[Mutation::Word(at, u64::MAX)]), u64::MAX);
    }

    TestRunner::new(config.clone())
        .run(&mutations(good.len()), |mutations| {
            let bytes = mutate(&good, &mutations);
            let _ = read_all(&bytes, bytes.len() as u64);
            let _ = read_all(&bytes, u64::MAX);
            Ok(())
        })
        .unwrap();

    // Cut anywhere, a file is refused if it is known to end there, and asked for more if not.
    TestRunner::new(config)
        .run(&(0..good.len()), |len| {
            prop_assert!(read_all(&good[..len], len as u64).is_err());
            match read_all(&good[..len], good.len() as u64) {
                Ok(()) => {}
                Err(GgufError::Truncated { needed_bytes, available_bytes }) => {
                    prop_assert!(available_bytes == len as u64 && needed_bytes > available_bytes);
                }
                Err(error) => prop_assert!(false, "{}", error),
            }
            Ok(())
        })
        .unwrap();
}
