//! Weights rearranged in memory for the loops that multiply them.
//!
//! In a file each row is stored separately, block after block. A [`Packing`] takes several rows at a time and interleaves the
//! bytes of their blocks. A single load then brings what the lanes of a vector need next, one lane for each row. No sum is spread
//! over lanes, and all rows share each load of activations.
//!
//! Neighbours: [`crate::simd`] says which packing a set of instructions wants, [`crate::quant`] packs files and
//! reads what is packed.

use super::GgmlType;
use core::fmt;

/// The longest block of a type that is packed.
const MAX_BLOCK_BYTES: usize = 256;

/// How weights are rearranged.
///
/// The blocks at the same position in `rows` rows form a group. Within the group, the fields of a block follow one another as in
/// the block. Each field is cut into units, and each unit is stored for all rows before the next unit.
pub struct Packing {
    /// Name of the arrangement.
    pub(crate) name: &'static str,
    /// Rows in a group.
    pub(crate) rows: usize,
    /// Whether 4-bit codes with an offset of 8 become two's complement.
    pub(crate) signed_nibbles: bool,
    /// Whether signed bytes get an offset of 128.
    pub(crate) unsigned_bytes: bool,
    /// A faster [`pack_group`](Packing::pack_group) that uses the instruction set; returns whether it did the packing.
    pub(crate) fast_pack: Option<FastPack>,
    /// Types that are rearranged.
    pub(crate) types: &'static [GgmlType],
}

/// Rearranges a group of rows, `plain`, like [`Packing::pack_group`], or returns false.
pub(crate) type FastPack = fn(&Packing, GgmlType, plain: &[u8], packed: &mut [u8]) -> bool;

impl PartialEq for Packing {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Packing").field(&self.name).finish()
    }
}

/// Part of a block.
struct Field {
    len_bytes: usize,
    /// Number of bytes of one row that precede those of the next row.
    unit_bytes: usize,
    content: Content,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Copied unchanged.
    Any,
    /// 4-bit codes with an offset of 8.
    OffsetNibbles,
    /// Signed bytes.
    SignedBytes,
    /// One bit for each of 32 weights: bit `c` of byte `i` becomes that of weight `4 c + i`.
    FifthBits,
}

const BYTE: Field = Field { len_bytes: 1, unit_bytes: 1, content: Content::Any };
const HALF: Field = Field { len_bytes: 2, unit_bytes: 2, content: Content::Any };

const fn bytes(len_bytes: usize) -> Field {
    Field { len_bytes, unit_bytes: 4, content: Content::Any }
}

/// The fields of a block; none for types that are never packed.
fn fields(ty: GgmlType) -> &'static [Field] {
    const NIBBLES: Field = Field { content: Content::OffsetNibbles, ..bytes(16) };
    const SIGNED: Field = Field { content: Content::SignedBytes, ..bytes(32) };
    const FIFTH: Field = Field { content: Content::FifthBits, ..bytes(4) };
    match ty {
        GgmlType::Q4_0 => &[HALF, NIBBLES],
        GgmlType::Q4_1 => &[HALF, HALF, const { bytes(16) }],
        GgmlType::Q5_0 => &[HALF, FIFTH, const { bytes(16) }],
        GgmlType::Q5_1 => &[HALF, HALF, FIFTH, const { bytes(16) }],
        GgmlType::Q8_0 => &[HALF, SIGNED],
        GgmlType::IQ4_NL => &[HALF, const { bytes(16) }],
        GgmlType::MXFP4 => &[BYTE, const { bytes(16) }],
        GgmlType::Q4_K => &[HALF, HALF, const { bytes(12) }, const { bytes(128) }],
        GgmlType::Q5_K => &[HALF, HALF, const { bytes(12) }, const { bytes(32) }, const { bytes(128) }],
        GgmlType::IQ4_XS => &[HALF, HALF, const { bytes(4) }, const { bytes(128) }],
        GgmlType::Q6_K => &[const { bytes(128) }, const { bytes(64) }, const { bytes(16) }, HALF],
        _ => &[],
    }
}

impl Packing {
    /// Whether a matrix of this type and size is rearranged.
    pub(crate) fn covers(&self, ty: GgmlType, n_rows: usize) -> bool {
        self.types.contains(&ty) && n_rows.is_multiple_of(self.rows)
    }

    /// The bits that are flipped in each byte of a field.
    fn flipped(&self, content: Content) -> u8 {
        match content {
            Content::OffsetNibbles => self.flipped_in_nibbles(),
            Content::SignedBytes if self.unsigned_bytes => 0x80,
            _ => 0,
        }
    }

    /// The bits that are flipped in each byte of two 4-bit codes with an offset of 8.
    pub(crate) fn flipped_in_nibbles(&self) -> u8 {
        if self.signed_nibbles { 0x88 } else { 0 }
    }

    /// Rearranges a group of rows; in `plain` they follow one another.
    pub(crate) fn pack_group(&self, ty: GgmlType, plain: &[u8], packed: &mut [u8]) {
        if self.fast_pack.is_none_or(|fast_pack| !fast_pack(self, ty, plain, packed)) {
            self.pack_fields(ty, plain, packed);
        }
    }

