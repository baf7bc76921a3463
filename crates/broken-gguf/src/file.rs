//! A GGUF file taken apart, so that any field of it can be set to anything.

use alloc::vec::Vec;

use llm::gguf::{Gguf, GgufWriter, Value, ValueType};

/// All fields of a file, none of them checked.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub magic: [u8; 4],
    pub version: u32,
    /// What is added to the true count.
    pub tensor_count_error: u64,
    /// What is added to the true count.
    pub metadata_count_error: u64,
    pub metadata: Vec<Entry>,
    pub tensors: Vec<Tensor>,
    pub data: Vec<u8>,
}

/// A metadata entry.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: Vec<u8>,
    /// What is added to the true length.
    pub key_len_error: u64,
    pub ty: u32,
    /// The value as it stands in the file.
    pub value: Vec<u8>,
}

/// An entry of the tensor table.
#[derive(Debug, Clone)]
pub(crate) struct Tensor {
    pub name: Vec<u8>,
    /// What is added to the true length.
    pub name_len_error: u64,
    /// What is added to the true number.
    pub n_dims_error: u32,
    pub dims: Vec<u64>,
    pub ty: u32,
    pub offset: u64,
}

/// Where things are in the bytes of a file.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub metadata: Vec<usize>,
    pub tensors: Vec<usize>,
    pub data: usize,
}

const ALIGNMENT: usize = 32;

impl File {
    /// Takes a good file apart.
    pub fn parse(bytes: &[u8]) -> Self {
        let gguf = Gguf::parse(bytes, bytes.len() as u64).expect("the good file is good");
        assert_eq!(gguf.alignment() as usize, ALIGNMENT, "the good file has the default alignment");
        Self {
            magic: *b"GGUF",
            version: gguf.version(),
            tensor_count_error: 0,
            metadata_count_error: 0,
            metadata: gguf.metadata().map(|(key, value)| Entry::new(key, value)).collect(),
            tensors: gguf
                .tensors()
                .iter()
                .map(|tensor| Tensor {
                    name: tensor.name.into(),
                    name_len_error: 0,
                    n_dims_error: 0,
                    dims: tensor.shape().into(),
                    ty: tensor.ty.id(),
                    offset: tensor.offset,
                })
                .collect(),
            data: bytes[gguf.data_offset() as usize..].into(),
        }
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_and_places().0
    }

    pub fn bytes_and_places(&self) -> (Vec<u8>, Places) {
        let mut out = Vec::new();
        let mut places = Places { metadata: Vec::new(), tensors: Vec::new(), data: 0 };
        let count = |len: usize, error: u64| (len as u64).wrapping_add(error).to_le_bytes();
        out.extend(self.magic);
        out.extend(self.version.to_le_bytes());
        out.extend(count(self.tensors.len(), self.tensor_count_error));
        out.extend(count(self.metadata.len(), self.metadata_count_error));
        for entry in &self.metadata {
            places.metadata.push(out.len());
            out.extend(count(entry.key.len(), entry.key_len_error));
            out.extend(&entry.key);
            out.extend(entry.ty.to_le_bytes());
            out.extend(&entry.value);
        }
        for tensor in &self.tensors {
            places.tensors.push(out.len());
            out.extend(count(tensor.name.len(), tensor.name_len_error));
            out.extend(&tensor.name);
            out.extend((tensor.dims.len() as u32).wrapping_add(tensor.n_dims_error).to_le_bytes());
            for dim in &tensor.dims {
                out.extend(dim.to_le_bytes());
            }
            out.extend(tensor.ty.to_le_bytes());
            out.extend(tensor.offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        places.data = out.len();
        out.extend(&self.data);
        (out, places)
    }

    /// The file after `change`.
    pub fn with(&self, change: impl FnOnce(&mut File)) -> Vec<u8> {
        let mut file = self.clone();
        change(&mut file);
        file.bytes()
    }

    pub fn entry(&mut self, key: &str) -> &mut Entry {
        let entry = self.metadata.iter_mut().find(|entry| entry.key == key.as_bytes());
        entry.unwrap_or_else(|| panic!("the good file has the key {key}"))
    }

    pub fn set(&mut self, key: &str, value: Value<'_>) {
        self.remove(key);
        self.metadata.push(Entry::new(key, value));
    }

    pub fn remove(&mut self, key: &str) {
        self.metadata.retain(|entry| entry.key != key.as_bytes());
    }

    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        let tensor = self.tensors.iter_mut().find(|tensor| tensor.name == name.as_bytes());
        tensor.unwrap_or_else(|| panic!("the good file has the tensor {name}"))
    }

    pub fn remove_tensor(&mut self, name: &str) {
        self.tensors.retain(|tensor| tensor.name != name.as_bytes());
    }
}

impl Entry {
    pub fn new(key: &str, value: Value<'_>) -> Self {
        Self {
            key: key.into(),
            key_len_error: 0,
            ty: value.ty().id(),
            value: encode(|writer| writer.put("k", value).expect("memory")),
        }
    }

    /// An array whose header claims `element_type` and `len`, followed by `elements`.
    pub fn array(key: &str, element_type: u32, len: u64, elements: &[u8]) -> Self {
        let mut value = Vec::new();
        value.extend(element_type.to_le_bytes());
        value.extend(len.to_le_bytes());
        value.extend(elements);
        Self { key: key.into(), key_len_error: 0, ty: ValueType::Array.id(), value }
    }
}

/// The value that `put` adds under a key of one byte, as it stands in a file.
fn encode(put: impl FnOnce(&mut GgufWriter)) -> Vec<u8> {
    const BEFORE_VALUE: usize = 4 + 4 + 8 + 8 + (8 + 1) + 4;
    let mut writer = GgufWriter::new();
    put(&mut writer);
    let mut file = Vec::new();
    let tensors = writer.write_header(|bytes: &[u8]| {
        file.extend_from_slice(bytes);
        Ok::<(), llm::gguf::GgufError>(())
    });
    tensors.expect("one entry is a file");
    let gguf = Gguf::parse(&file, file.len() as u64).expect("what was written can be read");
    file.truncate(gguf.end_offset() as usize);
    file.split_off(BEFORE_VALUE)
}
