"""The plots of the stories: a wish or a problem, what was done about it, how it came out."""

from .cast import Hero, creature, feeling_bad, feeling_good, hero, one_day, person, thanks
from .dice import Dice, an, cap, prose
from .words import (
    ADJECTIVES_THING,
    ANIMALS,
    COLOURS,
    FOODS,
    FRIENDS_OF_THE_FOREST,
    NUMBERS,
    PET_NAMES,
    PLACES,
    PROJECTS,
    RELATIVES,
    SKILLS,
    TOYS,
    WEATHERS,
)


def lost(dice: Dice, who: Hero) -> str:
    """Something dear is lost, looked for, and found with help."""
    toy, place = dice.choice(TOYS), dice.choice(PLACES)
    friend = hero(dice, who.name)
    thing = toy.noun
    adjective = dice.choice(ADJECTIVES_THING)
    spots = dice.sample(place.spots, 3)
    return prose(
        f"{cap(who.they)} had {an(adjective)} {thing}. "
        + dice.one(
            f"{cap(who.they)} loved to {toy.use}.",
            f"Every day {who.they} {toy.used}.",
            f"It was a gift from {who.their} {dice.choice(RELATIVES)[0]}.",
        ),
        f"{one_day(dice)} {who.name} went {place.to} with the {thing}."
        if dice.random() < 0.6
        else f"{one_day(dice)} {who.name} played {place.at} and {toy.used}.",
        dice.one(
            f"But when {who.they} wanted to go home, the {thing} was gone.",
            f"Suddenly {who.they} saw that the {thing} was not there.",
            f"After a while, {who.they} could not find the {thing}.",
        ),
        feeling_bad(dice, who),
        f"{cap(who.they)} looked {spots[0]}, but it was not there."
        + dice.maybe(0.7, f" {cap(who.they)} looked {spots[1]}, but it was not there either."),
        dice.one(
            f"Then {who.their} friend {friend.name} came by.",
            f"Then {who.they} met {friend.name}, {an(friend.kind)}.",
            f"{friend.name} heard {who.them} and came to help.",
        ),
        dice.one(
            f'"What is wrong?" asked {friend.name}. "I have lost my {thing}," said {who.name}.',
            f'"Why are you sad?" asked {friend.name}. "I cannot find my {thing}," {who.they} said.',
            f'"I will help you look for the {thing}," said {friend.name}.',
        ),
        dice.one(
            f"They looked together, and {friend.name} found the {adjective} {thing} {spots[2]}.",
            f"{friend.name} looked {spots[2]}. There was the {adjective} {thing}!",
        ),
        feeling_good(dice, who),
        thanks(dice, who, friend),
    )


def storm(dice: Dice, who: Hero) -> str:
    """The weather changes a plan."""
    weather, place, food = dice.choice(WEATHERS), dice.choice(PLACES), dice.choice(FOODS)
    relative, they = dice.choice(RELATIVES)
    return prose(
        f"{one_day(dice)} {who.name} wanted to go {place.to}.",
        f"But it was {weather.now}. {cap(weather.past)}, and {weather.effect}."
        if weather.now not in ("sunny",)
        else f"But {weather.past}, and {weather.effect}.",
        dice.one(
            f'"You should wear {weather.wear}," said {who.their} {relative}.',
            f'{cap(who.their)} {relative} said, "Take {weather.wear} with you."',
            f"{cap(who.their)} {relative} gave {who.them} {weather.wear}.",
        ),
        dice.one(f"So {who.name} put it on and went out.", f"{who.name} listened and went out slowly.")
        if "gloves" not in weather.wear
        else f"So {who.name} put them on and went out.",
        f"{cap(place.at)}, {who.they} "
        + dice.one(
            f"met {an(dice.choice(FRIENDS_OF_THE_FOREST))} that was looking for {dice.one('food', 'its home', 'a dry place')}.",
            "was all alone, and it was very quiet.",
            "saw something that was small and bright.",
        ),
        dice.one(
            f"{who.name} waited for a long time.",
            f"After an hour, {who.they} sat down to rest.",
            f"{cap(who.they)} was not afraid.",
        ),
        f"At last {weather.after}.",
        dice.one(
            f"Then {who.name} went home and ate {food} with {who.their} {relative}.",
            f"When {who.they} came home, {who.their} {relative} had made {food}. {cap(they)} had been waiting.",
        ),
        feeling_good(dice, who),
    )


