"""Runs, for each mutant, the tests that reach it, until one fails."""

from collections import defaultdict
from dataclasses import dataclass

from programs import failed_tests, in_parallel, run, tests_of
from rewrite import Mutant
from sources import TESTED_BY, crate_of, is_chosen
from state import REACHED, RESULTS, Program, append_line, read_lines, read_mutants, read_programs

# A batch runs in one process. It costs some milliseconds to start one, and a batch runs to its end even if its first test fails.
BATCH_CPU_S = 0.3
# How much longer than without a mutant a test may take.
TIMES, MORE_S = 5, 2


@dataclass
class Batch:
    """Tests of one program, and the CPU's time that they take without a mutant."""

    program: Program
    tests: list[str]
    cpu_s: float


class Coverage:
    """Which tests reach a mutant, without those that take longer than `longest_s`."""

    def __init__(self, longest_s: float, crates: set[str]) -> None:
        """For mutants of these crates."""
        testing = {tested_by for crate in crates for tested_by in TESTED_BY[crate]}
        self.programs = {program.name: program for program in read_programs() if program.crate in testing}
        self.tests_by_site: dict[int, list[tuple[float, str, str]]] = defaultdict(list)
        lines = [line for line in read_lines(REACHED) if line["program"] in self.programs]
        if len(lines) < sum(len(tests_of(program)) for program in self.programs.values()):
            raise SystemExit("not every test has shown yet what it reaches: do the step `cover` first")
        for line in lines:
            if line["how"] == "passed" and line["cpu_s"] <= longest_s:
                for site in line["reached"]:
                    self.tests_by_site[site].append((line["cpu_s"], line["program"], line["test"]))

    def batches(self, mutant: Mutant) -> list[Batch]:
        """The tests that reach its place, fastest first."""
        testing = TESTED_BY[crate_of(mutant.file)]
        batches: list[Batch] = []
        last: dict[str, Batch] = {}
        for cpu_s, program, test in sorted(self.tests_by_site[mutant.site]):
            if self.programs[program].crate not in testing:
                continue
            batch = last.get(program)
            if batch is None or batch.cpu_s + cpu_s > BATCH_CPU_S:
                batch = last[program] = Batch(self.programs[program], [], 0)
                batches.append(batch)
            batch.tests.append(test)
            batch.cpu_s += cpu_s
        return sorted(batches, key=lambda batch: batch.cpu_s)


def try_all(paths: list[str], jobs: int, longest_s: float) -> None:
    """Tries those mutants of these files and folders that have no result yet."""
    tried = {line["mutant"] for line in read_lines(RESULTS)}
    missing = [mutant for mutant in read_mutants() if not mutant.status and is_chosen(mutant.file, paths) and mutant.key not in tried]
    coverage = Coverage(longest_s, {crate_of(mutant.file) for mutant in missing})
    print(f"{len(missing)} mutants to try", flush=True)
    results = in_parallel(jobs, lambda mutant: (mutant, _try(mutant, coverage)), missing)
    for n_done, (mutant, result) in enumerate(results, 1):
        append_line(RESULTS, {"mutant": mutant.key} | result)
        if result.get("n_tests"):
            print(f"survived {result['n_tests']}: {mutant.name}", flush=True)
        if n_done % 100 == 0:
            print(f"{n_done} of {len(missing)}", flush=True)


def _try(mutant: Mutant, coverage: Coverage) -> dict:
    """What becomes of a mutant, and by which test or after how many."""
    n_tests = 0
    for batch in coverage.batches(mutant):
        outcome = run(batch.program, batch.tests, TIMES * batch.cpu_s + MORE_S, {"FERRITE_MUTANT": str(mutant.id)})
        if outcome.how != "passed":
            by = (failed_tests(outcome.output) or batch.tests)[0]
            return {"outcome": "killed" if outcome.how == "failed" else outcome.how, "by": f"{batch.program.name} {by}".strip()}
        n_tests += len(batch.tests)
    return {"outcome": "survived", "n_tests": n_tests}
