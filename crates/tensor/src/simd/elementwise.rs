//! Functions of each element of a row, and the sums that normalisations need.

use super::exp;
use super::lanes::{LANES, Lanes, Work};
use half::f16;

/// Arguments: the first elements of the pairs, the second elements, cosines, sines.
type RopeFn = fn(&mut [f32], &mut [f32], &[f32], &[f32]);

/// Routines over rows, as entries of a set's table.
///
/// Where a function has several slices, they have the same length.
pub struct Elementwise {
    pub dot: fn(&[f32], &[f32]) -> f32,
    pub add: fn(&mut [f32], &[f32]),
    pub add_scaled: fn(&mut [f32], f32, &[f32]),
    pub multiply: fn(&mut [f32], &[f32]),
    pub scale: fn(&mut [f32], f32),
    pub shift: fn(&mut [f32], f32),
    pub sum: fn(&[f32]) -> f64,
    pub sum_of_squares: fn(&[f32]) -> f64,
    pub exp: fn(&mut [f32]),
    pub sigmoid: fn(&mut [f32]),
    pub softplus: fn(&mut [f32]),
    pub silu: fn(&mut [f32]),
    pub silu_gated: fn(&mut [f32], &[f32]),
    pub sigmoid_gated: fn(&mut [f32], &[f32]),
    pub gelu: fn(&mut [f32]),
    pub gelu_gated: fn(&mut [f32], &[f32]),
    pub tanh: fn(&mut [f32]),
    pub rope_neox: RopeFn,
    pub rope_norm: fn(&mut [f32], &[f32], &[f32]),
    pub to_f16: fn(&[f32], &mut [f16]),
}

impl Elementwise {
    /// The routines in vectors of type `V`.
    ///
    /// # Safety
    ///
    /// A function of the result may be called only on a CPU with the instructions of `V`'s set.
    pub const unsafe fn of<V: Lanes>() -> Self {
        Elementwise {
            dot: dot::<V>,
            add: |x, y| zip::<V>(x, y, Add {}),
            add_scaled: |x, factor, y| zip::<V>(x, y, AddScaled { factor }),
            multiply: |x, y| zip::<V>(x, y, Multiply {}),
            scale: |x, factor| map::<V>(x, Scale { factor }),
            shift: |x, addend| map::<V>(x, Shift { addend }),
            sum: |x| fold::<V>(x, Values {}),
            sum_of_squares: |x| fold::<V>(x, Squares {}),
            exp: |x| map::<V>(x, Exp {}),
            sigmoid: |x| map::<V>(x, Sigmoid {}),
            softplus: |x| map::<V>(x, Softplus {}),
            silu: |x| map::<V>(x, Silu {}),
            silu_gated: |up, gate| zip::<V>(up, gate, SiluGated {}),
            sigmoid_gated: |x, gate| zip::<V>(x, gate, SigmoidGated {}),
            gelu: |x| map::<V>(x, Gelu {}),
            gelu_gated: |up, gate| zip::<V>(up, gate, GeluGated {}),
            tanh: |x| map::<V>(x, Tanh {}),
            rope_neox: |first, second, cos, sin| {
                run::<V>(RopeNeox { first, second, cos, sin });
            },
            rope_norm: |x, cos, sin| run::<V>(RopeNorm { x, cos, sin }),
            to_f16: |x, out| run::<V>(ToF16 { x, out }),
        }
    }
}

/// A function of one vector.
trait Unary {
    /// Its value.
    fn of<V: Lanes>(&self, x: V) -> V;
}

/// A function of two vectors.
trait Binary {
    /// Its value.
    fn of<V: Lanes>(&self, x: V, y: V) -> V;
}

/// What a vector contributes to a sum.
trait Addend {
    /// `sums` plus this contribution.
    fn add<V: Lanes>(&self, sums: V::Wide, x: V) -> V::Wide;
}

/// Types that stand for functions: [`Lanes::enter`] requires code that is forced inline, which closures cannot be.
macro_rules! functions {
    ($($kind:ident $name:ident { $($field:ident)? } |$($x:ident),+| $value:expr;)+) => {
        $(
            struct $name { $($field: f32)? }

            impl $kind for $name {
                #[inline(always)]
                fn of<V: Lanes>(&self, $($x: V),+) -> V {
                    let Self { $($field)? } = self;
                    $(let $field = V::splat(*$field);)?
                    $value
                }
            }
        )+
    };
}

