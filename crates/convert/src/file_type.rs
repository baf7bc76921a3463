//! `general.file_type`: llama.cpp's number for the type of most matrices in a file.

use llm::quant::GgmlType;

/// The number for matrices of this type (`enum llama_ftype`). Types that have none get the number of Q6_K; readers show it but do
/// not rely on it.
pub fn file_type(ty: GgmlType) -> u32 {
    match ty {
        GgmlType::F32 => 0,
        GgmlType::F16 => 1,
        GgmlType::Q4_0 => 2,
        GgmlType::Q4_1 => 3,
        GgmlType::Q8_0 => 7,
        GgmlType::Q5_0 => 8,
        GgmlType::Q5_1 => 9,
        GgmlType::Q4_K => 14,
        GgmlType::Q5_K => 16,
        GgmlType::BF16 => 32,
        GgmlType::MXFP4 => 38,
        _ => 18,
    }
}
