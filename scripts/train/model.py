"""The transformer of the models in JAX: the `llama` architecture as GGUF files describe it.

Shapes: B rows, T positions, D width, H query heads, K key/value heads, S head size, F feed-forward width,
V vocabulary, L layers. The weights of all layers are stacked along a first axis.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

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


def factor(x: jax.Array) -> jax.Array:
    """The matrix as products take it: float32, or bfloat16, which AMX multiplies, if `jax_default_matmul_precision` says so. (On CPUs
    XLA itself does not heed that.)
    """
    return x.astype(jnp.bfloat16 if jax.config.jax_default_matmul_precision == "bfloat16" else jnp.float32)


def dot(a: jax.Array, b: jax.Array, a_axis: int, b_axis: int, batch_axes: int = 0) -> jax.Array:
    """Sums the products over one axis of each, in float32. The first `batch_axes` axes are those of a batch."""
    batch = tuple(range(batch_axes))
    axes = (((a_axis,), (b_axis,)), (batch, batch))
    return jax.lax.dot_general(factor(a), factor(b), axes, preferred_element_type=jnp.float32)


def transposed(x: jax.Array) -> jax.Array:
    """The last two axes exchanged, and the values moved in memory too: XLA multiplies more slowly by a matrix that lies the other
    way round than it takes to turn it.
    """
    turned = jnp.swapaxes(factor(x), -1, -2)
    return with_layout_constraint(turned, Layout(major_to_minor=tuple(range(x.ndim))))


@jax.custom_vjp
def linear(x: jax.Array, weight: jax.Array) -> jax.Array:
    """`x @ weight.T`: x is B T I, the weight O I. Its gradients are products of the same kind."""
    return dot(x.reshape(-1, x.shape[-1]), weight, 1, 1).reshape(*x.shape[:-1], len(weight))


def linear_forward(x: jax.Array, weight: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """The product, and what its gradients need."""
    return linear(x, weight), (x, weight)


def linear_backward(kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The gradients of x and of the weight."""
    x, weight = kept
    gradient = gradient.reshape(-1, gradient.shape[-1])
    return dot(gradient, weight, 1, 0).reshape(x.shape), dot(transposed(gradient), x.reshape(-1, x.shape[-1]), 1, 0)


linear.defvjp(linear_forward, linear_backward)


@jax.custom_vjp
def attention(q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array) -> jax.Array:
    """Attention of each q (N T S) over k and v (N U S); `bias` (N T U) hides what a query may not see."""
    return attention_forward(q, k, v, bias)[0]


def attention_forward(q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array) -> tuple[jax.Array, tuple]:
    """The mixed values, and what the gradients need: weights are computed again, as FlashAttention does."""
    scores = dot(q, k, 2, 2, 1) + bias
    highest = jnp.max(scores, axis=-1, keepdims=True)
    weights = jnp.exp(scores - highest)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    mixed = dot(weights, v, 2, 1, 1) / total
    return mixed, (q, k, v, bias, highest + jnp.log(total), mixed)


def attention_backward(kept: tuple, gradient: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    """The gradients of q, k and v."""
    q, k, v, bias, log_total, mixed = kept
    weights = jnp.exp(dot(q, k, 2, 2, 1) + bias - log_total)
    mean = jnp.sum(gradient * mixed, axis=-1, keepdims=True)
    of_scores = weights * (dot(gradient, v, 2, 2, 1) - mean)
    return dot(of_scores, k, 2, 1, 1), dot(transposed(of_scores), q, 2, 1, 1), dot(transposed(weights), gradient, 2, 1, 1), None


attention.defvjp(attention_forward, attention_backward)

# Queries that are computed together. Keys behind the last of them are left out.
QUERIES = 128


def forward(params: Params, tokens: jax.Array, shape: Shape, document_start: int | None = None) -> jax.Array:
    """Logits (B T V) of rows of tokens (B T). A `document_start` token hides what came before it in its row."""
    rows, length = tokens.shape
    heads, kv_heads, size = shape.head_count, shape.head_count_kv, shape.head_size
    group = heads // kv_heads
    visible = jnp.tril(jnp.ones((length, length), bool))[None]
    if document_start is not None:
        document = jnp.cumsum(tokens == document_start, axis=1)
        visible = visible & (document[:, :, None] == document[:, None, :])
    bias = jnp.where(visible, 0.0, -1e9)
    parts = [(begin, min(begin + QUERIES, length)) for begin in range(0, length, QUERIES)]
    biases = []
    for begin, end in parts:
        of_heads = (rows, kv_heads, group, end - begin, end)
        part = jnp.broadcast_to(bias[:, None, None, begin:end, :end], of_heads)
        biases.append(part.reshape(rows * kv_heads, group * (end - begin), end))

    def mixed(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        """Attention of q (B T H S) over k and v (B T K S)."""
        q = (q / size**0.5).reshape(rows, length, kv_heads, group, size).transpose(0, 2, 3, 1, 4)
        k, v = (x.transpose(0, 2, 1, 3).reshape(rows * kv_heads, length, size) for x in (k, v))
        outputs = []
        for (begin, end), part in zip(parts, biases, strict=True):
            queries = q[:, :, :, begin:end].reshape(rows * kv_heads, -1, size)
            output = attention(queries, k[:, :end], v[:, :end], part)
            outputs.append(output.reshape(rows, kv_heads, group, end - begin, size))
        return jnp.concatenate(outputs, axis=3).transpose(0, 3, 1, 2, 4).reshape(rows, length, heads * size)

    x = params["token_embd"][tokens]
    # Written out layer by layer: XLA computes the backward pass of a scan more slowly.
    for index in range(shape.block_count):
        layer = {name: value[index] for name, value in params.items() if name not in ("token_embd", "output_norm")}
        h = rms_norm(x, layer["attn_norm"], shape.layer_norm_rms_epsilon)
        q = rope(linear(h, layer["attn_q"]).reshape(rows, length, heads, size), shape.rope_freq_base)
        k = rope(linear(h, layer["attn_k"]).reshape(rows, length, kv_heads, size), shape.rope_freq_base)
        v = linear(h, layer["attn_v"]).reshape(rows, length, kv_heads, size)
        x = x + linear(mixed(q, k, v), layer["attn_output"])
        h = rms_norm(x, layer["ffn_norm"], shape.layer_norm_rms_epsilon)
        hidden = jax.nn.silu(linear(h, layer["ffn_gate"])) * linear(h, layer["ffn_up"])
        x = x + linear(hidden, layer["ffn_down"])
    return linear(rms_norm(x, params["output_norm"], shape.layer_norm_rms_epsilon), params["token_embd"])