def rescue(dice: Dice, who: Hero) -> str:
    """A hurt animal is cared for and becomes a friend."""
    animal = dice.choice(
        [a for a in ANIMALS if a.noun in ("dog", "cat", "fox", "rabbit", "owl", "duck", "mouse", "squirrel", "frog")]
    )
    place, name = dice.choice(PLACES), dice.other(PET_NAMES, who.name)
    part = "wing" if animal.noun in ("owl", "duck") else dice.one("leg", "foot")
    days = dice.choice(NUMBERS[3:11])
    return prose(
        f"{one_day(dice)} {who.name} was {place.at}. {cap(who.they)} heard a small sound.",
        f"{cap(dice.choice(place.spots))} sat a little {animal.noun} with a hurt {part}.",
        dice.one(
            f'"Do not be afraid," said {who.name}. "I will help you."',
            f"The {animal.noun} could not move, and it was afraid.",
        ),
        f"{who.name} carried the {animal.noun} home and made a warm bed in a box.",
        f"Every day {who.they} gave it water and something to eat."
        + dice.maybe(0.5, f" {cap(who.they)} named it {name}."),
        dice.one(
            f"After {days} days, the {part} was strong again.", f"It took {days} days until the {part} was better."
        ),
        dice.one(
            f"{who.name} opened the door, and the {animal.noun} ran out. But the next morning it was back.",
            f"The {animal.noun} did not want to leave. It stayed with {who.name}.",
            f"{who.name} took the {animal.noun} back {place.to}. It looked at {who.them} one more time and went away.",
        ),
        feeling_good(dice, who),
    )


def learn(dice: Dice, who: Hero) -> str:
    """A skill is learned by trying again."""
    skill = dice.choice(SKILLS)
    relative, they = dice.choice(RELATIVES)
    return prose(
        dice.one(
            f"{who.name} wanted to learn how to {skill.verb}.",
            f"More than anything, {who.name} wanted to {skill.verb}.",
            f"{cap(who.their)} big dream was to {skill.verb}.",
        ),
        f"{one_day(dice)} {who.they} tried it for the first time, but {who.they} {skill.fail}.",
        feeling_bad(dice, who),
        dice.one(
            f'"I will never learn it," said {who.name}. "Yes, you will," said {who.their} {relative}. "Try again."',
            f'{cap(who.their)} {relative} said, "Nobody can do it at once. Do not give up."',
            f'"Can you show me?" {who.they} asked {who.their} {relative}. "Of course," {they} said.',
        ),
        f"So {who.name} tried again {dice.one('the next day', 'every morning', 'after lunch', 'every day after school')}.",
        dice.one(
            f"Slowly {who.they} got better.",
            "Each time it was a little easier.",
            f"{cap(who.they)} thought only of {skill.tool}.",
        ),
        f"{dice.one('After a week', 'At last', 'One month later', 'In the end')}, {who.they} {skill.success}.",
        feeling_good(dice, who),
        dice.maybe(0.5, f'"I knew that you could do it," said {who.their} {relative}.'),
    )


def share(dice: Dice, who: Hero) -> str:
    """Food is shared, and the kindness comes back."""
    food, place = dice.choice(FOODS), dice.choice(PLACES)
    friend = hero(dice, who.name)
    toy = dice.choice(TOYS)
    return prose(
        f"{one_day(dice)} {who.name} was {place.at} with a bag of {food}."
        if food in ("apples", "pears", "cookies", "pancakes", "berries", "carrots", "beans")
        else f"{one_day(dice)} {who.name} was {place.at} with some {food}.",
        f"{cap(who.they)} met {an(friend.kind)} named {friend.name}.",
        dice.one(
            f'"I am so hungry," said {friend.name}. "I have not eaten all day."',
            f"{friend.name} looked at the {food} and said nothing.",
        ),
        dice.one(
            f"{who.name} was hungry too, but {who.they} gave {friend.them} half of the {food}.",
            f'"Please take some of my {food}," said {who.name}.',
            f"{who.name} thought for a moment. Then {who.they} shared the {food}.",
        ),
        f"They sat {dice.choice(place.spots)} and ate together.",
        thanks(dice, friend, who),
        dice.one(
            f"The next day, {friend.name} came back with {an(toy.noun)}. It was for {who.name}!",
            f"A week later, {who.name} lost {who.their} way, and {friend.name} showed {who.them} the way home.",
            f"Since then, {who.name} and {friend.name} have been best friends.",
        ),
    )


