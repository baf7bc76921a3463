//! Units of eight rows in turn: how weights get packed.

use super::load::load_16;
use crate::quant::{Rows, interleave_2, interleave_4};
use core::arch::{aarch64::*, asm};

/// Units of four bytes, of which the bits of `flipped` are flipped.
pub fn units_of_4(rows: Rows<'_>, flipped: u8, out: &mut [u8]) {
    let (pieces, []) = out.as_chunks_mut::<128>() else { return interleave_4(rows, flipped, out) };
    let starts = starts(rows);
    for (index, piece) in pieces.iter_mut().enumerate() {
        // SAFETY: `starts` saw 16 bytes for each piece in every row; NEON is part of every target that
        // this module is built for.
        unsafe { transpose(starts.map(|start| start.add(16 * index)), flipped, piece) }
    }
}

/// Units of two bytes.
pub fn units_of_2(rows: Rows<'_>, out: &mut [u8]) {
    let ([out], []) = out.as_chunks_mut::<16>() else { return interleave_2(rows, out) };
    let [a, b, c, d, e, f, g, h] = starts(rows);
    // SAFETY: `starts` saw the two bytes in every row; writes the 16 of `out`.
    unsafe {
        asm!(
            "ldr {v:h}, [{a}]",
            "ld1 {{{v:v}.h}}[1], [{b}]",
            "ld1 {{{v:v}.h}}[2], [{c}]",
            "ld1 {{{v:v}.h}}[3], [{d}]",
            "ld1 {{{v:v}.h}}[4], [{e}]",
            "ld1 {{{v:v}.h}}[5], [{f}]",
            "ld1 {{{v:v}.h}}[6], [{g}]",
            "ld1 {{{v:v}.h}}[7], [{h}]",
            "str {v:q}, [{out}]",
            v = out(vreg) _,
            a = in(reg) a,
            b = in(reg) b,
            c = in(reg) c,
            d = in(reg) d,
            e = in(reg) e,
            f = in(reg) f,
            g = in(reg) g,
            h = in(reg) h,
            out = in(reg) out.as_mut_ptr(),
            options(nostack, preserves_flags)
        );
    }
}

/// Where the field begins in each of eight rows.
///
/// # Panics
///
/// If a row ends before the field does.
#[inline]
fn starts(rows: Rows<'_>) -> [*const u8; 8] {
    let last = 7 * rows.stride + rows.offset;
    assert!(last + rows.len_bytes <= rows.bytes.len());
    // SAFETY: no row begins behind the last one, which the assertion keeps within the bytes.
    core::array::from_fn(|row| unsafe { rows.bytes.as_ptr().add(row * rows.stride + rows.offset) })
}

/// Four units of each of eight rows.
///
/// # Safety
///
/// 16 bytes must be readable in each row.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn transpose(rows: [*const u8; 8], flipped: u8, out: &mut [u8; 128]) {
    let flipped = vdupq_n_u8(flipped);
    for half in 0..2 {
        let [a, b, c, d] = core::array::from_fn(|i| {
            // SAFETY: the caller vouches for the bytes.
            vreinterpretq_u32_u8(veorq_u8(unsafe { load_16::<0>(rows[4 * half + i]) }, flipped))
        });
        let (ab, cd) = ([vtrn1q_u32(a, b), vtrn2q_u32(a, b)], [vtrn1q_u32(c, d), vtrn2q_u32(c, d)]);
        let wide = |v: [uint32x4_t; 2]| v.map(|v| vreinterpretq_u64_u32(v));
        let (ab, cd) = (wide(ab), wide(cd));
        let units = [
            vzip1q_u64(ab[0], cd[0]),
            vzip1q_u64(ab[1], cd[1]),
            vzip2q_u64(ab[0], cd[0]),
            vzip2q_u64(ab[1], cd[1]),
        ];
        for (index, unit) in units.into_iter().enumerate() {
            let to = &mut out[32 * index + 16 * half..][..16];
            // SAFETY: writes these 16 bytes.
            unsafe {
                asm!(
                    "str {v:q}, [{p}]",
                    v = in(vreg) unit,
                    p = in(reg) to.as_mut_ptr(),
                    options(nostack, preserves_flags)
                );
            }
        }
    }
}
