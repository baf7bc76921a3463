#!/usr/bin/env python3
"""Adds to crates/llm/tests/golden/architectures/ what follows from the cases there: models that llama.cpp computes in the same way.

    pip install -r scripts/golden/requirements.txt && scripts/golden/renamed.py

A family whose graph is another one's gets that one's weights under its own name and keys, and the same logits. What sets
it apart must then change nothing: one number per layer, layers that do nothing, positions of images in a text. Files in
an older form get the same weights in that form: `attn_kv_b` instead of `attn_k_b` and `attn_v_b`.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np

FOLDER = Path(__file__).resolve().parents[2] / "crates/llm/tests/golden/architectures"

Keys = dict[str, object]
Tensors = dict[str, np.ndarray]


def deci(keys: Keys, tensors: Tensors) -> None:
    """One number per layer, and a layer in the middle that has neither attention nor a feed-forward block."""
    for name, nothing in (("attention.head_count", 0), ("attention.head_count_kv", 0), ("feed_forward_length", 0)):
        keys[name] = [keys[name], nothing, keys[name]]
    keys["block_count"] = 3
    for name in list(tensors):
        if name.startswith("blk.1."):
            tensors[name.replace("blk.1.", "blk.2.")] = tensors.pop(name)


def sections(*lens: int) -> Callable[[Keys, Tensors], None]:
    """The sections that the pairs of a rotary embedding are divided into."""

    def edit(keys: Keys, _tensors: Tensors) -> None:
        keys["rope.dimension_sections"] = list(lens)

    return edit


def before_mla(keys: Keys, tensors: Tensors) -> None:
    """The form of files from before April 2025."""
    n_head = int(str(keys["attention.head_count"]))
    keys["attention.key_length"] = keys.pop("attention.key_length_mla")
    keys["attention.value_length"] = keys.pop("attention.value_length_mla")
    keys["attention.head_count_kv"] = n_head
    for name in [name for name in tensors if name.endswith("attn_k_b.weight")]:
        to_query = tensors.pop(name)  # [head, rank, nope]
        to_value = tensors.pop(name.replace("attn_k_b", "attn_v_b"))  # [head, value, rank]
        expansion = np.concatenate([to_query.transpose(0, 2, 1), to_value], axis=1)
        tensors[name.replace("attn_k_b", "attn_kv_b")] = np.ascontiguousarray(expansion.reshape(-1, expansion.shape[2]))


# Name, family, the case it follows from, what is done to that.
CASES: list[tuple[str, str, str, Callable[[Keys, Tensors], None]]] = [
    ("deci", "deci", "llama", deci),
    ("deepseek2-before-mla", "deepseek2", "deepseek2", before_mla),
    ("deepseek2-before-mla-yarn", "deepseek2", "deepseek2-softmax-yarn", before_mla),
    ("deepseek2-before-mla-no-query-rank", "deepseek2", "deepseek2-no-query-rank", before_mla),
    ("qwen2vl", "qwen2vl", "qwen2", sections(1, 1, 1, 0)),
    ("qwen3vl", "qwen3vl", "qwen3", sections(2, 2, 2, 0)),
    ("qwen3vlmoe", "qwen3vlmoe", "qwen3moe", sections(2, 2, 2, 0)),
]


def read(path: Path) -> tuple[Keys, Tensors]:
    """The family's keys, without its name in front, and the tensors of a file, rows first."""
    reader = gguf.GGUFReader(path)
    family = reader.fields["general.architecture"].contents()
    keys = {
        field.name.removeprefix(f"{family}."): field.contents()
        for field in reader.fields.values()
        if field.name.startswith(f"{family}.")
    }
    return keys, {tensor.name: np.array(tensor.data) for tensor in reader.tensors}


def write(path: Path, family: str, keys: Keys, tensors: Tensors) -> None:
    """A file with these keys and tensors, F16 and F32."""
    writer = gguf.GGUFWriter(path, family)
    for name, value in keys.items():
        key = f"{family}.{name}"
        match value:
            case bool():
                writer.add_bool(key, value)
            case int():
                writer.add_uint32(key, value)
            case float():
                writer.add_float32(key, value)
            case str():
                writer.add_string(key, value)
            case _:
                writer.add_array(key, value)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Writes all of them and their entries of the manifest, each behind those of its family."""
    manifest = FOLDER / "manifest.json"
    entries: list[dict[str, Any]] = json.loads(manifest.read_text())
    made = {name for name, *_ in CASES}
    entries = [entry for entry in entries if entry["name"] not in made]
    for name, family, source, edit in CASES:
        keys, tensors = read(FOLDER / f"{source}.gguf")
        before = set(tensors)
        edit(keys, tensors)
        write(FOLDER / f"{name}.gguf", family, keys, tensors)
        shutil.copyfile(FOLDER / f"{source}.logits", FOLDER / f"{name}.logits")
        [of_source] = [entry for entry in entries if entry["name"] == source]
        places = [index for index, entry in enumerate(entries) if entry["architecture"] in (family, of_source["architecture"])]
        names = [required.replace(f"{of_source['architecture']}.", f"{family}.") for required in of_source["required"]]
        names = [required for required in names if required.removeprefix(f"{family}.") in keys or required in tensors]
        names += [tensor for tensor in tensors if tensor.startswith("blk.0.") and tensor not in before]
        entries.insert(places[-1] + 1, {**of_source, "name": name, "architecture": family, "required": names})
    manifest.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n")


if __name__ == "__main__":
    main()
