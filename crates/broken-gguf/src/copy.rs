//! Copies of files that are good, with other metadata.

use alloc::vec::Vec;
use core::convert::Infallible;

use llm::gguf::{Gguf, GgufWriter};

/// A copy of a file with those entries of its metadata whose keys it `keeps`, then what `add` writes. The tensors are the same.
///
/// # Panics
/// If an entry is there twice then.
pub fn with_metadata(
    gguf: &Gguf<'_>,
    keeps: &dyn Fn(&str) -> bool,
    add: &mut dyn FnMut(&mut GgufWriter),
) -> Vec<u8> {
    let mut writer = GgufWriter::new();
    for (key, value) in gguf.metadata().filter(|(key, _)| keeps(key)) {
        writer.put(key, value).expect("it was in the file");
    }
    add(&mut writer);
    for tensor in gguf.tensors() {
        writer.declare_tensor(tensor.name, tensor.ty, tensor.shape()).expect("it was in the file");
    }
    let mut copy = Vec::new();
    let sink = |bytes: &[u8]| {
        copy.extend_from_slice(bytes);
        Ok::<_, Infallible>(())
    };
    let mut data = writer.write_header(sink).expect("its keys differ");
    for tensor in gguf.tensors() {
        data.write(gguf.tensor_data(tensor).expect("the file has it")).expect("it has its size");
    }
    data.finish().expect("all were written");
    copy
}
