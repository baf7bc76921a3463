"""Ways to put a question: frames around a noun, a command or a wish; other words for some words; haste."""

import re

from corpus.dice import Dice, cap

ABOUT_NOUN = (
    "What is {}? / What's {}? / Explain {}. / Tell me about {}. / What does {} mean? / Define {}. / Describe {}. / {}? / "
    "Can you explain {}? / Could you tell me what {} is? / I do not understand {}. / What is meant by {}? / "
    "What is the role of {}? / What is the purpose of {}? / What is the point of {}? / What is {} good for? / "
    "What is {} used for? / Why is there {}? / What does {} do? / How does {} work? / In simple words, what is {}? / "
    "What do people mean by {}? / Tell me more about {}. / {}, what is that? / What kind of thing is {}? / "
    "Please explain {} to me. / Can you explain what {} is? / Do you know what {} is? / What do you know about {}? / "
    "I have never heard of {}. / Explain to me what {} is. / What exactly is {}? / Give me an explanation of {}."
).split(" / ")

ABOUT_COMMAND = (
    "What does {} do? / What does the command {} do? / What is {}? / What is {} for? / Explain {}. / What does {} show? / "
    "What does {} print? / When do I use {}? / How do I use {}? / Tell me about {}. / {}? / What happens when I type {}? / "
    "Why would I type {}? / What is the command {} good for? / Describe the command {}. / How does {} work? / "
    "What is the purpose of {}? / What is the effect of {}? / What is {} meant for? / What will {} tell me? / "
    "What comes out of {}? / What gets printed by {}? / What information does {} give? / What can I learn from {}? / "
    "What is {} supposed to do? / What is the use of {}? / What do I get when I enter {}? / What is in the output of {}? / "
    "Explain the command {}. / What do I see when I type {}? / I do not understand {}. / What can I do with {}? / {}"
).split(" / ")

ABOUT_WISH = (
    "How do I {}? / How do I {}? / How can I {}? / How to {}? / How would I {}? / What do I type to {}? / "
    "Which command do I use to {}? / What is the command to {}? / I want to {}. / I would like to {}. / "
    "I need to {}. How? / Can you tell me how to {}? / Show me how to {}. / Tell me how to {}. / "
    "Is there a command to {}? / Is there a way to {}? / What should I do to {}? / Explain how to {}. / "
    "Which command lets me {}? / What must I do to {}? / How does one {}? / I am trying to {}. / Can I {}? / "
    "With which command do I {}? / By what command do I {}? / If I want to {}, what do I enter? / What do I enter to {}? / "
    "My goal is to {}. / In order to {}, what should I type? / How does one {} here? / What lets me {}? / "
    "Suppose I want to {}. / Where do I {}? / How am I supposed to {}? / I wish to {}. / How might I {}? / "
    "What can I use to {}? / How could I {}? / Help me {}. / What is the best way to {}? / How is it possible to {}?"
).split(" / ")

# Frames for a wish in the third person.
ABOUT_DEED = (
    "Which command {}? / Which command {}? / What {}? / Is there a command that {}? / I need something that {}. / "
    "What is the command that {}? / Tell me the command that {}. / Which of the commands {}? / What do I type that {}? / "
    "I am looking for a command that {}. / Name the command that {}. / Is there anything that {}?"
).split(" / ")
# How a command does it, where that is not the verb with an s.
DEEDS = {
    "see": "shows",
    "find out": "tells",
    "get": "gives",
    "learn": "explains",
    "do": "does",
    "have": "lets",
    "look": "looks",
}

BEFORE = (
    "Please / Hey, / Excuse me, / Hello! / Quick question: / Ferrite, / So, / Also, / And / One more question: / "
    "I have a question. / I wonder: / Tell me, / Hi, / Okay. / Thanks. / Sorry, / Now, / Well, / Just tell me: / "
    "I am new to this. / I have a problem. / I use a laptop. / A friend asked me this. / I am a bit lost. / "
    "I cannot find it. / I have been trying for an hour. / Something is unclear to me. / I read the manual. / "
    "I am working in the shell. / I booted the machine. / I have two models. / Suppose I am a beginner. / "
    "My boss wants to know. / I am curious. / Maybe you know: / In short: / Let us see. / I forgot the command. / "
    "By the way,"
).split(" / ")
AFTER = ("please / thanks / Thank you. / I am new here. / Thanks! / Can you help? / I forgot.").split(" / ")

