//! Sets of numbers, as automata over their texts.
//!
//! The texts are JSON's numbers without an exponent, because a finite automaton cannot decide whether `m·10ᵉ` is below a bound.
//! An exponent is therefore accepted only where any number is allowed.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::cmp::Ordering;

use serde_json::{Number, Value};

use super::automaton::{Automaton, Budget, LAST};
use super::error::Why;

/// Most digits of a number in a schema; an `f64` never has more.
const MAX_DIGITS: usize = 700;
/// Most remainders that are distinguished for `multipleOf`.
const MAX_REMAINDERS: u64 = 1 << 12;

/// An exact decimal number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    /// Digits before the point, without leading zeros.
    whole: Vec<u8>,
    /// Digits after the point, without trailing zeros.
    fraction: Vec<u8>,
}

impl Decimal {
    /// The value of a number in a schema, as `serde_json` reads it: an integer of 64 bits, or else the shortest decimal number
    /// that rounds to the same `f64`.
    pub fn of(number: &Number) -> Result<Self, Why> {
        Self::parse(&number.to_string())
    }

    fn parse(text: &str) -> Result<Self, Why> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i64 = exponent.parse().map_err(|_| Why::TooLarge)?;
        let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).map(|b| b.wrapping_sub(b'0')).collect();
        let point = whole.len() as i64 + exponent;
        if point.unsigned_abs() > MAX_DIGITS as u64 || digits.len() > MAX_DIGITS {
            return Err(Why::TooLarge);
        }
        let digit = |at: i64| usize::try_from(at).ok().and_then(|at| digits.get(at)).copied().unwrap_or(0);
        let mut whole: Vec<u8> = (0..point).map(digit).skip_while(|&d| d == 0).collect();
        let mut fraction: Vec<u8> = (point..digits.len() as i64).map(digit).collect();
        while fraction.last() == Some(&0) {
            fraction.pop();
        }
        whole.shrink_to_fit();
        let is_zero = whole.is_empty() && fraction.is_empty();
        Ok(Self { negative: negative && !is_zero, whole, fraction })
    }

    fn is_zero(&self) -> bool {
        self.whole.is_empty() && self.fraction.is_empty()
    }

    /// The value, if it is an integer from 0 to 2⁶⁴ − 1.
    pub fn count(&self) -> Option<u64> {
        if self.negative || !self.fraction.is_empty() {
            return None;
        }
        self.whole.iter().try_fold(0u64, |n, &d| n.checked_mul(10)?.checked_add(d.into()))
    }
}

/// Whether two values are equal. Numbers are compared by value; the order of members does not matter.
pub(super) fn are_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            matches!((Decimal::of(a), Decimal::of(b)), (Ok(a), Ok(b)) if a == b)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| are_equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| are_equal(a, b)))
        }
        (a, b) => a == b,
    }
}

/// A position within the text of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Start,
    Sign,
    Zero,
    Whole,
    Point,
    Fraction,
    /// The text cannot become a number any more.
    Nowhere,
}

impl Place {
    fn ends(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction)
    }

    /// The position after the character `c`.
    fn after(self, c: u8) -> Self {
        match (self, c) {
            (Self::Start, b'-') => Self::Sign,
            (Self::Start | Self::Sign, b'0') => Self::Zero,
            (Self::Start | Self::Sign | Self::Whole, b'0'..=b'9') => Self::Whole,
            (Self::Zero | Self::Whole, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            _ => Self::Nowhere,
        }
    }
}

/// The characters of numbers, in ascending order.
const CHARACTERS: &[u8] = b"-.0123456789";

/// The numbers whose texts lead `next`, character by character, to a state for which `ends` is true.
fn walk<S: Ord + Copy>(
    start: S,
    budget: &mut Budget,
    next: impl Fn(S, u8, Place) -> S,
    ends: impl Fn(S) -> bool,
) -> Result<Automaton, Why> {
    Automaton::explore((Place::Start, start), budget, |&(place, state), ways, _| {
        for &c in CHARACTERS {
            let c_place = place.after(c);
            let before = u32::from(c) - 1;
            if ways.last().is_none_or(|way| way.0 < before) {
                ways.push((before, (Place::Nowhere, start)));
            }
            let to =
                if c_place == Place::Nowhere { (c_place, start) } else { (c_place, next(state, c, c_place)) };
            ways.push((c.into(), to));
        }
        ways.push((LAST, (Place::Nowhere, start)));
        Ok(place.ends() && ends(state))
    })
}

/// All numbers.
pub(super) fn all(budget: &mut Budget) -> Result<Automaton, Why> {
    walk((), budget, |(), _, _| (), |()| true)
}

