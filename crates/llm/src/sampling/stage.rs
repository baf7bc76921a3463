//! [`Stages`]: the stages of a chain, in order.

use core::fmt;
use core::str::FromStr;

/// A stage of the chain whose position a caller may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Repeat, frequency and presence penalties.
    Penalties,
    /// Penalties for tokens that would continue a repetition.
    Dry,
    /// Keeps logits within a number of standard deviations of the highest.
    TopNSigma,
    /// Keeps a number of the most likely tokens.
    TopK,
    /// Keeps the tokens whose surprise is nearest to the expected one.
    TypicalP,
    /// Keeps the most likely tokens up to a sum of probabilities.
    TopP,
    /// Keeps tokens that are likely enough compared with the likeliest.
    MinP,
    /// If several tokens are likely, removes all but the least likely of them, at random.
    Xtc,
    /// Divides logits by the temperature.
    Temperature,
}

/// A stage, its name, its other names without hyphens and underscores, and its letter.
struct Name {
    stage: Stage,
    name: &'static str,
    others: [&'static str; 3],
    letter: char,
}

const fn name(stage: Stage, letter: char, name: &'static str, others: [&'static str; 3]) -> Name {
    Name { stage, name, others, letter }
}

/// In the order of [`Stages::USUAL`]. Names and letters are llama.cpp's.
const NAMES: [Name; 9] = [
    name(Stage::Penalties, 'e', "penalties", ["penalties", "", ""]),
    name(Stage::Dry, 'd', "dry", ["dry", "", ""]),
    name(Stage::TopNSigma, 's', "top_n_sigma", ["topnsigma", "", ""]),
    name(Stage::TopK, 'k', "top_k", ["topk", "", ""]),
    name(Stage::TypicalP, 'y', "typ_p", ["typp", "typ", "typicalp"]),
    name(Stage::TopP, 'p', "top_p", ["topp", "nucleus", ""]),
    name(Stage::MinP, 'm', "min_p", ["minp", "", ""]),
    name(Stage::Xtc, 'x', "xtc", ["xtc", "", ""]),
    name(Stage::Temperature, 't', "temperature", ["temperature", "temp", ""]),
];

impl Stage {
    /// Its name in `--samplers` and `samplers`.
    pub fn name(self) -> &'static str {
        NAMES[self as usize].name
    }

    /// The stage with this name; hyphens, underscores and case are ignored.
    fn called(word: &str) -> Option<Self> {
        let is_letter = |c: &char| !matches!(c, '-' | '_');
        let letters = || word.chars().filter(is_letter).map(|c| c.to_ascii_lowercase());
        let is_it = |name: &&str| !name.is_empty() && letters().eq(name.chars());
        NAMES.iter().find(|entry| entry.others.iter().any(is_it)).map(|entry| entry.stage)
    }
}

/// The stages of a chain, in order. A stage may occur several times, or not at all.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stages {
    list: [Stage; Self::MOST],
    n: u8,
}

impl Stages {
    /// Most stages of a chain.
    pub const MOST: usize = 16;

    /// No stage.
    pub const NONE: Self = Self { list: [Stage::Penalties; Self::MOST], n: 0 };

    /// All stages, in llama.cpp's order.
    pub const USUAL: Self = {
        let mut usual = Self::NONE;
        while (usual.n as usize) < NAMES.len() {
            usual.list[usual.n as usize] = NAMES[usual.n as usize].stage;
            usual.n += 1;
        }
        usual
    };

    /// The values that [`FromStr`] accepts.
    pub const EXPECTED: &'static str =
        "up to 16 of penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature";

    /// The stages.
    pub fn as_slice(&self) -> &[Stage] {
        &self.list[..self.n.into()]
    }

    /// Adds a stage at the end. Returns whether there was room.
    #[must_use]
    pub fn push(&mut self, stage: Stage) -> bool {
        let Some(place) = self.list.get_mut(usize::from(self.n)) else { return false };
        *place = stage;
        self.n += 1;
        true
    }

    /// Adds the stage with this name. Returns whether it exists and there was room.
    #[must_use]
    pub fn push_called(&mut self, name: &str) -> bool {
        Stage::called(name).is_some_and(|stage| self.push(stage))
    }

    /// The stages for these letters, as in llama.cpp's `--sampler-seq`: `edskypmxt` is [`Stages::USUAL`].
    pub fn of_letters(letters: &str) -> Option<Self> {
        let mut stages = Self::NONE;
        for letter in letters.chars() {
            let entry = NAMES.iter().find(|entry| entry.letter == letter)?;
            if !stages.push(entry.stage) {
                return None;
            }
        }
        Some(stages)
    }
}

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl fmt::Display for Stages {
    /// In the form that [`FromStr`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut stages = self.as_slice().iter().enumerate();
        stages.try_for_each(|(index, stage)| {
            f.write_str(if index == 0 { "" } else { ";" })?;
            f.write_str(stage.name())
        })
    }
}

impl FromStr for Stages {
    type Err = ();

    /// Reads names separated by semicolons: `top_k;temperature`. An empty text means no stages.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut stages = Self::NONE;
        let names = text.split(';').map(str::trim);
        let is_read = text.trim().is_empty() || names.into_iter().all(|name| stages.push_called(name));
        is_read.then_some(stages).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn names_are_read_as_llama_cpp_reads_them() {
        let usual = "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature";
        assert_eq!(Stages::USUAL.to_string(), usual);
        assert_eq!(usual.parse(), Ok(Stages::USUAL));
        assert_eq!(Stages::of_letters("edskypmxt"), Some(Stages::USUAL));
        for other in [
            "penalties;dry;top-n-sigma;top-k;typ-p;top-p;min-p;xtc;temp",
            "Penalties; DRY; topnsigma; TopK; typ; nucleus; minp; XTC; Temperature",
        ] {
            assert_eq!(other.parse(), Ok(Stages::USUAL), "{other}");
        }
        let twice: Stages = "top_k;temperature;top_k".parse().unwrap();
        assert_eq!(twice.as_slice(), [Stage::TopK, Stage::Temperature, Stage::TopK]);
        assert_eq!(Stages::of_letters("ktk"), Some(twice));
        assert_eq!("".parse(), Ok(Stages::NONE));
        assert_eq!(Stages::of_letters(""), Some(Stages::NONE));
        for wrong in ["top_k;", "infill", "adaptive_p", "top_k,temperature", "top_k;top"] {
            assert!(wrong.parse::<Stages>().is_err(), "{wrong}");
        }
        assert_eq!(Stages::of_letters("kq"), None);
        assert_eq!(Stages::of_letters(&"k".repeat(17)), None);
        assert!(Stages::EXPECTED.contains(&Stages::MOST.to_string()));
        for stage in Stages::USUAL.as_slice() {
            assert!(Stages::EXPECTED.contains(stage.name()));
            assert_eq!(NAMES[*stage as usize].stage, *stage);
        }
    }
}
