//! The searches for scales of ggml's quantisers.
//!
//! Each search tries grids somewhat wider and narrower than the one that just covers the values. It fits the scale (and minimum)
//! to the rounded values by weighted least squares, and keeps the best grid.

/// A group with smaller magnitudes counts as zero.
pub const TINY: f32 = 1e-15;

/// The nearest integer, ties to even, in `0..=max`.
pub fn round_to(x: f32, max: u8) -> u8 {
    (libm::rintf(x) as i32).clamp(0, i32::from(max)) as u8
}

/// The nearest integer, ties to even, in `-n..n`.
fn round_about_zero(x: f32, n: u8) -> f32 {
    let n = f32::from(n);
    libm::rintf(x).clamp(-n, n - 1.0)
}

/// The value of largest magnitude, with its sign; the first one if there are several.
pub fn extreme(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |best, &x| if x.abs() > f32::abs(best) { x } else { best })
}

/// The mean of the squares.
pub fn mean_square(x: &[f32]) -> f32 {
    x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32
}

/// The weight of each error: the importance of the column, increased for larger values.
pub fn by_importance<const N: usize>(x: &[f32; N], importance: &[f32; N], mean_square: f32) -> [f32; N] {
    core::array::from_fn(|i| importance[i] * libm::sqrtf(mean_square + x[i] * x[i]))
}

/// `n_steps` steps from `first` on, `first` included.
pub fn steps(first: f32, step: f32, n_steps: u8) -> impl Iterator<Item = f32> + Clone {
    (0..=n_steps).map(move |index| first + step * f32::from(index))
}

/// The grids to try if columns have importances, in steps beyond the largest code.
pub fn weighted_widths() -> impl Iterator<Item = f32> + Clone {
    steps(-0.9, 0.05, 36)
}

/// A grid `scale * code - min`.
pub struct WithMin<const N: usize> {
    /// Its step.
    pub scale: f32,
    /// The magnitude of the grid's start, which is not above 0.
    pub min: f32,
    /// The codes, `0..=max`.
    pub codes: [u8; N],
}

/// Rounds values to `0..=max` on a grid that starts at a minimum not above 0.
///
/// `widths` are the grids to try, in steps beyond `max`. The squares of the errors count, or their magnitudes if `is_absolute`.
pub fn with_min<const N: usize>(
    x: &[f32; N],
    weights: &[f32; N],
    max: u8,
    widths: impl Iterator<Item = f32>,
    is_absolute: bool,
) -> WithMin<N> {
    let lowest = x.iter().copied().fold(x[0], f32::min).min(0.0);
    let highest = x.iter().copied().fold(x[0], f32::max);
    if highest <= lowest {
        return WithMin { scale: 0.0, min: -lowest, codes: [0; N] };
    }
    let error = |scale: f32, min: f32, codes: &[u8; N]| -> f32 {
        let errors = codes.iter().zip(x).map(|(&code, x)| scale * f32::from(code) + min - x);
        let errors = errors.map(|error| if is_absolute { error.abs() } else { error * error });
        errors.zip(weights).map(|(error, w)| w * error).sum()
    };
    let sum_w: f32 = weights.iter().sum();
    let sum_x: f32 = weights.iter().zip(x).map(|(w, x)| w * x).sum();

    let inverse = f32::from(max) / (highest - lowest);
    let mut best_codes = x.map(|x| round_to(inverse * (x - lowest), max));
    let (mut scale, mut min) = (1.0 / inverse, lowest);
    let mut least_error = error(scale, min, &best_codes);
    for width in widths {
        // Measured from the best minimum so far, not from the lowest value.
        let inverse = (width + f32::from(max)) / (highest - min);
        let codes = x.map(|x| round_to(inverse * (x - min), max));
        let (mut sum_l, mut sum_ll, mut sum_lx) = (0.0, 0.0, 0.0);
        for ((&code, &x), &w) in codes.iter().zip(x).zip(weights) {
            let l = f32::from(code);
            sum_l += w * l;
            sum_ll += w * l * l;
            sum_lx += w * l * x;
        }
        let determinant = sum_w * sum_ll - sum_l * sum_l;
        if determinant <= 0.0 {
            continue;
        }
        let mut fitted_scale = (sum_w * sum_lx - sum_x * sum_l) / determinant;
        let mut fitted_min = (sum_ll * sum_x - sum_l * sum_lx) / determinant;
        if fitted_min > 0.0 {
            (fitted_scale, fitted_min) = (sum_lx / sum_ll, 0.0);
        }
        let fitted_error = error(fitted_scale, fitted_min, &codes);
        if fitted_error < least_error {
            (scale, min, least_error, best_codes) = (fitted_scale, fitted_min, fitted_error, codes);
        }
    }
    WithMin { scale, min: -min, codes: best_codes }
}

/// A grid `scale * l`, `l` in `-n..n`.
pub struct Symmetric {
    /// Its step, of either sign.
    pub scale: f32,
    /// The factor by which values are multiplied before rounding; not exactly the inverse of the fitted step.
    inverse: f32,
    n: u8,
}

