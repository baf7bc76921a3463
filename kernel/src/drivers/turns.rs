//! In which order a search for disks visits the places where they may be: [`Turns`].

use alloc::{string::String, vec::Vec};

/// A visit that takes longer is slow.
const SLOW_US: u64 = 1_000_000;

/// Has what took long in the last search come after all others in the next one, so that it hides none of them.
#[derive(Debug, Default)]
pub struct Turns {
    /// Their names; the last visit of the first of them is the longest ago.
    slow: Vec<String>,
}

impl Turns {
    /// The places with these names in the order of their visits, by index.
    pub fn order(&mut self, names: &[String]) -> Vec<usize> {
        self.slow.retain(|name| names.contains(name));
        let quick = (0..names.len()).filter(|&index| !self.is_slow(&names[index]));
        let slow = self.slow.iter().filter_map(|slow| names.iter().position(|name| name == slow));
        quick.chain(slow).collect()
    }

    /// Whether the last visit of a place took long.
    pub fn is_slow(&self, name: &str) -> bool {
        self.slow.iter().any(|slow| slow == name)
    }

    /// Says how long the visit of a place took.
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

    /// The places that a search reaches, of which each takes so many seconds and no more is begun after 30.
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
        // They take turns, and what is quick comes before them.
        assert_eq!(search(&mut turns, &places), ["disk", "dead"]);
        assert_eq!(search(&mut turns, &places), ["disk", "deaf"]);
        // What is slow no more, or gone, has no turn of its own.
        let places = [("slow", 0), ("disk", 0)];
        assert_eq!(search(&mut turns, &places), ["disk", "slow"]);
        assert_eq!(search(&mut turns, &places), ["slow", "disk"]);
        assert!(turns.slow.is_empty());
    }
}
