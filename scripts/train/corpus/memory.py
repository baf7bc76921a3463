"""Games of memory: what was said is said again or asked for. They teach the model to look back in its own text."""

from .dice import Dice, an, cap, join_and
from .words import ADJECTIVES_THING, BOYS, COLOURS, DRINKS, FOODS, GIRLS, HOBBIES, NUMBERS, PET_NAMES, PLACES, TOYS

NAMES = GIRLS + BOYS + PET_NAMES


def thing(dice: Dice) -> str:
    """An adjective and a noun."""
    return f"{dice.choice(ADJECTIVES_THING)} {dice.choice(TOYS).noun}"


def items(dice: Dice) -> list[str]:
    """A list of words of one kind or of several."""
    kind = dice.choice(
        (NAMES, NAMES, FOODS, COLOURS, NUMBERS, [toy.noun for toy in TOYS], NAMES + FOODS + COLOURS + NUMBERS)
    )
    return dice.some(kind, 3, 9)


def say_again(dice: Dice) -> str:
    """A list, and the same list again."""
    words = items(dice)
    line = join_and(words) if dice.random() < 0.5 else ", ".join(words)
    ask = dice.one(
        "Say after me:", "Repeat after me:", "Please say:", "Remember these words:", "Read this:", "Write this down:"
    )
    again = "\n".join([line] * dice.choice((1, 1, 2)))
    return f"{ask} {line}.\n{again}."


def who_has_what(dice: Dice) -> str:
    """Who has what, and questions about it in another order."""
    names = dice.some(NAMES, 2, 5)
    owned = {name: thing(dice) for name in names}
    told = " ".join(f"{name} has {an(what)}." for name, what in owned.items())
    asked = dice.some(names, 1, len(names))
    answers = [
        dice.choice(
            (
                (f"What does {name} have?", f"{name} has {an(owned[name])}."),
                (f"Who has the {owned[name]}?", f"{name} has the {owned[name]}."),
            )
        )
        for name in asked
    ]
    return told + "\n" + "\n".join(f"{question} {answer}" for question, answer in answers)


def where_is_who(dice: Dice) -> str:
    """Who is where, and questions about it in another order."""
    names = dice.some(NAMES, 2, 4)
    places = dice.sample(PLACES, len(names))
    told = " ".join(f"{name} is {place.at}." for name, place in zip(names, places, strict=True))
    pairs = dice.some(list(zip(names, places, strict=True)), 1, len(names))
    return told + "\n" + "\n".join(f"Where is {name}? {name} is {place.at}." for name, place in pairs)


def about_you(dice: Dice) -> str:
    """Someone tells a little and asks for it again."""
    name, food, colour, hobby = (
        dice.choice(GIRLS + BOYS),
        dice.choice(FOODS),
        dice.choice(COLOURS),
        dice.choice(HOBBIES),
    )
    facts = dice.some(
        [
            (dice.one(f"My name is {name}.", f"I am {name}."), "What is my name?", f"Your name is {name}."),
            (f"I like {food}.", "What do I like?", f"You like {food}."),
            (
                f"My favourite colour is {colour}.",
                "What is my favourite colour?",
                f"Your favourite colour is {colour}.",
            ),
            (f"I have {an(what := thing(dice))}.", "What do I have?", f"You have {an(what)}."),
            (f"I drink {(drink := dice.choice(DRINKS))}.", "What do I drink?", f"You drink {drink}."),
            (
                f"I like to {hobby[1]}.".replace("my", "the"),
                "What do I like to do?",
                f"You like to {hobby[1]}.".replace("my", "the"),
            ),
        ],
        2,
        4,
    )
    told = " ".join(fact for fact, _, _ in facts)
    asked = dice.some(facts, 1, len(facts))
    return dice.maybe(0.3, "Hello! ") + told + "\n" + "\n".join(f"{question} {answer}" for _, question, answer in asked)


def roll_call(dice: Dice) -> str:
    """A row of people who greet each other by name."""
    names = dice.some(GIRLS + BOYS, 3, 6)
    lines = [
        f"Hello, {name}! My name is {other}.\nHello, {other}! I am {name}."
        for name, other in zip(names, names[1:], strict=False)
    ]
    return "\n".join(lines) + dice.maybe(0.5, f"\n{cap(join_and(names))} are friends now.")


def memory_game(dice: Dice) -> tuple[str, str]:
    """One document, and what identifies it."""
    text = dice.choice((say_again, say_again, who_has_what, where_is_who, about_you, about_you, roll_call))(dice)
    return text, text
