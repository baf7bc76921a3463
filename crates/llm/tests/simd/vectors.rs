//! The vector routines of every kernel set, compared with plain loops, at every length and alignment.

use crate::random::Random;
use llm::simd::Kernels;

/// The longest length to test, and the largest offset at which slices begin.
const MAX_LEN: usize = 130;
const MAX_START: usize = 5;

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
    each_slice(|kernels, range| {
        // `a` starts elsewhere than `b`, so that their alignments differ.
        let (a, b) = (&a[..range.len()], &b[range.clone()]);
        let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
        let scale = products.clone().map(f64::abs).sum();
        let got = kernels.dot_f32(a, b);
        assert!(close(got, products.sum(), scale), "{kernels:?} f32 {range:?}");
        assert_eq!(got, Kernels::scalar().dot_f32(a, b), "{kernels:?} f32 {range:?}");
    });
}

/// Checks a routine on every set: the bits must be those of the scalar set, and the values those of `definition`, with an error
/// of up to `tolerance` relative to magnitudes of 1 and more.
fn check_each(
    name: &str,
    routine: impl Fn(&Kernels, &mut [f32], &[f32]),
    definition: impl Fn(f64, f64) -> f64,
    tolerance: f64,
) {
    let mut random = Random(2);
    let before: Vec<f32> = random.normals(MAX_LEN).iter().map(|x| 3.0 * x).collect();
    let other = random.normals(MAX_LEN + MAX_START);
    each_slice(|kernels, range| {
        let (before, other) = (&before[..range.len()], &other[range.clone()]);
        let run = |kernels| {
            let mut x = before.to_vec();
            routine(kernels, &mut x, other);
            x
        };
        let got = run(kernels);
        assert_eq!(got, run(Kernels::scalar()), "{kernels:?} {name} {range:?}");
        for ((&got, &x), &y) in got.iter().zip(before).zip(other) {
            let want = definition(x.into(), y.into());
            let error = (f64::from(got) - want).abs();
            assert!(
                error <= tolerance * want.abs().max(1.0),
                "{kernels:?} {name}({x}, {y}): {got}, not {want}"
            );
        }
    });
}

#[test]
fn each_element_becomes_what_the_definition_says() {
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let gelu =
        |x: f64| x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh());
    check_each("add", |k, x, y| k.add(x, y), |x, y| x + y, 1e-7);
    check_each("multiply", |k, x, y| k.multiply(x, y), |x, y| x * y, 1e-7);
    check_each("add_scaled", |k, x, y| k.add_scaled(x, 0.7, y), |x, y| x + f64::from(0.7_f32) * y, 1e-7);
    check_each("scale", |k, x, _| k.scale(x, 0.7), |x, _| x * f64::from(0.7_f32), 1e-7);
    check_each("shift", |k, x, _| k.shift(x, 0.7), |x, _| x + f64::from(0.7_f32), 1e-7);
    check_each("exp", |k, x, _| k.exp(x), |x, _| x.exp(), 2e-7);
    check_each("tanh", |k, x, _| k.tanh(x), |x, _| x.tanh(), 1.5e-7);
    check_each("softplus", |k, x, _| k.softplus(x), |x, _| x.exp().ln_1p(), 3e-7);
    check_each("silu", |k, x, _| k.silu(x), |x, _| silu(x), 3e-7);
    check_each("silu_gated", |k, x, y| k.silu_gated(x, y), |x, y| x * silu(y), 3e-7);
    check_each("sigmoid_gated", |k, x, y| k.sigmoid_gated(x, y), |x, y| x / (1.0 + (-y).exp()), 3e-7);
    check_each("gelu", |k, x, _| k.gelu(x), |x, _| gelu(x), 6e-7);
    check_each("gelu_gated", |k, x, y| k.gelu_gated(x, y), |x, y| x * gelu(y), 6e-7);
}

#[test]
fn values_are_rounded_to_half_precision() {
    let mut random = Random(5);
    let mut x = random.normals(MAX_LEN + MAX_START);
    let special = [0.0, -0.0, 1.0 + 0.5 / 1024.0, 1.0 + 1.5 / 1024.0, 65519.9, 65520.0, -1e9, f32::INFINITY];
    x[..8].copy_from_slice(&special);
    x[8..12].copy_from_slice(&[6e-8, -2.9e-8, 2.980_232_2e-8, 1e-30]);
    each_slice(|kernels, range| {
        let x = &x[range.clone()];
        let mut got = vec![half::f16::NAN; x.len()];
        kernels.to_f16(x, &mut got);
        for (got, &x) in got.iter().zip(x) {
            assert_eq!(got.to_bits(), half::f16::from_f32(x).to_bits(), "{kernels:?} {x}");
        }
    });
}

#[test]
fn sums_are_as_exact_as_doubles() {
    let mut random = Random(3);
    let x = random.normals(MAX_LEN + MAX_START);
    each_slice(|kernels, range| {
        let x = &x[range.clone()];
        let sum: f64 = x.iter().map(|&x| f64::from(x)).sum();
        let squares: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        assert!((kernels.sum(x) - sum).abs() < 1e-12, "{kernels:?} {range:?}");
        assert!((kernels.sum_of_squares(x) - squares).abs() < 1e-12, "{kernels:?} {range:?}");
        assert_eq!(kernels.sum(x), Kernels::scalar().sum(x), "{kernels:?} {range:?}");
        assert_eq!(kernels.sum_of_squares(x), Kernels::scalar().sum_of_squares(x), "{kernels:?} {range:?}");
    });
}

