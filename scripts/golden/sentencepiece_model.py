#!/usr/bin/env python3
"""Writes crates/convert/tests/golden/sentencepiece: a tokenizer.model as Llama 2 has it, and what it makes of texts.

    venv/bin/python scripts/golden/sentencepiece_model.py

Needs the package sentencepiece. `ids.json` is a list of texts with their ids.
"""

import json
import pathlib

import sentencepiece

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/convert/tests/golden/sentencepiece"
LINES = [
    "The quick brown fox jumps over the lazy dog, and the other dogs sleep under the other trees.",
    "A kernel that speaks: it takes a question, thinks about the answer, and says what it thinks.",
    "Counting 1 2 3 10 20 30 100 200 300; then 42, then 1999, then 2026.",
    "def answer(question):\n    return 42  # always\n",
    "Über den Wolken muss die Freiheit wohl grenzenlos sein.",
] * 4
TEXTS = [
    "The dog thinks about the other question.", " leading space", "two  spaces   and more", "trailing ", "",
    "line\nbreak\n\n", "2026 answers: 42", "Ünïcödé 🚀 日本", "<unk> <s> plain </s>", "the\tthe", "▁", "a▁b", "the<extra>",
]

OUT.mkdir(parents=True, exist_ok=True)
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(LINES),
    model_prefix=str(OUT / "tokenizer"),
    vocab_size=400,
    model_type="bpe",
    byte_fallback=True,
    normalization_rule_name="identity",
    remove_extra_whitespaces=False,
    allow_whitespace_only_pieces=True,
    split_digits=True,
    hard_vocab_limit=False,
    user_defined_symbols=["<extra>"],
    minloglevel=2,
)
(OUT / "tokenizer.vocab").unlink()
processor = sentencepiece.SentencePieceProcessor(model_file=str(OUT / "tokenizer.model"))
cases = [{"text": text, "ids": processor.encode(text)} for text in TEXTS]
(OUT / "ids.json").write_text(json.dumps(cases, ensure_ascii=False, indent=1) + "\n")
