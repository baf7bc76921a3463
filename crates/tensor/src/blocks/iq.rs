//! Blocks of 256 weights whose codes index grids of several values at once: the IQ types below four
//! bits.
//!
//! The grids hold magnitudes; signs are stored separately. Some types store seven sign bits for eight weights: the eighth sign
//! makes the number of negative weights even.

use super::{Block256, Group256, HalfBytes, codebooks};
use spin::Once;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `y = d / 8 * (2 s + 1) * grid`, eight weights to a code of 8 bits, s for each 32.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockIQ2XXS {
    /// Scale of the scales.
    pub d: HalfBytes,
    /// For each 32 weights four codes, then 4 × 7 sign bits and `s` in the top 4 bits of a u32.
    pub qs: [[u8; 8]; 8],
}

/// `y = d / 8 * (2 s + 1) * grid`, eight weights to a code of 9 bits, s for each 16.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockIQ2XS {
    /// Scale of the scales.
    pub d: HalfBytes,
    /// For each eight weights a u16: the code and above it 7 sign bits.
    pub qs: [[u8; 2]; 32],
    /// `s` of 16 weights in a nibble.
    pub scales: [u8; 8],
}

/// `y = d / 8 * (2 s + 1) * grid`, eight weights to a code of 10 bits, s for each 16.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockIQ2S {
    /// Scale of the scales.
    pub d: HalfBytes,
    /// The low 8 bits of each code.
    pub qs: [u8; 32],
    /// Eight sign bits for each code.
    pub signs: [u8; 32],
    /// The high two bits of code `l` in bits `2 * (l % 4)` of byte `l / 4`.
    pub qh: [u8; 8],
    /// `s` of 16 weights in a nibble.
    pub scales: [u8; 8],
}

/// `y = d / 4 * (2 s + 1) * grid`, four weights to a code of 8 bits, s for each 32.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockIQ3XXS {
    /// Scale of the scales.
    pub d: HalfBytes,
    /// Codes.
    pub qs: [u8; 64],
    /// For each 32 weights 4 × 7 sign bits and `s` in the top 4 bits of a u32.
    pub scales_and_signs: [[u8; 4]; 8],
}

/// `y = d * (2 s + 1) * grid`, four weights to a code of 9 bits, s for each 32.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockIQ3S {
    /// Scale of the scales.
    pub d: HalfBytes,
    /// The low 8 bits of each code.
    pub qs: [u8; 64],
    /// The high bit of code `k` in bit `k % 8` of byte `k / 8`.
    pub qh: [u8; 8],
    /// Eight sign bits for each two codes.
    pub signs: [u8; 32],
    /// `s` of 32 weights in a nibble.
    pub scales: [u8; 4],
}

/// `y = d * (2 s + 1) * (grid ± 1/8)`, eight weights to a code of 11 bits, s and shift for each 32.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockIQ1S {
    /// Scale of the scales.
    pub d: HalfBytes,
    /// The low 8 bits of each code.
    pub qs: [u8; 32],
    /// For each 32 weights a u16: the high three bits of four codes, `s` in three bits, and whether
    /// the shift is downwards.
    pub qh: [[u8; 2]; 8],
}

/// `y = d * (2 s + 1) * (grid ± 1/8)`, eight weights to a code of 11 bits, s for each 16, a shift
/// for each code.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockIQ1M {
    /// The low 8 bits of each code.
    pub qs: [u8; 32],
    /// For each code a nibble: its high three bits, and whether the shift is downwards.
    pub qh: [u8; 16],
    /// Four u16, each with four times three bits of `s` and, on top, four bits of the f16 scale of
    /// the scales.
    pub scales: [[u8; 2]; 4],
}

const _: () = assert!(size_of::<BlockIQ2XXS>() == 66);
const _: () = assert!(size_of::<BlockIQ2XS>() == 74);
const _: () = assert!(size_of::<BlockIQ2S>() == 82);
const _: () = assert!(size_of::<BlockIQ3XXS>() == 98);
const _: () = assert!(size_of::<BlockIQ3S>() == 110);
const _: () = assert!(size_of::<BlockIQ1S>() == 50);
const _: () = assert!(size_of::<BlockIQ1M>() == 56);

/// The `N` values of each code, unpacked on first use: the program holds packed grids, which are a quarter as large. Memory for
/// unpacked values is zero-initialised and takes up no room in the program file, as long as nothing else is stored in it.
type Grid<const N: usize, const ENTRIES: usize> = Once<[[i8; N]; ENTRIES]>;

static GRID_IQ2_XXS: Grid<8, 256> = Once::new();
static GRID_IQ2_XS: Grid<8, 512> = Once::new();
static GRID_IQ2_S: Grid<8, 1024> = Once::new();
static GRID_IQ3_XXS: Grid<4, 256> = Once::new();
static GRID_IQ3_S: Grid<4, 512> = Once::new();
static GRID_IQ1: Grid<8, 2048> = Once::new();