def build(dice: Dice, who: Hero) -> str:
    """Something is built, breaks, is mended, and works."""
    project, friend = dice.choice(PROJECTS), hero(dice, who.name)
    noun = project.noun
    return prose(
        f"{one_day(dice)} {who.name} had an idea. {cap(who.they)} wanted to build {an(noun)}.",
        dice.one(
            f"{cap(who.they)} took {project.material} and worked all day.",
            f"{cap(who.they)} found {project.material} in the shed.",
            f"All {who.they} needed was {project.material}.",
        ),
        f"When the {noun} was ready, {who.name} tried it, but {project.breaks}.",
        feeling_bad(dice, who),
        dice.one(
            f'"Let me see," said {friend.name}, {who.their} friend. "I think I know what is wrong."',
            f'{friend.name} came to look. "Do not give up," {friend.they} said. "We can fix it."',
        ),
        f"Together they {project.mend}.",
        dice.one(f"This time it worked, and {project.works}.", f"Then they tried again. Now {project.works}."),
        feeling_good(dice, who),
        thanks(dice, who, friend),
    )


def journey(dice: Dice, who: Hero) -> str:
    """A walk to a far place, with a meeting on the way."""
    first, second = dice.sample(PLACES, 2)
    guide = creature(dice, who.name)
    number = dice.choice(NUMBERS[2:13])
    return prose(
        f"{one_day(dice)} {who.name} set out to see {dice.one('the sea', 'the mountains', 'the big city', 'the end of the river')}.",
        f"First {who.they} went {first.to}. Then {who.they} went {second.to}.",
        f"There {who.they} met {an(guide.kind)} named {guide.name}.",
        dice.one(
            f'"Where are you going?" asked {guide.name}. "I do not know the way," said {who.name}.',
            f'"It is a long way," said {guide.name}. "May I come with you?"',
        ),
        dice.one(
            f'"Follow me," said {guide.name}, and they walked for {number} hours.',
            f'"We can go together," said {who.name}. They walked for {number} days.',
        ),
        dice.one(
            "In the evening they made a fire and looked at the stars.",
            "When it grew dark, they slept under a tree.",
            "They sang songs, and the way did not seem long.",
        ),
        f"At last they {dice.one('reached the place', 'came to the top of a hill', 'arrived')}. "
        + dice.one(
            "It was more beautiful than they had thought.",
            "Everything was bright and wide.",
            "They stood there and could not say a word.",
        ),
        feeling_good(dice, who),
        f"Then they went home, and {who.name} told {who.their} {dice.choice(RELATIVES)[0]} everything.",
    )


def garden(dice: Dice, who: Hero) -> str:
    """A seed becomes a meal."""
    plant, dish = dice.choice(
        [
            ("carrot", "soup"),
            ("apple", "pie"),
            ("pumpkin", "soup"),
            ("bean", "stew"),
            ("tomato", "salad"),
            ("sunflower", "bread"),
            ("berry", "cake"),
        ]
    )
    relative, _ = dice.choice(RELATIVES)
    return prose(
        f"{one_day(dice)} {who.name} found {an(plant)} seed. {cap(who.they)} put it into the ground behind the house.",
        f"{dice.one('Every morning', 'Every day', 'Each evening')} {who.they} gave it water.",
        dice.one(
            f'"Nothing happens," said {who.name}. "Be patient," said {who.their} {relative}.',
            f"For a long time nothing happened, but {who.name} waited.",
        ),
        dice.one("Then a small green leaf came out of the ground.", "After two weeks, a tiny plant stood in the sun."),
        f"The sun shone, the rain fell, and the plant grew and grew. In {dice.one('summer', 'autumn')} it was taller than {who.name}.",
        f"{who.name} and {who.their} {relative} made {dish} for everyone in the village.",
        dice.one(
            f"It was the best {dish} that they had ever eaten.", "Everyone asked for more.", "Even the cat wanted some."
        ),
        feeling_good(dice, who),
    )


