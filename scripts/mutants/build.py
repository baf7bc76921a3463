"""Compiles the tests with all mutants inside, in rounds: what does not compile is left out in the next one."""

import json
import os
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

from rewrite import Range
from sources import PACKAGES, TESTED_BY, crate_of
from state import BUILD, TREE, Program, read_mutants, write_mutants, write_programs
from tree import write

# A mutant may be what a lint denies, such as an addition that overflows whenever it is computed.
ENVIRONMENT = {"CARGO_TARGET_DIR": str(BUILD), "CARGO_INCREMENTAL": "0", "RUSTFLAGS": "--cap-lints=allow"}


def build(jobs: int) -> None:
    """Compiles until no error is left. A mutant with one has the status `uncompiled` from then on."""
    mutants = read_mutants()
    by_id = {mutant.id: mutant for mutant in mutants if mutant.id}
    crates = {crate_of(mutant.file) for mutant in mutants}
    packages = sorted({PACKAGES[tested_by] for crate in crates for tested_by in TESTED_BY[crate]})
    for round_number in range(1, 100):
        ranges, _ = write(mutants)
        messages = list(_cargo(packages, jobs))
        told = [message["message"] for message in messages if message["reason"] == "compiler-message"]
        errors = [message for message in told if message["level"] == "error"]
        if not errors and messages[-1].get("success"):
            write_programs(list(_programs(messages)))
            print(f"round {round_number}: compiles")
            return
        rank, blamed = to_blame(errors, ranges)
        if not blamed:
            raise SystemExit("\n".join(error["rendered"] for error in errors) or "cargo failed")
        if rank == 2:
            print("all mutants of a function are left out, for each of:", *(error["rendered"] for error in errors), sep="\n")
        for number in blamed:
            by_id[number].status = "uncompiled"
        write_mutants(mutants)
        print(f"round {round_number}: {len(errors)} errors, {len(blamed)} mutants left out", flush=True)


def to_blame(errors: list[dict], ranges: dict[str, list[Range]]) -> tuple[int, set[int]]:
    """The mutants in which these errors are, and their rank. Those of a higher rank wait: they may be consequences."""
    by_rank: dict[int, set[int]] = {}
    for error in errors:
        spans = list(_spans(error))
        found = [place for span, is_main in spans if is_main for place in _innermost(span, ranges)]
        if not any(place.rank < 2 for place in found):
            # What it is about may be named beside, such as a value that does not live long enough.
            beside = [place for span, is_main in spans if not is_main for place in _beside(span, ranges)]
            found = beside or found
        for place in found:
            by_rank.setdefault(place.rank, set()).update(place.mutants)
    return min(by_rank.items(), key=lambda item: item[0], default=(0, set()))


def _spans(error: dict) -> Iterator[tuple[dict, bool]]:
    """Where an error is, and whether mainly: of code that a macro wrote, where the macro is used."""
    for span in error["spans"]:
        is_primary = span["is_primary"]
        while span["expansion"]:
            span = span["expansion"]["span"]
        yield span, is_primary


def _innermost(span: dict, ranges: dict[str, list[Range]]) -> list[Range]:
    around = [place for place in _places(span, ranges) if place.start <= span["byte_start"] and span["byte_end"] <= place.end]
    return sorted(around, key=lambda place: (place.rank, place.end - place.start))[:1]


def _beside(span: dict, ranges: dict[str, list[Range]]) -> list[Range]:
    """The innermost place around it, or else those inside of it."""
    inside = [place for place in _places(span, ranges) if span["byte_start"] <= place.start and place.end <= span["byte_end"]]
    return [place for place in _innermost(span, ranges) if place.rank < 2] or inside


def _places(span: dict, ranges: dict[str, list[Range]]) -> list[Range]:
    return ranges.get(os.path.relpath(TREE / span["file_name"], TREE), [])


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
        yield Program(f"{folder.relative_to(TREE)}:{name}", message["executable"], str(folder.relative_to(TREE)), has_harness)