    /// Like [`pack_group`](Self::pack_group), field by field, without the faster routine.
    pub(crate) fn pack_fields(&self, ty: GgmlType, plain: &[u8], packed: &mut [u8]) {
        let row_bytes = plain.len() / self.rows;
        let block_bytes = ty.block_bytes();
        for (index, packed) in packed.chunks_exact_mut(self.rows * block_bytes).enumerate() {
            let (mut offset, mut rest) = (index * block_bytes, packed);
            for field in fields(ty) {
                let (packed, behind) = rest.split_at_mut(self.rows * field.len_bytes);
                let rows = plain.chunks_exact(row_bytes).map(|row| &row[offset..offset + field.len_bytes]);
                let flipped = self.flipped(field.content);
                match (field.unit_bytes, field.content) {
                    (_, Content::FifthBits) => interleave(rows, packed, to_columns),
                    (4, _) => interleave::<4>(rows, packed, |unit| unit.map(|byte| byte ^ flipped)),
                    (2, _) => interleave::<2>(rows, packed, |unit| unit),
                    _ => interleave::<1>(rows, packed, |unit| unit),
                }
                (offset, rest) = (offset + field.len_bytes, behind);
            }
        }
    }

    /// Copies out block `index` of row `row < self.rows` of a packed group, in the layout of a file.
    pub(crate) fn block(&self, ty: GgmlType, group: &[u8], row: usize, index: usize, block: &mut [u8]) {
        let block_bytes = ty.block_bytes();
        let mut rest = &group[index * self.rows * block_bytes..];
        let mut block = block;
        for field in fields(ty) {
            let (packed, behind) = rest.split_at(self.rows * field.len_bytes);
            let (plain, block_behind) = block.split_at_mut(field.len_bytes);
            let units = packed.chunks_exact(field.unit_bytes).skip(row).step_by(self.rows);
            for (plain, unit) in plain.chunks_exact_mut(field.unit_bytes).zip(units) {
                if field.content == Content::FifthBits {
                    plain.copy_from_slice(&from_columns([unit[0], unit[1], unit[2], unit[3]]));
                    continue;
                }
                let flipped = self.flipped(field.content);
                for (to, from) in plain.iter_mut().zip(unit) {
                    *to = from ^ flipped;
                }
            }
            (rest, block) = (behind, block_behind);
        }
    }

    /// Calls `use_block` with each block of a row, in the layout of a file.
    pub(crate) fn for_each_block(
        &self,
        ty: GgmlType,
        group: &[u8],
        row: usize,
        mut use_block: impl FnMut(&[u8]),
    ) {
        let mut block = [0; MAX_BLOCK_BYTES];
        let block = &mut block[..ty.block_bytes()];
        for index in 0..group.len() / (self.rows * ty.block_bytes()) {
            self.block(ty, group, row, index, block);
            use_block(block);
        }
    }
}

/// Interleaves units of `N` bytes of all rows, and converts each unit.
fn interleave<'a, const N: usize>(
    rows: impl ExactSizeIterator<Item = &'a [u8]>,
    packed: &mut [u8],
    convert: impl Fn([u8; N]) -> [u8; N],
) {
    let n_rows = rows.len();
    let (packed, _) = packed.as_chunks_mut::<N>();
    for (row, bytes) in rows.enumerate() {
        let (units, _) = bytes.as_chunks::<N>();
        for (unit, packed) in units.iter().zip(packed[row..].iter_mut().step_by(n_rows)) {
            *packed = convert(*unit);
        }
    }
}

/// Moves bit `4 c + i` of a number to bit `8 i + c`.
fn to_columns(unit: [u8; 4]) -> [u8; 4] {
    moved(unit, |c, i| (4 * c + i, 8 * i + c))
}

/// The inverse of [`to_columns`].
fn from_columns(unit: [u8; 4]) -> [u8; 4] {
    moved(unit, |c, i| (8 * i + c, 4 * c + i))
}

/// Moves bits: `places(c, i)` gives the old and the new position.
fn moved(unit: [u8; 4], places: impl Fn(usize, usize) -> (usize, usize)) -> [u8; 4] {
    let bits = u32::from_le_bytes(unit);
    let mut moved = 0;
    for c in 0..8 {
        for i in 0..4 {
            let (from, to) = places(c, i);
            moved |= (bits >> from & 1) << to;
        }
    }
    moved.to_le_bytes()
}

/// Every type that has fields.
#[cfg(test)]
pub(crate) const PACKED: [GgmlType; 11] = {
    use GgmlType::*;
    [Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, MXFP4, Q4_K, Q5_K, Q6_K, IQ4_XS]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_make_up_a_block() {
        for ty in PACKED {
            let len_bytes: usize = fields(ty).iter().map(|field| field.len_bytes).sum();
            assert_eq!(len_bytes, ty.block_bytes(), "{ty}");
            assert!(len_bytes <= MAX_BLOCK_BYTES);
        }
    }
}