def noise(dice: Dice, who: Hero) -> str:
    """A fear in the night has a simple reason."""
    cause = dice.one(
        "an old branch at the window",
        "the cat on the roof",
        "a mouse in the kitchen",
        "the wind in the chimney",
        "a clock that ticked too fast",
        "rain on the glass",
        "a loose door",
    )
    return prose(
        dice.one(f"One night, {who.name} could not sleep.", f"One night, {who.name} woke up in the dark."),
        f"There was a strange {dice.one('noise', 'sound')}. Tap, tap, tap.",
        dice.one(f"{who.name} was afraid and hid under the blanket.", f"{cap(who.their)} heart beat very fast."),
        dice.one(
            f'"Who is there?" {who.they} asked. Nobody answered.', f'"I must be brave," {who.they} said to {who.self_}.'
        ),
        f"{cap(who.they)} took a lamp and walked slowly {dice.one('down the stairs', 'through the hall', 'to the window')}.",
        f"Then {who.they} saw what it was. It was only {cause}!",
        dice.one(f"{who.name} laughed and went back to bed.", f"{cap(who.they)} was not afraid any more."),
    )


def market(dice: Dice, who: Hero) -> str:
    """Coins are counted at a stall; the sums are right."""
    have = dice.randint(4, 15)
    cost = dice.randint(1, have - 1)
    left = have - cost
    toy = dice.choice(TOYS)
    colour = dice.choice(COLOURS)
    relative, _ = dice.choice(RELATIVES)
    coin = lambda n: f"{NUMBERS[n]} {'coin' if n == 1 else 'coins'}"
    return prose(
        f"{one_day(dice)} {who.name} went to the market. {cap(who.they)} had {coin(have)}.",
        f"There {who.they} saw {an(colour)} {toy.noun}. "
        + dice.one(
            f'"How much is it?" {who.they} asked. "It costs {coin(cost)}," said the man.', f"It cost {coin(cost)}."
        ),
        f"{who.name} paid for the {toy.noun}. Now {who.they} had {coin(left)} left.",
        dice.one(
            f"{cap(who.they)} gave the {colour} {toy.noun} to {who.their} {relative}.",
            f"{cap(who.they)} took the {toy.noun} home and {toy.used}.",
            f"With the rest {who.they} bought some {dice.choice(FOODS)}.",
        ),
        feeling_good(dice, who),
    )


def little_machine(dice: Dice, who: Hero) -> str:
    """A robot finds what it is good for."""
    friend = person(dice, who.name)
    task, result = dice.choice(
        [
            ("count the stars", "It counted until the morning and wrote the number in a book"),
            ("carry the bags", "It carried them up the hill and never got tired"),
            ("water the plants", "It went from pot to pot and did not forget a single one"),
            ("tell a story", "It spoke one word after another, and everyone listened"),
            ("read the letters", "It read them slowly, and the old people smiled"),
            ("light the lamps", "It lit every lamp in the street"),
        ]
    )
    name = dice.choice(PET_NAMES)
    return prose(
        dice.one(
            f"The little robot was called {name}. It lived in a workshop.",
            f"The little robot woke up. Its name was {name}.",
            f"The little robot {name} stood in a corner of the room.",
            "The little robot had two wheels and one bright eye.",
            f"Once upon a time, there was a little robot named {name}. It had a small lamp on its head.",
        ),
        dice.one('"What can I do?" it asked.', "It did not know what it was good for.", "It wanted to be useful."),
        f"{friend.name}, the {friend.kind.replace('young ', '')} who had built it, said, " + f'"You could {task}."',
        f"So the little robot began to {task}. {result}.",
        dice.one(
            f"{friend.name} was very proud of it.",
            f'"Well done," said {friend.name}.',
            "All the people in the village came to see it.",
        ),
        dice.one(
            "When its battery was low, it rolled back home and slept.",
            "That night it turned off its lamp and dreamed of numbers.",
            "The little robot was happy, if robots can be happy.",
        ),
    )


PLOTS = (lost, lost, storm, rescue, learn, learn, share, build, build, journey, garden, noise, market)
