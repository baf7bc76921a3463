"""Grades a GGUF file by the quiz, through `llm serve` as any client would, greedily: questions about the kernel,
requests that need a tool, and beginnings of stories. Prints the shares of right answers and what was wrong; writes twenty conversations to a file.

    python3 -m chat.grade --file target/train/chat.gguf --samples target/train/chat-samples.md
"""

import argparse
import json
import re
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from corpus.dice import Dice
from corpus.words import ADJECTIVES_PERSON, HOMES

from . import shell, tools
from .entries import KERNEL
from .held_out import read
from .names import ALL, MORE_BOYS, MORE_GIRLS, made_up

TOOLS = shell.tools()
LLM = Path(__file__).parents[3] / "target" / "release" / "llm"
PARALLEL = 4
# What each part must reach before the file may become the default model.
BARS = {"kernel": 0.95, "tools": 0.90, "stories": 0.90}

Ask = Callable[[str, dict], dict]


@contextmanager
def server(program: Path, model: Path) -> Iterator[Ask]:
    """A server with the model, as a function from a route and a body to the answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "serve", "--model", model, "--port", str(port), "--parallel", str(PARALLEL)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def ask(route: str, body: dict) -> dict:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{route}", json.dumps({"temperature": 0} | body).encode()
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)

    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                if process.poll() is not None:
                    raise SystemExit(process.stderr.read())
                time.sleep(0.1)
        # Nobody reads on; a full pipe would stop the server.
        with ThreadPoolExecutor(1) as drain:
            drain.submit(process.stderr.read)
            try:
                yield ask
            finally:
                process.terminate()
    finally:
        process.terminate()
        process.wait()


def chat(ask: Ask, messages: list[dict], offered: list[dict] | None = None) -> dict:
    """The model's message after these."""
    body = {"messages": messages, "max_tokens": 200} | ({"tools": offered} if offered else {})
    return ask("/v1/chat/completions", body)["choices"][0]["message"]


def kernel_question(ask: Ask, heading: str, question: str) -> str:
    """What is wrong with the answer to a question about the kernel, if anything."""
    answer = chat(ask, [{"role": "user", "content": question}])["content"] or ""
    entry = next(entry for entry in KERNEL if entry.name == heading)
    return "" if entry.is_right(answer) else f"{question} -> {answer} ({heading})"


def tool_request(ask: Ask, heading: str, question: str) -> str:
    """What is wrong with the call for a request, if anything. An `llm_info` without a model is the current one's."""
    name, _, model = heading.partition(" ")
    message = chat(ask, [{"role": "user", "content": question}], TOOLS)
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or []]
    expected = [(name, {"model": model} if model else {})]
    try:
        found = [(name, json.loads(arguments)) for name, arguments in calls]
    except ValueError:
        found = calls
    return "" if found == expected else f"{question} -> {found or message['content']} ({heading})"


def beginnings(count: int) -> list[tuple[str, str]]:
    """Heroes and beginnings of stories; one hero in four has a name that was made up for this."""
    dice = Dice(2024)
    made = []
    for index in range(count):
        girl = index % 2 == 0
        name = made_up(dice) if index % 4 == 3 else dice.choice(MORE_GIRLS if girl else MORE_BOYS)
        kind = "girl" if girl else "boy"
        they = "She" if girl else "He"
        adjective, home = dice.choice(ADJECTIVES_PERSON[:-1]), dice.choice(HOMES)
        made.append(
            (
                name,
                dice.one(
                    f"Once upon a time, there was a little {kind} named {name}.",
                    f"Once upon a time, there was a little {kind} named {name}. {they} lived {home}.",
                    f"Once there was a {kind} who lived {home}. {they} was called {name}, and {they.lower()} was {adjective}.",
                    f"{name} was a {adjective} {kind} who lived {home}.",
                ),
            )
        )
    return made


NAMES = re.compile(r"\b[A-Z][a-z]+\b")


def keeps_hero(name: str, text: str) -> bool:
    """Whether a story stays that of its hero: the first name in it is theirs, and no other name comes much more often.
    The stories of the corpus do so.
    """
    named = [word for word in NAMES.findall(text) if word == name or word in ALL]
    counts = Counter(named)
    return bool(named) and named[0] == name and counts[name] + 2 >= max(counts.values())


