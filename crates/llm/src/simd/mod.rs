//! The inner loops, one file per instruction set: the crate's only unsafe code.