impl Symmetric {
    /// The code of a value, `l + n`.
    pub fn code(&self, x: f32) -> u8 {
        (round_about_zero(self.inverse * x, self.n) + f32::from(self.n)) as u8
    }
}

/// The grid about zero that fits best.
pub fn symmetric(x: &[f32], weights: &[f32], n: u8) -> Symmetric {
    let extreme = extreme(x);
    if extreme.abs() < TINY {
        return Symmetric { scale: 0.0, inverse: 0.0, n };
    }
    let fit = |inverse: f32| {
        x.iter().zip(weights).fold((0.0, 0.0), |(sum_lx, sum_ll), (&x, &w)| {
            let l = round_about_zero(inverse * x, n);
            (sum_lx + w * x * l, sum_ll + w * l * l)
        })
    };
    let mut inverse = -f32::from(n) / extreme;
    let (sum_lx, sum_ll) = fit(inverse);
    let mut scale = if sum_ll != 0.0 { sum_lx / sum_ll } else { 0.0 };
    let mut best = scale * sum_lx;
    for step in (-9_i8..=9).filter(|&step| step != 0) {
        let tried = -(f32::from(n) + 0.1 * f32::from(step)) / extreme;
        let (sum_lx, sum_ll) = fit(tried);
        if sum_ll > 0.0 && sum_lx * sum_lx > best * sum_ll {
            inverse = tried;
            scale = sum_lx / sum_ll;
            best = scale * sum_lx;
        }
    }
    Symmetric { scale, inverse, n }
}

/// The sums that determine the scale of a grid about zero, used to improve codes one at a time.
struct OneByOne<'x> {
    x: &'x [f32],
    weights: &'x [f32],
    sum_lx: f32,
    sum_ll: f32,
}

impl<'x> OneByOne<'x> {
    /// The sums for these codes.
    fn new(x: &'x [f32], weights: &'x [f32], codes: &[f32]) -> Self {
        let mut sums = Self { x, weights, sum_lx: 0.0, sum_ll: 0.0 };
        for ((&x, &w), &l) in x.iter().zip(weights).zip(codes) {
            sums.sum_lx += w * x * l;
            sums.sum_ll += w * l * l;
        }
        sums
    }

    /// Sets each code in turn to its best value given the others, several times over; then returns the scale.
    fn improve(mut self, codes: &mut [f32], round: impl Fn(f32) -> f32, needs_others: bool) -> f32 {
        for _ in 0..5 {
            let mut n_changed = 0;
            for ((&x, &w), code) in self.x.iter().zip(self.weights).zip(&mut *codes) {
                let mut sum_lx = self.sum_lx - w * x * *code;
                let mut sum_ll = self.sum_ll - w * *code * *code;
                if sum_lx <= 0.0 || (needs_others && sum_ll <= 0.0) {
                    continue;
                }
                let l = round(x * sum_ll / sum_lx);
                if l == *code {
                    continue;
                }
                sum_lx += w * x * l;
                sum_ll += w * l * l;
                if sum_ll > 0.0 && sum_lx * sum_lx * self.sum_ll > self.sum_lx * self.sum_lx * sum_ll {
                    (*code, self.sum_lx, self.sum_ll) = (l, sum_lx, sum_ll);
                    n_changed += 1;
                }
            }
            if n_changed == 0 {
                break;
            }
        }
        if self.sum_ll > 0.0 { self.sum_lx / self.sum_ll } else { 0.0 }
    }
}

/// The scale of a grid about zero after its codes were improved one at a time; each value is weighted by its square.
pub fn improved_about_zero<const N: usize>(x: &[f32; N], n: u8) -> f32 {
    let extreme = extreme(x);
    if extreme.abs() < TINY {
        return 0.0;
    }
    let inverse = -f32::from(n) / extreme;
    let weights = x.map(|x| x * x);
    let mut codes = x.map(|x| round_about_zero(inverse * x, n));
    let sums = OneByOne::new(x, &weights, &codes);
    sums.improve(&mut codes, |l| round_about_zero(l, n), false)
}

/// The scale and the codes, `0..=max`, for values that are not negative.
pub fn positive<const N: usize>(x: &[f32; N], weights: &[f32; N], max: u8) -> (f32, [u8; N]) {
    let highest = x.iter().copied().fold(0.0, f32::max);
    if highest < TINY {
        return (0.0, [0; N]);
    }
    let round = |x: f32| libm::rintf(x).clamp(0.0, f32::from(max));
    let error = |inverse: f32| -> f32 {
        let scale = 1.0 / inverse;
        let errors = x.iter().map(|&x| x - scale * round(inverse * x));
        errors.zip(weights).map(|(error, w)| w * error * error).sum()
    };
    let mut inverse = f32::from(max) / highest;
    let mut least_error = error(inverse);
    for step in (-4_i8..=4).filter(|&step| step != 0) {
        let tried = (0.1 * f32::from(step) + f32::from(max)) / highest;
        let tried_error = error(tried);
        if tried_error < least_error {
            (inverse, least_error) = (tried, tried_error);
        }
    }
    let mut codes = x.map(|x| round(inverse * x));
    let scale = OneByOne::new(x, weights, &codes).improve(&mut codes, round, true);
    (scale, codes.map(|code| code as u8))
}
