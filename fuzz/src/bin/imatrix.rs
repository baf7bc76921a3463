//! Any bytes as an importance matrix: an error of one line, or importances that are mean squares and rounding can use.
#![no_main]

use convert::ImportanceMatrix;
use libfuzzer_sys::fuzz_target;

/// What is asked for: the name of a matrix, its columns and its experts.
const ASKED: [(&str, usize, usize); 4] =
    [("a", 4, 1), ("b", 2, 3), ("token_embd.weight", 4, 1), ("blk.0.ffn_down_exps.weight", 1, usize::MAX)];

fuzz_target!(|input: &[u8]| {
    let matrix = match ImportanceMatrix::parse(input) {
        Ok(matrix) => matrix,
        Err(error) => {
            let message = format!("{error:#}");
            assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
            return;
        }
    };
    assert!(!matrix.is_empty());
    for (name, n_cols, n_matrices) in ASKED {
        match matrix.of(name, n_cols, n_matrices) {
            Ok(Some(values)) => {
                assert_eq!(Some(values.len()), n_cols.checked_mul(n_matrices));
                assert!(values.iter().all(|value| value.is_finite() && *value >= 0.0));
            }
            Ok(None) => {}
            Err(error) => assert!(!format!("{error:#}").contains('\n')),
        }
    }
});