functions! {
    Unary Scale { factor } |x| x.mul(factor);
    Unary Shift { addend } |x| x.add(addend);
    Unary Exp {} |x| exp::exp(x);
    Unary Sigmoid {} |x| exp::sigmoid_gated(V::splat(1.0), x);
    Unary Softplus {} |x| exp::softplus(x);
    Unary Silu {} |x| exp::silu(x);
    Unary Gelu {} |x| exp::gelu(x);
    Unary Tanh {} |x| exp::tanh(x);
    Binary Add {} |x, y| x.add(y);
    Binary AddScaled { factor } |x, y| y.fma(factor, x);
    Binary Multiply {} |x, y| x.mul(y);
    Binary SiluGated {} |up, gate| up.mul(exp::silu(gate));
    Binary SigmoidGated {} |x, gate| exp::sigmoid_gated(x, gate);
    Binary GeluGated {} |up, gate| up.mul(exp::gelu(gate));
}

struct Values {}

impl Addend for Values {
    #[inline(always)]
    fn add<V: Lanes>(&self, sums: V::Wide, x: V) -> V::Wide {
        x.add_to(sums)
    }
}

struct Squares {}

impl Addend for Squares {
    #[inline(always)]
    fn add<V: Lanes>(&self, sums: V::Wide, x: V) -> V::Wide {
        x.add_square_to(sums)
    }
}

/// Runs `work`. Only the functions of a table that [`Elementwise::of`] makes for `V` may call this.
#[inline(always)]
fn run<V: Lanes>(work: impl Work<V>) {
    // SAFETY: the caller of `Elementwise::of` guarantees that this runs only where the CPU has the instructions.
    unsafe { V::enter(work) }
}

/// `x[i] = f(x[i])`.
fn map<V: Lanes>(x: &mut [f32], f: impl Unary) {
    run::<V>(Map { x, f });
}

struct Map<'a, F> {
    x: &'a mut [f32],
    f: F,
}

impl<F: Unary, V: Lanes> Work<V> for Map<'_, F> {
    #[inline(always)]
    fn run(self) {
        let (vectors, rest) = self.x.as_chunks_mut();
        for x in vectors {
            self.f.of(V::of(x)).store(x);
        }
        if !rest.is_empty() {
            let mut last = padded(rest);
            self.f.of(V::of(&last)).store(&mut last);
            rest.copy_from_slice(&last[..rest.len()]);
        }
    }
}

/// `out[i] = x[i]`, rounded.
struct ToF16<'a> {
    x: &'a [f32],
    out: &'a mut [f16],
}

impl<V: Lanes> Work<V> for ToF16<'_> {
    #[inline(always)]
    fn run(self) {
        let (vectors, rest) = self.x.as_chunks();
        let (outputs, last_output) = self.out.as_chunks_mut();
        for (x, out) in vectors.iter().zip(outputs) {
            V::of(x).store_f16(out);
        }
        if !rest.is_empty() {
            let mut last = [f16::ZERO; LANES];
            V::of(&padded(rest)).store_f16(&mut last);
            last_output.copy_from_slice(&last[..rest.len()]);
        }
    }
}

/// `x[i] = f(x[i], y[i])`.
fn zip<V: Lanes>(x: &mut [f32], y: &[f32], f: impl Binary) {
    run::<V>(Zip { x, y, f });
}

struct Zip<'a, F> {
    x: &'a mut [f32],
    y: &'a [f32],
    f: F,
}

impl<F: Binary, V: Lanes> Work<V> for Zip<'_, F> {
    #[inline(always)]
    fn run(self) {
        let (vectors, rest) = self.x.as_chunks_mut();
        let (y_vectors, y_rest) = self.y.as_chunks();
        for (x, y) in vectors.iter_mut().zip(y_vectors) {
            self.f.of(V::of(x), V::of(y)).store(x);
        }
        if !rest.is_empty() {
            let mut last = padded(rest);
            self.f.of(V::of(&last), V::of(&padded(y_rest))).store(&mut last);
            rest.copy_from_slice(&last[..rest.len()]);
        }
    }
}

/// Eight sums in double precision; the `i`-th is over the elements `i`, `i + 8`, …, in order.
fn fold<V: Lanes>(x: &[f32], addend: impl Addend) -> f64 {
    let mut sum = 0.0;
    run::<V>(Fold { x, addend, sum: &mut sum });
    sum
}

