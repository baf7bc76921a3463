"""What adapters (LoRA) make of llama.cpp's logits: writes crates/llm/tests/golden/lora/.

The models are those of architectures.py with dense layers and with experts; the adapters are random, one of all matrices in
F32, one of some in F16, and of the embedding.
"""

import json
import tempfile
import zlib
from pathlib import Path

import gguf
import numpy as np
import reference
from gguf import GGMLQuantizationType as Type
from reference import Tensor

GOLDEN = Path(__file__).parents[2] / "crates/llm/tests/golden"
FOLDER = GOLDEN / "lora"
# Of each model: the adapters, and the scales that each case gives them.
MODELS = {"llama": [[1.0, 0.0], [0.0, -0.5], [0.75, 1.5]], "llama-moe": [[1.0, 0.0], [0.5, 1.0]]}
RANKS = (4, 3)
ALPHAS = (8.0, 0.0)


def tensors_of(path: Path) -> list[Tensor]:
    """The tensors of a file."""
    return [
        Tensor(tensor.name, tensor.tensor_type, tuple(int(n) for n in reversed(tensor.shape)), np.array(tensor.data))
        for tensor in gguf.GGUFReader(path).tensors
    ]


def adapter(tensors: list[Tensor], index: int, random: np.random.Generator) -> list[tuple[str, np.ndarray]]:
    """Pairs of matrices for the tensors that adapter number `index` changes."""
    rank, dtype = RANKS[index], (np.float32, np.float16)[index]
    pairs = []
    for tensor in tensors:
        is_matrix = len(tensor.shape) > 1 and "norm" not in tensor.name
        is_embedding = tensor.name == "token_embd.weight"
        # The second one changes the queries, a half of the feed-forward block and the embedding.
        parts = ("attn_q.", "ffn_up", "token_embd.")
        if not is_matrix or (index == 0 and is_embedding) or (index == 1 and not any(part in tensor.name for part in parts)):
            continue
        *stack, n_out, n_in = tensor.shape
        a, b = (*stack, rank, n_in), (*stack, n_out, rank)
        if is_embedding:
            a, b = (n_out, rank), (n_in, rank)
        for half, shape in (("a", a), ("b", b)):
            pairs.append((f"{tensor.name}.lora_{half}", random.normal(0, 0.2, shape).astype(dtype)))
    return pairs


def write_adapter(path: Path, pairs: list[tuple[str, np.ndarray]], alpha: float) -> None:
    """Writes an adapter."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("general.name", path.stem)
    writer.add_string("adapter.type", "lora")
    if alpha:
        writer.add_float32("adapter.lora.alpha", alpha)
    for name, data in pairs:
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    manifest = {entry["name"]: entry for entry in json.loads((GOLDEN / "architectures/manifest.json").read_text())}
    entries, rows = [], []
    for model, cases in MODELS.items():
        path = GOLDEN / f"architectures/{model}.gguf"
        tensors, tokens, width = tensors_of(path), manifest[model]["tokens"], manifest[model]["width"]
        adapters = []
        for index, alpha in enumerate(ALPHAS):
            random = np.random.default_rng(zlib.crc32(f"{model} {index}".encode()))
            file = FOLDER / f"{model}-{index}.gguf"
            write_adapter(file, adapter(tensors, index, random), alpha)
            adapters.append(file)
        keys = {
            key.removeprefix("llama."): field.contents()
            for key, field in gguf.GGUFReader(path).fields.items()
            if key.startswith("llama.") or key.startswith("tokenizer.ggml.tokens")
        }
        with tempfile.TemporaryDirectory() as scratch:
            exact = Path(scratch) / "exact.gguf"
            reference.write_exact(exact, "llama", keys, tensors)
            # Where the matrices are F16, llama.cpp rounds activations to that.
            exact_adapters = [Path(scratch) / file.name for file in adapters]
            for file, index in zip(exact_adapters, range(2)):
                random = np.random.default_rng(zlib.crc32(f"{model} {index}".encode()))
                pairs = adapter(tensors, index, random)
                write_adapter(file, [(name, data.astype(np.float32)) for name, data in pairs], ALPHAS[index])
            for scales in cases:
                used = [(file, scale) for file, scale in zip(adapters, scales) if scale]
                exactly = [(file, scale) for file, scale in zip(exact_adapters, scales) if scale]
                expected = reference.logits(exact, tokens, width, adapters=exactly)
                yardstick = reference.nmse(
                    reference.logits(path, tokens, width, is_exact=False, adapters=used), expected
                )
                rows.append(expected.astype("<f4").tobytes())
                entries.append({"model": model, "scales": scales, "tokens": tokens, "limit": reference.limit(yardstick)})
                print(model, scales, f"yardstick {yardstick:.1e}")
    (FOLDER / "manifest.json").write_text("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n")
    (FOLDER / "logits").write_bytes(b"".join(rows))


main()
