"""llama.cpp without its shortcuts: writes small GGUF files and computes the logits of every token, or an embedding.

The expected numbers of the golden tests come from F32 copies of the files, with an F32 cache, without
flash attention, on one thread. One shortcut is left that no option turns off: GELU is looked up in a
table of 16-bit floats. `logits` computes it while llama.cpp evaluates its graph, node by node.
"""

import ctypes
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
from gguf import GGMLQuantizationType as Type
from llama_cpp._ggml import libggml

os.environ["GGML_NO_BACKTRACE"] = "1"
N_CTX = 256  # llama.cpp rounds up to this
# Keys that llama.cpp reads as arrays of u64.
U64_ARRAYS = {"ple.layer_multipliers", "ple.head_offsets", "ple.head_vocab_sizes"}


@dataclass
class Tensor:
    """A tensor of a file: its data as stored, and the type of that."""

    name: str
    type: Type
    shape: tuple[int, ...]
    data: np.ndarray


class TypeTraits(ctypes.Structure):
    """The beginning of `struct ggml_type_traits`."""

    _fields_ = [
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
    ]


class GgmlTensor(ctypes.Structure):
    """The beginning of `struct ggml_tensor`."""


GgmlTensor._fields_ = [
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(GgmlTensor) * 10),
    ("view_src", ctypes.c_void_p),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
]

libggml.ggml_get_type_traits.restype = ctypes.POINTER(TypeTraits)
libggml.ggml_op_desc.restype = ctypes.c_char_p
libggml.ggml_op_desc.argtypes = [ctypes.c_void_p]
libggml.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
libggml.ggml_quantize_chunk.restype = ctypes.c_size_t
libggml.ggml_quantize_chunk.argtypes = [
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_void_p,
]


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