const IQ2_VALUES: &[i8] = &[8, 25, 43];
const IQ3_XXS_VALUES: &[i8] = &[4, 12, 20, 28, 36, 44, 52, 62];
const IQ3_S_VALUES: &[i8] = &[1, 3, 5, 7, 9, 11, 13, 15];
/// The values times eight, so that a shift by an eighth is 1.
const IQ1_VALUES: &[i8] = &[-8, 0, 8];

/// A grid's values. Each entry of `packed` has `N` indices of `values`, the first in the lowest of its 16 bits.
#[inline]
fn unpacked<const N: usize, const ENTRIES: usize>(
    grid: &'static Grid<N, ENTRIES>,
    packed: &[u16; ENTRIES],
    values: &[i8],
) -> &'static [[i8; N]; ENTRIES] {
    grid.call_once(|| {
        let bits = 16 / N;
        let value = |entry: u16, i| values[usize::from(entry >> (bits * i)) & ((1 << bits) - 1)];
        packed.map(|entry| core::array::from_fn(|i| value(entry, i)))
    })
}

/// The eighth sign that makes the number of set bits even.
fn eight_signs(seven: u32) -> u8 {
    let seven = (seven & 0x7f) as u8;
    seven | (seven.count_ones() as u8 & 1) << 7
}

/// The grid's values, negated where the corresponding bit is set.
fn negate<const N: usize>(values: &[i8; N], signs: u8) -> [i8; N] {
    core::array::from_fn(|i| if signs >> i & 1 == 1 { -values[i] } else { values[i] })
}

/// `2 s + 1`, where `s` is the low bits selected by `mask`.
fn odd(s: u32, mask: u32) -> i16 {
    (2 * (s & mask) + 1) as i16
}

impl Block256 for BlockIQ2XXS {
    #[inline]
    fn unpack_quants(&self, quants: &mut [i8; 256]) {
        let grid = unpacked(&GRID_IQ2_XXS, &codebooks::IQ2_XXS, IQ2_VALUES);
        let (groups, _) = quants.as_chunks_mut::<8>();
        for (j, [c0, c1, c2, c3, packed @ ..]) in self.qs.iter().enumerate() {
            let packed = u32::from_le_bytes(*packed);
            for (l, code) in [c0, c1, c2, c3].into_iter().enumerate() {
                let signs = eight_signs(packed >> (7 * l));
                groups[4 * j + l] = negate(&grid[usize::from(*code)], signs);
            }
        }
    }

    #[inline]
    fn unpack_scales(&self, out: &mut Group256) {
        // The top byte of the four.
        out.scales = core::array::from_fn(|j| odd(u32::from(self.qs[j / 2][7] >> 4), 0xf));
        out.mins = [0; 16];
        out.d = self.d.to_f32() / 8.0;
        out.d_min = 0.0;
    }
}

impl Block256 for BlockIQ2XS {
    #[inline]
    fn unpack_quants(&self, quants: &mut [i8; 256]) {
        let grid = unpacked(&GRID_IQ2_XS, &codebooks::IQ2_XS, IQ2_VALUES);
        let (groups, _) = quants.as_chunks_mut::<8>();
        for (group, &packed) in groups.iter_mut().zip(&self.qs) {
            let packed = u16::from_le_bytes(packed);
            let signs = eight_signs(u32::from(packed >> 9));
            *group = negate(&grid[usize::from(packed & 511)], signs);
        }
    }

    #[inline]
    fn unpack_scales(&self, out: &mut Group256) {
        out.scales = nibble_scales(&self.scales);
        out.mins = [0; 16];
        out.d = self.d.to_f32() / 8.0;
        out.d_min = 0.0;
    }
}

/// `2 s + 1` for each nibble.
fn nibble_scales(packed: &[u8; 8]) -> [i16; 16] {
    core::array::from_fn(|j| odd(u32::from(packed[j / 2]) >> (4 * (j % 2)), 0xf))
}

impl Block256 for BlockIQ2S {
    #[inline]
    fn unpack_quants(&self, quants: &mut [i8; 256]) {
        let grid = unpacked(&GRID_IQ2_S, &codebooks::IQ2_S, IQ2_VALUES);
        let (groups, _) = quants.as_chunks_mut::<8>();
        for (l, group) in groups.iter_mut().enumerate() {
            let high = self.qh[l / 4] >> (2 * (l % 4)) & 3;
            let code = usize::from(self.qs[l]) | usize::from(high) << 8;
            *group = negate(&grid[code], self.signs[l]);
        }
    }

