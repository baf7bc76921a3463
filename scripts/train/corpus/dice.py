"""Seeded choices and the few rules of English spelling that every grammar needs."""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice(random.Random):
    """A random generator with the verbs that the grammars are written in."""

    def one(self, *options: str) -> str:
        """One of the given texts."""
        return self.choice(options)

    def some(self, options: Sequence[T], low: int, high: int) -> list[T]:
        """Between `low` and `high` different items, in random order."""
        return self.sample(list(options), min(len(options), self.randint(low, high)))

    def maybe(self, probability: float, text: str) -> str:
        """The text, or nothing."""
        return text if self.random() < probability else ""

    def other(self, options: Sequence[T], *taken: T) -> T:
        """An item that is none of those taken."""
        return self.choice([option for option in options if option not in taken])


def an(noun_phrase: str) -> str:
    """The noun phrase with its indefinite article."""
    return ("an " if noun_phrase[0] in "aeiou" else "a ") + noun_phrase


def cap(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def join_and(items: Sequence[str]) -> str:
    """A list as English writes it: `a`, `a and b`, `a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]


def prose(*sentences: str) -> str:
    """One paragraph of the sentences that are not empty."""
    return " ".join(sentence for sentence in sentences if sentence)
