//! Blocks whose codes of 4 bits index a table of 16 values.

use super::{Block32, Block256, Group32, Group256, HalfBytes, uniform::nibbles};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The values of IQ4_NL and IQ4_XS. They are denser around zero, as weights are.
pub const IQ4_VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Twice the values of E2M1, the 4-bit float of MXFP4 and NVFP4.
pub const E2M1_DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// 32 weights, `y = d * IQ4_VALUES[code]`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockIQ4NL {
    /// Scale.
    pub d: HalfBytes,
    /// Codes, in the order of [`super::BlockQ4_0::qs`].
    pub qs: [u8; 16],
}

/// 256 weights, `y = d * (scale - 32) * IQ4_VALUES[code]`, scale of 6 bits for each 32 weights.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockIQ4XS {
    /// Scale of the scales.
    pub d: HalfBytes,
    /// The high two bits of scale `j` in bits `2 j`, little-endian.
    pub scales_h: [u8; 2],
    /// The low nibble of scale `j` in nibble `j`.
    pub scales_l: [u8; 4],
    /// Codes; each 16 bytes hold 32 weights in the order of [`super::BlockQ4_0::qs`].
    pub qs: [u8; 128],
}

/// 32 weights of the OCP microscaling format MXFP4: E2M1 under an E8M0 scale.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockMXFP4 {
    /// The scale is `2^(e - 127)`.
    pub e: u8,
    /// Codes, in the order of [`super::BlockQ4_0::qs`].
    pub qs: [u8; 16],
}

/// 64 weights of NVIDIA's FP4: E2M1 with an unsigned E4M3 scale for every 16 weights.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockNVFP4 {
    /// Scales.
    pub d: [u8; 4],
    /// Codes; each 8 bytes hold 16 weights, weight `i` in the low nibble of byte `i`, weight `8 + i`
    /// in the high one.
    pub qs: [u8; 32],
}

const _: () = assert!(size_of::<BlockIQ4NL>() == 18);
const _: () = assert!(size_of::<BlockIQ4XS>() == 136);
const _: () = assert!(size_of::<BlockMXFP4>() == 17);
const _: () = assert!(size_of::<BlockNVFP4>() == 36);

/// `2^(e - 128)`: half an E8M0 scale, because the table holds doubled values.
pub fn e8m0_half(e: u8) -> f32 {
    // The two smallest are subnormal.
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (u32::from(e) - 1) << 23 })
}

/// Half an unsigned E4M3 scale, because the table holds doubled values; NaN counts as 0.
pub fn ue4m3_half(bits: u8) -> f32 {
    let (exponent, mantissa) = (bits >> 3 & 0xf, bits & 7);
    match (exponent, mantissa) {
        _ if bits == 0x7f => 0.0,
        (0, m) => f32::from(m) / 1024.0,
        (e, m) => f32::from(8 + m) * f32::from_bits((u32::from(e) + 127 - 11) << 23),
    }
}

impl Block32 for BlockIQ4NL {
    #[inline]
    fn unpack(&self, _index: usize) -> Group32 {
        Group32 {
            quants: nibbles(&self.qs).map(|code| IQ4_VALUES[code as usize]),
            scales: [self.d.to_f32(); 2],
            min: 0.0,
        }
    }
}

impl Block256 for BlockIQ4XS {
    #[inline]
    fn unpack_quants(&self, quants: &mut [i8; 256]) {
        let (codes, _) = self.qs.as_chunks::<16>();
        let (groups, _) = quants.as_chunks_mut::<32>();
        for (codes, out) in codes.iter().zip(groups) {
            *out = nibbles(codes).map(|code| IQ4_VALUES[code as usize]);
        }
    }

    #[inline]
    fn unpack_scales(&self, out: &mut Group256) {
        let scales_h = u16::from_le_bytes(self.scales_h);
        out.scales = core::array::from_fn(|i| {
            let j = i / 2;
            let low = self.scales_l[j / 2] >> (4 * (j % 2)) & 0xf;
            let high = (scales_h >> (2 * j) & 3) as u8;
            i16::from(low | high << 4) - 32
        });
        out.mins = [0; 16];
        out.d = self.d.to_f32();
        out.d_min = 0.0;
    }
}

impl Block32 for BlockMXFP4 {
    #[inline]
    fn unpack(&self, _index: usize) -> Group32 {
        Group32 {
            quants: nibbles(&self.qs).map(|code| E2M1_DOUBLED[code as usize]),
            scales: [e8m0_half(self.e); 2],
            min: 0.0,
        }
    }
}

impl Block32 for BlockNVFP4 {
    const GROUPS: usize = 2;
    const HALVES: bool = true;

    #[inline]
    fn unpack(&self, index: usize) -> Group32 {
        let code = |i: usize| {
            let byte = self.qs[16 * index + 8 * (i / 16) + i % 8];
            if i % 16 < 8 { byte & 0xf } else { byte >> 4 }
        };
        Group32 {
            quants: core::array::from_fn(|i| E2M1_DOUBLED[usize::from(code(i))]),
            scales: [ue4m3_half(self.d[2 * index]), ue4m3_half(self.d[2 * index + 1])],
            min: 0.0,
        }
    }
}
