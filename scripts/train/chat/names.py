"""Names for the heroes of stories: so many, some of them made up, that the model must read them in the text."""

import re

from corpus.dice import Dice, cap
from corpus.words import BOYS, GIRLS, PET_NAMES

MORE_GIRLS = (
    "Amelia Aisha Beatrice Bella Carmen Celia Chloe Dalia Dora Edith Elena Eva Fatima Fiona Flora Greta Hazel Helen Holly Ines Irene "
    "Iris Joan Julia June Kate Kira Laura Leila Lena Lina Lola Mabel Maria Marta Mei Mina Molly Nadia Naomi Nina Noor Paula Petra Priya "
    "Rita Robin Rose Sofia Stella Tara Tess Thea Tina Ula Violet Wanda Willa Yara Yuki Zara"
).split()
MORE_BOYS = (
    "Aaron Abel Ali Amir Anton Arthur Bruno Caleb Carl Cyrus Daniel David Dario Eli Emil Eric Ethan Fred Fritz George Gus Hans Harry Henry "
    "Hiro Igor Isaac Jakob Jan Joel Jonas Josef Juan Kai Ken Kofi Lars Leon Liam Louis Marco Mark Mateo Milan Nico Nils Olaf Oliver Otis "
    "Pablo Pedro Philip Ravi Rolf Ruben Samir Simon Sven Theo Tobias Ugo Victor Walter Will Yusuf Zack"
).split()
MORE_PETS = "Bramble Clover Copper Dusty Fern Fidget Hazelnut Jasper Marble Mocha Nibbles Nutmeg Olive Patch Pebble Pippin Snowy Sparky Tiger Whiskers".split()
KNOWN = {
    name: group + more
    for group, more in ((GIRLS, MORE_GIRLS), (BOYS, MORE_BOYS), (PET_NAMES, MORE_PETS))
    for name in group
}
ALL = GIRLS + BOYS + PET_NAMES + MORE_GIRLS + MORE_BOYS + MORE_PETS
NAME = re.compile(r"\b(" + "|".join(KNOWN) + r")\b")


def made_up(dice: Dice) -> str:
    """A name that nobody has."""
    parts = [dice.choice("bdfghjklmnprstvwz") + dice.choice("aeiou") for _ in range(dice.choice((1, 2, 2, 3)))]
    return cap("".join(parts) + dice.one("", "", "n", "l", "r", "s", "k"))


def renamed(dice: Dice, text: str) -> str:
    """The text with other names for some of its names, each the same throughout."""
    taken = set(NAME.findall(text))
    others: dict[str, str] = {}
    for name in sorted(taken):
        if dice.random() < 0.7:
            new = made_up(dice) if dice.random() < 0.3 else dice.choice(KNOWN[name])
            if new not in taken:
                others[name] = new
                taken.add(new)
    return NAME.sub(lambda match: others.get(match[0], match[0]), text)
