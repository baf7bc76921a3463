//! Packing: interleaves the blocks of eight rows.
//!
//! [`crate::blocks::Packing`] defines the result. Here the blocks at the same place in eight rows are packed together: a
//! pointer runs along each row, and each load advances its pointer.

use super::load::next_16;
use crate::blocks::{GgmlType, Packing};
use core::arch::{aarch64::*, asm};

const ROWS: usize = 8;

/// Packs a group of eight rows; returns false for types that this architecture does not pack.
pub fn pack_group(packing: &Packing, ty: GgmlType, plain: &[u8], packed: &mut [u8]) -> bool {
    let block_bytes = ty.block_bytes();
    assert!(packing.rows == ROWS && !packing.unsigned_bytes && plain.len() == packed.len());
    assert!(plain.len().is_multiple_of(ROWS * block_bytes));
    let row_bytes = plain.len() / ROWS;
    let mut run = Run {
        // SAFETY: row 7 is the last within `plain`.
        rows: core::array::from_fn(|row| unsafe { plain.as_ptr().add(row * row_bytes) }),
        out: packed.as_mut_ptr(),
    };
    let n_blocks = row_bytes / block_bytes;
    macro_rules! pack {
        ($($type:ident: $($step:ident $(<$n:literal>)? $(($convert:expr))?)+;)+) => {
            match ty {
                $(GgmlType::$type => {
                    for _ in 0..n_blocks {
                        // SAFETY: the steps of a type cover one block of each row; `plain` has `n_blocks` in each row, and
                        // `packed` is as long as `plain`.
                        unsafe { $(run.$step $(::<$n>)?($($convert)?);)+ }
                    }
                })+
                _ => return false,
            }
        };
    }
    let bytes = |bytes: uint8x16_t| bytes;
    // SAFETY: NEON is part of every target that this module is built for.
    let flipped = unsafe { vdupq_n_u8(packing.flipped_in_nibbles()) };
    // SAFETY: NEON is part of every target that this module is built for.
    let signed = |bytes| unsafe { veorq_u8(bytes, flipped) };
    pack! {
        Q4_0: halves sixteens<1>(signed);
        Q4_1: halves halves sixteens<1>(bytes);
        Q5_0: halves fifth_bits sixteens<1>(bytes);
        Q5_1: halves halves fifth_bits sixteens<1>(bytes);
        Q8_0: halves sixteens<2>(bytes);
        IQ4_NL: halves sixteens<1>(bytes);
        MXFP4: bytes sixteens<1>(bytes);
        Q4_K: halves halves units<3> sixteens<8>(bytes);
        Q5_K: halves halves units<3> sixteens<10>(bytes);
        Q6_K: sixteens<13>(bytes) halves;
    }
    true
}

/// The places to read from in eight rows, and the place to write to.
struct Run {
    rows: [*const u8; ROWS],
    out: *mut u8,
}

impl Run {
    /// Packs a byte of each row.
    ///
    /// # Safety
    ///
    /// The bytes must be readable, and as many writable at `out`.
    #[inline(always)]
    unsafe fn bytes(&mut self) {
        for row in &mut self.rows {
            // SAFETY: accesses only the bytes that the caller guarantees.
            unsafe {
                *self.out = **row;
                (*row, self.out) = (row.add(1), self.out.add(1));
            }
        }
    }

    /// Packs two bytes of each row.
    ///
    /// # Safety
    ///
    /// The bytes must be readable, and as many writable at `out`.
    #[inline(always)]
    unsafe fn halves(&mut self) {
        let [a, b, c, d, e, f, g, h] = &mut self.rows;
        // SAFETY: accesses only the bytes that the caller guarantees.
        unsafe {
            asm!(
                "ldr {v:h}, [{a}], #2",
                "ld1 {{{v:v}.h}}[1], [{b}], #2",
                "ld1 {{{v:v}.h}}[2], [{c}], #2",
                "ld1 {{{v:v}.h}}[3], [{d}], #2",
                "ld1 {{{v:v}.h}}[4], [{e}], #2",
                "ld1 {{{v:v}.h}}[5], [{f}], #2",
                "ld1 {{{v:v}.h}}[6], [{g}], #2",
                "ld1 {{{v:v}.h}}[7], [{h}], #2",
                "str {v:q}, [{out}], #16",
                v = out(vreg) _,
                a = inout(reg) *a,
                b = inout(reg) *b,
                c = inout(reg) *c,
                d = inout(reg) *d,
                e = inout(reg) *e,
                f = inout(reg) *f,
                g = inout(reg) *g,
                h = inout(reg) *h,
                out = inout(reg) self.out,
                options(nostack, preserves_flags)
            );
        }
    }

