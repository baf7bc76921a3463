"""The quiz, and the rule by which no question of it, nor one much like it, is in the corpus."""

import re
from pathlib import Path

QUIZ = Path(__file__).parent / "quiz"
# Questions with this share of common words are much alike.
ALIKE = 0.8
# Words that say nothing about what is asked.
FILLERS = set(
    "a an the please hey hi hello so also and i me my you your to do does is are can could would of it".split()
)


def bag(text: str) -> frozenset[str]:
    """The words of a question that say what is asked."""
    words = re.findall(r"[a-z0-9_/.-]*[a-z0-9]", text.lower())
    return frozenset(words) - FILLERS or frozenset(words)


def read(name: str) -> list[tuple[str, str]]:
    """The questions of a file, each with the line `= NAME` above it."""
    questions, heading = [], ""
    for line in (QUIZ / f"{name}.txt").read_text().splitlines():
        if line.startswith("= "):
            heading = line[2:]
        elif line and not line.startswith("#"):
            questions.append((heading, line))
    return questions


class HeldOut:
    """Finds out whether a question is too much like one of the quiz."""

    def __init__(self) -> None:
        self.with_word: dict[str, set[frozenset[str]]] = {}
        for name in ("kernel", "tools"):
            for _, question in read(name):
                words = bag(question)
                for word in words:
                    self.with_word.setdefault(word, set()).add(words)

    def has(self, question: str) -> bool:
        """Whether the quiz has this question or one much like it."""
        words = bag(question)
        near = {other for word in words for other in self.with_word.get(word, ())}
        return any(len(words & other) >= ALIKE * len(words | other) for other in near)
