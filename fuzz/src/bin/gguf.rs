//! Any bytes as a GGUF file: everything that the reader offers, then the model.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm::gguf::{Array, Gguf, Value};
use llm::model::Model;
use llm::quant::ModelBytes;

fuzz_target!(|bytes: &[u8]| {
    // As a whole file, and as the beginning of a larger one.
    read_all(bytes, bytes.len() as u64);
    read_all(bytes, 1 << 40);
});

fn read_all(bytes: &[u8], file_bytes: u64) {
    let gguf = match Gguf::parse(bytes, file_bytes) {
        Ok(gguf) => gguf,
        Err(error) => {
            assert!(!error.to_string().contains('\n'));
            return;
        }
    };
    for (key, value) in gguf.metadata() {
        assert!(gguf.get(key).is_some());
        let _ = value.to_string();
        if let Value::Array(array) = value {
            read_array(&array);
        }
    }
    for tensor in gguf.tensors() {
        assert_eq!(gguf.tensor(tensor.name), Some(tensor));
        if let Ok(data) = gguf.tensor_data(tensor) {
            assert_eq!(data.len() as u64, tensor.size_bytes);
        }
    }
    assert!(gguf.end_offset() <= file_bytes);
    let _ = Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes()));
}

fn read_array(array: &Array<'_>) {
    assert_eq!(array.values().count(), array.len());
    if let Some(strings) = array.strings() {
        assert_eq!(strings.count(), array.len());
    }
    if let Some(arrays) = array.arrays() {
        arrays.for_each(|inner| read_array(&inner));
    }
}
