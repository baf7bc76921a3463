"""llama.cpp's quantiser, and models for it to choose types for.

`mixtures.py` and scripts/check-quantization share it. Of a model it reads the hyper-parameters, no vocabulary, and it does not
compare shapes: so two rows of a matrix are enough where only the types matter.
"""

import ctypes
from dataclasses import dataclass
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

# By name as `llama-quantize` and `llm quantize` take it: `enum llama_ftype`.
MIXTURES = {
    "Q2_K": 10, "Q2_K_S": 21, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16,
    "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30, "MXFP4_MOE": 38,
}  # fmt: skip
# Which llama.cpp does not write without an importance matrix.
NEEDS_IMPORTANCE = ("Q2_K_S",)

# Importances by the name of the matrix.
Importances = dict[str, np.ndarray]


@dataclass
class Model:
    """A model's numbers, as `llm quantize` reads them."""

    family: str
    n_embd: int
    n_ff: int
    n_layer: int
    n_head: int
    n_head_kv: int
    n_expert: int = 0
    is_tied: bool = False

    def keys(self) -> dict[str, object]:
        """Metadata, without the family in front."""
        keys = {
            "context_length": 64,
            "embedding_length": self.n_embd,
            "block_count": self.n_layer,
            "feed_forward_length": self.n_ff,
            "attention.head_count": self.n_head,
            "attention.head_count_kv": self.n_head_kv,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "attention.layer_norm_epsilon": 1e-5,
            "vocab_size": 32,
        }
        if self.n_expert:
            keys |= {"expert_count": self.n_expert, "expert_used_count": 2, "expert_feed_forward_length": self.n_ff}
        return keys

    def matrices(self) -> list[tuple[str, int, int]]:
        """Names, lengths of rows and numbers of matrices, those of experts being several."""
        found = [("token_embd.weight", self.n_embd, 1)]
        n = max(self.n_expert, 1)
        of_experts = "_exps" if self.n_expert else ""
        for layer in range(self.n_layer):
            fused = self.family in ("gpt2", "falcon")
            for part in ("attn_qkv", "attn_output") if fused else ("attn_q", "attn_k", "attn_v", "attn_output"):
                found.append((f"blk.{layer}.{part}.weight", self.n_embd, 1))
            for part in ("ffn_up",) if fused else ("ffn_gate", "ffn_up"):
                found.append((f"blk.{layer}.{part}{of_experts}.weight", self.n_embd, n))
            found.append((f"blk.{layer}.ffn_down{of_experts}.weight", self.n_ff, n))
        return found if self.is_tied else [*found, ("output.weight", self.n_embd, 1)]


# Rows of whole blocks of 256, of 32, of neither; few heads that share values and many; experts; one matrix for embedding and
# output; layers enough that no eighth is empty, and so few that it is.
MODELS = [
    Model("qwen2", 224, 512, 24, 14, 2, is_tied=True),
    Model("llama", 256, 416, 22, 4, 4),
    Model("llama", 256, 272, 3, 4, 4),
    Model("llama", 256, 512, 9, 8, 2),
    Model("gpt2", 256, 512, 12, 4, 4, is_tied=True),
    Model("llama", 256, 512, 80, 8, 1),
    Model("llama", 256, 512, 16, 8, 2, n_expert=8),
    Model("qwen3moe", 256, 512, 16, 8, 2, n_expert=16),
    Model("falcon", 256, 512, 32, 8, 2),
    Model("falcon", 256, 512, 32, 8, 8, is_tied=True),
]


def write(model: Model, path: Path, n_rows: int, random: np.random.Generator | None = None) -> None:
    """Writes a file with F32 matrices of so many rows, of zeros or random weights."""
    writer = gguf.GGUFWriter(path, model.family)
    writer.add_string("tokenizer.ggml.model", "none")
    for key, value in model.keys().items():
        key = f"{model.family}.{key}"
        writer.add_float32(key, value) if isinstance(value, float) else writer.add_uint32(key, value)
    for name, n_cols, n_matrices in model.matrices():
        shape = (n_matrices, n_rows, n_cols) if n_matrices > 1 else (n_rows, n_cols)
        weights = np.zeros(shape) if random is None else random.normal(size=shape) / np.sqrt(n_cols)
        writer.add_tensor(name, weights.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def importances(model: Model, random: np.random.Generator | None = None) -> Importances:
    """Importances for all matrices of a model: ones, or random."""
    return {
        name: np.ones(n_cols * n, np.float32)
        if random is None
        else np.exp(random.normal(size=n_cols * n)).astype(np.float32)
        for name, n_cols, n in model.matrices()
    }


class _Override(ctypes.Structure):
    class _Value(ctypes.Union):
        _fields_ = [("val_i64", ctypes.c_int64), ("val_str", ctypes.c_char * 128)]

    _fields_ = [("tag", ctypes.c_int), ("key", ctypes.c_char * 128), ("value", _Value)]


@llama_cpp.llama_log_callback
def _collect(_level: int, text: bytes, _data: object) -> None:
    _log.append(text)


_log: list[bytes] = []
llama_cpp.llama_log_set(_collect, ctypes.c_void_p(0))


def quantize(source: Path, target: Path, ftype: int, importance: Importances | None, origin: dict[str, object]) -> None:
    """What `llama-quantize --imatrix` does; `origin` are the keys that tell where the importances come from."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = ftype
    params.nthread = 1
    params.allow_requantize = True
    if importance is not None:
        entries = [
            llama_cpp.llama_model_imatrix_data(name.encode(), v.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), v.size)
            for name, v in importance.items()
        ]
        array = (llama_cpp.llama_model_imatrix_data * (len(entries) + 1))(*entries)
        params.imatrix = ctypes.cast(array, ctypes.POINTER(llama_cpp.llama_model_imatrix_data))
        overrides = (_Override * (len(origin) + 1))()
        for override, (key, value) in zip(overrides, origin.items()):
            override.key = key.encode()
            if isinstance(value, str):
                override.tag, override.value.val_str = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_STR, value.encode()
            else:
                override.tag, override.value.val_i64 = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_INT, value
        params.kv_overrides = ctypes.cast(overrides, type(params.kv_overrides))
    _log.clear()
    if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)) != 0:
        raise RuntimeError(f"llama.cpp does not quantise {source}: {_log[-2:]}")