# Each word of a line may stand for the others.
SYNONYMS = [
    "see / view / look at / check / display",
    "list / show / see / print",
    "show / display / print",
    "machine / computer / system / box",
    "find out / learn / figure out / know",
    "model / language model",
    "memory / RAM",
    "cores / CPU cores / processors / CPUs",
    "disks / drives",
    "disk / drive",
    "free / available / left / unused",
    "stop / interrupt / halt / end / cancel",
    "get / obtain",
    "change / set / adjust / modify",
    "answer / reply / response",
    "answers / replies / responses",
    "conversation / chat / dialogue",
    "graphics card / GPU / video card",
    "big / large",
    "download / fetch",
    "supported / allowed / possible",
    "needed / required",
    "measure / test / determine",
    "quick / fast",
    "speed / performance / rate",
    "begin / start",
    "error / mistake",
    "remove / delete",
    "choose / select / pick",
    "use / try",
    "text / prompt / sentence",
    "happens / is done",
    "program / software",
    "restart / reboot",
    "document / page",
    "kinds / types / sorts",
    "which / what",
]
OTHERS: dict[str, list[str]] = {}
for row in SYNONYMS:
    words = row.split(" / ")
    for word in words:
        OTHERS.setdefault(word, []).extend(other for other in words if other != word)
WORDS = re.compile(r"\b(" + "|".join(sorted(OTHERS, key=len, reverse=True)) + r")\b")


def deed(wish: str) -> str:
    """The wish as something that a command does: `list the models` as `lists the models`."""
    for verb, does in DEEDS.items():
        if wish.startswith(verb + " "):
            return does + wish[len(verb) :]
    verb, space, rest = wish.partition(" ")
    if verb.endswith("y") and verb[-2] not in "aeiou":
        verb = verb[:-1] + "ie"
    return verb + ("es" if verb.endswith(("ch", "sh", "s", "x")) else "s") + space + rest


def reworded(dice: Dice, text: str) -> str:
    """The text with other words for some of its words; text in backticks stays."""
    parts = text.split("`")
    parts[::2] = [
        WORDS.sub(lambda match: dice.choice(OTHERS[match[0]]) if dice.random() < 0.3 else match[0], part)
        for part in parts[::2]
    ]
    return "`".join(parts)


def hasty(dice: Dice, text: str) -> str:
    """The text as it might be typed: without capitals or marks, with words around it, with a slip."""
    if dice.random() < 0.15:
        before = dice.choice(BEFORE)
        text = before + " " + (text if before[-1] in "!.:" else text[:1].lower() + text[1:])
    if dice.random() < 0.06:
        text += " " + dice.choice(AFTER)
    words = text.split(" ")
    if len(words) > 4 and dice.random() < 0.08:
        del words[dice.randrange(len(words) - 1)]
        text = " ".join(words)
    if dice.random() < 0.15:
        text = text.lower()
    if dice.random() < 0.2:
        text = text.rstrip("?.! ")
    if dice.random() < 0.05 and len(text) > 12:
        at = dice.randrange(3, len(text) - 2)
        text = (
            text[:at]
            + dice.one("", text[at] * 2, text[at + 1] + text[at])
            + text[at + (1 if dice.random() < 0.5 else 2) :]
        )
    return text


def plain(dice: Dice, text: str) -> str:
    """A whole question."""
    return hasty(dice, reworded(dice, text) if dice.random() < 0.6 else text)


def about_noun(dice: Dice, noun: str) -> str:
    """A question about a noun."""
    return hasty(dice, cap(dice.choice(ABOUT_NOUN).format(noun)))


def about_command(dice: Dice, command: str) -> str:
    """A question about a command."""
    frame = dice.choice(ABOUT_COMMAND)
    return hasty(dice, frame.format(f"`{command}`" if dice.random() < 0.4 else command))


def about_wish(dice: Dice, wish: str) -> str:
    """A question how to do something."""
    if dice.random() < 0.3:
        return hasty(dice, dice.choice(ABOUT_DEED).format(deed(reworded(dice, wish))))
    return hasty(dice, cap(dice.choice(ABOUT_WISH).format(reworded(dice, wish))))
