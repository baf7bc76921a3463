"""What became of the mutants, in Markdown."""

from collections import Counter

from sources import MODULES, is_chosen, module_of
from state import RESULTS, read_lines, read_mutants

COLUMNS = ["mutants", "killed", "timed out", "survived", "not reached", "not tried", "not compiled", "in constants"]
STATUSES = {"const": "in constants", "uncompiled": "not compiled"}


def report(paths: list[str]) -> str:
    """A table by module; a list of those that survived; by function, how many no test reaches and how many are in constants."""
    results = {line["mutant"]: line for line in read_lines(RESULTS)}
    mutants = [mutant for mutant in read_mutants() if is_chosen(mutant.file, paths)]
    counts: dict[str, Counter] = {}
    survivors = []
    by_function: dict[str, Counter] = {"not reached": Counter(), "in constants": Counter()}
    for mutant in mutants:
        result = results.get(mutant.key, {})
        outcome = STATUSES.get(mutant.status) or result.get("outcome", "not tried")
        if outcome == "survived" and result["n_tests"] == 0:
            outcome = "not reached"
        counts.setdefault(module_of(mutant.file), Counter()).update(["mutants", outcome])
        if outcome == "survived":
            tests = "1 test passes" if result["n_tests"] == 1 else f"{result['n_tests']} tests pass"
            survivors.append(f"- `{mutant.file}:{mutant.line}:{mutant.column}`: {_quoted(mutant.what)}; {tests}")
        if outcome in by_function:
            by_function[outcome][mutant.file, mutant.function] += 1
    lines = _table(counts)
    if survivors:
        lines += ["", "## Survived", "", *survivors]
    for outcome, functions in by_function.items():
        if functions:
            lines += ["", f"## {outcome.capitalize()}", ""]
            lines += [f"- `{file}`: {f'`{function}`' if function else 'outside of functions'}, {n}" for (file, function), n in functions.items()]
    return "\n".join(lines)


def _table(counts: dict[str, Counter]) -> list[str]:
    order = sorted(counts, key=lambda name: list(MODULES).index(name) if name in MODULES else len(MODULES))
    rows = [[f"`{name}`", *(str(counts[name][column]) for column in COLUMNS)] for name in order]
    total = sum(counts.values(), Counter())
    rows.append(["all", *(str(total[column]) for column in COLUMNS)])
    head = ["module", *COLUMNS]
    return [f"| {' | '.join(row)} |" for row in (head, ["---", *["---:"] * len(COLUMNS)], *rows)]


def _quoted(what: str) -> str:
    """With the change as code."""
    return f"`` {what} ``" if "`" in what else f"`{what}`"
