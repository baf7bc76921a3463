//! Quantities as people read them, and rates.

use core::fmt;

/// A number of bytes: `18 B`, `1.5 KiB`, `590.2 MiB`, `8.0 GiB`.
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        match UNITS.iter().find(|(shift, _)| self.0 >> shift > 0) {
            Some((shift, unit)) => write!(f, "{:.1} {unit}", self.0 as f64 / f64::from(1u32 << shift)),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// A large count: `912`, `260.0 thousand`, `6.8 million`, `1.1 billion`.
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] =
            [(1_000_000_000, "billion"), (1_000_000, "million"), (1000, "thousand")];
        match UNITS.iter().find(|(unit, _)| self.0 >= *unit) {
            Some((unit, name)) => write!(f, "{:.1} {name}", self.0 as f64 / *unit as f64),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A time in microseconds: `85 us`, `12.5 ms`, `3.20 s`.
pub struct Duration(pub u64);

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            us @ 0..1000 => write!(f, "{us} us"),
            us @ 1000..1_000_000 => write!(f, "{:.1} ms", us as f64 / 1e3),
            us => write!(f, "{:.2} s", us as f64 / 1e6),
        }
    }
}

/// A rate per second, shown as `-` if there is none.
pub struct Rate(pub Option<f64>);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(rate) => write!(f, "{rate:.1}"),
            None => f.write_str("-"),
        }
    }
}

/// The rate per second of `count` things in `elapsed_us` microseconds; `None` if `count` is 0 or no time has passed.
pub fn per_second(count: u64, elapsed_us: u64) -> Option<f64> {
    (count > 0 && elapsed_us > 0).then(|| count as f64 * 1e6 / elapsed_us as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn quantities_are_rounded_to_what_matters() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (618_000_000, "589.4 MiB"),
            (8 << 30, "8.0 GiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), shown);
        }
        for (count, shown) in [(999, "999"), (6_800_000, "6.8 million"), (1_100_048_384, "1.1 billion")] {
            assert_eq!(Count(count).to_string(), shown);
        }
        for (us, shown) in [(999, "999 us"), (12_500, "12.5 ms"), (3_204_000, "3.20 s")] {
            assert_eq!(Duration(us).to_string(), shown);
        }
    }
}
