//! A prompt in, one token per step.
