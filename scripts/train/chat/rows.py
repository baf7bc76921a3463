"""Trains the tokenizer of the chat model, and packs its corpus into rows of token ids.

Byte-level BPE with single digits, as SmolLM has it. A conversation is written by `template.jinja`, as the engine writes it; of
it, only what the model says is learned. What is to be read but not learned is stored as its complement, `~id`. Every document
ends with `<|im_end|>`.
"""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tokenizer import packed

TOKENIZER_DOCUMENTS = 30_000
# Those whose names have bars control the model, the others are text that it writes.
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>")
NOT_LEARNED_START = ~SPECIAL.index("<|endoftext|>")
# Inputs of a row and a last target. No document of the first stage needs the whole context.
ROW_LENGTHS = {"stage1": 513, "stage2": 1025}
TEMPLATE = Path(__file__).parent / "template.jinja"
TURN_OF_MODEL = re.compile(r"(?<=<\|im_start\|>assistant\n)(.*?<\|im_end\|>)", re.DOTALL)


def environment() -> ImmutableSandboxedEnvironment:
    """Jinja, as chat templates are written for it."""
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    made.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return made


def pieces(lines: Iterator[str]) -> Iterator[list[str]]:
    """Each document as texts that are in turn read and learned, without the start token."""
    template = environment().from_string(TEMPLATE.read_text())
    for line in lines:
        document = json.loads(line)
        if "text" in document:
            yield ["", document["text"] + "<|im_end|>"]
        else:
            text = template.render(messages=document["messages"], tools=document.get("tools"), bos_token="")
            yield TURN_OF_MODEL.split(text)[:-1]


def train_tokenizer(documents: list[list[str]], vocab_size: int, path: Path) -> Tokenizer:
    """The tokenizer, which is also written to a file."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    mark = re.compile("|".join(map(re.escape, SPECIAL)))
    tokenizer.train_from_iterator((text for parts in documents for part in parts for text in mark.split(part)), trainer)
    tokenizer.save(str(path))
    return tokenizer


def encoded(tokenizer: Tokenizer, documents: Iterator[list[str]]) -> Iterator[list[int]]:
    """The ids of each document."""
    for parts in documents:
        ids: list[int] = []
        for index, encoding in enumerate(tokenizer.encode_batch(parts)):
            ids += encoding.ids if index % 2 else [~token for token in encoding.ids]
        yield ids


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--vocab-size", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the tokenizer and the packed rows")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    documents = {path.stem: list(pieces(open(path))) for path in sorted(arguments.data.glob("stage*.jsonl"))}
    tokenizer = train_tokenizer(
        documents["stage1"][:TOKENIZER_DOCUMENTS], arguments.vocab_size, arguments.out / "tokenizer.json"
    )
    for name, texts in documents.items():
        row_length = ROW_LENGTHS[name.split("-")[0]]
        rows = packed(encoded(tokenizer, texts), NOT_LEARNED_START, row_length)
        np.save(arguments.out / f"{name}.npy", rows)
        tokens = int((rows != NOT_LEARNED_START).sum())
        print(
            f"{name}: {len(texts)} documents, {len(rows)} rows of {row_length}, {tokens} tokens, "
            f"{(rows >= 0).mean():.1%} learned, {sum(len(part) for parts in texts for part in parts) / tokens:.2f} characters a token, "
            f"{tokens / rows.size:.1%} filled"
        )


if __name__ == "__main__":
    main()
