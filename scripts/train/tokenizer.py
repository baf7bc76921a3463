"""Trains the two tokenizers on the corpus and packs the corpus into rows of token ids.

`tiny`: byte-level BPE with GPT-2's pre-tokenizer, `tokenizer.json`; token 0 is both start and end of text.
`micro`: SentencePiece BPE with byte fallback, `tokenizer.model`; unknown 0, start 1, end 2.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

TOKENIZER_DOCUMENTS = 40_000
ROW_LENGTH = 257  # 256 inputs; the last token is only a target


def texts(path: Path) -> list[str]:
    """The documents of a corpus file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def train_byte_level(documents: list[str], vocab_size: int, out: Path) -> Callable[[str], list[int]]:
    """Byte-level BPE in the way of GPT-2."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.save(str(out / "tokenizer.json"))
    return lambda text: tokenizer.encode(text).ids


def train_sentencepiece(documents: list[str], vocab_size: int, out: Path) -> Callable[[str], list[int]]:
    """SentencePiece BPE with the settings of the Llama family."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for text in documents for line in text.split("\n")),
        model_prefix=str(out / "tokenizer"),
        vocab_size=vocab_size,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_file=str(out / "tokenizer.model"))
    return lambda text: processor.encode(text) + [processor.eos_id()]


def packed(documents: Iterator[list[int]], start: int, row_length: int = ROW_LENGTH) -> np.ndarray:
    """Rows of `row_length`: whole documents, each behind a start token, first fit among the open rows.

    Rows are padded with start tokens, so where start and end are one token, every document is followed by its end.
    """
    open_rows: list[list[int]] = []
    done: list[list[int]] = []
    for ids in documents:
        piece = [start] + ids
        if len(piece) >= row_length:
            continue
        row = next((row for row in open_rows if len(row) + len(piece) < row_length), None)
        if row is None:
            row = []
            open_rows.append(row)
        row += piece
        if len(open_rows) > 64:
            fullest = max(range(len(open_rows)), key=lambda index: len(open_rows[index]))
            done.append(open_rows.pop(fullest))
    rows = done + open_rows
    return np.array([row + [start] * (row_length - len(row)) for row in rows], dtype=np.int16)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--model", choices=["tiny", "micro"], required=True)
    parser.add_argument("--vocab-size", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the tokenizer and the packed rows")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    kind, start = (train_byte_level, 0) if arguments.model == "tiny" else (train_sentencepiece, 1)
    encode = kind(texts(arguments.data / "stage1.txt")[:TOKENIZER_DOCUMENTS], arguments.vocab_size, arguments.out)
    for path in sorted(arguments.data.glob("stage*.txt")):
        documents = texts(path)
        rows = packed((encode(text) for text in documents), start)
        np.save(arguments.out / f"{path.stem}.npy", rows)
        tokens = int((rows != start).sum())
        characters = sum(map(len, documents))
        print(
            f"{path.stem}: {len(documents)} documents, {len(rows)} rows, {tokens} tokens, "
            f"{characters / tokens:.2f} characters a token, {tokens / rows.size:.1%} filled"
        )


if __name__ == "__main__":
    main()
