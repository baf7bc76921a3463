//! LLM inference without an operating system.
#![no_std]

extern crate alloc;
