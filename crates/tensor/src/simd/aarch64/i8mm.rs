//! The set for CPUs that also have FEAT_I8MM (Neoverse V1 and later): `SMMLA` for four or more tokens.

use super::dotprod;
use super::packed::{IQ4_NL, Of32, Q4_0, Q4_1, Q8_0, tile, with_packed_type};
use super::packed256::Of256;
use super::smmla::Smmla32;
use super::smmla_few;
use super::smmla256::Smmla256;
use crate::blocks::GgmlType;
use crate::simd::table::{Kernels, PackedTileFn};

pub static KERNELS: Kernels = TABLE;

/// The table as a constant: other sets copy the entries that they do not replace.
pub const TABLE: Kernels = Kernels { name: "i8mm", packed_product: product, ..dotprod::TABLE };

fn product(ty: GgmlType) -> Option<PackedTileFn> {
    match ty {
        GgmlType::Q4_0 => Some(smmla_few::tile::<Of32<Q4_0>, Smmla32<Q4_0>, Q4_0>),
        GgmlType::Q4_1 => Some(smmla_few::tile::<Of32<Q4_1>, Smmla32<Q4_1>, Q4_1>),
        GgmlType::Q8_0 => Some(smmla_few::tile::<Of32<Q8_0>, Smmla32<Q8_0>, Q8_0>),
        GgmlType::IQ4_NL => Some(smmla_few::tile::<Of32<IQ4_NL>, Smmla32<IQ4_NL>, IQ4_NL>),
        _ => with_packed_type!(ty, W => tile::<Of32<W>, Smmla32<W>>, tile::<Of256<W>, Smmla256<W>>),
    }
}
