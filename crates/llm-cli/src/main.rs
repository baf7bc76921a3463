//! The engine as a host program.

fn main() {}