/// The numbers that are not in `set`.
pub(super) fn others(set: &Automaton, budget: &mut Budget) -> Result<Automaton, Why> {
    all(budget)?.intersect(&set.complement(), budget)
}

/// The texts without trailing zeros in the fraction, and without a fraction that would be empty then.
pub(super) fn plain(budget: &mut Budget) -> Result<Automaton, Why> {
    walk(true, budget, |_, c, place| !matches!(place, Place::Fraction) || c != b'0', |ends| ends)
}

/// The state of comparing a number with another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Compared {
    negative: bool,
    /// Number of digits read before or after the point, as far as it matters.
    digits: usize,
    behind_point: bool,
    /// How the digits so far compare with the same number of digits of the other number.
    so_far: Ordering,
}

impl Compared {
    /// How the magnitude compares with the other number's if the text ends here.
    fn magnitude(self, with: &Decimal) -> Ordering {
        if !self.behind_point && self.digits != with.whole.len() {
            return self.digits.cmp(&with.whole.len());
        }
        let read = if self.behind_point { self.digits } else { 0 };
        match self.so_far {
            Ordering::Equal if read < with.fraction.len() => Ordering::Less,
            so_far => so_far,
        }
    }

    fn value(self, with: &Decimal) -> Ordering {
        match (self.negative, with.negative) {
            (false, false) => self.magnitude(with),
            (true, true) => self.magnitude(with).reverse(),
            (false, true) => Ordering::Greater,
            // −0 is 0.
            (true, false) if with.is_zero() => self.magnitude(with).reverse(),
            (true, false) => Ordering::Less,
        }
    }
}

/// The numbers whose comparison with `with` gives one of `accepted`.
pub(super) fn compared(with: &Decimal, accepted: &[Ordering], budget: &mut Budget) -> Result<Automaton, Why> {
    let start = Compared { negative: false, digits: 0, behind_point: false, so_far: Ordering::Equal };
    let next = |mut state: Compared, c: u8, place: Place| {
        match place {
            Place::Sign => state.negative = true,
            Place::Point => {
                state.so_far = state.magnitude(&Decimal { fraction: Vec::new(), ..with.clone() });
                state.behind_point = true;
                state.digits = 0;
            }
            Place::Whole | Place::Fraction => {
                let digits = if state.behind_point { &with.fraction } else { &with.whole };
                let other = digits.get(state.digits).copied().unwrap_or(0);
                state.so_far = state.so_far.then((c - b'0').cmp(&other));
                // One more digit than the other number has shows that the number is longer.
                let most = if state.behind_point { digits.len() } else { digits.len() + 1 };
                state.digits = most.min(state.digits + 1);
                if state.behind_point && state.so_far != Ordering::Equal {
                    state.digits = digits.len();
                } else if !state.behind_point && state.digits > digits.len() {
                    state.so_far = Ordering::Greater;
                }
            }
            _ => {}
        }
        state
    };
    walk(start, budget, next, |state| accepted.contains(&state.value(with)))
}