    /// Loads a unit of each row, four bytes.
    ///
    /// # Safety
    ///
    /// They must be readable.
    #[inline(always)]
    unsafe fn next_units(&mut self) -> [uint32x4_t; 2] {
        let [a, b, c, d, e, f, g, h] = &mut self.rows;
        let (low, high);
        // SAFETY: reads only the bytes that the caller guarantees.
        unsafe {
            asm!(
                "ldr {low:s}, [{a}], #4",
                "ld1 {{{low:v}.s}}[1], [{b}], #4",
                "ld1 {{{low:v}.s}}[2], [{c}], #4",
                "ld1 {{{low:v}.s}}[3], [{d}], #4",
                "ldr {high:s}, [{e}], #4",
                "ld1 {{{high:v}.s}}[1], [{f}], #4",
                "ld1 {{{high:v}.s}}[2], [{g}], #4",
                "ld1 {{{high:v}.s}}[3], [{h}], #4",
                low = out(vreg) low,
                high = out(vreg) high,
                a = inout(reg) *a,
                b = inout(reg) *b,
                c = inout(reg) *c,
                d = inout(reg) *d,
                e = inout(reg) *e,
                f = inout(reg) *f,
                g = inout(reg) *g,
                h = inout(reg) *h,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        [low, high]
    }

    /// Packs `N` units of each row.
    ///
    /// # Safety
    ///
    /// The units must be readable, and as many bytes writable at `out`.
    #[inline(always)]
    unsafe fn units<const N: usize>(&mut self) {
        for _ in 0..N {
            // SAFETY: the caller guarantees the units, and room for them.
            unsafe {
                let units = self.next_units();
                self.store(units);
            }
        }
    }

    /// Packs four bytes of each row that hold the fifth bits of 32 weights.
    ///
    /// # Safety
    ///
    /// The bytes must be readable, and as many writable at `out`.
    #[inline(always)]
    unsafe fn fifth_bits(&mut self) {
        // SAFETY: the caller guarantees the bytes, and room for them; NEON is part of every target that this module is built
        // for.
        unsafe {
            let units = self.next_units();
            self.store(units.map(|unit| to_columns(unit)));
        }
    }

    /// Packs `N` times sixteen bytes of each row, converted, in units of four.
    ///
    /// # Safety
    ///
    /// The bytes must be readable, and as many writable at `out`.
    #[inline(always)]
    unsafe fn sixteens<const N: usize>(&mut self, convert: impl Fn(uint8x16_t) -> uint8x16_t) {
        for _ in 0..N {
            // SAFETY: the caller guarantees the bytes, and room for them; NEON is part of every target that this module is
            // built for.
            unsafe {
                let [a, b, c, d, e, f, g, h] = &mut self.rows;
                let low = transpose([a, b, c, d].map(|row| convert(next_16(row))));
                let high = transpose([e, f, g, h].map(|row| convert(next_16(row))));
                for (low, high) in low.into_iter().zip(high) {
                    self.store([low, high]);
                }
            }
        }
    }

    /// Writes a unit of each row.
    ///
    /// # Safety
    ///
    /// 32 bytes must be writable at `out`.
    #[inline(always)]
    unsafe fn store(&mut self, units: [uint32x4_t; 2]) {
        // SAFETY: writes only the bytes that the caller guarantees.
        unsafe {
            asm!(
                "stp {low:q}, {high:q}, [{out}], #32",
                low = in(vreg) units[0],
                high = in(vreg) units[1],
                out = inout(reg) self.out,
                options(nostack, preserves_flags)
            );
        }
    }
}

/// Transposes: from four units of each row to one unit of each row, four times.
#[target_feature(enable = "neon")]
#[inline]
fn transpose(rows: [uint8x16_t; 4]) -> [uint32x4_t; 4] {
    let [a, b, c, d] = rows.map(|row| vreinterpretq_u64_u8(row));
    // `SLI` and `SRI` do what `TRN1` and `TRN2` would, but emulators have them for whole vectors.
    let (ab, cd) = (
        [vsliq_n_u64::<32>(a, b), vsriq_n_u64::<32>(b, a)],
        [vsliq_n_u64::<32>(c, d), vsriq_n_u64::<32>(d, c)],
    );
    [vzip1q_u64(ab[0], cd[0]), vzip1q_u64(ab[1], cd[1]), vzip2q_u64(ab[0], cd[0]), vzip2q_u64(ab[1], cd[1])]
        .map(|units| vreinterpretq_u32_u64(units))
}

/// Moves bit `4 c + i` of each number to bit `8 i + c`.
#[target_feature(enable = "neon")]
#[inline]
fn to_columns(v: uint32x4_t) -> uint32x4_t {
    // Each step swaps two bits of the bits' indices: (i0 i1 c0 c1 c2), lowest first, become (c0 c1 c2 i0 i1).
    let v = exchange::<3>(v, 0x0a0a_0a0a);
    let v = exchange::<6>(v, 0x00cc_00cc);
    let v = exchange::<12>(v, 0x0000_f0f0);
    exchange::<8>(v, 0x0000_ff00)
}

/// Exchanges the bits of `mask` with those `DISTANCE` places higher.
#[target_feature(enable = "neon")]
#[inline]
fn exchange<const DISTANCE: i32>(v: uint32x4_t, mask: u32) -> uint32x4_t {
    let different = vandq_u32(veorq_u32(v, vshrq_n_u32::<DISTANCE>(v)), vdupq_n_u32(mask));
    veorq_u32(veorq_u32(v, different), vshlq_n_u32::<DISTANCE>(different))
}
