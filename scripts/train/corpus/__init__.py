"""The text that the default model learns from: a seeded grammar, no outside text."""