struct Fold<'a, F> {
    x: &'a [f32],
    addend: F,
    sum: &'a mut f64,
}

impl<F: Addend, V: Lanes> Work<V> for Fold<'_, F> {
    #[inline(always)]
    fn run(self) {
        let (vectors, rest) = self.x.as_chunks();
        let mut sums = V::wide_zeros();
        for x in vectors {
            sums = self.addend.add(sums, V::of(x));
        }
        if !rest.is_empty() {
            sums = self.addend.add(sums, V::of(&padded(rest)));
        }
        *self.sum = V::wide_values(sums).into_iter().sum();
    }
}

/// `Σ a[i] * b[i]`: one sum per lane, made with fused multiply-adds in order; then the sum of these.
fn dot<V: Lanes>(a: &[f32], b: &[f32]) -> f32 {
    let mut sum = 0.0;
    run::<V>(Dot { a, b, sum: &mut sum });
    sum
}

struct Dot<'a> {
    a: &'a [f32],
    b: &'a [f32],
    sum: &'a mut f32,
}

impl<V: Lanes> Work<V> for Dot<'_> {
    #[inline(always)]
    fn run(self) {
        let ((a, a_rest), (b, b_rest)) = (self.a.as_chunks(), self.b.as_chunks());
        let mut sums = V::splat(0.0);
        for (a, b) in a.iter().zip(b) {
            sums = V::of(a).fma(V::of(b), sums);
        }
        if !a_rest.is_empty() {
            sums = V::of(&padded(a_rest)).fma(V::of(&padded(b_rest)), sums);
        }
        *self.sum = V::fold([sums; 4])[0];
    }
}

/// Rotates each pair `(first[i], second[i])`.
struct RopeNeox<'a> {
    first: &'a mut [f32],
    second: &'a mut [f32],
    cos: &'a [f32],
    sin: &'a [f32],
}

impl<V: Lanes> Work<V> for RopeNeox<'_> {
    #[inline(always)]
    fn run(self) {
        let (firsts, first_rest) = self.first.as_chunks_mut();
        let (seconds, second_rest) = self.second.as_chunks_mut();
        let ((cos, cos_rest), (sin, sin_rest)) = (self.cos.as_chunks(), self.sin.as_chunks());
        for (((a, b), cos), sin) in firsts.iter_mut().zip(seconds).zip(cos).zip(sin) {
            turn::<V>(a, b, cos, sin);
        }
        if !first_rest.is_empty() {
            let (mut a, mut b) = (padded(first_rest), padded(second_rest));
            turn::<V>(&mut a, &mut b, &padded(cos_rest), &padded(sin_rest));
            first_rest.copy_from_slice(&a[..first_rest.len()]);
            second_rest.copy_from_slice(&b[..second_rest.len()]);
        }
    }
}

/// Rotates the pairs `(a[i], b[i])`.
#[inline(always)]
fn turn<V: Lanes>(a: &mut [f32; LANES], b: &mut [f32; LANES], cos: &[f32; LANES], sin: &[f32; LANES]) {
    let (x, y, cos, sin) = (V::of(a), V::of(b), V::of(cos), V::of(sin));
    x.fma(cos, y.mul(V::splat(-1.0)).mul(sin)).store(a);
    y.fma(cos, x.mul(sin)).store(b);
}

/// Rotates each pair `(x[2i], x[2i + 1])`.
struct RopeNorm<'a> {
    x: &'a mut [f32],
    cos: &'a [f32],
    sin: &'a [f32],
}

impl<V: Lanes> Work<V> for RopeNorm<'_> {
    #[inline(always)]
    fn run(self) {
        let (vectors, rest) = self.x.as_chunks_mut();
        let ((cos, cos_rest), (sin, sin_rest)) = (self.cos.as_chunks(), self.sin.as_chunks());
        for ((x, cos), sin) in vectors.iter_mut().zip(cos).zip(sin) {
            V::of(x).rope_norm(cos, sin).store(x);
        }
        if !rest.is_empty() {
            let mut last = padded(rest);
            V::of(&last).rope_norm(&padded(cos_rest), &padded(sin_rest)).store(&mut last);
            rest.copy_from_slice(&last[..rest.len()]);
        }
    }
}

/// The last elements, padded with zeros.
#[inline(always)]
fn padded<const N: usize>(rest: &[f32]) -> [f32; N] {
    let mut padded = [0.0; N];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}