#[test]
fn pairs_are_turned_by_their_angles() {
    let mut random = Random(4);
    let x = random.normals(2 * MAX_LEN);
    let angles = random.normals(MAX_LEN + MAX_START);
    each_slice(|kernels, range| {
        let n = range.len();
        let cos: Vec<f32> = angles[range.clone()].iter().map(|a| a.cos()).collect();
        let sin: Vec<f32> = angles[range.clone()].iter().map(|a| a.sin()).collect();
        let adjacent = |kernels: &Kernels| {
            let mut x = x[..2 * n].to_vec();
            kernels.rope_norm(&mut x, &cos, &sin);
            x
        };
        let halves = |kernels: &Kernels| {
            let mut x = x[..2 * n].to_vec();
            let (first, second) = x.split_at_mut(n);
            kernels.rope_neox(first, second, &cos, &sin);
            x
        };
        let (got_adjacent, got_halves) = (adjacent(kernels), halves(kernels));
        assert_eq!(got_adjacent, adjacent(Kernels::scalar()), "{kernels:?} {range:?}");
        assert_eq!(got_halves, halves(Kernels::scalar()), "{kernels:?} {range:?}");
        for i in 0..n {
            let (c, s) = (f64::from(cos[i]), f64::from(sin[i]));
            for (got, at) in [(&got_adjacent, [2 * i, 2 * i + 1]), (&got_halves, [i, n + i])] {
                let [a, b] = at.map(|at| f64::from(x[at]));
                assert!(close(got[at[0]], a * c - b * s, 4.0), "{kernels:?} {range:?} pair {i}");
                assert!(close(got[at[1]], b * c + a * s, 4.0), "{kernels:?} {range:?} pair {i}");
            }
        }
    });
}

/// The largest error of `exp` over every `step`-th float, in units in the last place of the result.
fn worst_exp_error(kernels: &Kernels, step: usize) -> f64 {
    let mut worst = 0.0_f64;
    // From -86.98 to -0, then from 0 to 88.72.
    for last in [(-86.98_f32).to_bits(), 88.72_f32.to_bits()] {
        let first = last & 1 << 31;
        let inputs: Vec<u32> = (first..=last).step_by(step).collect();
        for inputs in inputs.chunks(1 << 12) {
            let x: Vec<f32> = inputs.iter().map(|&bits| f32::from_bits(bits)).collect();
            let mut got = x.clone();
            kernels.exp(&mut got);
            for (x, got) in x.iter().zip(got) {
                let want = f64::from(*x).exp();
                let ulp = f64::from(f32::from_bits((want as f32).to_bits() + 1)) - f64::from(want as f32);
                worst = worst.max((f64::from(got) - want).abs() / ulp);
            }
        }
    }
    worst
}

#[test]
fn exp_is_within_one_unit_in_the_last_place() {
    let worst = worst_exp_error(Kernels::detect(), 997);
    assert!(worst < 1.0, "{worst}");
}

/// Takes a minute or two: `cargo test --release -p llm --test simd -- --ignored`.
#[test]
#[ignore = "takes long"]
fn exp_is_within_one_unit_in_the_last_place_for_every_float() {
    let worst = worst_exp_error(Kernels::detect(), 1);
    assert!(worst < 1.0, "{worst}");
}

#[test]
fn exp_is_defined_at_the_ends() {
    for kernels in Kernels::available() {
        let ends = [f32::NEG_INFINITY, f32::MIN, -104.0, -87.0, 0.0, -0.0, 88.73, f32::MAX, f32::INFINITY];
        let mut x = ends;
        kernels.exp(&mut x);
        let infinity = f32::INFINITY;
        assert_eq!(x, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, infinity, infinity, infinity], "{kernels:?}");
        let mut x = [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xff80_0001)];
        kernels.exp(&mut x);
        assert!(x.iter().all(|x| x.is_nan()), "{kernels:?} {x:?}");
    }
}

#[test]
fn softplus_goes_from_zero_to_the_diagonal() {
    for kernels in Kernels::available() {
        let mut x = [f32::NEG_INFINITY, -200.0, 0.0, 20.0, 30.0, 1e30, f32::INFINITY];
        kernels.softplus(&mut x);
        let ln_2 = core::f32::consts::LN_2;
        assert_eq!(x, [0.0, 0.0, ln_2, 20.0, 30.0, 1e30, f32::INFINITY], "{kernels:?}");
        // Where it is exp(x), but for the error of that.
        let mut x = [-60.0, f32::NAN];
        kernels.softplus(&mut x);
        assert!(
            (f64::from(x[0]) / (-60.0_f64).exp() - 1.0).abs() < 1e-6 && x[1].is_nan(),
            "{kernels:?} {x:?}"
        );
    }
}

/// The allocator of these tests must detect an access beyond a block; otherwise none of them would show one.
#[test]
fn an_access_beyond_a_block_ends_the_program() {
    let block = std::hint::black_box(vec![1_u8; 100]);
    let mut status = 0;
    // SAFETY: the child reads beyond the block, which is not sound, on purpose, and ends in any case; this process waits for it.
    unsafe {
        match libc::fork() {
            0 => {
                std::hint::black_box(block.as_ptr().add(100).read_volatile());
                libc::_exit(0);
            }
            child => assert_eq!(libc::waitpid(child, &mut status, 0), child),
        }
    }
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV, "{status:#x}");
}
