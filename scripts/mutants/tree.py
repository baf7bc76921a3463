"""Copies the repository's files into a folder, with mutants in some of them."""

import shutil
import subprocess
from pathlib import Path

from rewrite import Mutant, Range, instrument
from sources import PACKAGES, ROOT, files
from state import MUTANTS, REACHED, RESULTS, TREE, keep_lines, read_mutants, write_mutants

SWITCH = "mutant-switch"
MANIFEST = f'[package]\nname = "{SWITCH}"\nversion = "0.1.0"\nedition = "2021"\n'
# As many as switch.rs has room for.
MAX_MUTANTS = 1 << 16


def make(paths: list[str]) -> list[Mutant]:
    """Makes the tree with all mutants of these files and folders, and lists them.

    If anything in it changed, mutants that survived are to be tried again. Those that were killed stay so while their file is the same.
    """
    mutants = []
    for file in files(paths):
        mutants += instrument((ROOT / file).read_bytes(), file, 1 + sum(mutant.id > 0 for mutant in mutants))[0]
    if len(mutants) >= MAX_MUTANTS:
        raise SystemExit(f"{len(mutants)} mutants are too many for one program: choose fewer files")
    before = {mutant.key: mutant.status for mutant in (read_mutants() if MUTANTS.exists() else [])}
    for mutant in mutants:
        mutant.status = before.get(mutant.key, mutant.status)
    if _copy({mutant.file for mutant in mutants}) | bool(write(mutants)[1]):
        REACHED.unlink(missing_ok=True)
        keep_lines(RESULTS, lambda result: result["outcome"] != "survived")
    write_mutants(mutants)
    return mutants


def write(mutants: list[Mutant]) -> tuple[dict[str, list[Range]], list[str]]:
    """Writes the files that have mutants, with those not dropped. Where these are in each file, and which files changed."""
    dropped = {mutant.id for mutant in mutants if mutant.status}
    ranges, changed, first = {}, [], 1
    for file in dict.fromkeys(mutant.file for mutant in mutants):
        found, text, ranges[file] = instrument((ROOT / file).read_bytes(), file, first, dropped.__contains__)
        first += sum(mutant.id > 0 for mutant in found)
        if _put(TREE / file, text):
            changed.append(file)
    return ranges, changed


def _copy(instrumented: set[str]) -> bool:
    """Copies all other files that git has or would have, and adds the crate with the switch. Whether anything changed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout.decode()
    names = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    changed = False
    for name in names - instrumented:
        source, target = ROOT / name, TREE / name
        if name in {f"{crate}/Cargo.toml" for crate in PACKAGES}:
            dependency = f'[dependencies]\n{SWITCH} = {{ path = "{TREE / SWITCH}" }}\n'
            changed |= _put(target, source.read_text().replace("[dependencies]\n", dependency, 1).encode())
        # Cargo adds the switch to the lock file.
        elif name != "Cargo.lock" or not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
            changed |= _put(target, source.read_bytes())
            shutil.copymode(source, target)
    changed |= _put(TREE / SWITCH / "Cargo.toml", MANIFEST.encode())
    changed |= _put(TREE / SWITCH / "src/lib.rs", Path(__file__).with_name("switch.rs").read_bytes())
    for crate in PACKAGES:
        for path in (TREE / crate).rglob("*.rs"):
            if str(path.relative_to(TREE)) not in names:
                path.unlink()
                changed = True
    return changed


def _put(path: Path, text: bytes) -> bool:
    """Writes a file unless it has this text, so that Cargo compiles again only what changed. Whether it wrote."""
    if path.exists() and path.read_bytes() == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    return True
