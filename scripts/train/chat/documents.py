"""Documents of the corpus: conversations with and without tools, stories, a few plain questions and answers."""

import json

from corpus.cast import Hero, closing, opening
from corpus.dice import Dice, an, prose
from corpus.memory import memory_game
from corpus.plots import PLOTS
from corpus.stories import story
from corpus.words import BOYS, COLOURS, DRINKS, FOODS, GIRLS, HOBBIES, PET_NAMES

from . import phrasing, shell, tools
from .entries import KERNEL, TALK, UNKNOWN, Entry
from .held_out import HeldOut
from .names import ALL, made_up, renamed

HELD_OUT = HeldOut()
TOOLS = shell.tools()

# The kernel cuts what its commands print in a turn to half as many bytes as the context has tokens.
MAX_RESULT_BYTES = 512

# A message of the user and the answer to it.
Exchange = list[dict]

SYSTEM = (
    "You are a helpful assistant. / You are Ferrite, a small language model inside a kernel. / Answer briefly. / Be brief. / "
    "You are an assistant in the shell of a kernel. / Be kind. / You help people to use the Ferrite kernel. / "
    "You are a friendly assistant. / Answer in one sentence. / Use the tools if you need them. / Be polite and short. / "
    "You are a language model. / Help the user. / Answer questions about Ferrite. / You answer questions about this machine."
).split(" / ")


def new(make, dice: Dice) -> str:
    """A question that the quiz does not have."""
    while HELD_OUT.has(question := make(dice)):
        pass
    return question


