"""Which source files have mutants, and which packages' tests are to find them."""

from pathlib import Path

from conditions import is_compiled
from rewrite import compiled_children, parse

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    "gguf": "crates/tensor/src/gguf",
    "quant": "crates/tensor/src/quant",
    "tokenizer": "crates/llm/src/tokenizer",
    "sampling": "crates/llm/src/sampling",
    "memory": "kernel/src/memory",
    "storage": "kernel/src/storage",
    "pci": "kernel/src/pci",
}
# Folders of crates, and their packages.
PACKAGES = {"crates/tensor": "tensor", "crates/llm": "llm", "kernel": "ferrite-kernel"}
# By a crate, those whose tests are to find its mutants: the engine's tests are those of its arithmetic too.
TESTED_BY = {"crates/tensor": ["crates/tensor", "crates/llm"], "crates/llm": ["crates/llm"], "kernel": ["kernel"]}


def chosen(names: list[str]) -> list[str]:
    """Paths of files or folders, for names of modules or paths; those of all modules for none."""
    paths = [MODULES.get(name, name.rstrip("/")) for name in names] or list(MODULES.values())
    for path in paths:
        if not (ROOT / path).exists() or crate_of(path) is None:
            raise SystemExit(f"{path}: no module ({', '.join(MODULES)}) and no path in {', '.join(PACKAGES)}")
    return paths


def is_chosen(file: str, paths: list[str]) -> bool:
    return any(file == path or file.startswith(path + "/") for path in paths)


def crate_of(path: str) -> str | None:
    return next((crate for crate in PACKAGES if is_chosen(path, [crate + "/src"])), None)


def module_of(file: str) -> str:
    return next((name for name, path in MODULES.items() if is_chosen(file, [path])), str(Path(file).parent))


def files(paths: list[str]) -> list[str]:
    """The files there that are compiled into a library on a host and are no tests, as the crates' `mod` items name them."""
    crates = dict.fromkeys(crate_of(path) for path in paths)
    found = [file for crate in crates for file in _modules(f"{crate}/src/lib.rs", f"{crate}/src")]
    return [file for file in found if is_chosen(file, paths)]


def _modules(file: str, folder: str) -> list[str]:
    """A file, and those of its modules, whose files are in `folder`."""
    found = [file]
    root = parse((ROOT / file).read_bytes())
    # Of the whole file.
    if not is_compiled([child.text.decode() for child in root.children if child.type == "inner_attribute_item"]):
        return []
    for item, compiled in compiled_children(root):
        if item.type == "mod_item" and compiled and not item.child_by_field_name("body"):
            name = item.child_by_field_name("name").text.decode()
            inner = f"{folder}/{name}"
            path = f"{inner}.rs" if (ROOT / f"{inner}.rs").exists() else f"{inner}/mod.rs"
            found += _modules(path, inner)
    return found
