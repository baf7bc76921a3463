//! Keys and values of the positions computed so far.
