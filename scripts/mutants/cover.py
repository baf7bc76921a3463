"""Runs each test alone without a mutant and writes down which mutants it reaches and how long it takes."""

import struct
import tempfile
from pathlib import Path

from programs import in_parallel, run, tests_of
from state import REACHED, Program, append_line, keep_lines, read_lines, read_programs

MAX_CPU_S = 600


def cover(jobs: int) -> None:
    """Continues where an earlier run stopped. Tests that fail without a mutant are named and not used, until a later run."""
    keep_lines(REACHED, lambda line: line["how"] == "passed")
    known = {(line["program"], line["test"]) for line in read_lines(REACHED)}
    tests = [(program, test) for program in read_programs() for test in tests_of(program)]
    missing = [(program, test) for program, test in tests if (program.name, test) not in known]
    for line in in_parallel(jobs, lambda pair: _reached(*pair), missing):
        append_line(REACHED, line)
        if line["how"] != "passed":
            print(f"not used, {line['how']} without a mutant: {line['program']} {line['test']}", flush=True)
    print(f"{len(tests)} tests, {len(missing)} of them run now")


def _reached(program: Program, test: str) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reached"
        outcome = run(program, [test], MAX_CPU_S, {"FERRITE_MUTANTS_REACHED": str(path)})
        numbers = sorted(number for (number,) in struct.iter_unpack("<I", path.read_bytes())) if path.exists() else []
    return {"program": program.name, "test": test, "how": outcome.how, "cpu_s": round(outcome.cpu_s, 3), "reached": numbers}
