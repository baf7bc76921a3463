"""Writes the corpus of the chat model from a seed, a JSON object in a line: for each stage a file and a held-out file."""

import argparse
import json
import zlib
from pathlib import Path

from corpus.dice import Dice

from .documents import document, key

HELD_OUT_ONE_IN = 60
# Documents, how many exchanges their conversations have, and how often each kind of document comes: stories, plain answers, games of
# memory, conversations, conversations with tools. The second stage has longer conversations, and more of them.
STAGES = {
    "stage1": (200_000, (1, 1, 1, 1, 2, 2, 3), (12, 5, 3, 65, 15)),
    "stage2": (30_000, (1, 1, 1, 1, 2, 3, 6), (10, 4, 2, 70, 14)),
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=float, default=1.0, help="of the documents, to try things out")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for index, (name, (count, lengths, mixture)) in enumerate(STAGES.items()):
        dice = Dice(arguments.seed + index)
        with (
            open(arguments.out / f"{name}.jsonl", "w") as train,
            open(arguments.out / f"{name}-heldout.jsonl", "w") as held_out,
        ):
            for _ in range(int(count * arguments.share)):
                made = document(dice, lengths, mixture)
                file = held_out if zlib.crc32(key(made).encode()) % HELD_OUT_ONE_IN == 0 else train
                file.write(json.dumps(made) + "\n")


if __name__ == "__main__":
    main()
