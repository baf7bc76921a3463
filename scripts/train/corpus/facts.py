"""Simple questions about the world: animals, colours, numbers, days, reasons, opposites."""

from .dice import Dice, an, cap
from .words import ANIMALS, DAYS, JOBS, MONTHS, NUMBERS

REASONS = [
    ("Why is the sky blue?", "The sky is blue because the air scatters the blue light of the sun."),
    ("Why does it rain?", "It rains because the clouds are full of water."),
    ("Why do we sleep?", "We sleep because the body and the mind need rest."),
    ("Why do birds fly south?", "Birds fly south because it is warmer there in winter."),
    ("Why is the sea salty?", "The sea is salty because rivers carry salt from the stones into it."),
    ("Why do leaves fall?", "Leaves fall because trees rest in winter."),
    ("Why do cats purr?", "Cats purr because they feel safe and happy."),
    ("Why does ice float?", "Ice floats because it is lighter than water."),
    ("Why do we need water?", "We need water because nothing can live without it."),
    ("Why is the night dark?", "The night is dark because the sun is on the other side of the earth."),
    ("Why do people laugh?", "People laugh because something is funny or because they are happy."),
    ("Why do stars shine?", "Stars shine because they are very hot."),
    ("Why do we eat?", "We eat because our bodies need energy."),
    ("Why is snow white?", "Snow is white because it sends back all the colours of the light."),
    ("Why do dogs bark?", "Dogs bark because they want to tell us something."),
    ("Why do bees like flowers?", "Bees like flowers because they make honey from the sweet juice."),
    ("Why do computers get warm?", "Computers get warm because they use a lot of energy."),
    ("Why do clocks tick?", "Clocks tick because a small wheel stops and goes on again."),
    ("Why do we tell stories?", "We tell stories because we want to share what we have learned."),
    ("Why is bread soft?", "Bread is soft because there is air in it."),
    ("Why do boats float?", "Boats float because they push the water away."),
    ("Why do we have friends?", "We have friends because life is better together."),
    ("Why do plants need the sun?", "Plants need the sun because they make their food from light."),
    ("Why does the moon shine?", "The moon shines because the light of the sun falls on it."),
    ("Why do children go to school?", "Children go to school because they want to learn to read and write."),
]

THINGS = [
    ("the sun", "a star that gives us light and warmth"),
    ("the moon", "a big round stone that travels around the earth"),
    ("a computer", "a machine that works with numbers"),
    ("a clock", "a machine that shows the time"),
    ("a book", "many pages with words on them"),
    ("a river", "water that flows to the sea"),
    ("a mountain", "a very high hill"),
    ("a forest", "a place with many trees"),
    ("a friend", "someone who likes you and helps you"),
    ("a robot", "a machine that can move and do work"),
    ("rain", "water that falls from the clouds"),
    ("snow", "frozen water that falls in winter"),
    ("a story", "something that happened, told in words"),
    ("a song", "a tune with words"),
    ("a bridge", "a way over a river"),
    ("a map", "a picture of a place that shows the way"),
    ("a key", "a small thing that opens a door"),
    ("a village", "a small place where people live"),
    ("a program", "a list of steps for a computer"),
    ("a number", "a word for how many there are"),
    ("a letter", "a message that one person writes to another"),
    ("winter", "the coldest time of the year"),
    ("summer", "the warmest time of the year"),
    ("love", "a warm feeling for someone"),
    ("time", "what a clock shows"),
    ("music", "sounds that are nice to hear"),
]

OPPOSITES = [
    ("hot", "cold"),
    ("big", "small"),
    ("day", "night"),
    ("open", "closed"),
    ("happy", "sad"),
    ("fast", "slow"),
    ("old", "young"),
    ("light", "dark"),
    ("up", "down"),
    ("good", "bad"),
    ("full", "empty"),
    ("long", "short"),
    ("wet", "dry"),
    ("early", "late"),
    ("strong", "weak"),
    ("left", "right"),
]

COLOUR_OF = [
    ("the sky", "blue"),
    ("grass", "green"),
    ("snow", "white"),
    ("a banana", "yellow"),
    ("the night", "black"),
    ("a carrot", "orange"),
    ("blood", "red"),
    ("milk", "white"),
    ("the sun", "yellow"),
    ("a leaf", "green"),
    ("an elephant", "grey"),
    ("chocolate", "brown"),
]

HOW_TO = [
    ("make tea", "Boil some water, pour it over the leaves, and wait for three minutes."),
    ("bake bread", "Mix flour, water and salt, let it rest for a night, and put it in a hot oven."),
    ("plant a tree", "Dig a hole, put the young tree into it, and give it water."),
    ("make a friend", "Say hello, ask a question, and listen to the answer."),
    ("learn to swim", "Start where the water is low, and ask someone to stay with you."),
    ("fall asleep", "Close your eyes, think of something nice, and breathe slowly."),
    ("make soup", "Cut some carrots and beans, put them in hot water, and cook them for half an hour."),
    ("write a story", "Think of a hero and a problem, and then tell how the problem is solved."),
    ("get to the station", "Go down this street, turn left at the bridge, and walk for five minutes."),
    ("fix a bike", "Turn it over, look for what is broken, and ask for help if you need it."),
    ("learn a new language", "Learn a few words every day, and do not be afraid of mistakes."),
    ("stay healthy", "Sleep well, drink enough water, and go for a walk every day."),
]


