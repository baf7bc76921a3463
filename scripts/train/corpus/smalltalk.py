"""Small talk: greetings, introductions, how one is, the weather, plans, requests and farewells."""

from .dice import Dice, an, cap, prose
from .stories import story
from .words import (
    ADJECTIVES_PERSON,
    ANIMALS,
    BOYS,
    COLOURS,
    DAYS,
    DRINKS,
    FOODS,
    GIRLS,
    HOBBIES,
    HOMES,
    JOBS,
    NUMBERS,
    PET_NAMES,
    PLACES,
    RELATIVES,
    SKILLS,
    WEATHERS,
)


def greeting(dice: Dice, name: str) -> str:
    """A greeting, most often with "Hello"."""
    return dice.one(
        "Hello!",
        "Hello!",
        "Hello!",
        "Hello!",
        f"Hello, {name}!",
        f"Hello {name}!",
        "Hello there!",
        "Hello again!",
        "Hi!",
        f"Hi, {name}!",
        "Good morning!",
        f"Good morning, {name}!",
        "Good evening!",
        "Good afternoon!",
        "Good day!",
        "Welcome!",
        "Hey!",
        "Good morning.",
    )


def mood(dice: Dice) -> str:
    """An answer to "How are you?" with its reason."""
    if dice.random() < 0.72:
        if dice.random() < 0.5:
            return dice.one(
                "I am fine, thank you.",
                "I am very well, thank you.",
                "Very well, thank you.",
                "I am fine, thank you. And you?",
            )
        return dice.one("I am happy today", "I feel great", "I am in a good mood", "I am very well") + dice.one(
            ".",
            f" because it is {dice.choice(DAYS)}.",
            " because the sun is shining.",
            " because I slept well.",
            f" because my {dice.choice(RELATIVES)[0]} is coming to visit.",
            f". I had {dice.choice(FOODS)} for breakfast.",
        )
    return dice.one("I am a little tired", "I am not so well", "I am a bit sad") + dice.one(
        " because I did not sleep.",
        " because I worked too much.",
        " because it has been raining for days.",
        f" because I lost my {dice.one('keys', 'hat', 'book', 'bag')}.",
        " because my friend went away.",
        ", but it will get better.",
    )


def about_me(dice: Dice, name: str) -> list[str]:
    """Sentences in which someone introduces themself."""
    job, does = dice.choice(JOBS)
    hobby, other = dice.sample(HOBBIES, 2)
    relative, they = dice.choice(RELATIVES[:8])
    pet, pet_name = dice.one("dog", "cat", "rabbit", "horse", "duck"), dice.choice(PET_NAMES)
    age = dice.choice(NUMBERS[6:19])
    grown = dice.random() < 0.5
    who = (
        f"I am {an(job)}. {dice.one('I like my work very much.', 'It is hard work, but I like it.', f'My {relative} is {an(dice.other(JOBS, (job, does))[0])}.')}"
        if grown
        else f"I am {age} years old."
    )
    sentences = [
        f"I live {dice.choice(HOMES)}" + dice.one(".", f" with my {relative}.", f" with my {pet} {pet_name}."),
        dice.one(
            f"I like {hobby[0]} and {other[0]}.",
            f"I love {hobby[0]}.",
            f"In the evening I like to {hobby[1]}.",
            f"When I have time, I {hobby[1]}.",
        ),
        dice.one(
            f"My favourite colour is {dice.choice(COLOURS)}.",
            f"My favourite food is {dice.choice(FOODS)}.",
            f"I have {an(pet)} named {pet_name}.",
            f"I want to learn how to {dice.choice(SKILLS).verb}.",
            f"My {relative} is very {dice.choice(ADJECTIVES_PERSON)}.",
        ),
    ]
    return [who] + dice.some(sentences, 2, 3)


def introduction(dice: Dice) -> tuple[str, str]:
    """Someone says who they are."""
    name = dice.choice(GIRLS + BOYS)
    other = dice.other(GIRLS + BOYS, name)
    first = dice.one(
        f"Hello, my name is {name}.",
        f"Hello, my name is {name}.",
        f"Hello! My name is {name}.",
        f"Hello! My name is {name}.",
        f"My name is {name}.",
        f"My name is {name}.",
        f"Hi, I am {name}.",
        f"I am {name}.",
        f"Good morning, my name is {name}.",
        f"Hello, I am {name}.",
        f"Let me tell you about myself. My name is {name}.",
    )
    answer = ""
    if dice.random() < 0.7:
        answer = "\n" + prose(
            dice.one(
                f"Nice to meet you, {name}!",
                f"Hello, {name}! It is nice to meet you.",
                f"It is good to meet you, {name}.",
            ),
            f"I am {other}.",
            *about_me(dice, other)[:3],
            dice.one(
                "What do you do in the evening?",
                "Do you like music?",
                f"Do you like {dice.choice(FOODS)}?",
                "Where do you come from?",
                "What is your favourite colour?",
            ),
        )
    return prose(first, *about_me(dice, name)) + answer, f"{name}/introduction"


