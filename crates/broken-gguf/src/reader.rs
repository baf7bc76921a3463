//! Files that break the rules of the format.

use alloc::vec::Vec;

use llm::gguf::{Value, ValueType};
use llm::quant::GgmlType;

use crate::file::{Entry, File};

const TOKENS: &str = "tokenizer.ggml.tokens";
const ALIGNMENT: &str = "general.alignment";
const NORM: &str = "output_norm.weight";
const MATRIX: &str = "blk.0.attn_q.weight";

pub(crate) fn kinds(file: &File) -> Vec<(&'static str, Vec<u8>)> {
    [cut(file), not_gguf(file), counts(file), metadata(file), alignment(file), table(file), places(file)]
        .concat()
}

/// Files that end too early.
fn cut(file: &File) -> Vec<(&'static str, Vec<u8>)> {
    let (bytes, places) = file.bytes_and_places();
    let until = |len: usize| bytes[..len].to_vec();
    let tokens = file.metadata.iter().position(|entry| entry.key == TOKENS.as_bytes());
    let tokens = places.metadata[tokens.expect("the good file has tokens")];
    let name_bytes = file.tensors[1].name.len();
    let key_bytes = file.metadata[0].key.len();
    let [_, second_entry, ..] = places.metadata[..] else { panic!("the good file has two entries") };
    let [first_tensor, second_tensor, ..] = places.tensors[..] else {
        panic!("the good file has two tensors")
    };
    [
        ("empty", until(0)),
        ("cut-in-magic", until(2)),
        ("cut-in-version", until(6)),
        ("cut-in-tensor-count", until(12)),
        ("cut-in-metadata-count", until(20)),
        ("cut-before-metadata", until(24)),
        ("cut-in-key-length", until(24 + 4)),
        ("cut-in-key", until(24 + 8 + 3)),
        ("cut-in-value-type", until(24 + 8 + key_bytes + 2)),
        ("cut-in-string-length", until(24 + 8 + key_bytes + 4 + 3)),
        ("cut-in-string", until(second_entry - 1)),
        ("cut-before-second-key", until(second_entry)),
        ("cut-in-array-header", until(tokens + 8 + TOKENS.len() + 4 + 6)),
        ("cut-in-array", until(tokens + 8 + TOKENS.len() + 4 + 12 + 100)),
        ("cut-before-tensor-table", until(first_tensor)),
        ("cut-in-tensor-name", until(second_tensor + 8 + name_bytes / 2)),
        ("cut-in-dimensions", until(second_tensor + 8 + name_bytes + 4 + 5)),
        ("cut-in-tensor-offset", until(second_tensor - 3)),
        ("cut-before-data", until(places.data)),
        ("cut-in-first-tensor", until(places.data + 512)),
        ("cut-in-half", until(bytes.len() / 2)),
        ("cut-before-last-kilobyte", until(bytes.len() - 1024)),
    ]
    .into()
}

/// Files of another format or version.
fn not_gguf(file: &File) -> Vec<(&'static str, Vec<u8>)> {
    let magic = |magic: &[u8; 4]| file.with(|file| file.magic = *magic);
    let version = |version| file.with(|file| file.version = version);
    let mut state = 1u64;
    let noise = core::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    [
        ("noise", noise.take(4096).collect()),
        ("zeroes", [0; 4096].into()),
        ("text", b"version https://git-lfs.github.com/spec/v1\noid sha256:\n".repeat(20)),
        ("magic-of-an-older-format", magic(b"ggjt")),
        ("magic-reversed", magic(b"FUGG")),
        ("version-0", version(0)),
        ("version-1", version(1)),
        ("version-4", version(4)),
        ("version-huge", version(u32::MAX)),
        ("big-endian", version(3u32.swap_bytes())),
        ("magic-only", [&b"GGUF"[..], &[0; 1020]].concat()),
    ]
    .into()
}

/// Counts in the header that are not true.
fn counts(file: &File) -> Vec<(&'static str, Vec<u8>)> {
    let tensors = |error| file.with(|file| file.tensor_count_error = error);
    let metadata = |error| file.with(|file| file.metadata_count_error = error);
    let minus_one = u64::MAX;
    [
        ("tensor-count-one-more", tensors(1)),
        ("tensor-count-too-many-for-file", tensors(100_000)),
        ("tensor-count-2-to-the-60", tensors(1 << 60)),
        ("tensor-count-minus-one", tensors(minus_one.wrapping_sub(file.tensors.len() as u64))),
        ("metadata-count-one-more", metadata(1)),
        ("metadata-count-one-less", metadata(minus_one)),
        ("metadata-count-zero", metadata((file.metadata.len() as u64).wrapping_neg())),
        ("metadata-count-2-to-the-60", metadata(1 << 60)),
        ("metadata-count-minus-one", metadata(minus_one.wrapping_sub(file.metadata.len() as u64))),
    ]
    .into()
}

