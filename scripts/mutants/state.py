"""What one step leaves for the next, in `target/mutants`."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rewrite import Mutant
from sources import ROOT

FOLDER = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute() / "mutants"
TREE = FOLDER / "tree"
BUILD = FOLDER / "build"
MUTANTS = FOLDER / "mutants.json"
PROGRAMS = FOLDER / "programs.json"
REACHED = FOLDER / "reached.jsonl"
RESULTS = FOLDER / "results.jsonl"


@dataclass
class Program:
    """A test program, and the folder of its crate. `has_harness` is whether it knows the options of Rust's own, and so can run its tests one by one."""

    name: str
    path: str
    crate: str
    has_harness: bool


def write_mutants(mutants: list[Mutant]) -> None:
    _write(MUTANTS, [asdict(mutant) for mutant in mutants])


def read_mutants() -> list[Mutant]:
    return [Mutant(**fields) for fields in _read(MUTANTS, "instrument")]


def write_programs(programs: list[Program]) -> None:
    _write(PROGRAMS, [asdict(program) for program in programs])


def read_programs() -> list[Program]:
    return [Program(**fields) for fields in _read(PROGRAMS, "build")]


def read_lines(path: Path) -> list[dict]:
    """The objects of a file with one in each line; the last line may have been cut off when a run was stopped."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            pass
    return found


def keep_lines(path: Path, is_kept: Callable[[dict], bool]) -> None:
    """Removes the other lines of a file of objects."""
    if path.exists():
        _replace(path, "".join(json.dumps(line) + "\n" for line in read_lines(path) if is_kept(line)))


def append_line(path: Path, line: dict) -> None:
    """Adds an object, on a line of its own even if the last one was cut off."""
    with path.open("a+b") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(line).encode() + b"\n")


def _write(path: Path, value: object) -> None:
    _replace(path, json.dumps(value, indent=0))


def _replace(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def _read(path: Path, step: str) -> list[dict]:
    if not path.exists():
        raise SystemExit(f"{path} is missing: do the step `{step}` first")
    return json.loads(path.read_text())
