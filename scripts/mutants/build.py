"""Compiles the tests with all mutants inside, in rounds: what does not compile is left out in the next one."""

import json
import os
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

from rewrite import Mutant, Range
from sources import PACKAGES, crate_of
from state import BUILD, TREE, Program, read_mutants, write_mutants, write_programs
from tree import write

# A mutant may be what a lint denies, such as an addition that overflows whenever it is computed.
ENVIRONMENT = {"CARGO_TARGET_DIR": str(BUILD), "CARGO_INCREMENTAL": "0", "RUSTFLAGS": "--cap-lints=allow"}


def build(jobs: int) -> None:
    """Compiles until no error is left. A mutant with one has the status `uncompiled` from then on."""
    mutants = read_mutants()
    by_id = {mutant.id: mutant for mutant in mutants if mutant.id}
    packages = sorted({package for mutant in mutants for package in PACKAGES[crate_of(mutant.file)]})
    for round_number in range(1, 100):
        ranges, _ = write(mutants)
        messages = list(_cargo(packages, jobs))
        errors = [message["message"] for message in messages if message["reason"] == "compiler-message" and message["message"]["level"] == "error"]
        if not errors and messages[-1].get("success"):
            write_programs(list(_programs(messages)))
            print(f"round {round_number}: compiles")
            return
        blamed = to_blame(errors, ranges)
        if not blamed:
            raise SystemExit("\n".join(error["rendered"] for error in errors) or "cargo failed")
        for number in blamed:
            by_id[number].status = "uncompiled"
        write_mutants(mutants)
        print(f"round {round_number}: {len(errors)} errors, {len(blamed)} mutants left out", flush=True)


def to_blame(errors: list[dict], ranges: dict[str, list[Range]]) -> set[int]:
    """The mutants in which these errors are. Where some are certain, the others wait: they may be consequences."""
    by_rank: dict[int, set[int]] = {}
    for error in errors:
        found = [place for span in _spans(error) for place in _around(span, ranges)]
        if found:
            surest = min(found, key=lambda place: (place.rank, place.end - place.start))
            by_rank.setdefault(surest.rank, set()).update(surest.mutants)
    return by_rank[min(by_rank)] if by_rank else set()


def _spans(error: dict) -> Iterator[dict]:
    """Where an error is: of code that a macro wrote, where the macro is used."""
    for span in error["spans"]:
        if not span["is_primary"]:
            continue
        while span["expansion"]:
            span = span["expansion"]["span"]
        yield span


def _around(span: dict, ranges: dict[str, list[Range]]) -> list[Range]:
    places = ranges.get(os.path.relpath(TREE / span["file_name"], TREE), [])
    return [place for place in places if place.start <= span["byte_start"] and span["byte_end"] <= place.end]


def _cargo(packages: list[str], jobs: int) -> Iterator[dict]:
    command = ["cargo", "build", "--tests", "--message-format=json", f"-j{jobs}", "--keep-going"]
    command += [option for package in packages for option in ("-p", package)]
    process = subprocess.Popen(command, cwd=TREE, env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("{"):
            yield json.loads(line)
    process.wait()


def _programs(messages: list[dict]) -> Iterator[Program]:
    for message in messages:
        if message["reason"] != "compiler-artifact" or not message["executable"] or not message["profile"]["test"]:
            continue
        folder = Path(message["manifest_path"]).parent
        tests = tomllib.loads((folder / "Cargo.toml").read_text()).get("test", [])
        name = message["target"]["name"]
        has_harness = all(test.get("harness", True) for test in tests if test["name"] == name)
        yield Program(f"{folder.relative_to(TREE)}:{name}", message["executable"], str(folder), has_harness)
