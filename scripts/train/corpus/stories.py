"""Whole stories: an opening, a plot and an end, told of someone or by the one who was there."""

from .cast import closing, creature, hero, opening, person
from .dice import Dice, an, cap, prose
from .plots import PLOTS, little_machine
from .words import ANIMALS, FOODS, PLACES, RELATIVES, SKILLS, TOYS, WEATHERS


def story(dice: Dice) -> tuple[str, str]:
    """A story, and the combination of hero and plot that identifies it."""
    if dice.random() < 0.08:
        return prose(little_machine(dice, creature(dice)), dice.maybe(0.4, "And that is the end of the story.")), ""
    who, plot = hero(dice), dice.choice(PLOTS)
    start = "" if dice.random() < 0.12 else opening(dice, who)
    body = plot(dice, who)
    if not start:
        start = dice.one(
            f"{cap(who.they)} was {an(who.kind)} named {who.name}.",
            f"This is a story about {an(who.kind)} named {who.name}.",
            f"I know a story about {who.name}, the {who.kind}.",
            f"My friend {who.name} is {an(who.kind)}.",
        )
    request = ""
    if dice.random() < 0.12:
        request = dice.one(
            "Tell me a story.",
            "Tell me a story.",
            f"Tell me a story about {an(who.kind)}.",
            f"Tell me a story about {who.name}.",
            "Please tell me a story.",
            "Can you tell me a story?",
            "Do you know a story?",
        ) + dice.one(" ", "\n", "\n", " Yes, of course. ", "\nHere is a story. ")
    return request + prose(start, body, dice.maybe(0.75, closing(dice, who))), f"{who.name}/{plot.__name__}"


def first_person(dice: Dice) -> tuple[str, str]:
    """A day as the one who lived it tells it."""
    place, friend = dice.choice(PLACES), person(dice)
    weather, food = dice.choice(WEATHERS), dice.choice(FOODS)
    relative, they = dice.choice(RELATIVES)
    skill, toy = dice.choice(SKILLS), dice.choice(TOYS)
    animal = dice.choice(ANIMALS)
    start = dice.one(
        "Yesterday",
        "Last week",
        "One day",
        "This morning",
        "Last summer",
        f"Last {dice.one('Monday', 'Friday', 'Sunday')}",
    )
    text = prose(
        f"{start} I went {place.to} with my {dice.one('friend', 'cousin')} {friend.name}.",
        f"It was {weather.now}, so we took {weather.wear}."
        if weather.now not in ("sunny", "cold")
        else f"It was {weather.now}, so I wore {weather.wear}.",
        dice.one(
            f"We saw {an(animal.noun)}. {friend.name} said that it lives {animal.home}.",
            f"We had {an(toy.noun)} with us and {toy.used}.",
            f"{friend.name} tried to {skill.verb}, but {friend.they} {skill.fail}.",
        ),
        dice.one("We laughed a lot.", "We stayed there for a long time.", "Nobody else was there."),
        dice.one(
            f"Then we ate {food} and talked about {dice.one('school', 'our dreams', 'old times', 'the summer')}.",
            f"I was hungry, so we shared some {food}.",
        ),
        f"When I came home, my {relative} asked me how it was. "
        + dice.one(
            f'"It was wonderful," I said. {cap(they)} smiled.',
            f"I told {'her' if they == 'she' else 'him'} everything.",
        ),
        dice.one(
            "I hope that we can do it again soon.",
            "It was a good day.",
            "I will never forget it.",
            "I was tired but happy.",
        ),
    )
    return text, f"{friend.name}/{place.at}"
