//! ggml's tensor types: their numbers in a GGUF file, names and block sizes.

/// The element type of a tensor, as numbered by ggml (`enum ggml_type`).
///
/// All types with a fixed layout are listed, whether or not this crate can compute with them, so that any file can be checked and
/// described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, reason = "ggml's own spelling")]
#[repr(u32)]
#[rustfmt::skip]
#[expect(missing_docs, reason = "the names are the documentation; `INFO` gives the layout")]
pub enum GgmlType {
    F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8, Q8_1 = 9,
    Q2_K = 10, Q3_K = 11, Q4_K = 12, Q5_K = 13, Q6_K = 14, Q8_K = 15,
    IQ2_XXS = 16, IQ2_XS = 17, IQ3_XXS = 18, IQ1_S = 19, IQ4_NL = 20, IQ3_S = 21, IQ2_S = 22, IQ4_XS = 23,
    I8 = 24, I16 = 25, I32 = 26, I64 = 27, F64 = 28, IQ1_M = 29, BF16 = 30,
    TQ1_0 = 34, TQ2_0 = 35, MXFP4 = 39, NVFP4 = 40, Q1_0 = 41, Q2_0 = 42,
}

/// Type, name, weights per block, bytes per block.
#[rustfmt::skip]
const INFO: [(GgmlType, &str, usize, usize); 35] = {
    use GgmlType::*;
    [
        (F32, "F32", 1, 4), (F16, "F16", 1, 2), (BF16, "BF16", 1, 2), (F64, "F64", 1, 8),
        (I8, "I8", 1, 1), (I16, "I16", 1, 2), (I32, "I32", 1, 4), (I64, "I64", 1, 8),
        (Q4_0, "Q4_0", 32, 18), (Q4_1, "Q4_1", 32, 20), (Q5_0, "Q5_0", 32, 22), (Q5_1, "Q5_1", 32, 24),
        (Q8_0, "Q8_0", 32, 34), (Q8_1, "Q8_1", 32, 36),
        (Q2_K, "Q2_K", 256, 84), (Q3_K, "Q3_K", 256, 110), (Q4_K, "Q4_K", 256, 144),
        (Q5_K, "Q5_K", 256, 176), (Q6_K, "Q6_K", 256, 210), (Q8_K, "Q8_K", 256, 292),
        (IQ1_S, "IQ1_S", 256, 50), (IQ1_M, "IQ1_M", 256, 56),
        (IQ2_XXS, "IQ2_XXS", 256, 66), (IQ2_XS, "IQ2_XS", 256, 74), (IQ2_S, "IQ2_S", 256, 82),
        (IQ3_XXS, "IQ3_XXS", 256, 98), (IQ3_S, "IQ3_S", 256, 110),
        (IQ4_NL, "IQ4_NL", 32, 18), (IQ4_XS, "IQ4_XS", 256, 136),
        (TQ1_0, "TQ1_0", 256, 54), (TQ2_0, "TQ2_0", 256, 66),
        (MXFP4, "MXFP4", 32, 17), (NVFP4, "NVFP4", 64, 36), (Q1_0, "Q1_0", 128, 18), (Q2_0, "Q2_0", 64, 18),
    ]
};

impl GgmlType {
    /// The type with this number in a GGUF tensor table, `None` for numbers that ggml has removed
    /// or not assigned.
    pub fn from_id(id: u32) -> Option<Self> {
        INFO.iter().map(|info| info.0).find(|ty| ty.id() == id)
    }

    /// The type with this name, in upper or lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        INFO.iter().find(|info| info.1.eq_ignore_ascii_case(name)).map(|info| info.0)
    }

    /// The number in a GGUF tensor table.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// ggml's name, such as `Q4_0`.
    pub fn name(self) -> &'static str {
        self.info().1
    }

    /// Weights in one block.
    pub fn block_len(self) -> usize {
        self.info().2
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        self.info().3
    }

    /// Bytes of a row of `n` weights; `None` if `n` is not a multiple of the block length or the size exceeds the address space.
    pub fn row_bytes(self, n: usize) -> Option<usize> {
        n.is_multiple_of(self.block_len()).then(|| (n / self.block_len()).checked_mul(self.block_bytes()))?
    }

    fn info(self) -> &'static (GgmlType, &'static str, usize, usize) {
        match INFO.iter().find(|info| info.0 == self) {
            Some(info) => info,
            None => unreachable!("INFO lists every variant"),
        }
    }
}

impl core::fmt::Display for GgmlType {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_lead_back_to_the_type() {
        for (ty, name, block_len, block_bytes) in INFO {
            assert_eq!(GgmlType::from_id(ty.id()), Some(ty));
            assert_eq!(GgmlType::from_name(&name.to_ascii_lowercase()), Some(ty));
            assert_eq!(ty.row_bytes(4 * block_len), Some(4 * block_bytes));
        }
        for unassigned in [4, 5, 31, 36, 38, 43, u32::MAX] {
            assert_eq!(GgmlType::from_id(unassigned), None);
        }
    }

    #[test]
    fn rows_are_whole_blocks_that_fit_the_address_space() {
        assert_eq!(GgmlType::Q4_0.row_bytes(0), Some(0));
        assert_eq!(GgmlType::Q4_0.row_bytes(48), None);
        assert_eq!(GgmlType::F32.row_bytes(usize::MAX), None);
    }
}
