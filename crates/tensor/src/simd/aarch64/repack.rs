//! Eight rows in turn: how weights get packed.
//!
//! What is to come out is said by [`crate::blocks::Packing`]. Here a block's place in eight rows is worked on
//! at once: a pointer runs along each row, every load moves its own one on.

use super::load::next_16;
use crate::blocks::{GgmlType, Packing};
use core::arch::{aarch64::*, asm};

const ROWS: usize = 8;

/// Rearranges a group of eight rows of the types that come here, all that are packed.
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
                        // SAFETY: every step moves each pointer on by the bytes of a field of the type, and `run.out` by eight
                        // times as many; there are `n_blocks` in each row of `plain`, and as many bytes in `packed`.
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
    // SAFETY: as above.
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

/// Places in eight rows, and behind what has been packed of them.
struct Run {
    rows: [*const u8; ROWS],
    out: *mut u8,
}

impl Run {
    /// A byte of each row.
    ///
    /// # Safety
    ///
    /// They must be readable, and room for them at `out`.
    #[inline(always)]
    unsafe fn bytes(&mut self) {
        for row in &mut self.rows {
            // SAFETY: reads and writes what the caller vouches for and nothing else.
            unsafe {
                *self.out = **row;
                (*row, self.out) = (row.add(1), self.out.add(1));
            }
        }
    }

    /// Two bytes of each row.
    ///
    /// # Safety
    ///
    /// They must be readable, and room for them at `out`.
    #[inline(always)]
    unsafe fn halves(&mut self) {
        let [a, b, c, d, e, f, g, h] = &mut self.rows;
        // SAFETY: reads and writes what the caller vouches for and nothing else.
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

    /// Four bytes of each row.
    ///
    /// # Safety
    ///
    /// They must be readable.
    #[inline(always)]
    unsafe fn next_units(&mut self) -> [uint32x4_t; 2] {
        let [a, b, c, d, e, f, g, h] = &mut self.rows;
        let (low, high);
        // SAFETY: reads what the caller vouches for and nothing else.
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

    /// `N` units of four bytes of each row.
    ///
    /// # Safety
    ///
    /// They must be readable, and room for them at `out`.
    #[inline(always)]
    unsafe fn units<const N: usize>(&mut self) {
        for _ in 0..N {
            // SAFETY: the units are readable, and there is room for them, as is asked of the caller.
            unsafe {
                let units = self.next_units();
                self.store(units);
            }
        }
    }

    /// Four bytes of each row, the bits of which are those of 32 weights.
    ///
    /// # Safety
    ///
    /// They must be readable, and room for them at `out`.
    #[inline(always)]
    unsafe fn fifth_bits(&mut self) {
        // SAFETY: the bytes are readable, and there is room for them, as is asked of the caller; NEON is part of every target
        // that this module is built for.
        unsafe {
            let units = self.next_units();
            self.store(units.map(|unit| to_columns(unit)));
        }
    }

    /// `N` times sixteen bytes of each row, cut into units of four.
    ///
    /// # Safety
    ///
    /// They must be readable, and room for them at `out`.
    #[inline(always)]
    unsafe fn sixteens<const N: usize>(&mut self, convert: impl Fn(uint8x16_t) -> uint8x16_t) {
        for _ in 0..N {
            // SAFETY: the bytes are readable, and there is room for them, as is asked of the caller; NEON is part of every
            // target that this module is built for.
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
    /// There must be room for them at `out`.
    #[inline(always)]
    unsafe fn store(&mut self, units: [uint32x4_t; 2]) {
        // SAFETY: writes what the caller vouches for and nothing else.
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

/// Four rows of four units as four times one unit of each row.
#[target_feature(enable = "neon")]
#[inline]
fn transpose(rows: [uint8x16_t; 4]) -> [uint32x4_t; 4] {
    let [a, b, c, d] = rows.map(|row| vreinterpretq_u64_u8(row));
    // As TRN1 and TRN2 of 32-bit elements do, by instructions that emulators have in whole vectors.
    let (ab, cd) = (
        [vsliq_n_u64::<32>(a, b), vsriq_n_u64::<32>(b, a)],
        [vsliq_n_u64::<32>(c, d), vsriq_n_u64::<32>(d, c)],
    );
    [vzip1q_u64(ab[0], cd[0]), vzip1q_u64(ab[1], cd[1]), vzip2q_u64(ab[0], cd[0]), vzip2q_u64(ab[1], cd[1])]
        .map(|units| vreinterpretq_u32_u64(units))
}

/// Bit `4 c + i` of each number as bit `8 i + c`.
#[target_feature(enable = "neon")]
#[inline]
fn to_columns(v: uint32x4_t) -> uint32x4_t {
    // Each step exchanges two bits of the bits' places: (i0 i1 c0 c1 c2) become (c0 c1 c2 i0 i1).
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
