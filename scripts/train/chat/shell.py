"""The kernel's shell, as its sources describe it: the commands, and those that a model may run."""

import re
from pathlib import Path

COMMANDS_RS = Path(__file__).parents[3] / "kernel" / "src" / "shell" / "commands"


def summaries() -> dict[str, str]:
    """All commands of a released kernel, and what each does, in the words of the shell's help."""
    found: dict[str, str] = {}
    for_tests = re.findall(r'#\[cfg\(feature = "selftest"\)\]\nmod (\w+);', (COMMANDS_RS / "mod.rs").read_text())
    for path in sorted(COMMANDS_RS.glob("*.rs")):
        if path.stem in for_tests:
            continue
        for name, summary in re.findall(
            r'name: "([a-z ]+)",\s+usage.*?summary: "((?:[^"\\]|\\.)*)"', path.read_text(), re.DOTALL
        ):
            found[name] = summary
    found.update((name, found["poweroff"]) for name in ("exit", "quit"))
    return found


def tools() -> list[dict]:
    """The tools that `llm chat --tools` offers, as requests describe tools."""
    text = (COMMANDS_RS / "tools.rs").read_text()
    names = re.search(r"pub const NAMES: .* = \[(.*?)\]", text, re.DOTALL)[1]
    names = [name.strip().strip('"').replace("LLM_INFO", "llm_info") for name in names.split(",") if name.strip()]
    known = summaries()
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": known[name.replace("_", " ")],
                "parameters": {
                    "type": "object",
                    "properties": {"model": {"type": "string", "description": "the name of a loaded model"}}
                    if name == "llm_info"
                    else {},
                },
            },
        }
        for name in names
    ]
