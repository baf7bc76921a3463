//! The small model, changed as if it had been trained for more positions.

#![allow(dead_code, reason = "no test needs all of them")]

use std::path::{Path, PathBuf};

/// Its file, with a context of `n_ctx_train`.
pub fn micro(n_ctx_train: u32) -> Vec<u8> {
    let mut file = std::fs::read(repository_file("../../test_models/micro.gguf")).unwrap();
    set_number(&mut file, "llama.context_length", n_ctx_train);
    file
}

/// Replaces a number in the file.
pub fn set_number(file: &mut [u8], key: &str, value: u32) {
    // A key's length lies before it, the type between key and value.
    let name = [&(key.len() as u64).to_le_bytes(), key.as_bytes()].concat();
    let name_at = file.windows(name.len()).position(|bytes| bytes == name).unwrap();
    file[name_at + name.len() + size_of::<u32>()..][..size_of::<u32>()].copy_from_slice(&value.to_le_bytes());
}

/// A file, by its path relative to the crate's `Cargo.toml`.
pub fn repository_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
