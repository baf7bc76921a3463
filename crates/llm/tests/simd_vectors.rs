//! The vector routines of every kernel set against plain loops, at every length and alignment.

mod random;

use half::f16;
use llm::simd::Kernels;
use random::Random;

/// Sets with their names, the longest length tested and the starts from which slices are taken.
const MAX_LEN: usize = 130;
const MAX_START: usize = 5;

fn halves(x: &[f32]) -> Vec<f16> {
    x.iter().map(|&x| f16::from_f32(x)).collect()
}

fn close(got: f32, want: f64, scale: f64) -> bool {
    (f64::from(got) - want).abs() <= 1e-6 * scale
}

fn each_slice(mut check: impl FnMut(&Kernels, std::ops::Range<usize>)) {
    for kernels in Kernels::available() {
        for len in 0..=MAX_LEN {
            for start in 0..=MAX_START {
                check(kernels, start..start + len);
            }
        }
    }
}

#[test]
fn dot_products_are_those_of_a_plain_loop() {
    let mut random = Random(1);
    let a = random.normals(MAX_LEN + MAX_START);
    let b = random.normals(MAX_LEN + MAX_START);
    let b_half = halves(&b);
    each_slice(|kernels, range| {
        // `a` starts elsewhere than `b`, so that their alignments differ.
        let (a, b, b_half) = (&a[..range.len()], &b[range.clone()], &b_half[range.clone()]);
        let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
        let scale = products.clone().map(f64::abs).sum();
        let got = kernels.dot_f32(a, b);
        assert!(close(got, products.sum(), scale), "{kernels:?} f32 {range:?}");
        assert_eq!(got, Kernels::scalar().dot_f32(a, b), "{kernels:?} f32 {range:?}");

        let products = a.iter().zip(b_half).map(|(&a, &b)| f64::from(a) * f64::from(b.to_f32()));
        let got = kernels.dot_f16(a, b_half);
        assert!(close(got, products.sum(), scale), "{kernels:?} f16 {range:?}");
        assert_eq!(got, Kernels::scalar().dot_f16(a, b_half), "{kernels:?} f16 {range:?}");
    });
}

#[test]
fn scaled_sums_are_those_of_a_plain_loop() {
    let mut random = Random(2);
    let acc = random.normals(MAX_LEN);
    let x = random.normals(MAX_LEN + MAX_START);
    let x_half = halves(&x);
    each_slice(|kernels, range| {
        let before = &acc[..range.len()];
        let mut got = before.to_vec();
        kernels.add_scaled_f32(&mut got, 0.7, &x[range.clone()]);
        let mut want = before.to_vec();
        Kernels::scalar().add_scaled_f32(&mut want, 0.7, &x[range.clone()]);
        assert_eq!(got, want, "{kernels:?} f32 {range:?}");
        for ((&got, &before), &x) in got.iter().zip(before).zip(&x[range.clone()]) {
            assert!(
                close(got, f64::from(before) + f64::from(0.7_f32) * f64::from(x), 4.0),
                "{kernels:?} f32 {range:?}"
            );
        }

        let mut got = before.to_vec();
        kernels.add_scaled_f16(&mut got, 0.7, &x_half[range.clone()]);
        let mut want = before.to_vec();
        Kernels::scalar().add_scaled_f16(&mut want, 0.7, &x_half[range.clone()]);
        assert_eq!(got, want, "{kernels:?} f16 {range:?}");
        for ((&got, &before), &x) in got.iter().zip(before).zip(&x_half[range.clone()]) {
            let want = f64::from(before) + f64::from(0.7_f32) * f64::from(x.to_f32());
            assert!(close(got, want, 4.0), "{kernels:?} f16 {range:?}");
        }
    });
}

#[test]
fn every_f16_becomes_the_f32_it_is() {
    for kernels in Kernels::available() {
        for bits in 0..=u16::MAX {
            let value = f16::from_bits(bits);
            // Sixteen at a time and one alone: the vector and the rest.
            for len in [16, 1] {
                let x = vec![value; len];
                let mut ones = vec![0.0; len];
                ones[len - 1] = 1.0;
                let mut got = vec![0.0; len];
                kernels.add_scaled_f16(&mut got, 1.0, &x);
                let want = value.to_f32();
                assert!(
                    got.iter().all(|&got| got == want || got.is_nan() && want.is_nan()),
                    "{kernels:?} {bits:#06x}"
                );
            }
        }
    }
}
