//! SHA-256 with the CPU's own instructions, `FEAT_SHA256`.

use crate::cpu::InstructionSets;
use core::arch::{
    aarch64::{
        uint8x16_t, uint32x4_t, vaddq_u32, vreinterpretq_u32_u8, vsha256h2q_u32, vsha256hq_u32,
        vsha256su0q_u32, vsha256su1q_u32,
    },
    asm,
};
use trust::sha256::{Block, Compress};

/// The compression function that uses the CPU's instructions, if the features include them.
///
/// # Safety
/// Every core that calls it must have the features.
pub unsafe fn compression(features: &InstructionSets) -> Option<Compress> {
    fn compress(state: &mut [u32; 8], blocks: &[Block]) {
        // SAFETY: `compression` returns this function only if the CPU has the instructions.
        unsafe { compress_blocks(state, blocks) };
    }
    features.sha2.then_some(compress)
}

/// FIPS 180-4, 4.2.2; four rounds per row.
static CONSTANTS: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

/// FIPS 180-4, 6.2.2, four rounds at a time. Everything is written out, because with an array the compiler (which optimises for
/// size) would keep the array in memory and need five times as many instructions.
#[target_feature(enable = "sha2")]
fn compress_blocks(state: &mut [u32; 8], blocks: &[Block]) {
    let [a, b, c, d, e, f, g, h] = *state;
    let mut abcd = from_words([a, b, c, d]);
    let mut efgh = from_words([e, f, g, h]);
    for block in blocks {
        let (abcd_before, efgh_before) = (abcd, efgh);
        // The last sixteen words of the message schedule.
        let (mut w, mut x, mut y, mut z) = load(block);
        macro_rules! rounds {
            ($row:literal $words:ident) => {
                let keyed = vaddq_u32($words, from_words(CONSTANTS[$row]));
                let abcd_so_far = abcd;
                abcd = vsha256hq_u32(abcd, efgh, keyed);
                efgh = vsha256h2q_u32(efgh, abcd_so_far, keyed);
            };
        }
        // After its rounds, a row is replaced by the words for four rows later.
        macro_rules! rows {
            ($($row:literal $words:ident $next:ident $second_last:ident $last:ident,)*) => {$(
                rounds!($row $words);
                $words = vsha256su1q_u32(vsha256su0q_u32($words, $next), $second_last, $last);
            )*};
        }
        rows!(
            0 w x y z, 1 x y z w, 2 y z w x, 3 z w x y,
            4 w x y z, 5 x y z w, 6 y z w x, 7 z w x y,
            8 w x y z, 9 x y z w, 10 y z w x, 11 z w x y,
        );
        rounds!(12 w);
        rounds!(13 x);
        rounds!(14 y);
        rounds!(15 z);
        abcd = vaddq_u32(abcd, abcd_before);
        efgh = vaddq_u32(efgh, efgh_before);
    }
    let ([a, b, c, d], [e, f, g, h]) = (to_words(abcd), to_words(efgh));
    *state = [a, b, c, d, e, f, g, h];
}

/// The block's sixteen big-endian words.
#[target_feature(enable = "neon")]
fn load(block: &Block) -> (uint32x4_t, uint32x4_t, uint32x4_t, uint32x4_t) {
    let (first, second, third, fourth): (uint8x16_t, uint8x16_t, uint8x16_t, uint8x16_t);
    // SAFETY: this reads the 64 bytes of the block. It is in assembly because the compiler must not assume that the MMU is on,
    // and would load bytes at possibly odd addresses one by one.
    unsafe {
        asm!(
            "ldp {first:q}, {second:q}, [{block}]",
            "ldp {third:q}, {fourth:q}, [{block}, #32]",
            "rev32 {first:v}.16b, {first:v}.16b",
            "rev32 {second:v}.16b, {second:v}.16b",
            "rev32 {third:v}.16b, {third:v}.16b",
            "rev32 {fourth:v}.16b, {fourth:v}.16b",
            block = in(reg) block.as_ptr(),
            first = out(vreg) first,
            second = out(vreg) second,
            third = out(vreg) third,
            fourth = out(vreg) fourth,
            options(nostack, readonly, preserves_flags),
        );
    }
    let words = vreinterpretq_u32_u8;
    (words(first), words(second), words(third), words(fourth))
}

fn from_words(words: [u32; 4]) -> uint32x4_t {
    // SAFETY: both types are four words in the same order.
    unsafe { core::mem::transmute(words) }
}

fn to_words(vector: uint32x4_t) -> [u32; 4] {
    // SAFETY: both types are four words in the same order.
    unsafe { core::mem::transmute(vector) }
}