def said(question: str, answer: str) -> Exchange:
    """An exchange without tools."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def of_entry(dice: Dice, entries: list[Entry]) -> Exchange:
    """A question of the facts and an answer to it."""
    entry = dice.choice(entries)
    return said(new(entry.question, dice), dice.choice(entry.answers))


def tale(dice: Dice) -> tuple[Hero, str]:
    """A story that has been asked for, and its hero."""
    kind = dice.one(
        "girl",
        "girl",
        "girl",
        "boy",
        "boy",
        "boy",
        "robot",
        "owl",
        "fox",
        "cat",
        "dog",
        "rabbit",
        "mouse",
        "bear",
        "duck",
    )
    name = dice.choice({"girl": GIRLS, "boy": BOYS}.get(kind, PET_NAMES))
    they, them, their = {
        "girl": ("she", "her", "her"),
        "boy": ("he", "him", "his"),
        "robot": ("it", "it", "its"),
    }.get(kind) or dice.choice([("he", "him", "his"), ("she", "her", "her")])
    who = Hero(name, kind, they, them, their)
    return who, prose(opening(dice, who), dice.choice(PLOTS)(dice, who), dice.maybe(0.8, closing(dice, who)))


STORY_REQUESTS = (
    "Tell me a story. / Please tell me a story. / Can you tell me a story? / Tell me a short story. / A story, please. / "
    "I would like to hear a story. / Do you know a story? / Make up a story. / Write a story. / Another story, please."
).split(" / ")
STORY_WISHES = (
    "Tell me a story about {}. / Write a short story about {}. / Can you tell a story about {}? / I want a story about {}. / "
    "Make up a story about {}. / A story about {}, please. / Do you know a story about {}?"
).split(" / ")


def asked_story(dice: Dice) -> Exchange:
    """A story on demand, often about someone who is named."""
    who, text = tale(dice)
    about = dice.one("", "", an(who.kind), who.name, f"{an(who.kind)} named {who.name}", f"{who.name} the {who.kind}")
    request = dice.choice(STORY_WISHES).format(about) if about else dice.choice(STORY_REQUESTS)
    request, text = renamed(dice, request + "\0" + text).split("\0")
    return said(phrasing.hasty(dice, request) if dice.random() < 0.2 else request, text)


def about_user(dice: Dice) -> tuple[Exchange, Exchange]:
    """What a user says of themselves, and the question about it later."""
    name = made_up(dice) if dice.random() < 0.3 else dice.choice(ALL)
    food, colour, drink, hobby = dice.choice(FOODS), dice.choice(COLOURS), dice.choice(DRINKS), dice.choice(HOBBIES)[0]
    number = str(dice.randint(2, 99))
    return dice.choice(
        [
            (
                said(
                    dice.one(
                        f"My name is {name}.",
                        f"I am {name}.",
                        f"Hello, I am {name}.",
                        f"Call me {name}.",
                        f"Hi! My name is {name}",
                    ),
                    dice.one(
                        f"Nice to meet you, {name}!", f"Hello, {name}! What would you like to know?", f"Hello, {name}!"
                    ),
                ),
                said(
                    dice.one(
                        "What is my name?", "Who am I?", "Do you know my name?", "What am I called?", "what's my name"
                    ),
                    dice.one(f"Your name is {name}.", f"You are {name}.", f"{name}, as you told me."),
                ),
            ),
            (
                said(
                    dice.one(f"I like {food}.", f"My favourite food is {food}."),
                    dice.one(f"I have never eaten {food}, but it sounds good.", f"Then I wish you a lot of {food}."),
                ),
                said(
                    dice.one("What do I like?", "What do I like to eat?", "What is my favourite food?"),
                    f"You like {food}.",
                ),
            ),
            (
                said(f"My favourite colour is {colour}.", f"{colour.capitalize()} is a nice colour."),
                said(
                    dice.one("What is my favourite colour?", "Which colour do I like?"),
                    f"Your favourite colour is {colour}.",
                ),
            ),
            (
                said(
                    f"I like {hobby}.",
                    dice.one("That sounds nice.", f"I would like to see you {hobby}.".replace("my", "your")),
                ),
                said(dice.one("What do I like?", "What is my hobby?"), f"You like {hobby.replace('my', 'your')}."),
            ),
            (
                said(
                    dice.one(f"Remember the number {number}.", f"The number is {number}."),
                    dice.one(f"{number}. I will remember it.", f"All right: {number}."),
                ),
                said(
                    dice.one("What was the number?", "Which number did I say?"),
                    dice.one(f"The number was {number}.", f"{number}."),
                ),
            ),
            (
                said(f"I am drinking {drink}.", f"Enjoy your {drink}!"),
                said(dice.one("What am I drinking?", "What do I drink?"), f"You are drinking {drink}."),
            ),
        ]
    )


def echoed(dice: Dice) -> Exchange:
    """Words that are to be said again. Copying is learned late, and names of heroes and models must be copied: here it is all there is
    to learn, with names at the beginning of a text, after a blank and in quotes.
    """
    words = [
        dice.choice((made_up, made_up, tools.model_name, tools.model_name, lambda dice: dice.choice(ALL)))(dice)
        for _ in range(dice.choice((1, 1, 2, 3, 5)))
    ]
    text = dice.one(" ", ", ").join(words)
    request, answer = dice.choice(
        [
            (f"Repeat after me: {text}", text),
            (f"Say {text}.", f"{text}."),
            (f"{text}. Say that again.", f"{text}."),
            (f'Write "{text}".', text),
            (f"Put {text} in quotes.", f'"{text}"'),
            (f'What is in the quotes? "{text}"', f"In the quotes is {text}."),
            (f"{text}: what is the first word?", f"The first word is {words[0]}."),
            (f"What is the last word of {text}?", f"The last word is {words[-1]}."),
        ]
    )
    return said(request, answer)


def persona(dice: Dice) -> tuple[str, Exchange]:
    """A system message that gives the model a name, and a question that shows that it was read."""
    name = made_up(dice) if dice.random() < 0.3 else dice.choice(ALL)
    system = dice.one(
        f"Your name is {name}.", f"You are {name}, a friendly assistant.", f"You are called {name}.", f"You are {name}."
    )
    question = dice.one(
        "Who are you?", "What is your name?", "Hello! Who are you?", "What are you called?", "who are you"
    )
    return system, said(question, dice.one(f"I am {name}.", f"My name is {name}.", f"I am {name}. How can I help you?"))


def denied(dice: Dice) -> Exchange:
    """A request to do what only the user can do."""
    requests, command = dice.choice(tools.DENIED)
    answer = dice.one(
        f"I cannot do that. Type `{command}`.",
        f"That is up to you: type `{command}`.",
        f"I may not do that myself. Type `{command}`.",
    )
    return said(new(lambda dice: phrasing.plain(dice, dice.choice(requests)), dice), answer)


def look(dice: Dice, offered: set[str]) -> Exchange:
    """A question about the state of the machine: the model looks if it may, and otherwise says which command tells."""
    asked = dice.choice(tools.ASKED)
    model = tools.model_name(dice)

    def question(dice: Dice) -> str:
        text = dice.choice(asked.questions)
        return phrasing.plain(dice, text).replace("{}", model)

    text = new(question, dice)
    command = asked.tool.replace("_", " ")
    if asked.tool not in offered:
        return said(
            text,
            dice.one(
                f"I cannot see that from here. Type `{command}`.",
                f"Type `{command}`; it tells you.",
                f"`{command}` shows it.",
            ),
        )
    name = model if asked.tool == "llm_info" and model.lower() in text.lower() else ""
    output, topics = tools.OUTPUTS[asked.tool](dice, name) if name else tools.OUTPUTS[asked.tool](dice)
    calls = [{"function": {"name": asked.tool, "arguments": {"model": name} if name else {}}}]
    outputs, answers = [output], [dice.choice(topics[asked.topic])]
    other = dice.choice(tools.ASKED)
    if dice.random() < 0.08 and other.tool in offered and other.tool != asked.tool:
        more = dice.choice([question for question in other.questions if "{}" not in question])
        both = text.rstrip("?. ") + dice.one("? ", ", and ", "? And ") + more[:1].lower() + more[1:]
        output, topics = tools.OUTPUTS[other.tool](dice)
        if len(outputs[0] + output) <= MAX_RESULT_BYTES and not HELD_OUT.has(both):
            text = both
            calls.append({"function": {"name": other.tool, "arguments": {}}})
            outputs.append(output)
            answers.append(dice.choice(topics[other.topic]))
    return [
        {"role": "user", "content": text},
        {"role": "assistant", "content": "", "tool_calls": calls},
        *({"role": "tool", "content": output} for output in outputs),
        {"role": "assistant", "content": " ".join(answers)},
    ]


def conversation(dice: Dice, lengths: tuple[int, ...]) -> dict:
    """A conversation without tools."""
    messages: list[dict] = []
    later: Exchange = []
    turns = dice.choice(lengths)
    if dice.random() < 0.25:
        messages.append({"role": "system", "content": " ".join(dice.some(SYSTEM, 1, 2))})
    elif dice.random() < 0.08:
        system, exchange = persona(dice)
        messages += [{"role": "system", "content": system}] + exchange
    if turns > 1 and dice.random() < 0.35:
        first, later = about_user(dice)
        messages += first
        turns -= 1
    for _ in range(turns):
        kind = dice.choices(range(7), (66, 10, 6, 4, 3, 4, 7))[0]
        match kind:
            case 0:
                messages += of_entry(dice, KERNEL)
            case 1:
                messages += of_entry(dice, TALK)
            case 2:
                messages += of_entry(dice, UNKNOWN)
            case 3:
                messages += look(dice, set())
            case 4:
                messages += denied(dice)
            case 5:
                messages += asked_story(dice)
            case _:
                messages += echoed(dice)
    return {"messages": messages + later}


def with_tools(dice: Dice, lengths: tuple[int, ...]) -> dict:
    """A conversation in which the model may look at the machine."""
    offered = TOOLS if dice.random() < 0.4 else dice.some(TOOLS, 1, len(TOOLS))
    names = {tool["function"]["name"] for tool in offered}
    messages: list[dict] = []
    if dice.random() < 0.2:
        messages.append({"role": "system", "content": dice.choice(SYSTEM)})
    for _ in range(dice.choice(lengths)):
        kind = dice.choices(range(5), (62, 16, 8, 8, 6))[0]
        match kind:
            case 0:
                messages += look(dice, names)
            case 1:
                messages += of_entry(dice, KERNEL)
            case 2:
                messages += of_entry(dice, TALK)
            case 3:
                messages += denied(dice)
            case _:
                messages += of_entry(dice, UNKNOWN)
    return {"messages": messages, "tools": offered}


def document(dice: Dice, lengths: tuple[int, ...], mixture: tuple[int, ...]) -> dict:
    """One document: `text`, or `messages` and perhaps `tools`. `lengths` are numbers of exchanges in a conversation, `mixture` has
    the weights of the kinds of documents.
    """
    kind = dice.choices(range(5), mixture)[0]
    match kind:
        case 0:
            return {"text": renamed(dice, story(dice)[0])}
        case 1:
            question, answer = of_entry(dice, KERNEL + TALK)
            return {"text": question["content"] + "\n" + answer["content"]}
        case 2:
            return {"text": renamed(dice, memory_game(dice)[0])}
        case 3:
            return conversation(dice, lengths)
        case _:
            return with_tools(dice, lengths)


def key(document: dict) -> str:
    """What tells one document from another."""
    return json.dumps(document.get("text") or document["messages"])
