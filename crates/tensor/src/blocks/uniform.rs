//! Blocks of 32 weights on a uniform grid, with a scale and, in some types, an offset.

use super::{Block32, Group32, HalfBytes};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `y = d * (q - 8)`, q of 4 bits.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockQ4_0 {
    /// Scale.
    pub d: HalfBytes,
    /// Weight `i` in the low nibble of byte `i`, weight `16 + i` in the high one.
    pub qs: [u8; 16],
}

/// `y = d * q + m`, q of 4 bits.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockQ4_1 {
    /// Scale.
    pub d: HalfBytes,
    /// Minimum.
    pub m: HalfBytes,
    /// Nibbles, in the order of [`BlockQ4_0::qs`].
    pub qs: [u8; 16],
}

/// `y = d * (q - 16)`, q of 5 bits.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockQ5_0 {
    /// Scale.
    pub d: HalfBytes,
    /// The fifth bit of weight `i` is bit `i` of these 32, little-endian.
    pub qh: [u8; 4],
    /// The four low bits, in the order of [`BlockQ4_0::qs`].
    pub qs: [u8; 16],
}

/// `y = d * q + m`, q of 5 bits.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockQ5_1 {
    /// Scale.
    pub d: HalfBytes,
    /// Minimum.
    pub m: HalfBytes,
    /// The fifth bits, as in [`BlockQ5_0::qh`].
    pub qh: [u8; 4],
    /// The four low bits, in the order of [`BlockQ4_0::qs`].
    pub qs: [u8; 16],
}

/// `y = d * q`, q of 8 bits.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockQ8_0 {
    /// Scale.
    pub d: HalfBytes,
    /// The weights in order.
    pub qs: [i8; 32],
}

const _: () = assert!(size_of::<BlockQ4_0>() == 18);
const _: () = assert!(size_of::<BlockQ4_1>() == 20);
const _: () = assert!(size_of::<BlockQ5_0>() == 22);
const _: () = assert!(size_of::<BlockQ5_1>() == 24);
const _: () = assert!(size_of::<BlockQ8_0>() == 34);

/// The 32 nibbles of `qs`, low ones first.
pub(super) fn nibbles(qs: &[u8; 16]) -> [i8; 32] {
    let mut quants = [0; 32];
    let (low, high) = quants.split_at_mut(16);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(qs) {
        (*low, *high) = ((byte & 0xf) as i8, (byte >> 4) as i8);
    }
    quants
}

/// Nibbles with their fifth bits.
fn five_bits(qs: &[u8; 16], qh: [u8; 4]) -> [i8; 32] {
    let qh = u32::from_le_bytes(qh);
    let low = nibbles(qs);
    core::array::from_fn(|i| low[i] | ((qh >> i & 1) << 4) as i8)
}

impl Block32 for BlockQ4_0 {
    fn unpack(&self, _index: usize) -> Group32 {
        Group32 { quants: nibbles(&self.qs).map(|q| q - 8), scales: [self.d.to_f32(); 2], min: 0.0 }
    }
}

impl Block32 for BlockQ4_1 {
    const MINS: bool = true;

    fn unpack(&self, _index: usize) -> Group32 {
        Group32 { quants: nibbles(&self.qs), scales: [self.d.to_f32(); 2], min: self.m.to_f32() }
    }
}

impl Block32 for BlockQ5_0 {
    fn unpack(&self, _index: usize) -> Group32 {
        Group32 {
            quants: five_bits(&self.qs, self.qh).map(|q| q - 16),
            scales: [self.d.to_f32(); 2],
            min: 0.0,
        }
    }
}

impl Block32 for BlockQ5_1 {
    const MINS: bool = true;

    fn unpack(&self, _index: usize) -> Group32 {
        Group32 { quants: five_bits(&self.qs, self.qh), scales: [self.d.to_f32(); 2], min: self.m.to_f32() }
    }
}

impl Block32 for BlockQ8_0 {
    fn unpack(&self, _index: usize) -> Group32 {
        Group32 { quants: self.qs, scales: [self.d.to_f32(); 2], min: 0.0 }
    }
}