/// The multiples of `of`, which must be positive.
pub(super) fn multiples(of: &Decimal, budget: &mut Budget) -> Result<Automaton, Why> {
    if of.negative || of.is_zero() {
        return Err(Why::Expected("a number above 0"));
    }
    // `of` is `n · 10^-shift`. A number is a multiple of it if, shifted by the same number of digits, it is an integer that `n`
    // divides.
    let shift = of.fraction.len();
    let n =
        of.whole.iter().chain(&of.fraction).try_fold(0u64, |n, &d| n.checked_mul(10)?.checked_add(d.into()));
    let states = n.and_then(|n| n.checked_mul(shift as u64 + 2));
    let (Some(n), Some(0..=MAX_REMAINDERS)) = (n, states) else {
        return Err(Why::NotExpressible("the divisor has too many remainders to tell apart"));
    };
    // The remainder, and how many digits after the point have been read; `None` if it cannot be a multiple any more.
    let next = |state: Option<(u64, usize)>, c: u8, place: Place| {
        let (remainder, behind) = state?;
        match place {
            Place::Zero | Place::Whole => Some(((remainder * 10 + u64::from(c - b'0')) % n, 0)),
            Place::Fraction if behind < shift => {
                Some(((remainder * 10 + u64::from(c - b'0')) % n, behind + 1))
            }
            Place::Fraction => (c == b'0').then_some((remainder, behind)),
            _ => Some((remainder, behind)),
        }
    };
    walk(Some((0, 0)), budget, next, |state| {
        state.is_some_and(|(remainder, behind)| (behind..shift).fold(remainder, |r, _| r * 10 % n) == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        Budget::new(1_000_000)
    }

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn decimals() {
        assert_eq!(decimal("1.50"), decimal("15e-1"));
        assert_eq!(decimal("-0.0"), decimal("0"));
        assert_eq!(decimal("1e2").count(), Some(100));
        assert_eq!(decimal("2.0").count(), Some(2));
        assert_eq!(decimal("2.5").count(), None);
        assert_eq!(decimal("-2").count(), None);
        assert_eq!(decimal("1e-8").fraction, [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(decimal("1.7976931348623157e+308").whole.len(), 309);
        assert_eq!(Decimal::parse("1e999999"), Err(Why::TooLarge));
        assert_eq!(Decimal::parse("1e99999999999999999999"), Err(Why::TooLarge));
    }

    #[test]
    fn equal_values() {
        let value = |text| serde_json::from_str::<Value>(text).unwrap();
        let equal = |a, b| are_equal(&value(a), &value(b));
        assert!(equal(r#"[1, {"a": 1.0, "b": null}]"#, r#"[1.0, {"b": null, "a": 1}]"#));
        for (a, b) in
            [("1", "true"), ("[1]", "[1, 1]"), (r#"{"a": 1}"#, r#"{"b": 1}"#), ("0.1", "0.10000000000000002")]
        {
            assert!(!equal(a, b), "{a} {b}");
        }
    }

    #[test]
    fn syntax() {
        let all = all(&mut budget()).unwrap();
        for text in ["0", "-0", "10", "1.5", "-0.00", "123456789012345678901234567890"] {
            assert!(all.accepts(text), "{text}");
        }
        for text in ["", "-", "01", "1.", ".5", "+1", "1e5", "--1", "1.2.3", "1 "] {
            assert!(!all.accepts(text), "{text}");
        }
        let plain = plain(&mut budget()).unwrap();
        for (text, is_plain) in
            [("0", true), ("100", true), ("1.5", true), ("1.0", false), ("1.50", false), ("1.05", true)]
        {
            assert_eq!(plain.accepts(text), is_plain, "{text}");
        }
    }

    #[test]
    fn comparisons_are_those_of_values() {
        // Multiples of 1/8 around zero, and neighbours of the bounds; as texts with and without trailing zeros.
        let texts: Vec<(alloc::string::String, f64)> = (-1700..1700)
            .flat_map(|n| {
                let value = f64::from(n) / 8.0;
                let text = alloc::format!("{value}");
                let zeros =
                    if text.contains('.') { alloc::format!("{text}00") } else { alloc::format!("{text}.0") };
                [(text, value), (zeros, value)]
            })
            .chain([("-0".into(), 0.0), ("-0.000".into(), 0.0)])
            .collect();
        for bound in
            ["0", "1", "-1", "3.0", "10", "99.875", "100", "-12.5", "-100", "0.125", "-0.125", "0.1", "12.34"]
        {
            let value: f64 = bound.parse().unwrap();
            for accepted in [
                &[Ordering::Less][..],
                &[Ordering::Equal],
                &[Ordering::Greater],
                &[Ordering::Less, Ordering::Equal],
                &[Ordering::Less, Ordering::Greater],
            ] {
                let set = compared(&decimal(bound), accepted, &mut budget()).unwrap();
                for (text, x) in &texts {
                    let expected = accepted.contains(&x.partial_cmp(&value).unwrap());
                    assert_eq!(set.accepts(text), expected, "{text} against {bound}, {accepted:?}");
                }
            }
        }
    }

    #[test]
    fn multiples_are_those_of_values() {
        for (divisor, hundredths) in
            [("1", 100), ("2", 200), ("3", 300), ("1.5", 150), ("0.01", 1), ("0.25", 25), ("10", 1000)]
        {
            let set = multiples(&decimal(divisor), &mut budget()).unwrap();
            for n in -2500i64..2500 {
                let sign = if n < 0 { "-" } else { "" };
                let text = alloc::format!("{sign}{}.{:02}", n.abs() / 100, n.abs() % 100);
                assert_eq!(set.accepts(&text), n % hundredths == 0, "{text} of {divisor}");
                assert_eq!(
                    set.accepts(&alloc::format!("{text}0")),
                    n % hundredths == 0,
                    "{text}0 of {divisor}"
                );
                if n % 100 == 0 {
                    let text = text.trim_end_matches(".00");
                    assert_eq!(set.accepts(text), n % hundredths == 0, "{text} of {divisor}");
                }
            }
        }
        let small = multiples(&decimal("0.0001"), &mut budget()).unwrap();
        assert!(small.accepts("0.0075"));
        assert!(!small.accepts("0.00751"));
        assert_eq!(multiples(&decimal("0"), &mut budget()), Err(Why::Expected("a number above 0")));
        assert!(matches!(multiples(&decimal("0.123456789"), &mut budget()), Err(Why::NotExpressible(_))));
    }
}
