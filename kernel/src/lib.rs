//! The Ferrite kernel.
#![cfg_attr(not(test), no_std)]
