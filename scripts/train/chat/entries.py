"""The facts in `facts/*.txt`: entries of ways to ask and ways to answer.

An entry begins with `= NAME`. Its other lines:

    cmd:    a command of the shell; makes questions such as "What does X do?"
    is:     nouns; make questions such as "What is X?"
    how:    what one wants to do, divided by `;`; makes questions such as "How do I X?"
    ask:    whole questions, divided by ` / `
    fill:   words, one of which replaces each `{}` of `ask:`
    say:    an answer; any answer goes with any question
    need:   what every right answer contains: all of the parts between commas, of each part one of the words between bars
    never:  what no right answer contains, divided by commas
"""

from dataclasses import dataclass, field
from pathlib import Path

from corpus.dice import Dice

from . import phrasing

FACTS = Path(__file__).parent / "facts"


@dataclass
class Entry:
    """What is said about one thing."""

    name: str
    commands: list[str] = field(default_factory=list)
    nouns: list[str] = field(default_factory=list)
    wishes: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    fillings: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    needed: list[list[str]] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)

    def question(self, dice: Dice) -> str:
        """One way to ask, as it might be typed."""
        makers = [
            (self.commands, phrasing.about_command, 4),
            (self.nouns, phrasing.about_noun, 4 + len(self.nouns)),
            (self.wishes, phrasing.about_wish, 3 * len(self.wishes)),
            (self.questions, phrasing.plain, len(self.questions)),
        ]
        makers = [(texts, make, weight) for texts, make, weight in makers if texts]
        texts, make, _ = dice.choices(makers, [weight for _, _, weight in makers])[0]
        text = dice.choice(texts)
        while "{}" in text:
            text = text.replace("{}", dice.choice(self.fillings), 1)
        return make(dice, text)

    def is_right(self, answer: str) -> bool:
        """Whether the answer has what is needed and nothing that is forbidden, in capitals or not."""
        text = answer.lower()
        has = lambda word: word.lower() in text
        return all(any(map(has, words)) for words in self.needed) and not any(map(has, self.forbidden))


def read(name: str) -> list[Entry]:
    """The entries of a file."""
    entries: list[Entry] = []
    for number, line in enumerate((FACTS / f"{name}.txt").read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        if line.startswith("= "):
            entries.append(Entry(line[2:]))
            continue
        key, value = line.split(": ", 1)
        entry = entries[-1]
        match key:
            case "cmd":
                entry.commands.append(value)
            case "is":
                entry.nouns += value.split(" / ")
            case "how":
                entry.wishes += value.split("; ")
            case "ask":
                entry.questions += value.split(" / ")
            case "fill":
                entry.fillings += value.split(" / ")
            case "say":
                entry.answers.append(value)
            case "need":
                entry.needed += [words.split("|") for words in value.split(", ")]
            case "never":
                entry.forbidden += value.split(", ")
            case _:
                raise ValueError(f"{name}.txt, line {number}: {key}")
    return entries


KERNEL = [entry for name in ("ferrite", "machine", "commands", "models", "server", "trust") for entry in read(name)]
TALK = read("talk")
UNKNOWN = read("unknown")
