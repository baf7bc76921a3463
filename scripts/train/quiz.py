"""Asks a GGUF file every question about the kernel that the corpus knows, and counts the right answers.

Greedy; an answer is right if it is, up to its end or line end, one of the answers that the corpus gives to that question.
"""

import argparse
from pathlib import Path

from corpus.kernel import ABOUT, COMMANDS, TERMS
from sample import Text, continuations, read

ANSWER_TOKENS = 40
BATCH = 32


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, required=True, help="the GGUF file")
    parser.add_argument("--data", type=Path, required=True, help="folder with its tokenizer")
    arguments = parser.parse_args()
    shape, params, _ = read(arguments.file)
    text = Text(arguments.data)
    quiz = [(question, answers) for questions, answers in ABOUT + COMMANDS + TERMS for question in questions]
    right = 0
    for first in range(0, len(quiz), BATCH):
        part = quiz[first : first + BATCH]
        replies = continuations(params, shape, text, tuple(question for question, _ in part), ANSWER_TOKENS)
        for (question, answers), reply in zip(part, replies, strict=True):
            answer = reply[len(question) :].strip()
            correct = answer.startswith(answers)
            right += correct
            if not correct:
                print(f"wrong: {question} {answer.splitlines()[0] if answer else ''}")
    print(f"{right} of {len(quiz)} questions answered as the corpus does")


if __name__ == "__main__":
    main()
