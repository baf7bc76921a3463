//! The set for CPUs with FEAT_I8MM as well (Neoverse V1 and later): `SMMLA` for many tokens.

use super::dotprod;
use super::packed::{Iq4Nl, Mxfp4, Of32, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, tile};
use super::packed256::{Of256, Q4K, Q5K, Q6K};
use super::smmla::Smmla32;
use super::smmla_few;
use super::smmla256::Smmla256;
use crate::blocks::GgmlType;
use crate::simd::table::{Kernels, PackedTileFn};

pub static KERNELS: Kernels = TABLE;

/// The table as a constant, from which other sets take what they do not replace.
pub const TABLE: Kernels = Kernels { name: "i8mm", packed_product: product, ..dotprod::TABLE };

fn product(ty: GgmlType) -> Option<PackedTileFn> {
    Some(match ty {
        GgmlType::Q4_0 => smmla_few::tile::<Of32<Q4_0>, Smmla32<Q4_0>, Q4_0>,
        GgmlType::Q4_1 => smmla_few::tile::<Of32<Q4_1>, Smmla32<Q4_1>, Q4_1>,
        GgmlType::Q5_0 => tile::<Of32<Q5_0>, Smmla32<Q5_0>>,
        GgmlType::Q5_1 => tile::<Of32<Q5_1>, Smmla32<Q5_1>>,
        GgmlType::Q8_0 => smmla_few::tile::<Of32<Q8_0>, Smmla32<Q8_0>, Q8_0>,
        GgmlType::IQ4_NL => smmla_few::tile::<Of32<Iq4Nl>, Smmla32<Iq4Nl>, Iq4Nl>,
        GgmlType::MXFP4 => tile::<Of32<Mxfp4>, Smmla32<Mxfp4>>,
        GgmlType::Q4_K => tile::<Of256<Q4K>, Smmla256<Q4K>>,
        GgmlType::Q5_K => tile::<Of256<Q5K>, Smmla256<Q5K>>,
        GgmlType::Q6_K => tile::<Of256<Q6K>, Smmla256<Q6K>>,
        _ => return None,
    })
}
