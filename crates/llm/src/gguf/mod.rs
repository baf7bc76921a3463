//! The GGUF file format: checked views of its bytes.
