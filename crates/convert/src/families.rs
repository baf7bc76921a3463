//! All supported families of checkpoints: [`decoders`](super::decoders) and [`encoders`](super::encoders).

use super::decoders::DECODERS;
use super::encoders::ENCODERS;
use super::family::Family;

/// Every family that this crate knows. If several have the same `model_type`, the first one whose other conditions hold is used.
pub fn all() -> impl Iterator<Item = &'static Family> {
    DECODERS.iter().chain(ENCODERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docs_models_md_lists_them() {
        let (_, list) = include_str!("../../../docs/models.md").split_once("whose `model_type` is ").unwrap();
        let (list, _) = list.split_once(" (the tables are").unwrap();
        let documented: Vec<_> = list.split('`').skip(1).step_by(2).collect();
        let mut known: Vec<_> = all().flat_map(|family| family.model_types).copied().collect();
        // Some families with the same `model_type` differ in other keys.
        known.dedup();
        assert_eq!(documented, known);
    }
}
