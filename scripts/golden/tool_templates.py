"""Compares published chat templates with tools: see scripts/check-templates."""

import json
import pathlib
import subprocess
import sys

from chat_tools import BOS, CONVERSATIONS, EOS, PARALLEL, TOOLS, with_text
from chat_templates import NOW, environment


def main():
    program, folder = sys.argv[1:]
    env = environment()
    files = sorted(pathlib.Path(folder).rglob("*.jinja"))
    conversations = CONVERSATIONS + [PARALLEL]
    requests, texts = [], []
    for file in files:
        source = file.read_text()
        template = env.from_string(source)
        for messages in conversations:
            for tools in (TOOLS, None):
                expected = []
                for form in (messages, [with_text(message) for message in messages]):
                    if "<|channel|>" in source:
                        form = [
                            m | {"thinking": m["reasoning_content"]} if "reasoning_content" in m else m for m in form
                        ]
                    try:
                        text = template.render(
                            messages=form,
                            tools=tools,
                            # SmolLM 3's name for them.
                            xml_tools=tools,
                            documents=None,
                            bos_token=BOS,
                            eos_token=EOS,
                            add_generation_prompt=True,
                            enable_thinking=True,
                            # What llama.cpp gives as well.
                            date_string="26 Jul 2024",
                            datetime="Jul 26 2024",
                        )
                        expected.append(text)
                    except Exception:
                        pass
                requests.append(
                    {
                        "template": source,
                        "messages": [with_text(message) for message in messages],
                        "tools": [tool["function"] for tool in tools or []],
                        "now": NOW,
                    }
                )
                texts.append((file, expected))
    lines = "\n".join(map(json.dumps, requests))
    output = subprocess.run([program], input=lines, capture_output=True, text=True, check=True).stdout
    answers = list(map(json.loads, output.splitlines()))
    assert len(answers) == len(texts)
    of_file = {}
    for (file, expected), answer, request in zip(texts, answers, requests):
        same = answer.get("text") in expected
        of_file.setdefault(file, []).append((same, expected, answer, request))
    n_same = 0
    for file, cases in of_file.items():
        last = cases[0][2]
        n = sum(same for same, *_ in cases)
        # In words, where the template cannot show tools: nothing to compare with.
        n_in_words = sum(not same and "in_words" in answer for same, _, answer, _ in cases)
        n_refused = sum(not expected and "error" in answer for _, expected, answer, _ in cases)
        n_same += n
        print(
            f"{file.stem[:48]:48} {last.get('form', '-'):16} {last.get('reasoning') or '':24}"
            f" same {n:2} in words {n_in_words:2} refused {n_refused:2} of {len(cases)}"
        )
        for same, expected, answer, request in cases:
            if not same and "in_words" not in answer and (expected or "text" in answer):
                text = answer.get("text") or answer["error"]
                if not expected:
                    print(f"    Python refuses, the engine does not: …{text[-160:]!r}")
                    break
                at = next((i for i, (a, b) in enumerate(zip(text, expected[0])) if a != b), 0)
                print(f"    expected …{expected[0][max(0, at - 40):at + 120]!r}")
                print(f"    found    …{text[max(0, at - 40):at + 120]!r}")
                break
    print(f"{len(of_file)} templates, {len(texts)} conversations, {n_same} texts the same")


if __name__ == "__main__":
    main()