def question_and_answer(dice: Dice) -> tuple[str, str]:
    """A question about the world and its answer."""
    animal, (job, does) = dice.choice(ANIMALS), dice.choice(JOBS)
    kind = dice.randrange(12)
    if kind < 2:
        return dice.choice(REASONS)
    if kind < 4:
        name = an(animal.noun)
        return dice.choice(
            [
                (f"Where does {name} live?", f"{cap(name)} lives {animal.home}."),
                (f"What does {name} eat?", f"{cap(name)} eats {animal.food}."),
                (f"What can {name} do?", f"{cap(name)} can {animal.can}."),
                (f"What is {name}?", f"{cap(name)} is an animal that lives {animal.home}."),
                (
                    f"What do you know about the {animal.noun}?",
                    f"The {animal.noun} lives {animal.home}. It eats {animal.food} and can {animal.can}.",
                ),
                (f"Can {name} {animal.can}?", f"Yes, {name} can {animal.can}."),
                (f"What is a young {animal.noun} called?", f"A young {animal.noun} is called {an(animal.young)}."),
                (
                    f"Tell me something about the {animal.noun}.",
                    f"The {animal.noun} {animal.habit}. It lives {animal.home}.",
                ),
            ]
        )
    if kind < 6:
        thing, what = dice.choice(THINGS)
        return dice.one(
            f"What is {thing}?", f"Can you tell me what {thing} is?", f"Do you know what {thing} is?"
        ) if dice.random() < 0.4 else f"What is {thing}?", f"{cap(thing)} is {what}."
    if kind == 6:
        first, second = dice.randint(0, 10), dice.randint(0, 10)
        low, high = sorted((first, second))
        return dice.choice(
            [
                (
                    f"What is {NUMBERS[first]} plus {NUMBERS[second]}?",
                    f"{cap(NUMBERS[first])} plus {NUMBERS[second]} is {NUMBERS[first + second]}.",
                ),
                (
                    f"What is {NUMBERS[high]} minus {NUMBERS[low]}?",
                    f"{cap(NUMBERS[high])} minus {NUMBERS[low]} is {NUMBERS[high - low]}.",
                ),
                (f"What comes after {NUMBERS[first]}?", f"After {NUMBERS[first]} comes {NUMBERS[first + 1]}."),
            ]
        )
    if kind == 7:
        index, month = dice.randrange(7), dice.randrange(12)
        return dice.choice(
            [
                (f"What day comes after {DAYS[index]}?", f"After {DAYS[index]} comes {DAYS[(index + 1) % 7]}."),
                (f"What day comes before {DAYS[index]}?", f"Before {DAYS[index]} comes {DAYS[index - 1]}."),
                (
                    f"What month comes after {MONTHS[month]}?",
                    f"After {MONTHS[month]} comes {MONTHS[(month + 1) % 12]}.",
                ),
                ("How many days are in a week?", "A week has seven days."),
                ("How many months are in a year?", "A year has twelve months."),
            ]
        )
    if kind == 8:
        pair = dice.choice(OPPOSITES)
        word, opposite = pair if dice.random() < 0.5 else pair[::-1]
        return f"What is the opposite of {word}?", f"The opposite of {word} is {opposite}."
    if kind == 9:
        thing, colour = dice.choice(COLOUR_OF)
        return f"What colour is {thing}?", f"{cap(thing)} is {colour}."
    if kind == 10:
        task, how = dice.choice(HOW_TO)
        return dice.one(
            f"How do I {task}?", f"How do I {task}?", f"How can I {task}?", f"Can you tell me how to {task}?"
        ), how
    return dice.choice(
        [(f"What does {an(job)} do?", f"{cap(an(job))} {does}."), (f"Who {does}?", f"{cap(an(job))} {does}.")]
    )


def description(dice: Dice) -> tuple[str, str]:
    """A few sentences about an animal or about two things."""
    animal, other = dice.sample(ANIMALS, 2)
    if dice.random() < 0.6:
        start = dice.one(
            f"The {animal.noun} is an animal that lives {animal.home}.",
            f"The {animal.noun} lives {animal.home}.",
            f"{cap(an(animal.noun))} lives {animal.home}.",
        )
        middle = dice.one(
            f"It eats {animal.food}, and it can {animal.can}.", f"It can {animal.can}. It eats {animal.food}."
        )
        end = dice.one(
            f"It {animal.habit}.",
            f"A young {animal.noun} is called {an(animal.young)}.",
            f"Unlike the {other.noun}, it {animal.habit}.",
        )
        return f"{start} {middle} {end}", animal.noun + other.noun
    (thing, what), (second, other_what) = dice.sample(THINGS, 2)
    return f"{cap(thing)} is {what}. {cap(second)} is {other_what}. " + dice.one(
        "That is all I know.", "Everybody knows that.", "I learned it at school."
    ), thing + second