/// Metadata entries that make no sense.
fn metadata(file: &File) -> Vec<(&'static str, Vec<u8>)> {
    let entry = |change: fn(&mut Entry)| file.with(|file| change(&mut file.metadata[1]));
    let array = |element_type, len, elements: &[u8]| {
        let entry = Entry::array("general.tags", element_type, len, elements);
        file.with(|file| file.metadata.insert(1, entry))
    };
    let string = ValueType::String.id();
    let nested = ValueType::Array.id();
    let mut deep = Vec::new();
    for _ in 0..10_000 {
        deep.extend(nested.to_le_bytes());
        deep.extend(1u64.to_le_bytes());
    }
    [
        ("key-length-huge", entry(|entry| entry.key_len_error = 1 << 62)),
        ("key-length-minus-one", entry(|entry| entry.key_len_error = u64::MAX - entry.key.len() as u64)),
        ("key-empty", entry(|entry| entry.key.clear())),
        ("key-too-long", entry(|entry| entry.key = [b'k'; 65536].into())),
        ("key-not-utf8", entry(|entry| entry.key[3] = 0xff)),
        ("key-twice", file.with(|file| file.metadata.push(file.metadata[0].clone()))),
        ("value-type-13", entry(|entry| entry.ty = 13)),
        ("value-type-huge", entry(|entry| entry.ty = u32::MAX)),
        ("string-length-huge", entry(|entry| entry.value[..8].copy_from_slice(&(1u64 << 50).to_le_bytes()))),
        ("string-length-minus-one", entry(|entry| entry.value[..8].fill(0xff))),
        ("array-length-huge", array(ValueType::F32.id(), 1 << 40, &[0; 64])),
        ("array-length-overflows", array(ValueType::F64.id(), 1 << 61, &[0; 64])),
        ("array-length-minus-one", array(string, u64::MAX, &[0; 64])),
        ("array-of-unknown-type", array(99, 1, &[0; 64])),
        ("array-with-endless-string", array(string, 1, &[0xff; 8])),
        ("array-nested-too-deep", array(nested, 1, &deep)),
        ("array-of-countless-arrays", array(nested, u64::MAX / 12, &[0; 64])),
        ("array-of-countless-inner-elements", {
            let mut inner = Vec::new();
            inner.extend(string.to_le_bytes());
            inner.extend((1u64 << 40).to_le_bytes());
            array(nested, 1, &inner)
        }),
        ("bool-of-2", {
            let mut flag = Entry::new("general.flag", Value::Bool(true));
            flag.value = [2].into();
            file.with(|file| file.metadata.push(flag))
        }),
        ("array-with-bool-of-255", array(ValueType::Bool.id(), 4, &[0, 1, 255, 0])),
    ]
    .into()
}

fn alignment(file: &File) -> Vec<(&'static str, Vec<u8>)> {
    let set = |value| file.with(|file| file.set(ALIGNMENT, value));
    [
        ("alignment-zero", set(Value::U32(0))),
        ("alignment-one", set(Value::U32(1))),
        ("alignment-no-power-of-two", set(Value::U32(48))),
        ("alignment-negative", set(Value::I32(-32))),
        ("alignment-text", set(Value::String("32".into()))),
        ("alignment-huge", set(Value::U32(1 << 31))),
        // Offsets that were right for 32.
        ("alignment-4096", set(Value::U32(4096))),
    ]
    .into()
}

/// Entries of the tensor table that make no sense.
fn table(file: &File) -> Vec<(&'static str, Vec<u8>)> {
    let matrix = |change: fn(&mut crate::file::Tensor)| file.with(|file| change(file.tensor(MATRIX)));
    [
        ("tensor-name-empty", matrix(|tensor| tensor.name.clear())),
        ("tensor-name-too-long", matrix(|tensor| tensor.name = [b'n'; 65].into())),
        ("tensor-name-length-huge", matrix(|tensor| tensor.name_len_error = 1 << 62)),
        ("tensor-name-not-utf8", matrix(|tensor| tensor.name[0] = 0xc0)),
        ("tensor-name-twice", file.with(|file| file.tensor(MATRIX).name = "blk.1.attn_q.weight".into())),
        ("five-dimensions", matrix(|tensor| tensor.dims = [2; 5].into())),
        ("countless-dimensions", matrix(|tensor| tensor.n_dims_error = u32::MAX - 2)),
        ("dimension-zero", matrix(|tensor| tensor.dims[1] = 0)),
        ("dimension-huge", matrix(|tensor| tensor.dims[1] = 1 << 40)),
        ("dimension-minus-one", matrix(|tensor| tensor.dims[1] = u64::MAX)),
        ("dimensions-overflow", matrix(|tensor| tensor.dims = [1 << 32, 1 << 32].into())),
        // 2^62 elements of 4 bytes are 2^64 bytes, or 0.
        ("size-overflows", matrix(|tensor| tensor.dims = [1 << 31, 1 << 31].into())),
        ("tensor-type-removed", matrix(|tensor| tensor.ty = 4)),
        ("tensor-type-unknown", matrix(|tensor| tensor.ty = 1000)),
        ("rows-of-partial-blocks", {
            file.with(|file| {
                let tensor = file.tensor(MATRIX);
                tensor.ty = GgmlType::Q4_0.id();
                tensor.dims[0] -= 1;
            })
        }),
    ]
    .into()
}

/// Tensors that are not where they can be.
fn places(file: &File) -> Vec<(&'static str, Vec<u8>)> {
    let norm = |change: fn(&mut u64)| file.with(|file| change(&mut file.tensor(NORM).offset));
    [
        ("tensor-misaligned", norm(|offset| *offset += 4)),
        ("tensor-past-end", norm(|offset| *offset += 1 << 40)),
        ("tensor-offset-overflows", norm(|offset| *offset = u64::MAX - 31)),
        ("tensors-in-one-place", { file.with(|file| file.tensor(NORM).offset = file.tensor(MATRIX).offset) }),
        ("tensor-inside-another", {
            file.with(|file| file.tensor(NORM).offset = file.tensor(MATRIX).offset + 64)
        }),
        ("tensors-in-each-others-place", {
            file.with(|file| {
                let (norm, matrix) = (file.tensor(NORM).offset, file.tensor(MATRIX).offset);
                file.tensor(NORM).offset = matrix;
                file.tensor(MATRIX).offset = norm;
            })
        }),
        ("tensor-longer-than-its-place", { file.with(|file| file.tensor(MATRIX).ty = GgmlType::F64.id()) }),
    ]
    .into()
}
