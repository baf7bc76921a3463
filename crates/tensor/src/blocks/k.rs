//! Blocks of 256 weights on uniform grids whose scales are quantised themselves: the K types.

use super::{Block256, Group256, HalfBytes};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `y = d * scale * q - d_min * min`, q of 2 bits, scale and min of 4 bits for each 16 weights.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockQ2K {
    /// Scale of each 16 weights in the low nibble, minimum in the high one.
    pub scales: [u8; 16],
    /// Weight `128 c + 32 s + m` in bits `2 s` of byte `32 c + m`.
    pub qs: [u8; 64],
    /// Scale of the scales.
    pub d: HalfBytes,
    /// Scale of the minimums.
    pub d_min: HalfBytes,
}

/// `y = d * (scale - 32) * (q - 4)`, q of 3 bits, scale of 6 bits for each 16 weights.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockQ3K {
    /// The third bit of weight `32 s + m` in bit `s` of byte `m`.
    pub hmask: [u8; 32],
    /// The low two bits, in the order of [`BlockQ2K::qs`].
    pub qs: [u8; 64],
    /// The low nibbles of scales 0..8, with those of scales 8..16 in the high nibbles of the same bytes; then the high bits of
    /// scale `j` in bits `2 * (j / 4)` of byte `8 + j % 4`.
    pub scales: [u8; 12],
    /// Scale of the scales.
    pub d: HalfBytes,
}

/// `y = d * scale * q - d_min * min`, q of 4 bits, scale and min of 6 bits for each 32 weights.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockQ4K {
    /// Scale of the scales.
    pub d: HalfBytes,
    /// Scale of the minimums.
    pub d_min: HalfBytes,
    /// Scales and minimums; see [`six_bits`].
    pub scales: [u8; 12],
    /// Weight `64 c + m` in the low nibble of byte `32 c + m`, weight `64 c + 32 + m` in the high one.
    pub qs: [u8; 128],
}

/// `y = d * scale * q - d_min * min`, q of 5 bits, scale and min of 6 bits for each 32 weights.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockQ5K {
    /// Scale of the scales.
    pub d: HalfBytes,
    /// Scale of the minimums.
    pub d_min: HalfBytes,
    /// Scales and minimums; see [`six_bits`].
    pub scales: [u8; 12],
    /// The fifth bit of weight `32 s + m` in bit `s` of byte `m`.
    pub qh: [u8; 32],
    /// The low nibbles, in the order of [`BlockQ4K::qs`].
    pub qs: [u8; 128],
}

/// `y = d * scale * (q - 32)`, q of 6 bits, scale of 8 bits for each 16 weights.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockQ6K {
    /// The low four bits of weight `128 c + m` in the low nibble of byte `64 c + m`, those of weight
    /// `128 c + 64 + m` in the high one.
    pub ql: [u8; 128],
    /// The high two bits, in the order of [`BlockQ2K::qs`].
    pub qh: [u8; 64],
    /// Scales.
    pub scales: [i8; 16],
    /// Scale of the scales.
    pub d: HalfBytes,
}

const _: () = assert!(size_of::<BlockQ2K>() == 84);
const _: () = assert!(size_of::<BlockQ3K>() == 110);
const _: () = assert!(size_of::<BlockQ4K>() == 144);
const _: () = assert!(size_of::<BlockQ5K>() == 176);
const _: () = assert!(size_of::<BlockQ6K>() == 210);

/// The eight scales and eight minimums of 6 bits in Q4_K and Q5_K.
///
/// The first four of each are the low six bits of bytes 0..4 and 4..8. The others have their low
/// nibbles in bytes 8..12, scales below minimums, and their high two bits in the top bits of 0..8.
pub fn six_bits(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let high = |byte: u8| byte >> 6 << 4;
    let scale = |j: usize| match j {
        0..4 => packed[j] & 63,
        _ => packed[j + 4] & 0xf | high(packed[j - 4]),
    };
    let min = |j: usize| match j {
        0..4 => packed[j + 4] & 63,
        _ => packed[j + 4] >> 4 | high(packed[j]),
    };
    (core::array::from_fn(scale), core::array::from_fn(min))
}

/// Turns one value for each 32 weights into one for each 16.
fn twice(values: [u8; 8]) -> [i16; 16] {
    core::array::from_fn(|j| i16::from(values[j / 2]))
}

