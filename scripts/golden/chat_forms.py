#!/usr/bin/env python3
"""Writes what templates make of conversations whose messages are in the form that each of them reads.

    venv/bin/python scripts/golden/chat_forms.py

The templates are small ones after published ones: some take the content of a message as a list of parts, some
have no place for a system message. Which, is written down here; the engine has to find out. Jinja for Python
renders them, set up as in transformers' apply_chat_template. Where a system message has no place, it stands in
front of the user's, on a line of its own, as llama.cpp puts it.
"""

import json
import pathlib

from chat_templates import environment

BOS, EOS = "<s>", "</s>"

PARTS_LOOP = "{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}"
ALTERNATE = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
)

# Per template: its source; the roles whose content is a list of parts; whether system messages have a place.
TEMPLATES = {
    "texts": ("{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}", "", True),
    "either, by type": (
        "{% for m in messages %}{{ m.role }}:{% if m.content is string %}{{ m.content }}{% else %}"
        + PARTS_LOOP
        + "{% endif %};{% endfor %}",
        "",
        True,
    ),
    "a loop over parts": (
        "{% for m in messages %}{{ m.role }}:" + PARTS_LOOP + ";{% endfor %}assistant:",
        "system user assistant",
        True,
    ),
    "the first part alone": (
        "{% for m in messages %}{{ m.role + ': ' + m['content'][0]['text'] }}\n{% endfor %}",
        "system user assistant",
        True,
    ),
    "selected parts": (
        "{% for m in messages %}{{ m.role | upper }} {% for c in m.content | selectattr('type', 'equalto', 'text') %}"
        "{{ c['text'] }}{% endfor %}{{ eos_token }}{% endfor %}",
        "system user assistant",
        True,
    ),
    "parts of the user alone": (
        "{% for m in messages %}{% if m.role == 'user' %}<u>" + PARTS_LOOP + "{% else %}<{{ m.role }}>"
        "{{ m.content | trim }}{% endif %}{% endfor %}",
        "user",
        True,
    ),
    "parts of all but the model": (
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<a>' + m.content }}{% else %}<{{ m.role }}>"
        + PARTS_LOOP
        + "{% endif %}{% endfor %}",
        "system user",
        True,
    ),
    "parts of the system alone": (
        "{% if messages[0].role == 'system' %}{{ '<sys>' + messages[0].content[0].text }}"
        "{% set messages = messages[1:] %}{% endif %}"
        "{% for m in messages %}{{ '<' + m.role + '>' + m.content }}{% endfor %}",
        "system",
        True,
    ),
    "system refused": (
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}",
        "",
        False,
    ),
    "roles alternate": (
        "{{ bos_token }}" + ALTERNATE + "{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
        "{% else %}{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}",
        "",
        False,
    ),
    "system left out": (
        "{% for m in messages %}{% if m.role == 'user' %}Q: {{ m.content }}\n{% elif m.role == 'assistant' %}"
        "A: {{ m.content }}\n{% endif %}{% endfor %}A:",
        "",
        False,
    ),
    "system refused, parts": (
        ALTERNATE + "<{{ m.role }}>" + PARTS_LOOP + "{% endfor %}",
        "user assistant",
        False,
    ),
    "system put before the first question": (
        "{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\\n\\n' %}"
        "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
        "{% for m in rest %}<{{ m.role }}>{{ first if loop.first else '' }}{{ m.content }}{% endfor %}",
        "",
        True,
    ),
    "a system message of its own": (
        "{% if messages[0].role != 'system' %}<system>You are helpful.{% endif %}"
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}",
        "",
        True,
    ),
    "a system message is wanted": (
        "{% if messages[0].role != 'system' %}{{ raise_exception('Begin with the system') }}{% endif %}"
        "{% for m in messages %}<{{ m.role }}>" + PARTS_LOOP + "{% endfor %}",
        "system user assistant",
        True,
    ),
    "tools are wanted": (
        "{% for tool in tools %}{{ tool.name }}{% endfor %}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
        "{% endfor %}",
        "",
        True,
    ),
    "a date is wanted": (
        "{{ strftime_now('%Y') | length }}{% for m in messages %}<{{ m.role }}>" + PARTS_LOOP + "{% endfor %}",
        "system user assistant",
        True,
    ),
}

SYSTEM = ("system", "You are terse.")
QUESTION = ("user", "What is 2 + 2?")
ANSWER = ("assistant", "4")
AGAIN = ("user", " Ünd 3 × \"3\"?\n")
CONVERSATIONS = [[QUESTION], [QUESTION, ANSWER, AGAIN], [SYSTEM, QUESTION], [SYSTEM, AGAIN, ANSWER, QUESTION]]


def main():
    env, golden = environment(), []
    for name, (source, with_parts, has_system) in TEMPLATES.items():
        template = env.from_string(source)
        for turns in CONVERSATIONS:
            given = list(turns)
            if given[0] == SYSTEM and not has_system:
                given = [("user", f"{SYSTEM[1]}\n{given[1][1]}")] + given[2:]
            elif given[0] != SYSTEM and name == "a system message is wanted":
                continue
            messages = [
                {"role": role, "content": [{"type": "text", "text": text}] if role in with_parts.split() else text}
                for role, text in given
            ]
            tools = [] if name == "tools are wanted" else None
            text = template.render(
                messages=messages, bos_token=BOS, eos_token=EOS, tools=tools, documents=None, add_generation_prompt=True
            )
            golden.append({"name": name, "template": source, "messages": turns, "text": text})
    repository = pathlib.Path(__file__).resolve().parents[2]
    path = repository / "crates/llm/tests/golden/chat_forms.json"
    path.write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