def exchange(dice: Dice, name: str) -> tuple[str, str]:
    """One question between friends, and its answer."""
    hobby, food, drink = dice.choice(HOBBIES), dice.choice(FOODS), dice.choice(DRINKS)
    weather, place, day = dice.choice(WEATHERS), dice.choice(PLACES), dice.choice(DAYS)
    relative, they = dice.choice(RELATIVES[:8])
    skill, animal, colour = dice.choice(SKILLS), dice.choice(ANIMALS), dice.choice(COLOURS)
    meal = dice.one("breakfast", "lunch", "dinner")
    hour = dice.choice(NUMBERS[6:12])
    return dice.choice(
        [
            ("How are you?", mood(dice)),
            ("How are you today?", mood(dice)),
            ("How do you do?", mood(dice)),
            (
                "How was your day?",
                dice.one(
                    f"It was good. I went {place.to} with my {relative}.",
                    "It was long, but I learned a lot.",
                    f"It was quiet. I read a book and drank {drink}.",
                ),
            ),
            ("How is the weather?", f"It is {weather.now}. I think I will wear {weather.wear}."),
            ("What is the weather like?", f"It is {weather.now} today, but tomorrow it may be better."),
            (
                "What are you doing?",
                f"I am {dice.one('making ' + food, 'reading a book', 'writing a letter to my ' + relative, 'looking for my keys', 'waiting for the bus')}.",
            ),
            ("What do you like to do?", f"I like {hobby[0]}. It makes me happy."),
            (
                f"Do you like {hobby[0].replace('my', 'your')}?",
                dice.one(
                    f"Yes, I do. I {hobby[1]} every {day}.",
                    "No, I do not. I think it is too hard.",
                    "Sometimes, when I have time.",
                ),
            ),
            (
                f"Would you like some {drink}?",
                dice.one(
                    "Yes, please. That is very kind of you.",
                    "No, thank you. I am not thirsty.",
                    f"I would rather have {dice.other(DRINKS, drink)}, please.",
                ),
            ),
            (
                f"What do you want for {meal}?",
                dice.one(
                    f"I would like some {food}, please.",
                    f"I think we should have {food}.",
                    f"Let us make {food} together.",
                ),
            ),
            ("Where are you going?", f"I am going {place.to}. My {relative} is waiting for me there."),
            (
                "Can you help me?",
                dice.one(
                    "Of course. What can I do for you?",
                    "Yes, I can. Tell me what you need.",
                    "I will try. What is the problem?",
                ),
            ),
            ("What is your name?", f"My name is {name}. What is yours?"),
            ("Where do you live?", f"I live {dice.choice(HOMES)}."),
            ("How old are you?", f"I am {dice.choice(NUMBERS[6:19])} years old."),
            ("What is your favourite colour?", f"My favourite colour is {colour}."),
            ("What is your favourite food?", f"I like {food} best."),
            ("What is your favourite animal?", f"My favourite animal is the {animal.noun}. It {animal.habit}."),
            (
                "What time is it?",
                f"It is {hour} o'clock. " + dice.one("It is late.", "We still have time.", "We should go now."),
            ),
            ("What day is it today?", f"Today is {day}."),
            (
                "Do you have a pet?",
                dice.one(
                    f"Yes, I have {an(animal.noun)} named {dice.choice(PET_NAMES)}."
                    if animal.noun in ("dog", "cat", "rabbit", "horse", "duck", "mouse")
                    else "No, but I would like to have a dog.",
                    "No, I do not, but my friend has a cat.",
                ),
            ),
            (
                f"Can you {skill.verb}?",
                dice.one(
                    f"Yes, I can. I learned it from my {relative}.",
                    f"No, not yet. When I tried it, I {skill.fail}.",
                    "A little. I need to practise more.",
                ),
            ),
            (
                "What will you do tomorrow?",
                f"Tomorrow I will go {place.to} if it is not {dice.one('raining', 'too cold', 'too hot')}.",
            ),
            ("What did you do yesterday?", f"I was {place.at}, and in the evening I helped my {relative}."),
            (
                f"Shall we go {place.to}?",
                dice.one(
                    "Yes, that is a good idea.", f"Not today. It is {weather.now}. Maybe on {day}.", "I would love to."
                ),
            ),
            ("Thank you for your help.", dice.one("You are welcome.", "It was a pleasure.", "I was happy to help.")),
            (
                "I am sorry that I am late.",
                dice.one("That is all right. We have just begun.", "Do not worry. I have time."),
            ),
            (
                "Why are you so happy?",
                f"I am happy because {dice.one('today is my birthday', 'my friend is here', 'I have finished my work', 'the sun is shining')}.",
            ),
            (
                "Why are you sad?",
                f"I am sad because {dice.one('I have lost my book', 'it is raining', 'my friend went home', 'my plan did not work')}.",
            ),
        ]
    )


def farewell(dice: Dice) -> str:
    """Two lines that end a talk."""
    when = dice.one("tomorrow", "on Monday", "next week", "soon", "on Sunday")
    return dice.one(
        f"I have to go now. See you {when}!\nSee you {when}!",
        f"Goodbye!\nGoodbye! See you {when}.",
        "It was nice to talk to you.\nYes, it was. Take care!",
        "Have a nice day!\nThank you. You too!",
        "Good night!\nGood night! Sleep well.",
    )