/// Two bits of each weight, in the order of [`BlockQ2K::qs`].
pub(super) fn two_bits(qs: &[u8; 64], out: &mut [i8; 256]) {
    for (qs, out) in qs.chunks_exact(32).zip(out.chunks_exact_mut(128)) {
        for (s, out) in out.chunks_exact_mut(32).enumerate() {
            for (out, &q) in out.iter_mut().zip(qs) {
                *out = (q >> (2 * s) & 3) as i8;
            }
        }
    }
}

/// Nibbles, in the order of [`BlockQ4K::qs`].
fn nibbles(qs: &[u8; 128], out: &mut [i8; 256]) {
    for (qs, out) in qs.chunks_exact(32).zip(out.chunks_exact_mut(64)) {
        let (low, high) = out.split_at_mut(32);
        for ((&q, low), high) in qs.iter().zip(low).zip(high) {
            *low = (q & 0xf) as i8;
            *high = (q >> 4) as i8;
        }
    }
}

/// Adds `value` to weight `32 s + m` where bit `s` of byte `m` is set.
fn add_where_set(mask: &[u8; 32], value: i8, out: &mut [i8; 256]) {
    for (s, out) in out.chunks_exact_mut(32).enumerate() {
        for (out, &mask) in out.iter_mut().zip(mask) {
            *out += (mask >> s & 1) as i8 * value;
        }
    }
}

impl Block256 for BlockQ2K {
    const MINS: bool = true;

    #[inline]
    fn unpack_quants(&self, quants: &mut [i8; 256]) {
        two_bits(&self.qs, quants);
    }

    #[inline]
    fn unpack_scales(&self, out: &mut Group256) {
        out.scales = self.scales.map(|scale| i16::from(scale & 0xf));
        out.mins = self.scales.map(|scale| i16::from(scale >> 4));
        out.d = self.d.to_f32();
        out.d_min = self.d_min.to_f32();
    }
}

impl Block256 for BlockQ3K {
    #[inline]
    fn unpack_quants(&self, quants: &mut [i8; 256]) {
        two_bits(&self.qs, quants);
        add_where_set(&self.hmask, 4, quants);
        quants.iter_mut().for_each(|q| *q -= 4);
    }

    #[inline]
    fn unpack_scales(&self, out: &mut Group256) {
        out.scales = core::array::from_fn(|j| {
            let low = if j < 8 { self.scales[j] & 0xf } else { self.scales[j - 8] >> 4 };
            let high = self.scales[8 + j % 4] >> (2 * (j / 4)) & 3;
            i16::from(low | high << 4) - 32
        });
        out.mins = [0; 16];
        out.d = self.d.to_f32();
        out.d_min = 0.0;
    }
}

impl Block256 for BlockQ4K {
    const MINS: bool = true;

    #[inline]
    fn unpack_quants(&self, quants: &mut [i8; 256]) {
        nibbles(&self.qs, quants);
    }

    #[inline]
    fn unpack_scales(&self, out: &mut Group256) {
        let (scales, mins) = six_bits(&self.scales);
        (out.scales, out.mins) = (twice(scales), twice(mins));
        out.d = self.d.to_f32();
        out.d_min = self.d_min.to_f32();
    }
}

impl Block256 for BlockQ5K {
    const MINS: bool = true;

    #[inline]
    fn unpack_quants(&self, quants: &mut [i8; 256]) {
        nibbles(&self.qs, quants);
        add_where_set(&self.qh, 16, quants);
    }

    #[inline]
    fn unpack_scales(&self, out: &mut Group256) {
        let (scales, mins) = six_bits(&self.scales);
        (out.scales, out.mins) = (twice(scales), twice(mins));
        out.d = self.d.to_f32();
        out.d_min = self.d_min.to_f32();
    }
}

impl Block256 for BlockQ6K {
    #[inline]
    fn unpack_quants(&self, quants: &mut [i8; 256]) {
        two_bits(&self.qh, quants);
        for (ql, out) in self.ql.chunks_exact(64).zip(quants.chunks_exact_mut(128)) {
            let (low, high) = out.split_at_mut(64);
            for ((&q, low), high) in ql.iter().zip(low).zip(high) {
                *low = (*low << 4 | (q & 0xf) as i8) - 32;
                *high = (*high << 4 | (q >> 4) as i8) - 32;
            }
        }
    }

    #[inline]
    fn unpack_scales(&self, out: &mut Group256) {
        out.scales = self.scales.map(i16::from);
        out.mins = [0; 16];
        out.d = self.d.to_f32();
        out.d_min = 0.0;
    }
}
