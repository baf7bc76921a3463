"""Writes the corpus, one JSON string a line, from a seed: for each stage of the training a file and a held-out file.

About one document in forty is held out. Stories, talks and introductions are held out by their combination of name and
plot, place or first question, so those combinations never occur in a training file.
"""

import argparse
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from . import facts, kernel
from .dice import Dice
from .memory import memory_game
from .smalltalk import small_talk
from .stories import first_person, story

HELD_OUT_ONE_IN = 40


@dataclass(frozen=True)
class Stage:
    """What a part of the training reads. The first lays the ground with long rows of questions; the second has more
    questions, and few in a document, as people ask them at a prompt, so that the model learns to stop after an answer, and
    games of memory.
    """

    documents: int
    question_share: float
    questions_in_row: tuple[int, ...]
    memory_share: float
    repeats: bool


STAGES = {
    "stage1": Stage(120_000, 0.20, (3, 4, 5, 6, 7, 8), 0.0, repeats=False),
    "stage2": Stage(80_000, 0.30, (1, 1, 1, 1, 2, 2, 3), 0.3, repeats=True),
}


def questions(dice: Dice, how_many: tuple[int, ...]) -> tuple[str, str]:
    """A row of questions and answers, about the kernel or about the world or both."""
    about_kernel = dice.choice((0.95, 0.95, 0.1, 0.5))
    lines: list[str] = []
    same_line = dice.random() < 0.5
    for _ in range(dice.choice(how_many)):
        question, answer = (kernel if dice.random() < about_kernel else facts).question_and_answer(dice)
        lines.append(question + (" " if same_line and question[-1] in "?." else "\n") + answer)
    start = dice.maybe(
        0.15,
        dice.one(
            "Hello! ",
            "Hello! I have a question. ",
            "Hello, Ferrite! ",
            "Hello! Can you help me?\nYes, of course.\n",
            "Good morning! ",
            "Excuse me. ",
            "Please help me. ",
        ),
    )
    if start == "" and dice.random() < 0.08:
        start = dice.one(
            "Hello! I am Ferrite, a small kernel with a language model inside. Ask me a question.\n",
            "Hello! I am a small language model, and I live inside a kernel. What would you like to know?\n",
            "Hello, I am the model inside the kernel. I can tell stories and answer questions.\n",
            "Welcome to Ferrite! Type help to see all commands.\n",
        )
    return start + "\n".join(lines), lines[0] + lines[-1]


def document(dice: Dice, stage: Stage) -> tuple[str, str]:
    """One document, and the combination that says whether it is held out."""
    roll = dice.random()
    if roll >= 1 - stage.question_share:
        return questions(dice, stage.questions_in_row)
    roll /= 1 - stage.question_share
    if stage.memory_share and dice.random() < stage.memory_share / (1 - stage.question_share):
        return memory_game(dice)
    if roll < 0.575:
        return story(dice)
    if roll < 0.6375:
        return first_person(dice)
    if roll < 0.925:
        return small_talk(dice)
    if roll < 0.975:
        return kernel.narrative(dice)
    return facts.description(dice)


def write(dice: Dice, stage: Stage, train: TextIO, held_out: TextIO) -> None:
    """Writes the documents of a stage."""
    seen: set[str] = set()
    for _ in range(stage.documents):
        text, key = document(dice, stage)
        if text in seen and not stage.repeats:
            continue
        seen.add(text)
        target = held_out if zlib.crc32((key or text).encode()) % HELD_OUT_ONE_IN == 0 else train
        target.write(json.dumps(text) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for index, (name, stage) in enumerate(STAGES.items()):
        with (
            open(arguments.out / f"{name}.txt", "w") as train,
            open(arguments.out / f"{name}-heldout.txt", "w") as held_out,
        ):
            write(Dice(arguments.seed + index), stage, train, held_out)


if __name__ == "__main__":
    main()