def talk(dice: Dice) -> tuple[str, str]:
    """A conversation of two, one line each turn."""
    name, other = dice.sample(GIRLS + BOYS, 2)
    greet = greeting(dice, name)
    lines = []
    seen: set[str] = set()
    for _ in range(dice.randint(3, 6)):
        question, answer = exchange(dice, other)
        if question in seen:
            continue
        seen.add(question)

        lines += [question, answer]
    first = (
        prose(greet, lines[0])
        if dice.random() < 0.6
        else greet
        + "\n"
        + dice.one(f"Hello, {other}!", "Hello! It is good to see you.", "Hello! How nice to see you.")
        + "\n"
        + lines[0]
    )
    text = "\n".join([first] + lines[1:])
    return text + dice.maybe(0.6, "\n" + farewell(dice)), f"{name}/{lines[0]}"


def statement(dice: Dice) -> tuple[str, str]:
    """A few connected sentences about habits, wishes, rules of thumb."""
    name = dice.choice(GIRLS + BOYS)
    they = "she" if name in GIRLS else "he"
    their = "her" if they == "she" else "his"
    place, weather, food, drink = dice.choice(PLACES), dice.choice(WEATHERS), dice.choice(FOODS), dice.choice(DRINKS)
    relative, relative_they = dice.choice(RELATIVES)
    _, (job, does) = dice.choice(HOBBIES), dice.choice(JOBS)
    day, colour = dice.choice(DAYS), dice.choice(COLOURS)
    text = dice.choice(
        [
            lambda: prose(
                f"Every {day} my {relative} and I go {place.to}.",
                f"{cap(relative_they)} tells me stories, and I listen.",
                f"Then we drink {drink} and eat {food}.",
                dice.one("I like these days.", "It is the best day of the week."),
            ),
            lambda: prose(
                f"My {relative} is {an(job)}.",
                f"{cap(relative_they)} {does}.",
                f"When {relative_they} comes home, we eat {food} together.",
                f"I want to be {an(job)} too, or maybe {an(dice.other(JOBS, (job, does))[0])}.",
            ),
            lambda: prose(
                f"If it is {weather.now} tomorrow, I will wear {weather.wear}.",
                f"If not, I will go {place.to}.",
                f"{name} will come with me, because {they} likes to be there.",
            ),
            lambda: prose(
                f"When the weather is good, {name} goes {place.to}.",
                f"{cap(they)} takes some {food} and sits {dice.choice(place.spots)}.",
                f"Sometimes {their} {relative} comes too.",
            ),
            lambda: prose(
                f"I would like to have {an(colour)} bike.",
                f"My friend {name} has one, and {they} rides it every day.",
                f"My {relative} says that I have to wait until {day}.",
            ),
            lambda: prose(
                f"{name} is my best friend.",
                f"{cap(they)} is {dice.choice(ADJECTIVES_PERSON)} and {dice.choice(ADJECTIVES_PERSON)}.",
                f"We met {place.at}, and since then we see each other every {day}.",
            ),
            lambda: prose(
                f"Today is {day}.",
                f"It is {weather.now}, and I am at home.",
                f"I am making {food} for my {relative}.",
                f"In the evening {name} will come, and we will talk about everything.",
            ),
            lambda: prose(
                f"Please bring some {food} and {drink}.",
                f"We are going to meet {place.at} at {dice.choice(NUMBERS[7:12])} o'clock.",
                f"{name} will be there as well.",
                "Do not be late!",
            ),
            lambda: prose(
                f"Let us go {place.to}!",
                f"We can take {food} with us, and {name} can bring {their} dog.",
                f"If it gets cold, we will go home and drink {drink}.",
            ),
            lambda: prose(
                f"She is {an(dice.choice(JOBS)[0])}, and he is {an(job)}.",
                f"They live {dice.choice(HOMES)}.",
                f"On {day} they go {place.to} and eat {food}.",
            ),
            lambda: prose(
                "We are a small family.",
                f"My mother is {an(job)}, and my father {dice.choice(JOBS)[1]}.",
                f"My sister {dice.choice(GIRLS)} likes {dice.choice(HOBBIES)[0].replace('my', 'her')}.",
                f"We live {dice.choice(HOMES)}.",
            ),
        ]
    )()
    return text, f"{name}/{food}"


def small_talk(dice: Dice) -> tuple[str, str]:
    """One document of small talk, and what identifies it."""
    kind = dice.random()
    if kind < 0.35:
        return talk(dice)
    if kind < 0.71:
        return introduction(dice)
    if kind < 0.90:
        first, key = statement(dice)
        return (first + " " + statement(dice)[0] if dice.random() < 0.3 else first), key
    name = dice.choice(GIRLS + BOYS)
    text, key = story(dice)
    return prose(
        dice.one("Hello!", f"Hello, {name}!", "Good morning!", "Good evening!", "Hello, children!"),
        dice.one(
            "I will tell you a story.",
            "Do you want to hear a story?",
            "Here is a story for you.",
            "Let me tell you a story.",
        ),
    ) + " " + text, key