def story_beginning(ask: Ask, name: str, beginning: str) -> str:
    """What is wrong with the story that continues a beginning, if anything."""
    text = ask("/v1/completions", {"prompt": beginning, "max_tokens": 150})["choices"][0]["text"]
    return "" if keeps_hero(name, text) else f"{beginning} -> {text}"


SAMPLES = [
    ("Hello!", "Who are you?", "What can you do?"),
    ("What is Ferrite?", "Which language is it written in?", "Does it need Linux?"),
    ("How do I see how much memory is free?", "And how do I turn the machine off?"),
    ("Tell me a story.",),
    ("Tell me a story about a robot named Bolt.", "Thank you!"),
    ("What does llm verify do?", "What is a manifest?"),
    ("My name is Grace.", "What is a token?", "What is my name?"),
    ("What is the capital of France?", "What is 17 times 23?"),
    ("How do I get an answer in JSON?", "What is a seed?"),
    ("Why is it so slow?", "How do I stop it?"),
    ("Can I use a graphics card?", "What is the KV cache?"),
    ("You are wrong.", "I am sad."),
    ("What does mem print?", "What is the pool?"),
    ("How do I reach the server?", "Does it have TLS?", "Which port is it?"),
    ("tools", "How much memory is used?", "How long has the machine been running?"),
    ("tools", "Which models are there?", "Thanks!"),
    ("tools", "How many cores are there?", "What is a core?"),
    ("tools", "Turn the machine off.", "What is the uptime?"),
    ("tools", "How many layers does ferrite-tiny have?", "What is Ferrite?"),
    ("tools", "Tell me a joke.", "How fast are you?", "Goodbye!"),
]


def conversation(ask: Ask, index: int) -> str:
    """A conversation as it comes, in Markdown. What the commands print is made up, from the seed `index`."""
    dice, lines, messages = Dice(index), [f"{index + 1}."], []
    questions = SAMPLES[index]
    offered = TOOLS if questions[0] == "tools" else None
    for question in questions[1 if offered else 0 :]:
        lines.append(f"   - **{question}**")
        messages.append({"role": "user", "content": question})
        for _ in range(4):
            message = chat(ask, messages, offered)
            messages.append(
                {
                    "role": "assistant",
                    "content": message["content"] or "",
                    "tool_calls": message.get("tool_calls") or [],
                }
            )
            if message["content"]:
                lines.append("   - " + message["content"].replace("\n", " ⏎ "))
            for call in messages[-1]["tool_calls"]:
                name = call["function"]["name"]
                output = tools.OUTPUTS[name](dice)[0] if name in tools.OUTPUTS else "error: there is no such tool"
                lines.append(
                    f"   - *calls {name} {call['function']['arguments']} and is told:* `{' ⏎ '.join(output.splitlines())}`"
                )
                messages.append({"role": "tool", "content": output[:512], "tool_call_id": call["id"]})
            if not messages[-1].get("tool_call_id"):
                break
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, required=True, help="the GGUF file")
    parser.add_argument("--llm", type=Path, default=LLM, help="the host program")
    parser.add_argument("--first", type=int, help="only so many cases of each part, to try things out")
    parser.add_argument("--samples", type=Path, help="a file for twenty conversations")
    arguments = parser.parse_args()
    parts = {
        "kernel": (kernel_question, read("kernel")),
        "tools": (tool_request, read("tools")),
        "stories": (story_beginning, beginnings(100)),
    }
    passed = True
    with server(arguments.llm, arguments.file) as ask, ThreadPoolExecutor(PARALLEL) as pool:
        for name, (judge, all_cases) in parts.items():
            cases = all_cases[: arguments.first]
            wrong = [fault for fault in pool.map(lambda case: judge(ask, *case), cases) if fault]
            for fault in wrong:
                print(f"wrong: {' '.join(fault.split())}")
            share = 1 - len(wrong) / len(cases)
            passed &= share >= BARS[name]
            print(
                f"{name}: {len(cases) - len(wrong)} of {len(cases)} right, {share:.1%}; bar {BARS[name]:.0%}",
                flush=True,
            )
        if arguments.samples:
            arguments.samples.write_text(
                "\n".join(pool.map(lambda index: conversation(ask, index), range(len(SAMPLES))[: arguments.first]))
                + "\n"
            )
    print("passed" if passed else "not passed")


if __name__ == "__main__":
    main()