    #[inline]
    fn unpack_scales(&self, out: &mut Group256) {
        out.scales = nibble_scales(&self.scales);
        out.mins = [0; 16];
        out.d = self.d.to_f32() / 8.0;
        out.d_min = 0.0;
    }
}

impl Block256 for BlockIQ3XXS {
    #[inline]
    fn unpack_quants(&self, quants: &mut [i8; 256]) {
        let grid = unpacked(&GRID_IQ3_XXS, &codebooks::IQ3_XXS, IQ3_XXS_VALUES);
        let (groups, _) = quants.as_chunks_mut::<4>();
        for (j, &packed) in self.scales_and_signs.iter().enumerate() {
            let packed = u32::from_le_bytes(packed);
            for l in 0..4 {
                let signs = eight_signs(packed >> (7 * l));
                let at = 8 * j + 2 * l;
                groups[at] = negate(&grid[usize::from(self.qs[at])], signs);
                groups[at + 1] = negate(&grid[usize::from(self.qs[at + 1])], signs >> 4);
            }
        }
    }

    #[inline]
    fn unpack_scales(&self, out: &mut Group256) {
        // The top byte of the four.
        out.scales = core::array::from_fn(|j| odd(u32::from(self.scales_and_signs[j / 2][3] >> 4), 0xf));
        out.mins = [0; 16];
        out.d = self.d.to_f32() / 4.0;
        out.d_min = 0.0;
    }
}

impl Block256 for BlockIQ3S {
    #[inline]
    fn unpack_quants(&self, quants: &mut [i8; 256]) {
        let grid = unpacked(&GRID_IQ3_S, &codebooks::IQ3_S, IQ3_S_VALUES);
        let (groups, _) = quants.as_chunks_mut::<4>();
        for (k, group) in groups.iter_mut().enumerate() {
            let high = self.qh[k / 8] >> (k % 8) & 1;
            let code = usize::from(self.qs[k]) | usize::from(high) << 8;
            *group = negate(&grid[code], self.signs[k / 2] >> (4 * (k % 2)));
        }
    }

    #[inline]
    fn unpack_scales(&self, out: &mut Group256) {
        out.scales = core::array::from_fn(|j| odd(u32::from(self.scales[j / 4]) >> (4 * (j / 2 % 2)), 0xf));
        out.mins = [0; 16];
        out.d = self.d.to_f32();
        out.d_min = 0.0;
    }
}

/// The grid's values (times eight) minus one if the shift is downwards, plus one otherwise.
fn shifted(values: [i8; 8], down: bool) -> [i8; 8] {
    values.map(|value| if down { value - 1 } else { value + 1 })
}

impl Block256 for BlockIQ1S {
    #[inline]
    fn unpack_quants(&self, quants: &mut [i8; 256]) {
        let grid = unpacked(&GRID_IQ1, &codebooks::IQ1, IQ1_VALUES);
        let (groups, _) = quants.as_chunks_mut::<8>();
        for (j, &packed) in self.qh.iter().enumerate() {
            let packed = u16::from_le_bytes(packed);
            for l in 0..4 {
                let high = usize::from(packed >> (3 * l) & 7);
                let code = usize::from(self.qs[4 * j + l]) | high << 8;
                groups[4 * j + l] = shifted(grid[code], packed & 0x8000 != 0);
            }
        }
    }

    #[inline]
    fn unpack_scales(&self, out: &mut Group256) {
        // The top byte of the two.
        out.scales = core::array::from_fn(|j| odd(u32::from(self.qh[j / 2][1] >> 4), 7));
        out.mins = [0; 16];
        out.d = self.d.to_f32() / 8.0;
        out.d_min = 0.0;
    }
}

impl Block256 for BlockIQ1M {
    #[inline]
    fn unpack_quants(&self, quants: &mut [i8; 256]) {
        let grid = unpacked(&GRID_IQ1, &codebooks::IQ1, IQ1_VALUES);
        let (groups, _) = quants.as_chunks_mut::<8>();
        for (l, group) in groups.iter_mut().enumerate() {
            let nibble = self.qh[l / 2] >> (4 * (l % 2)) & 0xf;
            let code = usize::from(self.qs[l]) | usize::from(nibble & 7) << 8;
            *group = shifted(grid[code], nibble & 8 != 0);
        }
    }

    #[inline]
    fn unpack_scales(&self, out: &mut Group256) {
        let packed = self.scales.map(u16::from_le_bytes);
        out.scales = core::array::from_fn(|j| odd(u32::from(packed[j / 4]) >> (3 * (j % 4)), 7));
        out.mins = [0; 16];
        let d = packed.iter().enumerate().fold(0, |d, (i, packed)| d | packed >> 12 << (4 * i));
        out.d = half::f16::from_bits(d).to_f32() / 8.0;
        out.d_min = 0.0;
    }
}
