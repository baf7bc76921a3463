//! Blocks whose weights have two, three or four values.

use super::{Block32, Block256, Group32, Group256, HalfBytes, k};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// 128 weights, `y = d` where the bit is set, `-d` elsewhere.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockQ1_0 {
    /// Magnitude.
    pub d: HalfBytes,
    /// Weight `i` in bit `i % 8` of byte `i / 8`.
    pub qs: [u8; 16],
}

/// 64 weights, `y = d * (q - 1)`, q of 2 bits.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockQ2_0 {
    /// Scale.
    pub d: HalfBytes,
    /// Weight `i` in bits `2 * (i % 4)` of byte `i / 4`.
    pub qs: [u8; 16],
}

/// 256 weights, `y = d * (q - 1)`, q in 0..3, five to a byte.
///
/// A byte `b` stands for the fraction `b / 256`, which is about `n / 243`; the digits of n in base 3 are the q. Each
/// multiplication by 3 shifts the next digit out at the top.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockTQ1_0 {
    /// Digit `n` of byte `m < 32` is weight `32 n + m`; digit `n` of byte `32 + m` is weight `160 + 16 n + m`.
    pub qs: [u8; 48],
    /// Digit `n < 4` of byte `m` is weight `240 + 4 n + m`.
    pub qh: [u8; 4],
    /// Scale.
    pub d: HalfBytes,
}

/// 256 weights, `y = d * (q - 1)`, q of 2 bits.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockTQ2_0 {
    /// In the order of [`super::BlockQ2K::qs`].
    pub qs: [u8; 64],
    /// Scale.
    pub d: HalfBytes,
}

const _: () = assert!(size_of::<BlockQ1_0>() == 18);
const _: () = assert!(size_of::<BlockQ2_0>() == 18);
const _: () = assert!(size_of::<BlockTQ1_0>() == 54);
const _: () = assert!(size_of::<BlockTQ2_0>() == 66);

impl Block32 for BlockQ1_0 {
    const GROUPS: usize = 4;

    #[inline]
    fn unpack(&self, index: usize) -> Group32 {
        let bit = |i: usize| self.qs[4 * index + i / 8] >> (i % 8) & 1;
        Group32 {
            quants: core::array::from_fn(|i| 2 * bit(i) as i8 - 1),
            scales: [self.d.to_f32(); 2],
            min: 0.0,
        }
    }
}

impl Block32 for BlockQ2_0 {
    const GROUPS: usize = 2;

    #[inline]
    fn unpack(&self, index: usize) -> Group32 {
        let code = |i: usize| self.qs[8 * index + i / 4] >> (2 * (i % 4)) & 3;
        Group32 {
            quants: core::array::from_fn(|i| code(i) as i8 - 1),
            scales: [self.d.to_f32(); 2],
            min: 0.0,
        }
    }
}

/// Writes digit `n` of byte `m` to weight `bytes.len() * n + m`.
fn digits(bytes: &[u8], out: &mut [i8]) {
    for (n, out) in out.chunks_exact_mut(bytes.len()).enumerate() {
        for (out, &byte) in out.iter_mut().zip(bytes) {
            let fraction = byte.wrapping_mul([1, 3, 9, 27, 81][n]);
            *out = ((u16::from(fraction) * 3) >> 8) as i8 - 1;
        }
    }
}

impl Block256 for BlockTQ1_0 {
    #[inline]
    fn unpack_quants(&self, quants: &mut [i8; 256]) {
        digits(&self.qs[..32], &mut quants[..160]);
        digits(&self.qs[32..], &mut quants[160..240]);
        digits(&self.qh, &mut quants[240..]);
    }

    #[inline]
    fn unpack_scales(&self, out: &mut Group256) {
        out.scales = [1; 16];
        out.mins = [0; 16];
        out.d = self.d.to_f32();
        out.d_min = 0.0;
    }
}

impl Block256 for BlockTQ2_0 {
    #[inline]
    fn unpack_quants(&self, quants: &mut [i8; 256]) {
        k::two_bits(&self.qs, quants);
        quants.iter_mut().for_each(|q| *q -= 1);
    }

    #[inline]
    fn unpack_scales(&self, out: &mut Group256) {
        out.scales = [1; 16];
        out.mins = [0; 16];
        out.d = self.d.to_f32();
        out.d_min = 0.0;
    }
}
