"""A chat model for the kernel: its corpus, its chat template, and the quiz that grades it."""
