"""What became of the mutants, in Markdown."""

from collections import Counter

from rewrite import Mutant
from sources import MODULES, is_chosen, module_of
from state import RESULTS, read_lines, read_mutants

COLUMNS = ["mutants", "killed", "timed out", "survived", "not tried", "not compiled", "in constants"]
STATUSES = {"const": "in constants", "uncompiled": "not compiled"}


def report(paths: list[str]) -> str:
    """A table by module, and lists of those that survived and of those in constants."""
    results = {line["mutant"]: line for line in read_lines(RESULTS)}
    mutants = [mutant for mutant in read_mutants() if is_chosen(mutant.file, paths)]
    counts: dict[str, Counter] = {}
    survivors: list[tuple[Mutant, dict]] = []
    constants: Counter = Counter()
    for mutant in mutants:
        result = results.get(mutant.key, {"outcome": "not tried"})
        outcome = STATUSES.get(mutant.status, result["outcome"])
        counts.setdefault(module_of(mutant.file), Counter()).update(["mutants", outcome])
        if outcome == "survived":
            survivors.append((mutant, result))
        if outcome == "in constants":
            constants[mutant.file, mutant.what.rpartition(" in ")[2] if " in " in mutant.what else "a constant"] += 1
    lines = _table(counts)
    if survivors:
        lines += ["", "## Survivors", ""]
        for mutant, result in survivors:
            tests = f"{result['n_tests']} tests reach it" if result["n_tests"] else "no test reaches it"
            lines.append(f"- `{mutant.file}:{mutant.line}:{mutant.column}`: {_quoted(mutant.what)}; {tests}")
    if constants:
        lines += ["", "## In constants", ""]
        lines += [f"- `{file}`: `{place}`, {n}" for (file, place), n in constants.items()]
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
