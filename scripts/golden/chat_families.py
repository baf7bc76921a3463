#!/usr/bin/env python3
"""Writes what conversations look like in the formats that crates/llm/src/chat/families.rs has by name.

    venv/bin/pip download --no-deps --no-binary :all: llama-cpp-python==0.3.36 axolotl==0.19.0 trl==1.16.0
    (unpack the three)
    venv/bin/python scripts/golden/chat_families.py FOLDER

FOLDER has the unpacked source packages, which bring templates as they are published. Jinja for Python
renders them, set up as in transformers' apply_chat_template. Two families have no template there: theirs
is what llama.cpp writes for its own name of the family.
"""

import ast
import ctypes
import json
import pathlib
import re
import sys

import llama_cpp

from chat_templates import environment

BOS, EOS = "<s>", "</s>"

LLAMA = "llama_cpp_python-0.3.36/vendor/llama.cpp"
AXOLOTL = "axolotl-0.19.0/src/axolotl/utils/chat_templates/templates"
TRL = "trl-1.16.0/trl/chat_templates"

# Per family: a file, or the name of a case of llama.cpp's test of templates, or llama.cpp's name.
SOURCES = {
    "chatml": ("case", "teknium/OpenHermes-2.5-Mistral-7B"),
    "qwen-3": ("file", f"{LLAMA}/models/templates/Qwen-Qwen3-0.6B.jinja"),
    "llama-2": ("case", "TheBloke/FusionNet_34Bx2_MoE-AWQ"),
    "llama-3": ("case", "Llama-3"),
    "llama-4": ("file", f"{AXOLOTL}/llama4.jinja"),
    "mistral-v1": ("case", "mistralai/Mistral-7B-Instruct-v0.2 (mistralai 'v1' template with a system prompt)"),
    "mistral-v3": (
        "case",
        "Mistral-Large-Instruct-2407 (mistralai 'v3' template; modified to have system prompt at start)",
    ),
    "mistral-v3-tekken": (
        "case",
        "Mistral-Nemo-Instruct-2407 (mistralai 'v3-tekken' template; modified to have system prompt at start)",
    ),
    "mistral-v7": ("case", "mistralai/Mistral-Large-Instruct-2411 (mistralai 'v7' template)"),
    "mistral-v7-tekken": ("file", f"{AXOLOTL}/mistral_v7_tekken.jinja"),
    "gemma": ("file", f"{TRL}/gemma3.jinja"),
    "phi-3": ("file", f"{TRL}/phi3.jinja"),
    "phi-4": ("case", "phi-4"),
    "zephyr": ("llama.cpp", "zephyr"),
    "falcon-3": ("llama.cpp", "falcon3"),
    "deepseek": ("case", "deepseek-ai/deepseek-coder-33b-instruct"),
    "deepseek-2": ("case", "DeepSeek-V2"),
    "deepseek-3": ("file", f"{AXOLOTL}/deepseek_v3.jinja"),
    "command-r": ("case", "CohereForAI/c4ai-command-r-plus"),
    "glm-4": ("case", "ChatGLM4"),
    "granite": ("case", "ibm-granite/granite-3.0-8b-instruct"),
    "gpt-oss": ("file", f"{LLAMA}/models/templates/openai-gpt-oss-120b.jinja"),
    "vicuna": ("case", "eachadea/vicuna-13b-1.1"),
}

# Published templates that put a text of their own where the conversation has no system message, or, in
# llama-2's case, expect one.
NEEDS_SYSTEM = {"deepseek", "mistral-v7-tekken", "llama-2"}

# The published templates of these see to thoughts.
THINKS = {"qwen-3", "deepseek-3"}

SYSTEM = {"role": "system", "content": "You are terse."}
USER = {"role": "user", "content": "What is 2 + 2?"}
ANSWER = {"role": "assistant", "content": "4"}
THOUGHT = {"role": "assistant", "content": "<think>\nTwo and two.\n</think>\n\n4"}
AGAIN = {"role": "user", "content": " Ünd 3 × \"3\"?\n "}


def conversations(family):
    lists = [[SYSTEM, USER], [SYSTEM, USER, ANSWER, AGAIN], [SYSTEM, AGAIN, ANSWER, USER, ANSWER, USER]]
    if family not in NEEDS_SYSTEM:
        lists += [[USER], [USER, ANSWER, AGAIN]]
    if family in THINKS:
        lists.append([USER, THOUGHT, AGAIN])
    for messages in lists:
        yield {"messages": messages}
    if family == "qwen-3":
        for value in (True, False):
            yield {"messages": [USER], "enable_thinking": value}


def cases_of_llama(folder):
    source = (folder / LLAMA / "tests/test-chat-template.cpp").read_text()
    pattern = r'/\* \.name= \*/ "(.*?)",\n(?:\s*//.*\n)*\s*/\* \.template_str= \*/ (?:U8C\()?(".*")\)?,\n'
    return {name: ast.literal_eval(text) for name, text in re.findall(pattern, source)}


def by_llama(name, messages):
    chat = (llama_cpp.llama_chat_message * len(messages))()
    for place, message in zip(chat, messages):
        place.role, place.content = message["role"].encode(), message["content"].encode()
    buffer = ctypes.create_string_buffer(4096)
    length = llama_cpp.llama_chat_apply_template(name.encode(), chat, len(messages), True, buffer, len(buffer))
    assert 0 < length < len(buffer)
    # llama.cpp writes the end token of one member of the Zephyr family, the others' is their own.
    return buffer.raw[:length].decode().replace("<|endoftext|>", EOS)


def main():
    folder = pathlib.Path(sys.argv[1])
    env, of_llama, golden = environment(), cases_of_llama(folder), {}
    for family, (kind, source) in SOURCES.items():
        golden[family] = []
        for conversation in conversations(family):
            messages = conversation["messages"]
            if kind == "llama.cpp":
                text = by_llama(source, messages)
            else:
                template = (folder / source).read_text() if kind == "file" else of_llama[source]
                always = {"bos_token": BOS, "eos_token": EOS, "tools": None, "documents": None}
                context = always | conversation | {"add_generation_prompt": True}
                text = env.from_string(template).render(**context)
            if family == "llama-2":
                # This one leaves the first start token, not the others, to the tokenizer.
                text = BOS + text
            turns = [[message["role"], message["content"]] for message in messages]
            case = {"messages": turns, "text": text}
            if "enable_thinking" in conversation:
                case["enable_thinking"] = conversation["enable_thinking"]
            golden[family].append(case)
    repository = pathlib.Path(__file__).resolve().parents[2]
    path = repository / "crates/llm/tests/golden/chat_families.json"
    path.write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
