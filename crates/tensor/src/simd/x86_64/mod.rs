//! Inner loops for x86-64 hosts: AVX2 with FMA and F16C, and AVX-512 VNNI on top of it.
//!
//! # Layers
//!
//! Each module uses only those below it.
//!
//! | module | what it is |
//! |---|---|
//! | `avx512_vnni` | the set with `VPDPBUSD` |
//! | `avx2` | the set with AVX2, FMA and F16C |
//! | `packed`, `file_order` | products of packed weights; products of weights in file order |
//! | `packed32`, `packed256`, `weights32` | packed blocks of 32; packed blocks of 256; blocks of 32 in file order |
//! | `quads`, `rows` | four rows of floats; groups of packed rows |
//! | `lanes` | vectors of eight floats |

#![cfg(any(test, feature = "std"))]

mod avx2;
mod avx512_vnni;
mod file_order;
mod lanes;
mod packed;
mod packed256;
mod packed32;
mod quads;
mod rows;
mod weights32;

use super::{Kernels, std};

impl Kernels {
    /// Every set that this CPU supports and that gives the same bits as the scalar one; the scalar one first, the fastest last.
    pub fn available() -> impl DoubleEndedIterator<Item = &'static Self> {
        let avx2 = std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("fma")
            && std::is_x86_feature_detected!("f16c");
        let vnni = avx2
            && std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("avx512vl")
            && std::is_x86_feature_detected!("avx512vnni");
        let avx2 = avx2.then_some(&avx2::KERNELS);
        let vnni = vnni.then_some(&avx512_vnni::KERNELS);
        [Self::scalar()].into_iter().chain(avx2).chain(vnni)
    }
}
