//! Blocks to f32 and back, compared with the gguf package and ggml; `scripts/golden/quant.py` made the numbers.

use llm::quant::{GgmlType, can_quantize, dequantize, is_supported, quantize, quantize_row};

/// Takes `n` bytes from the front.
fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(n);
    *bytes = rest;
    taken
}

fn take_u32(bytes: &mut &[u8]) -> u32 {
    u32::from_le_bytes(take(bytes, 4).try_into().unwrap())
}

fn take_f32s(bytes: &mut &[u8], n: usize) -> Vec<f32> {
    take(bytes, 4 * n).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn dequantises_to_the_bit() {
    let mut file = include_bytes!("../golden/dequantize.bin").as_slice();
    let mut n_types = 0;
    while !file.is_empty() {
        let ty = GgmlType::from_id(take_u32(&mut file)).unwrap();
        let n_blocks = take_u32(&mut file) as usize;
        let blocks = take(&mut file, n_blocks * ty.block_bytes());
        let want = take_f32s(&mut file, n_blocks * ty.block_len());
        assert!(is_supported(ty), "{ty}");
        let mut got = vec![f32::NAN; want.len()];
        dequantize(ty, blocks, &mut got);
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert!(got == want, "{ty}, weight {i}: {got} instead of {want}");
        }
        n_types += 1;
    }
    assert_eq!(n_types, 23);
}

#[test]
fn quantises_to_the_bit() {
    let mut file = include_bytes!("../golden/quantize.bin").as_slice();
    let mut n_types = 0;
    while !file.is_empty() {
        let ty = GgmlType::from_id(take_u32(&mut file)).unwrap();
        let n = take_u32(&mut file) as usize;
        let weights = take_f32s(&mut file, n);
        let want = take(&mut file, ty.row_bytes(n).unwrap());
        assert!(can_quantize(ty), "{ty}");
        let mut got = vec![0; want.len()];
        quantize(ty, &weights, &mut got);
        assert_same_weights(ty, &got, want);
        n_types += 1;
    }
    assert_eq!(n_types, 15);
}

/// Compared as weights, because codes under a scale of 0 have no meaning and may differ.
fn assert_same_weights(ty: GgmlType, got: &[u8], want: &[u8]) {
    let [got, want] = [got, want].map(|blocks| {
        let mut weights = vec![0.0; blocks.len() / ty.block_bytes() * ty.block_len()];
        dequantize(ty, blocks, &mut weights);
        weights
    });
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        assert!(got == want, "{ty}, weight {i}: {got} instead of {want}");
    }
}

#[test]
fn quantises_by_importance_to_the_bit() {
    let mut file = include_bytes!("../golden/quantize_row.bin").as_slice();
    let mut n_rows = 0;
    while !file.is_empty() {
        let ty = GgmlType::from_id(take_u32(&mut file)).unwrap();
        let n = take_u32(&mut file) as usize;
        let row = take_f32s(&mut file, n);
        let importance = take_f32s(&mut file, n);
        let want = take(&mut file, ty.row_bytes(n).unwrap());
        let mut got = vec![0; want.len()];
        quantize_row(ty, &row, &importance, &mut got);
        assert_same_weights(ty, &got, want);
        n_rows += 1;
    }
    assert_eq!(n_rows, 13 * 3);
}

#[test]
fn types_of_one_and_two_bits_follow_their_definition() {
    // The gguf package has no code for these two: d = 0.5, then every code in order.
    let q1 = [&[0x00, 0x38][..], &[0b1010_0110; 16]].concat();
    let mut got = vec![0.0; 128];
    dequantize(GgmlType::Q1_0, &q1, &mut got);
    assert_eq!(got[..8], [-0.5, 0.5, 0.5, -0.5, -0.5, 0.5, -0.5, 0.5]);

    let q2 = [&[0x00, 0x38][..], &[0b11_10_01_00; 16]].concat();
    let mut got = vec![0.0; 64];
    dequantize(GgmlType::Q2_0, &q2, &mut got);
    assert_eq!(got[..4], [-0.5, 0.0, 0.5, 1.0]);
}
