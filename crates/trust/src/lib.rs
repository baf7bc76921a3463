//! What can be checked by someone who was not there: digests, and what is made of them.
//!
//! # Layers
//! From the top down; each uses only those below it.
//!
//! | module | what it is |
//! |---|---|
//! | `sha256` | SHA-256 over whichever compression function suits the CPU |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod sha256;
