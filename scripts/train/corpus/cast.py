"""Who a story is about, and the sentences that any story can use: openings, feelings, thanks, endings."""

from dataclasses import dataclass

from .dice import Dice, an, cap
from .words import ADJECTIVES_PERSON, BOYS, FRIENDS_OF_THE_FOREST, GIRLS, HOMES, MORALS, PET_NAMES


@dataclass(frozen=True)
class Hero:
    """Who a story is about. `kind` is a noun phrase such as "little girl"."""

    name: str
    kind: str
    they: str
    them: str
    their: str

    @property
    def self_(self) -> str:
        """The reflexive pronoun."""
        return {"she": "herself", "he": "himself", "it": "itself"}[self.they]


def person(dice: Dice, *taken: str) -> Hero:
    """A child whose name is none of those taken."""
    if dice.random() < 0.5:
        return Hero(dice.other(GIRLS, *taken), dice.one("girl", "girl", "young girl"), "she", "her", "her")
    return Hero(dice.other(BOYS, *taken), dice.one("boy", "boy", "young boy"), "he", "him", "his")


def creature(dice: Dice, *taken: str) -> Hero:
    """An animal or a robot with a name of its own."""
    name = dice.other(PET_NAMES, *taken)
    if dice.random() < 0.35:
        return Hero(name, "robot", "it", "it", "its")
    they, them, their = dice.choice([("he", "him", "his"), ("she", "her", "her")])
    return Hero(name, dice.choice(FRIENDS_OF_THE_FOREST + ["cat", "dog"]), they, them, their)


def hero(dice: Dice, *taken: str) -> Hero:
    """A person, or less often a creature."""
    return person(dice, *taken) if dice.random() < 0.65 else creature(dice, *taken)


def opening(dice: Dice, who: Hero) -> str:
    """The sentences that bring the hero in."""
    adjective = dice.choice(ADJECTIVES_PERSON)
    size = dice.one("little", "little", "small", "young") if "young" not in who.kind else "little"
    kind = who.kind.replace("young ", "")
    home = dice.choice(HOMES)
    return dice.choice(
        [
            lambda: f"Once upon a time, there was {an(size)} {kind} named {who.name}. {cap(who.they)} lived {home}.",
            lambda: f"Once upon a time, {an(size)} {kind} named {who.name} lived {home}.",
            lambda: f"Once upon a time there lived {an(adjective)} {kind}. {cap(who.their)} name was {who.name}.",
            lambda: f"Once there was {an(adjective)} {kind} who lived {home}. {cap(who.their)} name was {who.name}.",
            lambda: f"{who.name} was {an(adjective)} {kind} who lived {home}.",
            lambda: f"{who.name} was {an(size)} {kind}. Everyone said that {who.they} was {adjective}.",
            lambda: f"Long ago, {an(adjective)} {kind} named {who.name} lived {home}.",
            lambda: f"There was once {an(size)} {kind} named {who.name}. {cap(who.they)} was very {adjective}.",
            lambda: f"The {size} {kind} was called {who.name}. {cap(who.they)} lived {home} and was very {adjective}.",
            lambda: (
                f"{cap(who.they)} was {an(adjective)} {kind}, and {who.their} name was {who.name}. {cap(who.they)} lived {home}."
            ),
            lambda: (
                f"In {an(dice.one('quiet', 'small', 'old', 'sunny'))} {dice.one('village', 'town', 'valley')} lived {an(size)} {kind} named {who.name}."
            ),
        ]
    )()


def one_day(dice: Dice) -> str:
    """A phrase that starts the action; it ends where a clause goes on."""
    return dice.one(
        "One day,",
        "One day,",
        "One day,",
        "One morning,",
        "One sunny day,",
        "One evening,",
        "One cold morning,",
        "On a warm afternoon,",
        "Early one morning,",
        "Then one day,",
    )


def feeling_good(dice: Dice, who: Hero) -> str:
    """A sentence of joy."""
    return cap(
        dice.one(
            f"{who.name} was very happy.",
            f"{who.they} smiled from ear to ear.",
            f"{who.they} jumped for joy.",
            f"{who.name} felt warm inside.",
            f"{who.they} laughed out loud.",
            f"{who.name} was proud of {who.self_}.",
        )
    )


def feeling_bad(dice: Dice, who: Hero) -> str:
    """A sentence of sorrow."""
    return cap(
        dice.one(
            f"{who.name} was very sad.",
            f"{who.they} wanted to cry.",
            f"{who.they} sat down and sighed.",
            f"{who.name} did not know what to do.",
            f"{who.they} felt all alone.",
            f"{who.name} was worried.",
        )
    )


def thanks(dice: Dice, who: Hero, helper: Hero) -> str:
    """The hero thanks the helper."""
    return dice.one(
        f'"Thank you, {helper.name}," said {who.name}. "You are a good friend."',
        f'"Thank you so much!" said {who.name}. {helper.name} smiled. "You are welcome," {helper.they} said.',
        f"{who.name} thanked {helper.name} and gave {helper.them} a big hug.",
        f'"I could not have done it without you," {who.name} told {helper.name}.',
    )


def closing(dice: Dice, who: Hero) -> str:
    """The last sentences of a story."""
    return dice.one(
        f"From that day on, {who.name} knew that {dice.choice(MORALS)}.",
        f"{who.name} learned that {dice.choice(MORALS)}.",
        f"That night, {who.name} slept very well.",
        f"{cap(who.they)} never forgot that day.",
        "And they all lived happily ever after.",
        "And that is the end of the story.",
        f"When {who.name} went to bed, {who.they} was still smiling.",
    )
