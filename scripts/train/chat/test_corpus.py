"""What must hold of the chat model's corpus and quiz. Needs nothing but Python:

cd scripts/train && python3 -m unittest chat.test_corpus
"""

import re
import unittest

from corpus.dice import Dice

from . import shell, tools
from .documents import MAX_RESULT_BYTES, TOOLS, document, tale
from .entries import KERNEL, TALK, UNKNOWN
from .grade import beginnings, keeps_hero
from .held_out import HeldOut, bag, read

COMMANDS = shell.summaries()
# Those of the host program, which the facts name with `llm` as its name.
OF_HOST = {f"llm {path.stem}" for path in (shell.COMMANDS_RS.parents[3] / "crates/llm-cli/src/commands").glob("*.rs")}
DOCUMENTS = 1500


class Facts(unittest.TestCase):
    """The hand-written facts."""

    def test_every_entry_has_a_name_of_its_own_and_can_be_asked_and_answered(self) -> None:
        entries = KERNEL + TALK + UNKNOWN
        self.assertEqual(len({entry.name for entry in entries}), len(entries))
        for entry in entries:
            self.assertTrue(entry.answers, entry.name)
            self.assertTrue(entry.commands or entry.nouns or entry.wishes or entry.questions, entry.name)
            self.assertEqual(any("{}" in question for question in entry.questions), bool(entry.fillings), entry.name)

    def test_every_answer_about_the_kernel_is_right_by_its_own_rule_and_by_no_other_commands(self) -> None:
        for entry in KERNEL:
            self.assertTrue(entry.needed and all(word for words in entry.needed for word in words), entry.name)
            for answer in entry.answers:
                self.assertTrue(entry.is_right(answer), f"{entry.name}: {answer}")
        of_commands = [entry for entry in KERNEL if entry.commands]
        for entry in of_commands:
            for other in of_commands:
                # `mem` is part of `mem map`: what is not told apart by words is told apart by `never:`.
                if other is not entry and not any(other.commands[0] in answer for answer in entry.answers):
                    for answer in entry.answers:
                        self.assertFalse(other.is_right(answer), f"{answer} is right for {other.name}")

    def test_facts_name_only_commands_that_there_are(self) -> None:
        groups = {name.split()[0] for name in COMMANDS}
        named = 0
        for entry in KERNEL + TALK + UNKNOWN:
            for command in entry.commands:
                self.assertIn(command, COMMANDS)
            for text in re.findall(r"`([^`]+)`", " ".join(entry.answers)):
                words = text.split()
                if words[0] in groups and text != "llm":
                    named += 1
                    found = {words[0], " ".join(words[:2])} & (COMMANDS.keys() | OF_HOST)
                    self.assertTrue(found, f"{entry.name}: {text}")
        self.assertGreater(named, 100)
        for _, command in tools.DENIED:
            self.assertTrue({command, command.split()[0]} & COMMANDS.keys(), command)

    def test_every_command_of_the_shell_is_explained(self) -> None:
        explained = {command for entry in KERNEL for command in entry.commands} | {"exit", "quit"}
        self.assertEqual(COMMANDS.keys() - explained, set())


class Tools(unittest.TestCase):
    """The requests that need a tool."""

    def test_there_is_an_output_for_every_tool_that_the_kernel_offers(self) -> None:
        names = {tool["function"]["name"] for tool in TOOLS}
        self.assertEqual(names, tools.OUTPUTS.keys())
        self.assertEqual({asked.tool for asked in tools.ASKED}, names)

    def test_answers_say_numbers_of_the_output(self) -> None:
        dice = Dice(1)
        for asked in tools.ASKED:
            for _ in range(20):
                output, topics = tools.OUTPUTS[asked.tool](dice)
                self.assertLessEqual(len(output), MAX_RESULT_BYTES)
                for answer in topics[asked.topic]:
                    for number in re.findall(r"\d+\.\d+", answer):
                        self.assertIn(number, output, answer)


class Quiz(unittest.TestCase):
    """The held-out quiz."""

    def test_it_has_the_questions_that_it_promises(self) -> None:
        for name, count in (("kernel", 300), ("tools", 100)):
            questions = [question for _, question in read(name)]
            self.assertEqual((len(questions), len(set(questions))), (count, count))
        names = {entry.name for entry in KERNEL}
        self.assertEqual({heading for heading, _ in read("kernel")}, names)
        self.assertLessEqual({heading.split()[0] for heading, _ in read("tools")}, tools.OUTPUTS.keys())
        self.assertEqual(len(set(beginnings(100))), 100)

    def test_no_question_of_it_is_in_the_corpus_nor_one_much_like_it(self) -> None:
        held_out, dice, asked = HeldOut(), Dice(3), 0
        quiz = {bag(question) for name in ("kernel", "tools") for _, question in read(name)}
        for _ in range(DOCUMENTS):
            for message in document(dice, (1, 2, 3), (16, 6, 3, 60, 15)).get("messages", []):
                if message["role"] == "user":
                    asked += 1
                    self.assertNotIn(bag(message["content"]), quiz)
                    self.assertFalse(held_out.has(message["content"]), message["content"])
        self.assertGreater(asked, DOCUMENTS)
        self.assertTrue(held_out.has("which command completes the text that I started"))
        self.assertFalse(held_out.has("How do I continue a text?"))

    def test_stories_of_the_corpus_keep_their_hero_and_others_are_noticed(self) -> None:
        dice, kept, noticed = Dice(4), 0, 0
        for _ in range(200):
            who, text = tale(dice)
            rest = " ".join(text[text.index(who.name) + len(who.name) :].split()[:110])
            kept += keeps_hero(who.name, rest)
            noticed += not keeps_hero(who.name, rest.replace(who.name, "Karl" if who.name != "Karl" else "Rosa"))
        self.assertGreaterEqual(kept, 196)
        self.assertGreaterEqual(noticed, 190)


if __name__ == "__main__":
    unittest.main()
