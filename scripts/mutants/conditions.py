"""Whether what has an attribute `#[cfg(…)]` is part of a library compiled for tests' use on a host with Linux on x86-64."""

import re

FACTS = {
    'target_arch="x86_64"', 'target_os="linux"', 'target_family="unix"', 'target_endian="little"', 'target_pointer_width="64"',
    'target_has_atomic="64"', 'panic="unwind"', 'feature="std"', 'feature="default"', 'feature="llm-transformer"',
    "unix", "debug_assertions",
}  # fmt: skip


def holds(condition: str) -> bool:
    """Evaluates what is between the parentheses of `cfg(…)`. `test` does not hold: tests are not mutated."""
    tokens = re.findall(r'[A-Za-z_]\w*|"[^"]*"|[=(),]', condition)
    value, rest = _predicate(tokens)
    assert not rest, condition
    return value


def _predicate(tokens: list[str]) -> tuple[bool, list[str]]:
    name, rest = tokens[0], tokens[1:]
    if rest[:1] == ["="]:
        return f"{name}={rest[1]}" in FACTS, rest[2:]
    if rest[:1] != ["("]:
        return name in FACTS or name == "true", rest
    values = []
    rest = rest[1:]
    while rest[0] != ")":
        value, rest = _predicate(rest)
        values.append(value)
        if rest[0] == ",":
            rest = rest[1:]
    return {"all": all(values), "any": any(values), "not": not any(values)}[name], rest[1:]


def is_compiled(attributes: list[str]) -> bool:
    """Whether an item with these attributes, each with its brackets, is compiled, and no test."""
    for attribute in attributes:
        text = re.sub(r"^#!?\[\s*|\s*\]$", "", attribute)
        if found := re.fullmatch(r"cfg\s*\((.*)\)", text, re.DOTALL):
            if not holds(found[1]):
                return False
        elif re.fullmatch(r"(\w+::)*test", text):
            return False
    return True
