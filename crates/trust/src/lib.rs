//! What can be checked by someone who was not there: digests, and what is made of them.
//!
//! # Layers
//! From the top down; each uses only those below it.
//!
//! | module | what it is |
//! |---|---|
//! | `notary` | who signs these |
//! | `receipt` | signed statements of what was computed |
//! | `manifests` | what several signed manifests say together |
//! | `manifest` | which files are to be trusted, in a text that is signed |
//! | `minisign` | signed files and public keys in minisign's format |
//! | `verity` | dm-verity's tree of digests over a file, whose root stands for the file |
//! | `signature`, `sealed` | Ed25519; bodies that only the holder of a key can read, by HPKE |
//! | `root` | the root of such a tree |
//! | `logits` | a running hash of the logits that tokens are drawn from |
//! | `sha256`, `canonical`, `fixed` | SHA-256 over whichever compression function suits the CPU; JSON with one spelling; bytes as it has them |
//! | `base64`, `hex` | bytes in Base64; bytes as hexadecimal digits |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod base64;
pub mod canonical;
pub mod fixed;
pub mod hex;
pub mod logits;
pub mod manifest;
mod manifests;
pub mod minisign;
pub mod notary;
pub mod receipt;
mod root;
pub mod sealed;
pub mod sha256;
pub mod signature;
pub mod verity;

pub use manifests::Manifests;
pub use root::Root;
