//! An adapter for a model that can be told by what it says.

use llm::{
    gguf::{Gguf, GgufWriter},
    quant::GgmlType,
};

/// An adapter of rank 1 that says other things than the model.
pub fn loud(model: &[u8]) -> Vec<u8> {
    const CHANGED: &str = "blk.0.attn_output.weight";
    let gguf = Gguf::parse(model, model.len() as u64).expect("the model is sound");
    let dims = gguf.tensor(CHANGED).expect("it is there").dims;
    let (a, b) = (format!("{CHANGED}.lora_a"), format!("{CHANGED}.lora_b"));
    let mut writer = GgufWriter::new();
    let architecture = gguf.require_str("general.architecture").expect("it is there");
    for (key, value) in [
        ("general.type", "adapter"),
        ("adapter.type", "lora"),
        ("general.architecture", architecture),
        ("general.name", "loud"),
    ] {
        writer.put_str(key, value).expect("a key");
    }
    writer.declare_tensor(&a, GgmlType::F32, &[dims[0], 1]).expect("a tensor");
    writer.declare_tensor(&b, GgmlType::F32, &[1, dims[1]]).expect("a tensor");
    let mut file = Vec::new();
    let sink = |bytes: &[u8]| {
        file.extend_from_slice(bytes);
        Ok::<_, std::fmt::Error>(())
    };
    let mut data = writer.write_header(sink).expect("a header");
    for (len, period) in [(dims[0], 3), (dims[1], 5)] {
        let bytes = (0..len).flat_map(|i| ((i % period) as f32 - 1.0).to_le_bytes());
        data.write(&bytes.collect::<Vec<u8>>()).expect("a tensor's bytes");
    }
    data.finish().expect("all tensors");
    file
}
