//! Typed buffers carved from the memory that a caller lends.
