"""What caches of few bits do to llama.cpp's logits: writes crates/llm/tests/golden/kv_types.txt and kv_types.logits.

The model is test_models/tiny.gguf with its weights dequantised, so that all differences come from the cache. llama.cpp
can be told to rotate keys and values before they are rounded; here it does not (LLAMA_ATTN_ROT_DISABLE).
"""

import os

os.environ["LLAMA_ATTN_ROT_DISABLE"] = "1"

import tempfile
from pathlib import Path

import llama_cpp
import numpy as np
from gguf import GGMLQuantizationType as Type
from reference import N_CTX, nmse

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "crates/llm/tests/golden"
N_VOCAB = 2048
# Of each token's logits every so many are kept.
STRIDE = 32
PAIRS = [
    (Type.Q8_0, Type.Q8_0),
    (Type.Q5_0, Type.Q5_0),
    (Type.Q4_0, Type.Q4_0),
    (Type.Q8_0, Type.Q4_0),
    (Type.F16, Type.Q5_0),
    (Type.Q4_0, Type.F16),
]


def dequantized(folder: Path) -> Path:
    """A copy of the model in F32."""
    path = folder / "f32.gguf"
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize = llama_cpp.LLAMA_FTYPE_ALL_F32, True
    model = str(ROOT / "test_models/tiny.gguf").encode()
    if llama_cpp.llama_model_quantize(model, str(path).encode(), params) != 0:
        raise RuntimeError("llama.cpp does not dequantise the model")
    return path


def logits(path: Path, tokens: list[int], type_k: Type, type_v: Type) -> np.ndarray:
    """Logits of every token, `[len(tokens)][N_VOCAB]`."""
    model_params = llama_cpp.llama_model_default_params()
    model_params.use_extra_bufts = False
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_params)
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = N_CTX
    params.n_threads = params.n_threads_batch = 1
    # Quantised values need it.
    params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.type_k, params.type_v = type_k, type_v
    context = llama_cpp.llama_init_from_model(model, params)
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for index, token in enumerate(tokens):
        batch.token[index], batch.pos[index] = token, index
        batch.n_seq_id[index], batch.seq_id[index][0] = 1, 0
        batch.logits[index] = True
    if llama_cpp.llama_decode(context, batch) != 0:
        raise RuntimeError("llama.cpp does not decode")
    rows = np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), (len(tokens), N_VOCAB)).copy()
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return rows[:, ::STRIDE]


def main() -> None:
    random = np.random.default_rng(11)
    tokens = [int(token) for token in random.integers(3, N_VOCAB, 24)]
    with tempfile.TemporaryDirectory() as folder:
        path = dequantized(Path(folder))
        exact = logits(path, tokens, Type.F32, Type.F32)
        lines, rows = [f"{STRIDE} {' '.join(map(str, tokens))}"], []
        for type_k, type_v in PAIRS:
            expected = logits(path, tokens, type_k, type_v)
            # llama.cpp's own error is what an engine may differ by that rounds no queries.
            lines.append(f"{type_k.name.lower()} {type_v.name.lower()} {nmse(expected, exact):.3e}")
            rows.append(expected)
    (GOLDEN / "kv_types.txt").write_text("\n".join(lines) + "\n")
    (GOLDEN / "kv_types.logits").write_bytes(np.stack(rows).astype("<f4").tobytes())


main()
