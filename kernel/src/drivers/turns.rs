//! [`Turns`]: the order in which a search for disks visits the places where they may be.

use alloc::{string::String, vec::Vec};

/// A visit that takes longer is slow.
const SLOW_US: u64 = 1_000_000;

/// Puts places that were slow in the last search after all others in the next one, so that they do not keep the others from being found.
#[derive(Debug, Default)]
pub struct Turns {
    /// Their names, beginning with the one whose last visit is longest ago.
    slow: Vec<String>,
}

impl Turns {
    /// The order in which to visit the places with these names, as indices.
    pub fn order(&mut self, names: &[String]) -> Vec<usize> {
        self.slow.retain(|name| names.contains(name));
        let quick = (0..names.len()).filter(|&index| !self.is_slow(&names[index]));
        let slow = self.slow.iter().filter_map(|slow| names.iter().position(|name| name == slow));
        quick.chain(slow).collect()
    }

    /// Whether the last visit of a place was slow.
    pub fn is_slow(&self, name: &str) -> bool {
        self.slow.iter().any(|slow| slow == name)
    }

    /// Records how long the visit of a place took.
    pub fn visited(&mut self, name: &str, took_us: u64) {
        self.slow.retain(|slow| slow != name);
        if took_us > SLOW_US {
            self.slow.push(name.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    /// The places that a search reaches if each takes the given number of seconds and no visit begins after 30 seconds.
    fn search(turns: &mut Turns, places: &[(&str, u64)]) -> Vec<String> {
        let names: Vec<_> = places.iter().map(|(name, _)| name.to_string()).collect();
        let mut reached = Vec::new();
        let mut now_s = 0;
        for index in turns.order(&names) {
            if now_s > 30 {
                break;
            }
            now_s += places[index].1;
            turns.visited(&names[index], places[index].1 * 1_000_000);
            reached.push(names[index].clone());
        }
        reached
    }

    #[test]
    fn nothing_is_hidden_for_ever_by_what_takes_long() {
        let mut turns = Turns::default();
        let places = [("dead", 127), ("deaf", 40), ("disk", 0), ("slow", 35)];
        assert_eq!(search(&mut turns, &places), ["dead"]);
        assert_eq!(search(&mut turns, &places), ["deaf"]);
        assert_eq!(search(&mut turns, &places), ["disk", "slow"]);
        assert!(turns.is_slow("slow") && !turns.is_slow("disk"));
        // Slow places take turns, and fast ones come before them.
        assert_eq!(search(&mut turns, &places), ["disk", "dead"]);
        assert_eq!(search(&mut turns, &places), ["disk", "deaf"]);
        // A place that is not slow any more, or is gone, is forgotten.
        let places = [("slow", 0), ("disk", 0)];
        assert_eq!(search(&mut turns, &places), ["disk", "slow"]);
        assert_eq!(search(&mut turns, &places), ["slow", "disk"]);
        assert!(turns.slow.is_empty());
    }
}
