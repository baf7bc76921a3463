#!/usr/bin/env python3
"""Compares the jinja crate with Jinja for Python on chat templates as models bring them.

    cargo build -p jinja --example render
    python3 scripts/golden/chat_templates.py target/debug/examples/render TEMPLATE_OR_FOLDER...

Folders are searched for *.jinja. The source packages of llama-cpp-python (vendor/llama.cpp/models/
templates), axolotl and trl from the Python package index hold some 180 of them. Each is rendered for
a number of conversations, by Jinja set up as in transformers' apply_chat_template and by the crate;
texts must be equal, and where one refuses the other must too. Needs jinja2.
"""

import datetime
import json
import pathlib
import subprocess
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

NOW = 1721995200


class Generation(jinja2.ext.Extension):
    """`{% generation %}`, which marks what the model writes and changes nothing."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_keep"), [], [], body).set_lineno(line)

    def _keep(self, caller):
        return caller()


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(
            x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    # Without a time zone, as datetime.now() gives it.
    now = datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).replace(tzinfo=None)
    env.globals["strftime_now"] = now.strftime
    return env


def conversations():
    user = {"role": "user", "content": "  What is 2 + 2?\n"}
    system = {"role": "system", "content": "You are terse. "}
    answer = {"role": "assistant", "content": "4"}
    thinking = {"role": "assistant", "content": "<think>\nTwo and two.\n</think>\n\n4"}
    reasoned = {"role": "assistant", "content": "4", "reasoning_content": "Two and two."}
    again = {"role": "user", "content": "Ünd 3 × \"3\"? <|im_end|> {{ x }}"}
    parts = {"role": "user", "content": [{"type": "text", "text": "Hello "}, {"type": "text", "text": "there"}]}
    image = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}
    arguments = {"place": "Zürich", "days": 3, "hourly": True, "units": None, "at": [1.5, {"a": "b"}]}
    call = {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "call00001", "type": "function", "function": {"name": "weather", "arguments": arguments}}
        ],
    }
    text_call = json.loads(json.dumps(call))
    text_call["tool_calls"][0]["function"]["arguments"] = json.dumps(arguments)
    result = {"role": "tool", "tool_call_id": "call00001", "name": "weather", "content": '{"sky": "blue"}'}
    tools = [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "The weather.\nToday & tomorrow.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "place": {"type": "string", "description": "Where", "enum": ["Zürich", "Rome"]},
                        "days": {"type": "integer", "default": 1},
                        "at": {"type": "array", "items": {"type": "number"}},
                        "more": {"type": "object", "properties": {"x": {"type": ["string", "null"]}}},
                    },
                    "required": ["place"],
                },
                "return": {"type": "object"},
            },
        },
        {"type": "function", "function": {"name": "clock", "description": "", "parameters": {}}},
    ]
    lists = {
        "user": [user],
        "system": [system, user],
        "turns": [system, user, answer, again],
        "answered": [user, answer],
        "thinking": [user, thinking, again],
        "reasoned": [user, reasoned, again],
        "parts": [parts],
        "image": [image],
        "assistant first": [answer, user],
        "two users": [user, user],
        "empty": [],
    }
    for name, messages in lists.items():
        for prompt in (True, False):
            yield f"{name}, prompt {prompt}", {"messages": messages, "add_generation_prompt": prompt}
    for flag in ("enable_thinking", "thinking"):
        for value in (True, False):
            context = {"messages": [system, user], "add_generation_prompt": True, flag: value}
            yield f"{flag} {value}", context
    yield "tools", {"messages": [system, user], "add_generation_prompt": True, "tools": tools}
    yield "no system, tools", {"messages": [user], "add_generation_prompt": True, "tools": tools}
    for name, called in (("call", call), ("text call", text_call)):
        messages = [user, called, result]
        yield name, {"messages": messages, "add_generation_prompt": True, "tools": tools}
        messages = messages + [answer, again, called, result, result]
        yield f"{name}s", {"messages": messages, "add_generation_prompt": True, "tools": tools}
        yield f"{name} without tools", {"messages": messages, "add_generation_prompt": False}
    documents = [{"title": "One", "text": "First"}, {"title": "Two", "text": "Second"}]
    yield "documents", {"messages": [user], "add_generation_prompt": True, "documents": documents}


def main():
    program, *paths = sys.argv[1:]
    files = []
    for path in map(pathlib.Path, paths):
        files += sorted(path.rglob("*.jinja")) if path.is_dir() else [path]
    env = environment()
    cases = []
    for file in files:
        source = file.read_text()
        try:
            template = env.from_string(source)
        except jinja2.TemplateError as error:
            print(f"{file} is no template for Jinja: {error}")
            continue
        for name, context in conversations():
            # What apply_chat_template always gives.
            always = {"bos_token": "<s>", "eos_token": "</s>", "tools": None, "documents": None}
            context = always | context
            try:
                expected = {"text": template.render(**context)}
            except Exception as error:
                expected = {"error": f"{type(error).__name__}: {error}"}
            cases.append((file, name, source, context, expected))
    requests = "\n".join(
        json.dumps({"template": source, "context": context, "now": NOW}) for _, _, source, context, _ in cases
    )
    answers = subprocess.run([program], input=requests, capture_output=True, text=True, check=True).stdout
    answers = [json.loads(line) for line in answers.splitlines()]
    assert len(answers) == len(cases)
    bad_files = {}
    n_texts = 0
    for (file, name, _, _, expected), found in zip(cases, answers):
        n_texts += "text" in expected
        # Python's filters yield generators, which some of its functions cannot take; ours are lists.
        is_about_generators = "generator" in expected.get("error", "")
        if ("text" in expected or "text" in found) and expected != found and not is_about_generators:
            bad_files.setdefault(file, []).append((name, expected, found))
    for file, bad in bad_files.items():
        name, expected, found = bad[0]
        print(f"{file}: {len(bad)} conversations differ, the first: {name}")
        print(f"  expected {str(expected)[:400]}")
        print(f"  found    {str(found)[:400]}")
    print(
        f"{len(files)} templates, {len(cases)} renderings, {n_texts} of them not refused;"
        f" {len(bad_files)} templates differ"
    )
    sys.exit(bool(bad_files))


if __name__ == "__main__":
    main()