def quantized(name: str, type: Type, weights: np.ndarray) -> Tensor:
    """`weights` as the C code of llama.cpp quantises them."""
    weights = np.ascontiguousarray(weights, np.float32)
    shape, columns = weights.shape, weights.shape[-1]
    if type == Type.F32:
        return Tensor(name, type, shape, weights)
    block_len, block_bytes = gguf.GGML_QUANT_SIZES[type]
    data = np.zeros(shape[:-1] + (columns // block_len * block_bytes,), np.uint8)
    importance = np.ones(columns, np.float32) if libggml.ggml_quantize_requires_imatrix(type) else None
    libggml.ggml_quantize_chunk(
        type,
        _pointer(weights),
        _pointer(data),
        0,
        weights.size // columns,
        columns,
        None if importance is None else _pointer(importance),
    )
    return Tensor(name, type, shape, data)


def _dequantized(tensor: Tensor) -> Tensor:
    if tensor.type == Type.F32:
        return tensor
    weights = np.zeros(tensor.shape, np.float32)
    traits = libggml.ggml_get_type_traits(tensor.type).contents
    traits.to_float(_pointer(tensor.data), _pointer(weights), weights.size)
    return Tensor(tensor.name, Type.F32, tensor.shape, weights)


def write(path: Path, architecture: str, keys: dict[str, object], tensors: list[Tensor]) -> None:
    """Writes a GGUF file. Whole numbers become u32, floats f32; keys get the architecture in front."""
    writer = gguf.GGUFWriter(path, architecture)
    if "tokenizer.ggml.model" not in keys:
        writer.add_string("tokenizer.ggml.model", "none")
    for key, value in keys.items():
        key = key if key.startswith(("tokenizer.", "xielu.")) else f"{architecture}.{key}"
        match value:
            case bool():
                writer.add_bool(key, value)
            case int():
                writer.add_uint32(key, value)
            case float():
                writer.add_float32(key, value)
            case str():
                writer.add_string(key, value)
            case list() if key.split(".", 1)[1] in U64_ARRAYS:
                writer.add_key_value(key, value, gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.UINT64)
            case list():
                writer.add_array(key, value)
            case _:
                raise TypeError(f"{key}: {value!r}")
    for tensor in tensors:
        is_f32 = tensor.type == Type.F32
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=None if is_f32 else tensor.type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_exact(path: Path, architecture: str, keys: dict[str, object], tensors: list[Tensor]) -> None:
    """The same file with all weights dequantised to F32."""
    write(path, architecture, keys, [_dequantized(tensor) for tensor in tensors])


def _floats(tensor: GgmlTensor) -> np.ndarray:
    """A view of an F32 tensor's elements, `[ne3][ne2][ne1][ne0]`."""
    assert tensor.type == Type.F32
    span = sum((n - 1) * stride for n, stride in zip(tensor.ne, tensor.nb)) + 4
    memory = (ctypes.c_uint8 * span).from_address(tensor.data)
    return np.ndarray(tuple(tensor.ne)[::-1], np.float32, memory, strides=tuple(tensor.nb)[::-1])


def _gelu(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * x * (1 + 0.044715 * x * x)))


class _ExactGelu:
    """An evaluation callback that replaces the results of GELU nodes by computed ones.

    Asking for every node makes llama.cpp evaluate them one at a time; the result is worked out before
    the node is evaluated, since it may overwrite its source.
    """

    def __init__(self) -> None:
        self.result: np.ndarray | None = None
        self.callback = llama_cpp.llama_cpp.ggml_backend_sched_eval_callback(self._visit)

    def _visit(self, address: int, ask: bool, _data: object) -> bool:
        node = GgmlTensor.from_address(address)
        match libggml.ggml_op_desc(address):
            case b"GELU":
                if ask:
                    self.result = _gelu(_floats(node.src[0].contents))
                else:
                    _floats(node)[...] = self.result
            case b"GEGLU":
                if ask:
                    first = _floats(node.src[0].contents)
                    # Gate and up are two tensors, or the halves of each row of one.
                    gate, up = (first, _floats(node.src[1].contents)) if node.src[1] else np.split(first, 2, axis=-1)
                    self.result = _gelu(gate) * up
                else:
                    _floats(node)[...] = self.result
        return True


def logits(
    path: Path,
    tokens: list[int],
    width: int,
    is_encoder: bool = False,
    is_exact: bool = True,
    adapters: list[tuple[Path, float]] = [],
) -> np.ndarray:
    """Logits of every token, `[len(tokens)][width]`; of an encoder its last hidden states."""

    def read(context: object) -> np.ndarray:
        rows = llama_cpp.llama_get_embeddings(context) if is_encoder else llama_cpp.llama_get_logits(context)
        return np.ctypeslib.as_array(rows, (len(tokens), width)).copy()

    pooling = llama_cpp.LLAMA_POOLING_TYPE_NONE if is_encoder else None
    return _evaluate(path, tokens, pooling, is_exact, read, adapters)


def embedding(path: Path, tokens: list[int], width: int, pooling: int, is_exact: bool = True) -> np.ndarray:
    """The tokens' last hidden states, pooled and then scaled to length 1, `[width]`; with pooling 0 as they are;
    with pooling 4 the scores of a classifier."""

    def read(context: object) -> np.ndarray:
        if pooling == 0:
            return np.ctypeslib.as_array(llama_cpp.llama_get_embeddings(context), (len(tokens) * width,)).copy()
        pooled = np.ctypeslib.as_array(llama_cpp.llama_get_embeddings_seq(context, 0), (width,))
        return pooled.copy() if pooling == 4 else pooled / np.linalg.norm(pooled.astype(np.float64))

    return _evaluate(path, tokens, pooling, is_exact, read)


def _evaluate(
    path: Path,
    tokens: list[int],
    pooling: int | None,
    is_exact: bool,
    read: Callable[[object], np.ndarray],
    adapters: list[tuple[Path, float]] = [],
) -> np.ndarray:
    """What `read` finds in a context that computed the tokens; with `pooling`, for embeddings. Adapters have scales."""
    llama_cpp.llama_backend_init()
    model_params = llama_cpp.llama_model_default_params()
    model_params.use_extra_bufts = False
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_params)
    if not model:
        raise RuntimeError(f"llama.cpp does not load {path}: {_log[-2:]}")
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = N_CTX
    params.n_threads = params.n_threads_batch = 1
    params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.type_k = params.type_v = Type.F32
    params.embeddings = pooling is not None
    if pooling is not None:
        params.pooling_type = pooling
    gelu = _ExactGelu()
    if is_exact:
        params.cb_eval = gelu.callback
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        raise RuntimeError(f"llama.cpp makes no context for {path}")
    if adapters:
        loaded = [llama_cpp.llama_adapter_lora_init(model, str(file).encode()) for file, _ in adapters]
        if not all(loaded):
            raise RuntimeError(f"llama.cpp does not load the adapters of {path}: {_log[-2:]}")
        pointers = (llama_cpp.llama_adapter_lora_p_ctypes * len(loaded))(*loaded)
        scales = (ctypes.c_float * len(loaded))(*(scale for _, scale in adapters))
        if llama_cpp.llama_set_adapters_lora(context, pointers, len(loaded), scales) != 0:
            raise RuntimeError(f"llama.cpp does not apply the adapters of {path}")
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for index, token in enumerate(tokens):
        batch.token[index], batch.pos[index] = token, index
        batch.n_seq_id[index], batch.seq_id[index][0] = 1, 0
        batch.logits[index] = True
    if llama_cpp.llama_decode(context, batch) != 0:
        raise RuntimeError(f"llama.cpp does not decode {path}: {_log[-2:]}")
    result = read(context)
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    if not np.isfinite(result).all():
        raise RuntimeError(f"{path}: results that are not finite")
    return result


@llama_cpp.llama_log_callback
def _collect(_level: int, text: bytes, _data: object) -> None:
    _log.append(text)


_log: list[bytes] = []
llama_cpp.llama_log_set(_collect, ctypes.c_void_p(0))


def refused_for(path: Path) -> str | None:
    """The key or tensor that llama.cpp misses in a file, empty if it fails otherwise, None if it loads."""
    readable, writable = os.pipe()
    child = os.fork()  # a failed assertion ends the process
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        _log.clear()
        params = llama_cpp.llama_model_default_params()
        model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        missing = re.search(rb"key not found in model: (\S+)|tensor '([^']+)' not found", b"".join(_log))
        if model:
            os.write(writable, b"loads")
        elif missing:
            os.write(writable, b"misses " + (missing[1] or missing[2]))
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(child, 0)
    return None if answer == "loads" else answer.removeprefix("misses ")


def nmse(got: np.ndarray, expected: np.ndarray) -> float:
    """Sum of squared differences over sum of squares, in double precision."""
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    return float(((got - expected) ** 2).sum() / (expected**2).sum())


def limit(yardstick: float) -> float:
    """What a test asks of an engine with quantised activations; `yardstick` is llama.cpp's own error."""
    return max(1.5 * yardstick, 1e-6)
