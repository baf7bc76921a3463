//! Every tensor type compared with llama.cpp; `scripts/golden/tensor_types.py` made the models and logits.

use crate::golden_models::{Case, cases};

#[test]
fn logits_are_those_of_the_reference() {
    let failures: Vec<String> = cases("tensor_types").iter().flat_map(Case::check).collect();
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
