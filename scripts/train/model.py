"""The transformer of the models in JAX: the `llama` architecture as GGUF files describe it.

Shapes: B rows, T positions, D width, H query heads, K key/value heads, S head size, F feed-forward width,
V vocabulary, L layers. Layers are stacked along a first axis so that one compiled body serves all of them.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

Params = dict[str, jax.Array]


@dataclass(frozen=True)
class Shape:
    """The hyper-parameters, under the names that GGUF keys use."""

    vocab_size: int
    block_count: int = 6
    embedding_length: int = 256
    feed_forward_length: int = 768
    head_count: int = 4
    head_count_kv: int = 2
    context_length: int = 256
    rope_freq_base: float = 10000.0
    layer_norm_rms_epsilon: float = 1e-5

    @property
    def head_size(self) -> int:
        """Width of one head."""
        return self.embedding_length // self.head_count


SHAPES = {
    "tiny": lambda vocab_size: Shape(vocab_size),
    "micro": lambda vocab_size: Shape(
        vocab_size, block_count=4, embedding_length=64, feed_forward_length=192, head_count=4, head_count_kv=2
    ),
    "chat": lambda vocab_size: Shape(vocab_size, block_count=8, context_length=1024),
}


def initial(shape: Shape, seed: int) -> Params:
    """Normal weights of deviation 0.02, smaller where a block adds to the residual stream."""
    layers, width, hidden = shape.block_count, shape.embedding_length, shape.feed_forward_length
    kv_width = shape.head_size * shape.head_count_kv
    residual = 0.02 / (2 * layers) ** 0.5
    sizes = {
        "token_embd": ((shape.vocab_size, width), 0.02),
        "attn_q": ((layers, width, width), 0.04),
        "attn_k": ((layers, kv_width, width), 0.04),
        "attn_v": ((layers, kv_width, width), 0.02),
        "attn_output": ((layers, width, width), residual),
        "ffn_gate": ((layers, hidden, width), 0.04),
        "ffn_up": ((layers, hidden, width), 0.04),
        "ffn_down": ((layers, width, hidden), residual),
    }
    keys = jax.random.split(jax.random.key(seed), len(sizes))
    params = {
        name: deviation * jax.random.normal(key, size)
        for key, (name, (size, deviation)) in zip(keys, sizes.items(), strict=True)
    }
    ones = {"attn_norm": (layers, width), "ffn_norm": (layers, width), "output_norm": (width,)}
    return params | {name: jnp.ones(size) for name, size in ones.items()}


def rounded_to_q4_0(weight: jax.Array) -> jax.Array:
    """The weight as Q4_0 stores it, with the gradient of the weight itself (straight-through)."""
    blocks = weight.reshape(-1, 32)
    largest = jnp.take_along_axis(blocks, jnp.argmax(jnp.abs(blocks), axis=1, keepdims=True), axis=1)
    scale = largest / -8
    inverse = jnp.where(scale == 0, 0, 1 / jnp.where(scale == 0, 1, scale))
    codes = jnp.clip(jnp.floor(blocks * inverse + 8.5), 0, 15) - 8
    stored = (codes * scale.astype(jnp.float16).astype(jnp.float32)).reshape(weight.shape)
    return weight + jax.lax.stop_gradient(stored - weight)


def quantized(params: Params) -> Params:
    """All matrices rounded to Q4_0; norms stay as they are."""
    return {name: value if name.endswith("norm") else rounded_to_q4_0(value) for name, value in params.items()}


def rms_norm(x: jax.Array, weight: jax.Array, epsilon: float) -> jax.Array:
    """RMSNorm over the last axis."""
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + epsilon) * weight


def rope(x: jax.Array, base: float) -> jax.Array:
    """Rotates the pairs (2i, 2i+1) of each head by the position. x: B T heads S."""
    size = x.shape[-1]
    frequency = base ** (-jnp.arange(0, size, 2) / size)
    angle = jnp.arange(x.shape[1])[:, None] * frequency
    cos, sin = jnp.cos(angle)[:, None, :], jnp.sin(angle)[:, None, :]
    even, odd = x[..., 0::2], x[..., 1::2]
    return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)


def forward(params: Params, tokens: jax.Array, shape: Shape, document_start: int | None = None) -> jax.Array:
    """Logits (B T V) of rows of tokens (B T). A `document_start` token hides what came before it in its row."""
    rows, length = tokens.shape
    heads, kv_heads, size = shape.head_count, shape.head_count_kv, shape.head_size
    visible = jnp.tril(jnp.ones((length, length), bool))[None]
    if document_start is not None:
        document = jnp.cumsum(tokens == document_start, axis=1)
        visible = visible & (document[:, :, None] == document[:, None, :])
    bias = jnp.where(visible, 0.0, -1e9)[:, None, None]

    def block(x: jax.Array, layer: Params) -> tuple[jax.Array, None]:
        h = rms_norm(x, layer["attn_norm"], shape.layer_norm_rms_epsilon)
        q = rope((h @ layer["attn_q"].T).reshape(rows, length, heads, size), shape.rope_freq_base)
        k = rope((h @ layer["attn_k"].T).reshape(rows, length, kv_heads, size), shape.rope_freq_base)
        v = (h @ layer["attn_v"].T).reshape(rows, length, kv_heads, size)
        q = q.reshape(rows, length, kv_heads, heads // kv_heads, size)
        weights = jax.nn.softmax(
            jnp.einsum("btkgs,bukgs->bkgtu", q, jnp.broadcast_to(k[:, :, :, None], q.shape)) / size**0.5 + bias, axis=-1
        )
        mixed = jnp.einsum("bkgtu,buks->btkgs", weights, v).reshape(rows, length, heads * size)
        x = x + mixed @ layer["attn_output"].T
        h = rms_norm(x, layer["ffn_norm"], shape.layer_norm_rms_epsilon)
        return x + (jax.nn.silu(h @ layer["ffn_gate"].T) * (h @ layer["ffn_up"].T)) @ layer["ffn_down"].T, None

    stacked = {name: value for name, value in params.items() if name not in ("token_embd", "output_norm")}
    x, _ = jax.lax.scan(block, params["token_embd"][tokens], stacked)
    return rms_norm(x, params["output_norm"], shape.layer_norm_rms_epsilon) @ params["token_embd"].T
