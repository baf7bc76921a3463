//! Model files for tests, and tools to observe what a test does: its allocations and its log.

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
    path::{Path, PathBuf},
    string::{String, ToString},
    vec::Vec,
};

use llm::gguf::{Gguf, GgufWriter};

use super::host;
use failing::Failing;

// The server's tests use the same module.
#[path = "../../../crates/serve/tests/failing/mod.rs"]
pub mod failing;

use crate::memory::pool::{GRANULE_BYTES, Region};

fn test_models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../test_models")
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The small model with a SentencePiece-style vocabulary.
pub fn micro() -> Vec<u8> {
    read(&test_models().join("micro.gguf"))
}

/// A model with a byte-level vocabulary and a chat template.
pub fn tiny() -> Vec<u8> {
    read(&test_models().join("tiny.gguf"))
}

/// A file with one more text in its header.
pub fn with_text(file: &[u8], key: &str, text: &str) -> Vec<u8> {
    let gguf = Gguf::parse(file, file.len() as u64).unwrap();
    let mut writer = GgufWriter::new();
    for (key, value) in gguf.metadata() {
        writer.put(key, value).unwrap();
    }
    writer.put_str(key, text).unwrap();
    for tensor in gguf.tensors() {
        writer.declare_tensor(tensor.name, tensor.ty, &tensor.dims[..tensor.n_dims]).unwrap();
    }
    let mut written = Vec::new();
    let mut tensors = writer
        .write_header(|bytes: &[u8]| {
            written.extend_from_slice(bytes);
            Ok::<(), std::fmt::Error>(())
        })
        .unwrap();
    for tensor in gguf.tensors() {
        tensors.write(gguf.tensor_data(tensor).unwrap()).unwrap();
    }
    tensors.finish().unwrap();
    written
}

/// The file split into parts, as llama.cpp's gguf-split writes them; the first part has no tensors.
pub fn parts(file: &[u8], count: u16) -> Vec<Vec<u8>> {
    use llm::gguf::{Value, split};
    let gguf = Gguf::parse(file, file.len() as u64).unwrap();
    let n_tensors = gguf.tensors().len();
    let begin = |index: u16| n_tensors * usize::from(index.saturating_sub(1)) / usize::from(count - 1);
    let part = |index: u16| {
        let mut writer = GgufWriter::new();
        if index == 0 {
            gguf.metadata().for_each(|(key, value)| writer.put(key, value).unwrap());
        }
        writer.put(split::SPLIT_NO, Value::U16(index)).unwrap();
        writer.put(split::SPLIT_TENSORS_COUNT, Value::I32(n_tensors as i32)).unwrap();
        writer.put(split::SPLIT_COUNT, Value::U16(count)).unwrap();
        let tensors = if index == 0 { &[][..] } else { &gguf.tensors()[begin(index)..begin(index + 1)] };
        for tensor in tensors {
            writer.declare_tensor(tensor.name, tensor.ty, tensor.shape()).unwrap();
        }
        let mut written = Vec::new();
        let mut data = writer
            .write_header(|bytes: &[u8]| {
                written.extend_from_slice(bytes);
                Ok::<(), std::fmt::Error>(())
            })
            .unwrap();
        for tensor in tensors {
            data.write(gguf.tensor_data(tensor).unwrap()).unwrap();
        }
        data.finish().unwrap();
        written
    };
    (0..count).map(part).collect()
}

/// These bytes at an address whose alignment suits every tensor.
pub fn aligned(bytes: &[u8]) -> Region {
    let mut region =
        host::pool(bytes.len().next_multiple_of(GRANULE_BYTES)).reserve(bytes.len(), GRANULE_BYTES).unwrap();
    region.copy_from_slice(bytes);
    region
}

/// Counts the allocations of each thread, so that a test can assert that something allocates nothing.
struct CountingAllocator;

std::thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
}

/// How often this thread has allocated.
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// Bytes that this thread has allocated and not freed.
pub fn live_bytes() -> i64 {
    LIVE_BYTES.get()
}

// SAFETY: every call is passed unchanged to another allocator, which satisfies the contract; the counters are plain cells without
// destructors, so they can be used at any time in a thread's life.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        LIVE_BYTES.set(LIVE_BYTES.get() + layout.size() as i64);
        // SAFETY: the caller promises that the layout is not empty.
        unsafe { Failing.alloc(layout) }
    }

    // Zeroed pages are not backed by memory until they are written to; the pools of all tests together exceed a machine's memory.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        LIVE_BYTES.set(LIVE_BYTES.get() + layout.size() as i64);
        // SAFETY: the caller promises that the layout is not empty.
        unsafe { Failing.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE_BYTES.set(LIVE_BYTES.get() - layout.size() as i64);
        // SAFETY: the caller promises that the block came from this allocator with this layout.
        unsafe { Failing.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// The records that this thread logged while `work` ran.
pub fn logged(work: impl FnOnce()) -> Vec<String> {
    struct Capture;
    std::thread_local! {
        static LINES: Cell<Option<Vec<String>>> = const { Cell::new(None) };
    }
    impl log::Log for Capture {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            if let Some(mut lines) = LINES.take() {
                lines.push(record.args().to_string());
                LINES.set(Some(lines));
            }
        }
        fn flush(&self) {}
    }
    // If an earlier call has installed the logger already, that is fine.
    let _ = log::set_logger(&Capture);
    log::set_max_level(log::LevelFilter::Info);
    LINES.set(Some(Vec::new()));
    work();
    LINES.take().unwrap_or_default()
}
