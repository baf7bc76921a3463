//! Hyper-parameters, weights and the forward pass.
