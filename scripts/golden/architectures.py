#!/usr/bin/env python3
"""Writes crates/llm/tests/golden/architectures/: a tiny random model of every family with its logits.

    pip install -r scripts/golden/requirements.txt && scripts/golden/architectures.py [NAME...]

Weights are F16, with norms, biases, routers and positions in F32. Norm weights are random around 1,
biases are not zero, eps is large and windows are shorter than the text, so that each of them matters.
manifest.json lists the cases: tokens, the error of llama.cpp itself when it runs the file as it is
(`yardstick`), and what a test may ask of quantised activations (`limit`).
"""

import argparse
import json
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import reference
from gguf import GGMLQuantizationType as Type
from reference import Tensor

FOLDER = Path(__file__).resolve().parents[2] / "crates/llm/tests/golden/architectures"
N_TOKENS = 12


@dataclass(frozen=True)
class Dims:
    """The dimensions that the shapes of tensors are made of."""

    embd: int = 24
    layer: int = 2
    head: int = 4
    head_kv: int = 2
    k: int = 6  # length of a key head
    v: int = 6
    rot: int = 6
    ff: int = 28
    vocab: int = 32
    ctx: int = 64
    expert: int = 0
    expert_ff: int = 12
    shared_ff: int = 20
    q_lora: int = 12
    kv_lora: int = 16
    per_layer: int = 6
    mla_k: int = 12  # length of a query head of latent attention
    mla_v: int = 10
    inner: int = 48  # channels of a recurrent mixer
    state: int = 16  # a row of its state
    conv: int = 4
    rank: int = 4  # its heads, or what the lengths of its steps are compressed to
    group: int = 2
    short: int = 3  # positions of a short convolution
    mix: int = 6  # what RWKV compresses the shares of the token before, and others, to
    decay: int = 5
    value_rank: int = 7
    gate_rank: int = 9
    wkv: int = 8  # length of RWKV's heads
    wkv_kv: int = 0  # its heads with keys and values, if not all
    buckets: int = 8  # of distances
    routed: int = 16  # what tokens are compressed to for experts
    kda: int = 8  # length of the heads of Kimi delta attention
    dt: int = 64  # what PLaMo 2 compresses the lengths of steps to
    chunk_ff: int = 8
    streams: int = 3  # residual ones
    low: int = 5  # what their gates are compressed to
    index_head: int = 2
    index: int = 8  # length of an indexer's heads
    row: int = 6  # of the table of n-grams
    rows: int = 90
    laurel: int = 64

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor by its name without `blk.N.`, rows first."""
        e, q = self.embd, self.head * self.k
        k, v = self.head_kv * self.k, self.head_kv * self.v
        x, nope = self.expert, self.mla_k - self.rot
        inner, channels = self.inner, self.inner + 2 * self.group * self.state
        wkv_kv, kda = self.wkv_kv * self.wkv or e, self.kda * self.head
        return {
            "token_embd": (self.vocab, e), "output": (self.vocab, e), "position_embd": (self.ctx, e), "token_types": (2, e),
            "rope_freqs": (self.rot // 2,), "rope_factors_long": (self.rot // 2,), "rope_factors_short": (self.rot // 2,),
            "attn_q": (q, e), "attn_k": (k, e), "attn_v": (v, e), "attn_qkv": (q + k + v, e), "attn_output": (e, self.head * self.v),
            "attn_sinks": (self.head,),
            "mla_q": (self.head * self.mla_k, e),
            "attn_q_a": (self.q_lora, e), "attn_q_b": (self.head * self.mla_k, self.q_lora),
            "attn_q_a_norm": (self.q_lora,), "attn_kv_a_norm": (self.kv_lora,), "attn_kv_a_mqa": (self.kv_lora + self.rot, e),
            "attn_kv_b": (self.head * (nope + self.mla_v), self.kv_lora),
            "attn_k_b": (self.head, self.kv_lora, nope), "attn_v_b": (self.head, self.mla_v, self.kv_lora),
            "mla_output": (e, self.head * self.mla_v),
            "ffn_gate": (self.ff, e), "ffn_up": (self.ff, e), "ffn_gate_up": (2 * self.ff, e), "ffn_down": (e, self.ff),
            "ffn_gate_inp": (x, e), "ffn_gate_exps": (x, self.expert_ff, e), "ffn_up_exps": (x, self.expert_ff, e),
            "ffn_down_exps": (x, e, self.expert_ff), "exp_probs_b": (x,),
            "ffn_gate_shexp": (self.shared_ff, e), "ffn_up_shexp": (self.shared_ff, e), "ffn_down_shexp": (e, self.shared_ff),
            "ffn_gate_inp_shexp": (e,),
            "per_layer_token_embd": (self.vocab, self.layer * self.per_layer), "per_layer_model_proj": (self.layer * self.per_layer, e),
            "per_layer_proj_norm": (self.per_layer,), "inp_gate": (self.per_layer, e), "proj": (e, self.per_layer),
            "layer_output_scale": (1,),
            "mamba_in": (2 * inner, e), "mamba_conv": (inner, self.conv), "mamba_x": (self.rank + 2 * self.state, inner),
            "mamba_dt": (inner, self.rank), "mamba_a": (inner, self.state), "mamba_d": (inner,), "ssm_out": (e, inner),
            "ssm_dt_norm": (self.rank,), "ssm_b_norm": (self.state,), "ssm_c_norm": (self.state,),
            "mamba2_in": (inner + channels + self.rank, e), "ssm_conv": (channels, self.conv), "dt_bias": (self.rank,),
            "mamba2_a": (self.rank, 1), "mamba2_d": (self.rank, 1), "group_norm": (self.group, inner // self.group),
            "net_qkv": (channels, e), "attn_gate": (inner, e), "ssm_ba": (2 * self.rank, e), "ssm_alpha": (self.rank, e), "ssm_beta": (self.rank, e),
            "net_a": (self.rank,), "net_norm": (inner // self.rank,), "gated_q": (2 * q, e),
            "shortconv.in_proj": (3 * e, e), "shortconv.conv": (e, self.short), "shortconv.out_proj": (e, e),
            "time_mix_w1": (5 * self.mix, e), "time_mix_w2": (5, e, self.mix), "time_mix_lerp_fused": (5, 1, 1, e),
            "time_mix_first": (e // self.wkv, self.wkv), "time_mix_decay_w1": (self.decay, e), "time_mix_decay_w2": (e, self.decay),
            "time_mix_key": (wkv_kv, e), "time_mix_value": (wkv_kv, e), "time_mix_receptance": (e, e), "time_mix_gate": (e, e), "time_mix_output": (e, e),
            "channel_mix_key": (self.ff, e), "channel_mix_value": (e, self.ff), "channel_mix_receptance": (e, e),
            "decay_w1": (self.decay, e), "decay_w2": (e, self.decay), "time_mix_a1": (self.mix, e), "time_mix_a2": (e, self.mix),
            "time_mix_v1": (self.value_rank, e), "time_mix_v2": (e, self.value_rank), "unused_v1": (self.mix, e), "unused_v2": (e, self.mix),
            "time_mix_g1": (self.gate_rank, e), "time_mix_g2": (e, self.gate_rank), "six_shares": (6, 1, 1, e),
            "attn_rel_b": (self.buckets, self.head), "t5_output": (e, self.head * self.v),
            "kda_q": (kda, e), "kda_k": (kda, e), "kda_v": (kda, e), "kda_output": (e, kda),
            "ssm_conv1d_q": (kda, 1, self.conv), "ssm_conv1d_k": (kda, 1, self.conv), "ssm_conv1d_v": (kda, 1, self.conv),
            "ssm_f_a": (self.kda, e), "ssm_f_b": (kda, self.kda), "ssm_g_a": (self.kda, e), "ssm_g_b": (kda, self.kda), "full_f": (kda, e), "full_g": (kda, e),
            "kda_beta": (self.head, e), "kda_a": (self.head, 1), "positive_a": (self.head, 1), "kda_bias": (kda,), "kda_norm": (self.kda,), "head_gate": (self.head, e),
            "lightning_qkv": (3 * q, e), "lightning_gate": (q, e), "lightning_norm": (q,), "lightning_output": (e, q),
            "plamo_x": (2 * self.state + self.dt, inner), "plamo_dt": (self.rank, self.dt), "plamo_a": (self.rank,), "plamo_d": (self.rank,),
            "bare_dt_norm": (self.dt,), "bare_b_norm": (self.state,), "bare_c_norm": (self.state,),
            "latent_gate": (self.head * self.mla_v, e), "full_gate": (kda, e), "ffn_latent_down": (self.routed, e), "ffn_latent_up": (e, self.routed), "ffn_routed_down": (self.routed, e), "ffn_routed_up": (e, self.routed), "ffn_routed_norm": (self.routed,),
            "routed_gate_exps": (x, self.expert_ff, self.routed), "routed_up_exps": (x, self.expert_ff, self.routed), "routed_down_exps": (x, self.routed, self.expert_ff),
            "head_q_norm": (self.k,), "head_k_norm": (self.k,),
            "row_q_norm": (q,), "row_k_norm": (k,),
            "own_q_norm": (self.head, self.k), "own_k_norm": (self.head_kv, self.k), "factor_q_norm": (self.head, 1),
            "element_gate": (self.head * self.v, e),
            "square_gate": (e, e), "square_up": (e, e), "square_down": (e, e),
            "fused_up_shexp": (2 * self.shared_ff, e),
            "ffn_gate_chexps": (x // 2, self.chunk_ff, e), "ffn_up_chexps": (x // 2, self.chunk_ff, e), "ffn_down_chexps": (x // 2, e, self.chunk_ff),
            "vis_attn_qkv": (q + k + v, e), "vis_attn_output": (e, self.head * self.v), "vis_gate": (self.ff, e), "vis_up": (self.ff, e), "vis_down": (e, self.ff),
            **{f"{of}_norm": (self.streams, e) for of in ("output_hc", "hc_attn", "hc_ffn")},
            **{f"{of}_down": (self.low, self.streams * e) for of in ("output_hc", "hc_attn", "hc_ffn")},
            **{f"{of}_up": (self.streams * e, self.low) for of in ("output_hc", "hc_attn", "hc_ffn")},
            **{f"{of}_inject": (self.streams, self.streams * e) for of in ("hc_attn", "hc_ffn")},
            "indexer.q_proj": (self.index_head * self.index, e), "indexer.k_proj": (self.index, e), "indexer.q_norm": (self.index,), "indexer.k_norm": (self.index,),
            "ngram_table": (self.rows, self.row), "ple_key": (self.streams * e, e), "ple_value": (e, e), "ple_conv1d": (self.streams * e, self.conv),
            "ple_norm_key": (self.streams, e), "ple_norm_query": (self.streams, e), "ple_norm_conv": (self.streams, e),
            "altup_proj": (self.streams - 1, e, e), "altup_unembd_proj": (self.streams - 1, e, e), "altup_router": (self.streams, e),
            "altup_predict_coef": (self.streams**2, self.streams), "altup_correct_coef": (self.streams, self.streams),
            "laurel_l": (self.laurel, e), "laurel_r": (e, self.laurel),
            "act_scales": (self.ff,), "attn_sub_norm": (self.head * self.v,), "ffn_sub_norm": (self.ff,), "plain_k_norm": (k,),
        }  # fmt: skip


RENAMED = {
    "ffn_gate_up": "ffn_up",
    "mla_q": "attn_q",
    "mla_output": "attn_output",
    "mamba_in": "ssm_in",
    "mamba_conv": "ssm_conv1d",
    "mamba_x": "ssm_x",
    "mamba_dt": "ssm_dt",
    "mamba2_in": "ssm_in",
    "ssm_conv": "ssm_conv1d",
    "group_norm": "ssm_norm",
    "net_norm": "ssm_norm",
    "net_qkv": "attn_qkv",
    "gated_q": "attn_q",
    "t5_output": "attn_o",
    "latent_gate": "attn_gate",
    "full_gate": "ssm_g",
    "routed_gate_exps": "ffn_gate_exps",
    "routed_up_exps": "ffn_up_exps",
    "routed_down_exps": "ffn_down_exps",
    "kda_q": "attn_q",
    "kda_k": "attn_k",
    "kda_v": "attn_v",
    "kda_output": "attn_output",
    "full_f": "ssm_f_a",
    "full_g": "ssm_g_a",
    "kda_beta": "ssm_beta",
    "kda_norm": "ssm_norm",
    "lightning_qkv": "attn_qkv",
    "lightning_gate": "attn_gate",
    "lightning_norm": "attn_norm_2",
    "lightning_output": "attn_output",
    "plamo_x": "ssm_x",
    "plamo_dt": "ssm_dt",
    "decay_w1": "time_mix_w1",
    "decay_w2": "time_mix_w2",
    "unused_v1": "time_mix_v1",
    "unused_v2": "time_mix_v2",
    "six_shares": "time_mix_lerp_fused",
    "element_gate": "attn_gate",
    "head_gate": "attn_gate",
    "square_gate": "ffn_gate",
    "square_up": "ffn_up",
    "square_down": "ffn_down",
    "fused_up_shexp": "ffn_up_shexp",
    "factor_q_norm": "attn_q_norm",
    "plain_k_norm": "attn_k_norm",
    "ngram_table": "per_layer_token_embd",
    **{f"{kind}_{x}_norm": f"attn_{x}_norm" for kind in ("head", "row", "own") for x in "qk"},
}
# Names that end without `.weight`.
BARE = {
    "mamba_a": "ssm_a",
    "mamba_d": "ssm_d",
    "mamba2_a": "ssm_a",
    "mamba2_d": "ssm_d",
    "net_a": "ssm_a",
    "dt_bias": "ssm_dt.bias",
    "bare_ffn_norm": "ffn_norm",
    "kda_a": "ssm_a",
    "positive_a": "ssm_a",
    "kda_bias": "ssm_dt.bias",
    "plamo_a": "ssm_a",
    "plamo_d": "ssm_d",
    "bare_dt_norm": "ssm_dt_norm",
    "bare_b_norm": "ssm_b_norm",
    "bare_c_norm": "ssm_c_norm",
    "bare_attn_post": "post_attention_norm",
    "bare_ffn_post": "post_ffw_norm",
    "act_scales": "ffn.act.scales",
    "hrm.z_l_init": "hrm.z_l_init",
}
F32_MATRICES = {"output_hc_norm", "hc_attn_norm", "hc_ffn_norm", "ple_norm_key", "ple_norm_query", "ple_norm_conv", "altup_router", "altup_predict_coef", "altup_correct_coef", "full_gate", "attn_rel_b", "ssm_conv1d_q", "ssm_conv1d_k", "ssm_conv1d_v", "kda_beta", "ssm_f_a", "ssm_f_b", "ssm_g_a", "ssm_g_b", "full_f", "full_g", "time_mix_lerp_fused", "six_shares", "time_mix_first", "mamba_conv", "ssm_conv", "shortconv.conv", "mamba_x", "mamba_dt", "group_norm", "ssm_ba", "ssm_alpha", "ssm_beta", "ffn_gate_inp", "token_types", "position_embd", "per_layer_model_proj", "inp_gate", "proj", "own_q_norm", "own_k_norm", "factor_q_norm"}
# What scales the additions to the residual stream: smaller in deep models, which are chaotic otherwise.
ADDED = {"attn_output", "mla_output", "ffn_down", "square_down", "post_attention_norm", "post_ffw_norm"}


@dataclass(frozen=True)
class Case:
    """One model, `FAMILY` or `FAMILY:VARIANT`. Tensors are named by words; `+` adds the bias."""

    name: str
    model: str  # tensors of the whole model
    block: str  # tensors of a layer
    dims: Dims = field(default_factory=Dims)
    keys: dict[str, object] = field(default_factory=dict)
    eps: str = "layer_norm_rms_epsilon"
    first: str | None = None  # tensors of layer 0, where it differs
    blocks: dict[int, tuple[str, Dims]] = field(default_factory=dict)  # layers that differ otherwise
    types: dict[str, Type] = field(default_factory=dict)  # of tensors that are not F16
    prefix: str = "blk"  # of the names of layers' tensors

    @property
    def family(self) -> str:
        """`general.architecture`."""
        return self.name.split(":")[0]

    def metadata(self) -> dict[str, object]:
        """All keys; None removes one."""
        d = self.dims
        keys: dict[str, object] = {
            "vocab_size": d.vocab,
            "context_length": d.ctx,
            "embedding_length": d.embd,
            "block_count": d.layer,
            "feed_forward_length": d.ff,
            "attention.head_count": d.head,
            "attention.head_count_kv": d.head_kv,
            f"attention.{self.eps}": 0.004,
            "rope.dimension_count": d.rot,
        }
        if d.k != d.embd // d.head:
            keys |= {"attention.key_length": d.k, "attention.value_length": d.v}
        if d.expert:
            keys |= {"expert_count": d.expert, "expert_used_count": 2}
        keys |= self.keys
        return {key: value for key, value in keys.items() if value is not None}

    def tensors(self) -> list[Tensor]:
        """Random weights, the same on every run."""
        random = np.random.default_rng(zlib.crc32(self.name.encode()))
        tensors = list(self._of_words("", self.model, self.dims, random))
        for layer in range(self.dims.layer):
            words, dims = self.blocks.get(layer, (self.block, self.dims))
            if layer == 0 and self.first is not None:
                words = self.first
            tensors += self._of_words(f"{self.prefix}.{layer}.", words, dims, random)
        return tensors

    def _of_words(self, prefix: str, words: str, dims: Dims, random: np.random.Generator) -> Iterator[Tensor]:
        shapes = dims.shapes()
        for word in words.split():
            part = word.rstrip("+")
            shape = shapes.get(part, (dims.embd,))
            name = prefix + RENAMED.get(part, part)
            if part == "exp_probs_b":
                yield Tensor(f"{name}.bias", Type.F32, shape, (0.2 * random.normal(size=shape)).astype(np.float32))
                continue
            if part in BARE:
                yield Tensor(prefix + BARE[part], Type.F32, shape, _weights(part, shape, random).astype(np.float32))
                continue
            is_matrix = len(shape) > 1 and part not in F32_MATRICES
            kind = self.types.get(part, Type.F16 if is_matrix else Type.F32)
            weights = _weights(part, shape, random)
            if part in ADDED:
                weights *= min(1, 2 / np.sqrt(self.dims.layer))
            yield reference.quantized(f"{name}.weight", kind, weights)
            if word.endswith("+"):
                rows = shape[:-1] if len(shape) > 1 else shape
                bias = (0.3 * random.normal(size=rows)).astype(np.float32)
                yield Tensor(f"{name}.bias", Type.F32, rows, bias)


def _weights(part: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    normal = random.normal(size=shape)
    if part == "positive_a":
        return random.uniform(0.3, 4, shape)
    if part in ("mamba_a", "mamba2_a", "net_a", "kda_a", "plamo_a"):
        return -random.uniform(0.3, 4, shape)
    if part.startswith("rope_f") or part == "act_scales":
        return random.uniform(1, 4, shape)
    if "lerp" in part or part == "six_shares":
        return random.uniform(0, 1, shape)
    if part == "altup_router":
        return 3 * normal
    if part in ("altup_predict_coef", "altup_correct_coef"):
        return 0.15 * normal
    if "norm" in part or part == "altup_correct_scale" or part == "time_mix_ln" or part == "layer_output_scale":
        return 1 + 0.3 * np.clip(normal, -2, 2)
    if part in ("token_embd", "position_embd", "token_types", "attn_sinks", "per_layer_token_embd"):
        return 0.5 * normal
    # Queries and keys are larger, so that attention is far from uniform.
    gain = 1.5 if part in ("attn_q", "attn_k", "attn_qkv", "mla_q", "attn_q_b", "attn_kv_a_mqa", "attn_k_b") else 1.0
    return gain * normal / np.sqrt(shape[-1])


QKV = "attn_q attn_k attn_v"
QKV_BIASED = "attn_q+ attn_k+ attn_v+"
GATED = "ffn_gate ffn_up ffn_down"
FUSED = "ffn_gate_up ffn_down"
EXPERTS = "ffn_gate_inp ffn_gate_exps ffn_up_exps ffn_down_exps"
SHARED = "ffn_gate_shexp ffn_up_shexp ffn_down_shexp"
HEAD_NORMS = "head_q_norm head_k_norm"
ROW_NORMS = "row_q_norm row_k_norm"

UNTIED = "token_embd output_norm output"
TIED = "token_embd output_norm"
LAYER_UNTIED = "token_embd output_norm+ output"
LAYER_TIED = "token_embd output_norm+"
LLAMA = f"attn_norm {QKV} attn_output ffn_norm {GATED}"
BIASED = f"attn_norm {QKV_BIASED} attn_output ffn_norm {GATED}"
LLAMA_EXPERTS = f"attn_norm {QKV} attn_output ffn_norm {EXPERTS}"
QK_NORMED = f"attn_norm {QKV} attn_output {HEAD_NORMS} ffn_norm {GATED}"
POST_NORMED = f"{QKV} attn_output {{}} post_attention_norm {GATED} post_ffw_norm"
SANDWICH = f"attn_norm {QKV} attn_output {{}} post_attention_norm ffn_norm {GATED} post_ffw_norm"
PARALLEL = f"attn_norm {QKV} attn_output {GATED}"
GPT = "attn_norm+ attn_qkv+ attn_output+ ffn_norm+ ffn_up+ ffn_down+"
EXPANDED = "attn_norm attn_q_a attn_q_a_norm attn_q_b attn_kv_a_mqa attn_kv_a_norm attn_kv_b mla_output ffn_norm"
LATENT = "attn_norm attn_q_a attn_q_a_norm attn_q_b attn_kv_a_mqa attn_kv_a_norm attn_k_b attn_v_b mla_output ffn_norm"

MAMBA = "mamba_in mamba_conv+ mamba_x mamba_dt+ mamba_a mamba_d ssm_out"
MAMBA2 = "mamba2_in ssm_conv+ dt_bias mamba2_a mamba2_d group_norm ssm_out"
DELTA_NET = "net_qkv attn_gate ssm_conv dt_bias net_a net_norm ssm_out"
GATED_HEADS = "gated_q attn_k attn_v attn_output head_q_norm head_k_norm"
KDA = "kda_q kda_k kda_v ssm_conv1d_q ssm_conv1d_k ssm_conv1d_v {} {} kda_beta kda_bias kda_norm kda_output"
LIGHTNING = "lightning_qkv lightning_gate lightning_norm lightning_output"
PLAMO_MAMBA = "mamba_in mamba_conv plamo_x bare_dt_norm bare_b_norm bare_c_norm plamo_dt+ plamo_a plamo_d ssm_out"
NEMOTRON_EXPERTS = "ffn_gate_inp exp_probs_b ffn_latent_down routed_up_exps routed_down_exps ffn_latent_up ffn_up_shexp ffn_down_shexp"
ROUTED = "ffn_gate_inp routed_gate_exps routed_up_exps routed_down_exps exp_probs_b ffn_routed_down ffn_routed_norm ffn_routed_up"
SHORT = "shortconv.in_proj shortconv.conv shortconv.out_proj"

WKV6 = "time_mix_lerp_x time_mix_w1 time_mix_w2 {} time_mix_decay time_mix_decay_w1 time_mix_decay_w2 time_mix_key time_mix_value time_mix_receptance time_mix_gate time_mix_output"
SHARES = "time_mix_lerp_w time_mix_lerp_k time_mix_lerp_v time_mix_lerp_r time_mix_lerp_g"
RWKV6 = f"attn_norm+ {WKV6} time_mix_first time_mix_ln+ attn_norm_2+ channel_mix_lerp_k channel_mix_lerp_r channel_mix_key channel_mix_value channel_mix_receptance"
WKV7 = "time_mix_w0 decay_w1 decay_w2 time_mix_a0 time_mix_a1 time_mix_a2 time_mix_v0 {} time_mix_k_k time_mix_k_a time_mix_r_k time_mix_key time_mix_value time_mix_receptance time_mix_output"
VALUES, UNUSED_VALUES = "time_mix_v1 time_mix_v2", "unused_v1 unused_v2"
GATED_WKV7 = f"{WKV7} six_shares time_mix_g1 time_mix_g2 time_mix_ln+"
RWKV7 = f"attn_norm+ {GATED_WKV7} attn_norm_2+ channel_mix_lerp_k channel_mix_key channel_mix_value"
ARWKV7 = f"attn_norm {WKV7} time_mix_lerp_fused ffn_norm {GATED}"

D = Dims()
STATE_SPACE = {"ssm.conv_kernel": 4, "ssm.inner_size": 48, "ssm.state_size": 16, "ssm.time_step_rank": 4}
GROUPS = {"ssm.group_count": 2}
# A model without attention and feed-forward blocks.
ALONE = {
    **STATE_SPACE,
    **{key: None for key in ("attention.head_count", "attention.head_count_kv", "rope.dimension_count", "feed_forward_length")},
}
LN_KEY = "attention.layer_norm_epsilon"
KIMI_KEYS = {
    "attention.key_length": 20, "attention.value_length": 16, "attention.key_length_mla": 12, "attention.value_length_mla": 10, "attention.kv_lora_rank": 16,
    "attention.head_count_kv": [0, 1, 0], "kda.head_dim": 8, "ssm.conv_kernel": 4,
    "leading_dense_block_count": 1, "expert_shared_count": 1, "expert_gating_func": 2, "expert_feed_forward_length": 12, "expert_shared_feed_forward_length": 12,
}  # fmt: skip
ENCODER = {"attention.causal": False, "attention.head_count_kv": None, "tokenizer.ggml.token_type_count": 2}
K3_KEYS = {
    "expert_latent_length": 16, "expert_weights_norm": True, "expert_weights_scale": 1.75, "kda.gate_lower_bound": -5.0,
    "attn_res.block_size": 2, "activation.situ_beta": 2.0, "activation.situ_linear_beta": 1.5,
}  # fmt: skip
NO_HEADS = {key: None for key in ("attention.head_count", "attention.head_count_kv", "rope.dimension_count")}
WKV6_KEYS = {"wkv.head_size": 8, "time_mix_extra_dim": 6, "time_decay_extra_dim": 5}
WKV7_DIMS = replace(D, embd=64, wkv=64)  # the reference reads heads in steps of up to 64
WKV7_KEYS = {
    "wkv.head_size": 64, "attention.decay_lora_rank": 5, "attention.iclr_lora_rank": 6, "attention.value_residual_mix_lora_rank": 7, "attention.gate_lora_rank": 9,
}  # fmt: skip
RWKV = "token_embd token_embd_norm+ output_norm+ output"
NEXT = replace(D, layer=4, k=12, v=12, inner=64)
NEXT_MOE = replace(NEXT, expert=4)
NEXT_KEYS = {**STATE_SPACE, **GROUPS, "ssm.inner_size": 64, "rope.freq_base": 20000.0}
NEXT_SECTIONS = {"rope.dimension_sections": [1, 1, 1, 0]}
MHA = replace(D, head_kv=4)
MQA = replace(D, head_kv=1)
LONG_HEADS = replace(D, k=12, v=12, rot=12)
HALF_TURNED = replace(D, rot=4)
MOE = replace(D, expert=4, ff=20)
DEEPSEEK = replace(D, expert=6, layer=3, ff=24)
MLA = replace(DEEPSEEK, head_kv=1, k=20, v=16, rot=4)
MLA_EXPANDED = replace(D, head_kv=4, k=12, v=10)
EMBD_8 = replace(D, embd=8, head=2, head_kv=1, k=4, v=4, rot=4, ff=8)
GEMMA4 = replace(D, layer=6, k=16, v=16, rot=16, ff=16)
GEMMA4_WINDOW = replace(GEMMA4, k=8, v=8, rot=8)

YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 512}
LONG_FACTORS = {"rope.scaling.original_context_length": 8, "rope.scaling.attn_factor": 1.25}
WINDOW = {"attention.sliding_window": 5}
SIGMOID_GROUPS = {
    "leading_dense_block_count": 1, "expert_shared_count": 1, "expert_gating_func": 2, "expert_weights_norm": True, "expert_weights_scale": 1.75,
    "expert_group_count": 3, "expert_group_used_count": 2, "expert_feed_forward_length": 12, "expert_shared_feed_forward_length": 12,
}  # fmt: skip
SIGMOID = {key: value for key, value in SIGMOID_GROUPS.items() if "group" not in key}
MLA_RANKS = {"attention.q_lora_rank": 12, "attention.kv_lora_rank": 16}
MLA_KEYS = {
    "attention.key_length": 20, "attention.value_length": 16, "attention.key_length_mla": 12, "attention.value_length_mla": 10, **MLA_RANKS,
}  # fmt: skip
GRANITE = {"logit_scale": 3.0, "residual_scale": 0.6, "embedding_scale": 2.5, "attention.scale": 0.25}
SOFTCAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 1.5}
GEMMA4_KEYS = {
    "rope.freq_base": 30000.0, "rope.freq_base_swa": 8000.0, "rope.dimension_count_swa": 8,
    "attention.key_length_swa": 8, "attention.value_length_swa": 8,
    "attention.sliding_window_pattern": [True, True, False, True, True, False],
    "embedding_length_per_layer_input": 6, "final_logit_softcapping": 1.5, **WINDOW,
}  # fmt: skip
SHARED_KV = {"attention.shared_kv_layers": 2, "attention.sliding_window_pattern": [True, True, True, False, True, False]}
GEMMA4_BLOCK = SANDWICH.format(HEAD_NORMS) + " layer_output_scale inp_gate proj post_norm"
GEMMA4_MODEL = f"{TIED} per_layer_token_embd per_layer_model_proj per_layer_proj_norm rope_freqs"
GEMMA4_BLOCKS = {layer: (GEMMA4_BLOCK, GEMMA4_WINDOW) for layer in (0, 1, 3, 4)}
GEMMA3N = replace(D, embd=16, head=2, head_kv=1, k=8, v=8, rot=8, ff=32, vocab=24, layer=6, per_layer=256, streams=4)
GEMMA3N_KEYS = {"rope.freq_base": 30000.0, "embedding_length_per_layer_input": 256, "final_logit_softcapping": 30.0, **WINDOW}
GEMMA3N_MODEL = f"{TIED} per_layer_token_embd per_layer_model_proj per_layer_proj_norm altup_proj altup_unembd_proj"
GEMMA3N_BLOCK = (
    SANDWICH.format(HEAD_NORMS)
    + " inp_gate proj post_norm altup_router altup_router_norm altup_predict_coef altup_correct_coef altup_correct_scale laurel_l laurel_r laurel_post_norm"
)
GEMMA3N_TYPES = dict.fromkeys(("inp_gate", "proj", "per_layer_model_proj"), Type.F16)
STREAMS = " ".join(f"hc_{of}_{part}" for of in ("attn", "ffn") for part in ("norm", "down", "up", "inject"))
NGRAMS = "ple_key ple_value ple_norm_key ple_norm_query ple_norm_conv ple_conv1d"
INDEXER = "indexer.q_proj indexer.k_proj indexer.q_norm indexer.k_norm"
QWEN4_KEYS = {
    "expert_feed_forward_length": 12, "expert_shared_feed_forward_length": 20, "hyper_connection.count": 3, "hyper_connection.low_rank": 5,
    "attention.indexer.head_count": 2, "attention.indexer.key_length": 8, "attention.indexer.top_k": 4, "attention.compress_ratios": 2,
    "ple.layers": [0], "ple.ngram_size": 3, "ple.heads_per_ngram": 2, "ple.conv_kernel": 4, "ple.eos_token_id": 3, "embedding_length_per_layer_input": 6,
    "ple.layer_multipliers": [2654435761, 40503, 2246822519], "ple.head_offsets": [0, 20, 40, 64], "ple.head_vocab_sizes": [19, 20, 23, 26],
}  # fmt: skip
LN = "layer_norm_epsilon"
ENCODERS = {"bert", "gemma-embedding", "llama-embed", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "modern-bert", "neo-bert", "eurobert", "t5encoder"}
SMALL = replace(D, embd=16, head=2, head_kv=1, k=8, v=8, rot=8, ff=12, vocab=24)
SMALL_MHA = replace(SMALL, head_kv=2)
SMALL_MOE = replace(SMALL, expert=3, expert_ff=8, shared_ff=8)
SMALL_QKV = f"attn_norm {QKV_BIASED} attn_output"
NEXT_TO_LEADING = {
    "leading_dense_block_count": 1, "expert_shared_count": 1, "expert_feed_forward_length": 8, "expert_weights_scale": 1.75,
    "expert_weights_norm": True, "expert_gating_func": 2,
}
YARN_BETAS = {"rope.scaling.yarn_beta_fast": 0.5, "rope.scaling.yarn_beta_slow": 0.02}
SMALL_YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 4, **YARN_BETAS}


def without(words: str, *gone: str) -> str:
    """`words` without some of them."""
    return " ".join(word for word in words.split() if word not in gone)


CASES = [
    Case("llama", UNTIED, LLAMA),
    Case("llama:mha", TIED, LLAMA, MHA, {"rope.freq_base": 30000.0}),
    Case("llama:bias", UNTIED, "attn_norm attn_q+ attn_k+ attn_v+ attn_output+ ffn_norm ffn_gate+ ffn_up+ ffn_down+"),
    Case("llama:rope-freqs", f"{TIED} rope_freqs", LLAMA, LONG_HEADS, {"rope.freq_base": 500000.0}),
    Case("llama:linear", UNTIED, LLAMA, D, {"rope.scaling.type": "linear", "rope.scaling.factor": 3.0}),
    Case("llama:yarn", UNTIED, LLAMA, replace(LONG_HEADS, k=16, v=16, rot=16, ctx=4096), YARN),
    Case("llama:moe", UNTIED, LLAMA_EXPERTS, replace(MOE, expert_ff=20)),
    Case("llama:keys-of-others", UNTIED, LLAMA, D, {**GRANITE, **SOFTCAPS, **WINDOW, "attention.clamp_kqv": 0.5, "attention.temperature_scale": 0.3}),
    Case("mistral3", UNTIED, LLAMA, replace(LONG_HEADS, ctx=256), {
        "rope.freq_base": 20000.0, "rope.scaling.type": "yarn", "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 4,
        "rope.scaling.yarn_beta_fast": 0.5, "rope.scaling.yarn_beta_slow": 0.02, "rope.scaling.yarn_log_multiplier": 1.0,
        "attention.temperature_scale": 0.3,
    }),
    Case("llama4", UNTIED, f"{LLAMA_EXPERTS} {SHARED}", replace(MOE, layer=5, shared_ff=12), {
        "expert_used_count": 1, "expert_feed_forward_length": 12, "interleave_moe_layer_step": 1, "rope.freq_base": 30000.0,
    }),
    Case("arcee", UNTIED, without(LLAMA, "ffn_gate")),
    Case("baichuan", UNTIED, LLAMA, replace(EMBD_8, layer=32, head_kv=2)),
    Case("baichuan:alibi", UNTIED, LLAMA, replace(EMBD_8, layer=40, head_kv=2)),
    Case("chatglm", UNTIED, f"attn_norm attn_qkv+ attn_output ffn_norm {FUSED}", HALF_TURNED),
    Case("deepseek", UNTIED, f"{LLAMA_EXPERTS} {SHARED}", replace(DEEPSEEK, shared_ff=12), {
        "leading_dense_block_count": 1, "expert_shared_count": 1, "expert_weights_scale": 1.0, "expert_feed_forward_length": 12,
    }, first=LLAMA),
    Case("deepseek2", UNTIED, f"{LATENT} {EXPERTS} exp_probs_b {SHARED}", replace(MLA, shared_ff=12), {**MLA_KEYS, **SIGMOID_GROUPS},
         first=f"{LATENT} {GATED}"),
    Case("deepseek2:softmax-yarn", UNTIED, f"{LATENT} {EXPERTS} {SHARED}", replace(MLA, shared_ff=12, ctx=4096), {
        **MLA_KEYS, **YARN, "rope.scaling.yarn_log_multiplier": 0.1, "attention.temperature_scale": 0.3, "attention.temperature_length": 4,
        "leading_dense_block_count": 1, "expert_shared_count": 1,
        "expert_weights_scale": 1.0, "expert_feed_forward_length": 12,
    }, first=f"{LATENT} {GATED}"),
    Case("deepseek2:no-query-rank", UNTIED, f"{without(LATENT, 'attn_q_a', 'attn_q_a_norm', 'attn_q_b')} mla_q {GATED}",
         replace(EMBD_8, layer=26, head_kv=1, k=10, v=8, rot=2, kv_lora=8, mla_k=6, mla_v=4), {
        "attention.key_length": 10, "attention.value_length": 8, "attention.key_length_mla": 6, "attention.value_length_mla": 4,
        "attention.kv_lora_rank": 8, "leading_dense_block_count": 26, "expert_shared_count": 0, "expert_feed_forward_length": 8,
    }),
    *(Case(f"deepseek2:before-mla-{name}", UNTIED, f"{EXPANDED} {GATED}", replace(MLA_EXPANDED, kv_lora=rank), {
        "attention.q_lora_rank": 12, "attention.kv_lora_rank": rank,
        "leading_dense_block_count": 2, "expert_shared_count": 0, "expert_feed_forward_length": 8,
    }, types={"attn_kv_b": ty}) for name, rank, ty in (("q8-0", 32, Type.Q8_0), ("q4-k", 256, Type.Q4_K))),
    Case("ernie4_5", TIED, LLAMA, D, {"rope.freq_base": 30000.0}),
    Case("ernie4_5-moe", TIED, f"{LLAMA_EXPERTS} exp_probs_b {SHARED}", replace(MOE, layer=3), {
        "leading_dense_block_count": 1, "interleave_moe_layer_step": 1, "expert_feed_forward_length": 12,
        "expert_shared_count": 1, "expert_shared_feed_forward_length": 20,
    }, first=LLAMA),
    # Every second layer uses its experts; the others after the first have some, too, which they do not use.
    Case("ernie4_5-moe:interleaved", TIED, f"{LLAMA_EXPERTS} exp_probs_b {SHARED}", replace(MOE, layer=5), {
        "leading_dense_block_count": 1, "interleave_moe_layer_step": 2, "expert_feed_forward_length": 12,
        "expert_shared_count": 1, "expert_shared_feed_forward_length": 20,
    }, first=LLAMA),
    Case("glm4", UNTIED, f"attn_norm {QKV_BIASED} attn_output post_attention_norm ffn_norm {FUSED} post_ffw_norm", HALF_TURNED),
    Case("granite", TIED, LLAMA, D, GRANITE),
    Case("granitemoe", TIED, f"{LLAMA_EXPERTS} {SHARED}", replace(MOE, ff=12), {**GRANITE, "expert_shared_feed_forward_length": 20}),
    Case("internlm2", UNTIED, LLAMA),
    Case("minicpm", TIED, LLAMA, D, {"embedding_scale": 2.5, "residual_scale": 0.6, "logit_scale": 0.4}),
    Case("minicpm:defaults", TIED, LLAMA),
    Case("minicpm3", TIED, f"{EXPANDED} {GATED}", MLA_EXPANDED, MLA_RANKS),
    Case("minicpm3:long-factors", f"{UNTIED} rope_factors_long rope_factors_short", f"{EXPANDED} {GATED}", MLA_EXPANDED,
         {**MLA_RANKS, **LONG_FACTORS}),
    Case("smollm3", TIED, LLAMA, replace(D, layer=5, ff=24), {"rope.freq_base": 30000.0}),
    Case("xverse", UNTIED, LLAMA, MHA),
    Case("olmo", "token_embd", without(LLAMA, "attn_norm", "ffn_norm"), D, {"attention.clamp_kqv": 1.25}, LN),
    Case("command-r", TIED, PARALLEL, D, {"logit_scale": 0.4}, LN),
    Case("command-r:qk-norm", TIED, f"{PARALLEL} own_q_norm own_k_norm", replace(D, layer=64, embd=8, head=2, k=4, v=4, rot=4, ff=8), {"logit_scale": 0.4}, LN),
    Case("cohere2", TIED, PARALLEL, replace(D, layer=5, ff=24), {"logit_scale": 0.4, **WINDOW}, LN),
    Case("cohere2:pattern", TIED, PARALLEL, replace(D, layer=3, ff=24), {
        "logit_scale": 0.4, "attention.sliding_window_pattern": [False, True, False], **WINDOW,
    }, LN),

    Case("bailingmoe2", UNTIED, f"attn_norm attn_qkv attn_output {HEAD_NORMS} ffn_norm {EXPERTS} exp_probs_b {SHARED}",
         replace(DEEPSEEK, rot=4, shared_ff=12), SIGMOID_GROUPS, first=f"attn_norm attn_qkv attn_output {HEAD_NORMS} ffn_norm {GATED}"),
    Case("dots1", UNTIED, f"attn_norm {QKV} attn_output {HEAD_NORMS} ffn_norm {EXPERTS} exp_probs_b {SHARED}",
         replace(DEEPSEEK, head_kv=4, shared_ff=24), {**SIGMOID, "expert_shared_count": 2}, first=QK_NORMED),
    Case("exaone", UNTIED, LLAMA),
    Case("exaone4", TIED, POST_NORMED.format(HEAD_NORMS), D, {"rope.freq_base": 30000.0}),
    Case("exaone4:window", TIED, POST_NORMED.format(HEAD_NORMS), replace(EMBD_8, layer=64), {"rope.freq_base": 30000.0, **WINDOW}),
    Case("gemma", TIED, LLAMA, replace(LONG_HEADS, head_kv=1)),
    Case("gemma2", TIED, SANDWICH.format(""), replace(LONG_HEADS, layer=3, ff=24), {**WINDOW, **SOFTCAPS}),
    Case("gemma2:defaults", TIED, SANDWICH.format(""), replace(LONG_HEADS, ff=24), WINDOW),
    Case("gemma2:46-layers", TIED, SANDWICH.format(""), replace(EMBD_8, layer=46, k=6, v=6, rot=6), {**WINDOW, **SOFTCAPS}),
    Case("gemma3", TIED, SANDWICH.format(HEAD_NORMS), replace(LONG_HEADS, layer=7, head=3, head_kv=1, ff=16), {"rope.freq_base": 30000.0, **WINDOW}),
    Case("gemma3:magnitude", TIED, SANDWICH.format(HEAD_NORMS), replace(LONG_HEADS, layer=7, head=3, head_kv=1, ff=16, ctx=4096), {
        "rope.freq_base": 30000.0, **YARN, "rope.scaling.attn_factor": 1.3, **WINDOW,
    }),
    Case("gemma3:62-layers", TIED, SANDWICH.format(HEAD_NORMS), replace(EMBD_8, layer=62, k=6, v=6, rot=6), {
        "rope.freq_base": 30000.0, "rope.scaling.type": "linear", "rope.scaling.factor": 4.0, **WINDOW,
    }),
    Case("gemma3n", GEMMA3N_MODEL, GEMMA3N_BLOCK, GEMMA3N, GEMMA3N_KEYS, types=GEMMA3N_TYPES),
    Case("gemma3n:shared-kv", f"{GEMMA3N_MODEL} output", GEMMA3N_BLOCK, replace(GEMMA3N, layer=22), {
        **GEMMA3N_KEYS, "rope.freq_base_swa": 8000.0, "attention.sliding_window_pattern": [layer % 3 != 1 for layer in range(18)] + [True, False, True, False],
    }, types=GEMMA3N_TYPES),
    Case("gemma4", GEMMA4_MODEL, GEMMA4_BLOCK, GEMMA4, {**GEMMA4_KEYS, "attention.shared_kv_layers": 0}, blocks=GEMMA4_BLOCKS),
    Case("gemma4:shared-kv", GEMMA4_MODEL, without(GEMMA4_BLOCK, "attn_v"), GEMMA4, {**GEMMA4_KEYS, **SHARED_KV}, blocks={
        **{layer: (GEMMA4_BLOCK, GEMMA4_WINDOW) for layer in (0, 1, 2)},
        4: (without(GEMMA4_BLOCK, "attn_k", "attn_v", "head_k_norm"), GEMMA4_WINDOW),
        5: (without(GEMMA4_BLOCK, "attn_k", "attn_v", "head_k_norm"), GEMMA4),
    }),
    Case("glm4moe", UNTIED, f"attn_norm {QKV_BIASED} attn_output {HEAD_NORMS} post_attention_norm {EXPERTS} exp_probs_b {SHARED}",
         replace(DEEPSEEK, k=12, v=12, rot=6, shared_ff=12), SIGMOID,
         first=f"attn_norm {QKV_BIASED} attn_output {HEAD_NORMS} post_attention_norm {GATED}"),
    Case("gpt-oss", UNTIED, f"attn_norm {QKV_BIASED} attn_output+ attn_sinks post_attention_norm ffn_gate_inp+ ffn_gate_exps+ ffn_up_exps+ ffn_down_exps+",
         replace(MOE, embd=32, k=16, v=16, rot=16, ff=32, expert_ff=32, ctx=4096), {"expert_feed_forward_length": 32, "rope.freq_base": 15000.0, **YARN, **WINDOW},
         types={f"ffn_{part}_exps": Type.MXFP4 for part in ("gate", "up", "down")}),
    Case("hunyuan-dense", TIED, QK_NORMED, LONG_HEADS),
    Case("hunyuan-moe", TIED, f"attn_norm {QKV} attn_output {HEAD_NORMS} ffn_norm {EXPERTS} {SHARED}", replace(MOE, ff=12), {
        "expert_feed_forward_length": 12, "expert_shared_feed_forward_length": 20,
    }),
    Case("olmo2", UNTIED, POST_NORMED.format(ROW_NORMS), D, {"rope.freq_base": 30000.0}),
    Case("olmo2:window-yarn", UNTIED, POST_NORMED.format(ROW_NORMS), replace(MHA, layer=5, ff=24, ctx=4096), {"rope.freq_base": 30000.0, **WINDOW, **YARN}),
    Case("olmoe", UNTIED, f"attn_norm {QKV} attn_output {ROW_NORMS} ffn_norm {EXPERTS}", replace(MOE, head_kv=4, expert=6, ff=12)),
    Case("phi3", UNTIED, f"attn_norm attn_qkv attn_output ffn_norm {FUSED}"),
    Case("phi3:long-factors", f"{UNTIED} rope_factors_long rope_factors_short", f"attn_norm attn_qkv attn_output ffn_norm {FUSED}", D, LONG_FACTORS),
    Case("phi3:short-factors", f"{UNTIED} rope_factors_long rope_factors_short", f"attn_norm attn_qkv attn_output ffn_norm {FUSED}",
         replace(D, ctx=4096), {**LONG_FACTORS, "rope.scaling.original_context_length": 4096}),
    Case("phimoe", "token_embd output_norm+ output+ rope_factors_long rope_factors_short",
         f"attn_norm+ {QKV_BIASED} attn_output+ ffn_norm+ {EXPERTS}", replace(MOE, ff=12), LONG_FACTORS),
    Case("qwen", UNTIED, f"attn_norm attn_qkv+ attn_output ffn_norm {GATED}", MHA, {"feed_forward_length": 56, "attention.head_count_kv": None}),
    Case("qwen:few-kv", UNTIED, f"attn_norm attn_qkv+ attn_output ffn_norm {GATED}", SMALL_MHA, {"feed_forward_length": 24, "attention.head_count_kv": 1}),
    Case("qwen2", TIED, BIASED, D, {"rope.freq_base": 30000.0}),
    Case("qwen2moe", UNTIED, f"attn_norm {QKV_BIASED} attn_output ffn_norm {EXPERTS} ffn_gate_inp_shexp {SHARED}", replace(MOE, expert=6), {
        "expert_feed_forward_length": 12, "expert_shared_feed_forward_length": 20, "rope.freq_base": 30000.0,
    }),
    Case("qwen3", UNTIED, QK_NORMED, LONG_HEADS, {"rope.freq_base": 30000.0}),
    Case("qwen3moe", UNTIED, f"attn_norm {QKV} attn_output {HEAD_NORMS} ffn_norm {EXPERTS}", replace(MOE, expert=6, k=12, v=12, rot=12), {
        "expert_feed_forward_length": 12, "rope.freq_base": 30000.0,
    }),
    Case("seed_oss", UNTIED, f"attn_norm {QKV_BIASED} attn_output post_attention_norm {GATED}", LONG_HEADS),
    Case("orion", LAYER_UNTIED, f"attn_norm+ {QKV} attn_output ffn_norm+ {GATED}", D, eps=LN),
    Case("stablelm", LAYER_UNTIED, f"attn_norm+ {QKV_BIASED} attn_output ffn_norm+ {GATED}", replace(MHA, rot=4), {"use_parallel_residual": False}, LN),
    Case("stablelm:qk-norm", LAYER_UNTIED, f"attn_norm+ {QKV} attn_output own_q_norm own_k_norm {GATED}", replace(D, rot=2), {"use_parallel_residual": True}, LN),

    Case("mamba", TIED, f"attn_norm {MAMBA}", D, ALONE),
    Case("mamba:normalised", UNTIED, f"attn_norm {MAMBA}", D, {**ALONE, "ssm.dt_b_c_rms": True}),
    Case("mamba2", TIED, f"attn_norm {MAMBA2}", D, {**ALONE, **GROUPS}),
    Case("jamba", UNTIED, f"attn_norm {QKV} attn_output ffn_norm {EXPERTS}", replace(D, layer=3, expert=4, expert_ff=28),
         {**STATE_SPACE, "attention.head_count_kv": [0, 2, 0], "rope.dimension_count": None},
         blocks={layer: (f"attn_norm {MAMBA} ssm_dt_norm ssm_b_norm ssm_c_norm ffn_norm {GATED}", replace(D)) for layer in (0, 2)}),
    Case("granitehybrid", TIED, LLAMA, replace(D, layer=3), {
        **STATE_SPACE, **GROUPS, "attention.head_count_kv": [0, 2, 0], "logit_scale": 4.0, "residual_scale": 0.44, "embedding_scale": 3.0,
        "attention.scale": 0.3, "rope.scaling.finetuned": True,
    }, blocks={layer: (f"attn_norm {MAMBA2} ffn_norm {GATED}", D) for layer in (0, 2)}),
    Case("falcon-h1", UNTIED, f"attn_norm {QKV} attn_output {MAMBA2} bare_ffn_norm {GATED}", D, {**STATE_SPACE, **GROUPS}),
    Case("qwen3next", UNTIED, f"attn_norm {DELTA_NET} ssm_ba post_attention_norm {EXPERTS} ffn_gate_inp_shexp {SHARED}", NEXT_MOE,
         {**NEXT_KEYS, "expert_feed_forward_length": 12, "expert_shared_feed_forward_length": 20},
         blocks={3: (f"attn_norm {GATED_HEADS} post_attention_norm {EXPERTS} ffn_gate_inp_shexp {SHARED}", NEXT_MOE)}),
    Case("qwen35", UNTIED, f"attn_norm {DELTA_NET} ssm_alpha ssm_beta post_attention_norm {GATED}", NEXT, {**NEXT_KEYS, **NEXT_SECTIONS},
         blocks={3: (f"attn_norm {GATED_HEADS} post_attention_norm {GATED}", NEXT)}),
    Case("qwen35:intervals", UNTIED, f"attn_norm {DELTA_NET} ssm_alpha ssm_beta post_attention_norm {GATED}", NEXT,
         {**NEXT_KEYS, **NEXT_SECTIONS, "full_attention_interval": 2},
         blocks={layer: (f"attn_norm {GATED_HEADS} post_attention_norm {GATED}", NEXT) for layer in (1, 3)}),
    Case("qwen35moe", UNTIED, f"attn_norm {DELTA_NET} ssm_alpha ssm_beta post_attention_norm {EXPERTS} ffn_gate_inp_shexp {SHARED}", NEXT_MOE,
         {**NEXT_KEYS, **NEXT_SECTIONS, "expert_feed_forward_length": 12, "expert_shared_feed_forward_length": 20},
         blocks={3: (f"attn_norm {GATED_HEADS} post_attention_norm {EXPERTS} ffn_gate_inp_shexp {SHARED}", NEXT_MOE)}),
    Case("qwen4exp", "token_embd output output_hc_norm output_hc_down output_hc_up ngram_table", f"{STREAMS} {DELTA_NET} ssm_alpha ssm_beta {EXPERTS} ffn_gate_inp_shexp {SHARED}", NEXT_MOE,
         {**NEXT_KEYS, **NEXT_SECTIONS, **QWEN4_KEYS}, first=f"{STREAMS} {NGRAMS} {DELTA_NET} ssm_alpha ssm_beta {EXPERTS} ffn_gate_inp_shexp {SHARED}",
         blocks={3: (f"{STREAMS} {GATED_HEADS} {INDEXER} {EXPERTS} ffn_gate_inp_shexp {SHARED}", NEXT_MOE)}),
    Case("qwen4exp:dense-layers", "token_embd output_hc_norm output_hc_down output_hc_up", f"{STREAMS} {GATED_HEADS} {INDEXER} {EXPERTS} ffn_gate_inp_shexp {SHARED}", replace(NEXT_MOE, layer=3, streams=2),
         {**NEXT_KEYS, **NEXT_SECTIONS, **{key: value for key, value in QWEN4_KEYS.items() if "ple" not in key and "per_layer" not in key},
          "hyper_connection.count": 2, "attention.recurrent_layers": [True, False, False], "attention.compress_ratios": [0, 0, 3], "attention.indexer.top_k": 3},
         first=f"{STREAMS} {DELTA_NET} ssm_alpha ssm_beta {EXPERTS} ffn_gate_inp_shexp {SHARED}"),
    Case("lfm2", "token_embd token_embd_norm", QK_NORMED, replace(D, layer=3), {"attention.head_count_kv": [0, 2, 0], "shortconv.l_cache": 3},
         blocks={layer: (f"attn_norm {SHORT} ffn_norm {GATED}", D) for layer in (0, 2)}),
    Case("lfm2:window", "token_embd token_embd_norm", QK_NORMED, replace(D, layer=3, short=4),
         {"attention.head_count_kv": [2, 0, 2], "shortconv.l_cache": 4, "attention.sliding_window": 5},
         blocks={1: (f"attn_norm {SHORT} ffn_norm {GATED}", replace(D, short=4))}),
    Case("lfm2moe", "token_embd token_embd_norm", f"attn_norm {QKV} attn_output {HEAD_NORMS} ffn_norm {EXPERTS} exp_probs_b", replace(D, layer=3, expert=4), {
        "attention.head_count_kv": [0, 2, 0], "shortconv.l_cache": 3, "leading_dense_block_count": 1, "expert_feed_forward_length": 12, "expert_gating_func": 2,
    }, blocks={0: (f"attn_norm {SHORT} ffn_norm {GATED}", D), 2: (f"attn_norm {SHORT} ffn_norm {EXPERTS} exp_probs_b", replace(D, expert=4))}),

    Case("plamo2", TIED, f"attn_norm attn_qkv own_q_norm own_k_norm attn_output bare_attn_post ffn_norm {FUSED} bare_ffn_post", replace(D, layer=3), {
        **STATE_SPACE, "ssm.group_count": 0, "attention.head_count_kv": [0, 2, 0],
    }, blocks={layer: (f"attn_norm {PLAMO_MAMBA} bare_attn_post ffn_norm {FUSED} bare_ffn_post", D) for layer in (0, 2)}),
    Case("nemotron_h", TIED, f"attn_norm {QKV_BIASED} attn_output+", replace(D, layer=4), {
        **STATE_SPACE, **GROUPS, LN_KEY: 0.004, "attention.head_count_kv": [0, 2, 0, 0], "feed_forward_length": [0, 0, 28, 0], "rope.dimension_count": None, "attention.scale": 0.3,
    }, blocks={**{layer: (f"attn_norm {MAMBA2}", D) for layer in (0, 3)}, 2: ("attn_norm ffn_up+ ffn_down+", D)}),
    Case("nemotron_h_moe", UNTIED, f"attn_norm {QKV} attn_output", replace(D, layer=4), {
        **STATE_SPACE, **GROUPS, LN_KEY: 0.004, "attention.head_count_kv": [0, 2, 0, 0], "feed_forward_length": [0, 0, 12, 12], "rope.dimension_count": None,
        "expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 12, "expert_shared_feed_forward_length": 20, "expert_shared_count": 1,
        "expert_weights_norm": True, "expert_weights_scale": 1.5, "moe_latent_size": 16,
    }, blocks={
        0: (f"attn_norm {MAMBA2}", D),
        2: (f"attn_norm {NEMOTRON_EXPERTS}", replace(D, expert=4)),
        3: (f"attn_norm {NEMOTRON_EXPERTS}", replace(D, expert=4)),
    }),
    Case("nemotron_h_moe:layers", UNTIED, f"attn_norm {QKV} attn_output", replace(D, layer=4), {
        **STATE_SPACE, **GROUPS, LN_KEY: 0.004, "attention.head_count_kv": [0, 2, 0, 0], "feed_forward_length": [0, 0, 12, 10], "rope.dimension_count": None,
        "expert_count": 4, "expert_used_count": [0, 0, 1, 3], "expert_feed_forward_length": [0, 0, 12, 10], "expert_shared_feed_forward_length": 20, "expert_shared_count": 1,
        "expert_weights_norm": True, "expert_weights_scale": 1.5, "moe_latent_size": 16,
    }, blocks={
        0: (f"attn_norm {MAMBA2}", D),
        2: (f"attn_norm {NEMOTRON_EXPERTS}", replace(D, expert=4)),
        3: (f"attn_norm {NEMOTRON_EXPERTS}", replace(D, expert=4, expert_ff=10)),
    }),
    Case("kimi-linear", UNTIED, without(LATENT, "attn_q_a", "attn_q_a_norm", "attn_q_b").replace("attn_kv_a_mqa", "mla_q attn_kv_a_mqa") + f" {EXPERTS} exp_probs_b {SHARED}",
         replace(MLA, shared_ff=12), {**KIMI_KEYS, "expert_weights_scale": 1.75},
         first=f"attn_norm {KDA.format('ssm_f_a ssm_f_b ssm_g_a ssm_g_b', 'kda_a')} ffn_norm {GATED}",
         blocks={2: (f"attn_norm {KDA.format('ssm_f_a ssm_f_b ssm_g_a ssm_g_b', 'kda_a')} ffn_norm {EXPERTS} exp_probs_b {SHARED}", replace(MLA, shared_ff=12))}),
    Case("kimi-k3", f"{UNTIED} output_res_score", f"{LATENT} latent_gate {ROUTED} {SHARED} attn_res_score ffn_res_score", replace(MLA, shared_ff=12, layer=4), {
        **KIMI_KEYS, **MLA_RANKS, **K3_KEYS, "attention.head_count_kv": [0, 1, 0, 1],
    }, first=f"attn_norm {KDA.format('ssm_f_a ssm_f_b full_gate', 'plamo_a')} ffn_norm {GATED} attn_res_score ffn_res_score",
         blocks={2: (f"attn_norm {KDA.format('ssm_f_a ssm_f_b full_gate', 'plamo_a')} ffn_norm {ROUTED} {SHARED} attn_res_score ffn_res_score", replace(MLA, shared_ff=12))}),
    Case("bailingmoe3", TIED, f"{LATENT} head_gate {EXPERTS} exp_probs_b {SHARED}", replace(MLA, shared_ff=12), {
        **KIMI_KEYS, **MLA_RANKS, "expert_weights_norm": True, "rope.freq_base": 20000.0, "kda.gate_lower_bound": -5.0,
        "swiglu_clamp_exp": [0.0, 0.5, 0.4], "swiglu_clamp_shexp": [0.3, 0.0, 0.2],
    }, first=f"attn_norm {KDA.format('full_f full_g', 'positive_a')} ffn_norm {GATED}",
         blocks={2: (f"attn_norm {KDA.format('full_f full_g', 'positive_a')} ffn_norm {EXPERTS} exp_probs_b {SHARED}", replace(MLA, shared_ff=12))}),
    Case("minimax-01", UNTIED, f"attn_norm {LIGHTNING} ffn_norm {EXPERTS}", replace(MOE, layer=3, k=8, v=8, rot=6, expert_ff=20), {
        "residual_scale": 1.5, "attention.recurrent_layers": [True, False, True],
    }, blocks={1: (f"attn_norm {QKV} attn_output ffn_norm {EXPERTS}", replace(MOE, k=8, v=8, rot=6, expert_ff=20))}),
    Case("rwkv6", RWKV, RWKV6.format(SHARES), D, {**NO_HEADS, **WKV6_KEYS, "rescale_every_n_layers": 2}, LN, first=RWKV6.format("time_mix_lerp_fused")),
    Case("rwkv6qwen2", LAYER_UNTIED.replace("+", ""), f"attn_norm {WKV6.format('time_mix_lerp_fused')} ffn_norm {GATED}".replace("key", "key+").replace("value", "value+"), replace(D, wkv=8, embd=32, wkv_kv=2), {
        **NO_HEADS, **WKV6_KEYS, "attention.head_count_kv": 2, "token_shift_count": 1,
    }),
    Case("rwkv7", RWKV, RWKV7.format(VALUES), WKV7_DIMS, {**NO_HEADS, **WKV7_KEYS}, LN, first=RWKV7.format(UNUSED_VALUES)),
    Case("arwkv7", UNTIED, ARWKV7.format(VALUES), WKV7_DIMS, {**NO_HEADS, **WKV7_KEYS, "token_shift_count": 1}, first=ARWKV7.format(UNUSED_VALUES)),

    Case("gpt2", f"{LAYER_TIED} position_embd", GPT, MHA, {"attention.head_count_kv": None, "rope.dimension_count": None}, LN),
    Case("starcoder", f"{LAYER_UNTIED} position_embd", GPT, MQA, {"rope.dimension_count": None}, LN),
    Case("bloom", f"{LAYER_TIED} token_embd_norm+", GPT, MHA, {"attention.head_count_kv": None, "rope.dimension_count": None}, LN),
    Case("mpt", TIED, "attn_norm attn_qkv attn_output ffn_norm ffn_up ffn_down", replace(MHA, embd=18, head=3, head_kv=3), {
        "attention.head_count_kv": None, "rope.dimension_count": None, "attention.max_alibi_bias": 6.0, "attention.clamp_kqv": 1.25,
    }, LN),
    Case("codeshell", LAYER_UNTIED, GPT, D, eps=LN),
    Case("starcoder2", LAYER_TIED, "attn_norm+ attn_q+ attn_k+ attn_v+ attn_output+ ffn_norm+ ffn_up+ ffn_down+", D, {"rope.freq_base": 70000.0}, LN),
    Case("nemotron", LAYER_UNTIED, f"attn_norm+ {QKV} attn_output ffn_norm+ ffn_up ffn_down", HALF_TURNED, eps=LN),
    Case("gptneox", LAYER_UNTIED, GPT, replace(MHA, rot=4), {"use_parallel_residual": True, "attention.head_count_kv": None}, LN),
    Case("gptneox:sequential", LAYER_UNTIED, GPT, replace(MHA, rot=2), {"use_parallel_residual": False, "attention.head_count_kv": None}, LN),
    Case("phi2", "token_embd output_norm+ output+", without(GPT, "ffn_norm+"), replace(MHA, rot=4), {"attention.head_count_kv": None}, LN),
    Case("falcon", LAYER_UNTIED, "attn_norm+ attn_qkv attn_output ffn_up ffn_down", MQA, eps=LN),
    Case("falcon:two-norms", LAYER_TIED, "attn_norm+ attn_norm_2+ attn_qkv attn_output ffn_up ffn_down", D, eps=LN),
    Case("bert", "token_embd token_types position_embd token_embd_norm+",
         f"{QKV_BIASED} attn_output+ attn_output_norm+ ffn_up+ ffn_down+ layer_output_norm+", MHA, {
        "attention.head_count_kv": None, "rope.dimension_count": None, "attention.causal": False, "tokenizer.ggml.token_type_count": 2,
    }, LN),
    Case("nomic-bert", "token_embd token_types token_embd_norm+", f"attn_qkv+ attn_output attn_output_norm+ {GATED} layer_output_norm+", MHA, {**ENCODER, "rope.freq_base": 1000.0}, LN),
    Case("nomic-bert-moe", "token_embd token_types token_embd_norm+", f"{QKV_BIASED} attn_output+ attn_output_norm+ ffn_gate_inp ffn_up_exps ffn_down_exps layer_output_norm+",
         replace(MHA, expert=4, expert_ff=28), {**ENCODER, "moe_every_n_layers": 2, "rope.freq_base": 1000.0}, LN,
         first=f"{QKV_BIASED} attn_output+ attn_output_norm+ ffn_up+ ffn_down+ layer_output_norm+"),
    Case("jina-bert-v2", "token_embd token_types token_embd_norm+", f"{QKV_BIASED} row_q_norm+ row_k_norm+ attn_output+ attn_output_norm+ attn_norm_2+ ffn_gate ffn_up ffn_down+ layer_output_norm+",
         replace(MHA, layer=3), {**ENCODER, "rope.dimension_count": None}, LN, blocks={
        1: (f"{QKV_BIASED} attn_output+ attn_output_norm+ ffn_gate_up ffn_down+ layer_output_norm+", MHA),
        2: (f"{QKV} attn_output+ attn_output_norm+ ffn_up+ ffn_down+ layer_output_norm+", MHA),
    }),
    Case("jina-bert-v3", "token_embd token_types token_embd_norm+", f"attn_qkv+ attn_output+ attn_output_norm+ ffn_up+ ffn_down+ layer_output_norm+", MHA, {**ENCODER, "rope.freq_base": 1000.0}, LN),
    Case("modern-bert", "token_embd token_embd_norm output_norm", f"attn_norm attn_qkv attn_output ffn_norm {FUSED}", replace(MHA, layer=5), {
        **ENCODER, "attention.sliding_window": 6, "attention.sliding_window_pattern": 3, "rope.freq_base": 20000.0, "rope.freq_base_swa": 500.0,
    }, LN, first=f"attn_qkv attn_output ffn_norm {FUSED}"),
    Case("modern-bert:silu", "token_embd token_embd_norm output_norm", f"attn_norm attn_qkv attn_output ffn_norm {FUSED}", MHA, {**ENCODER, "hidden_activation": "silu"}, LN, first=f"attn_qkv attn_output ffn_norm {FUSED}"),
    Case("neo-bert", "token_embd enc.output_norm", f"attn_norm attn_qkv attn_output ffn_norm {FUSED}", D, {**ENCODER, "attention.head_count_kv": 2}),
    Case("eurobert", "token_embd output_norm", LLAMA, D, {**ENCODER, "attention.head_count_kv": 2, "rope.freq_base": 20000.0}),
    Case("t5encoder", "token_embd enc.output_norm", f"attn_norm {QKV} t5_output ffn_norm {GATED}", MHA, {**ENCODER, "attention.relative_buckets_count": 8, "rope.dimension_count": None},
         first=f"attn_norm {QKV} t5_output attn_rel_b ffn_norm {GATED}", prefix="enc.blk"),
    Case("t5encoder:plain", "token_embd enc.output_norm", f"attn_norm {QKV} t5_output attn_rel_b ffn_norm ffn_up ffn_down", replace(MHA, k=8, v=8), {
        **ENCODER, "attention.relative_buckets_count": 8, "rope.dimension_count": None,
    }, prefix="enc.blk"),
    Case("afmoe", UNTIED, f"{SMALL_QKV} {HEAD_NORMS} element_gate post_attention_norm ffn_norm {EXPERTS} exp_probs_b {SHARED} post_ffw_norm",
         replace(SMALL_MOE, layer=4), {**NEXT_TO_LEADING, "rope.freq_base": 20000.0, "rope.freq_base_swa": 8000.0, **WINDOW},
         first=f"{SMALL_QKV} {HEAD_NORMS} element_gate post_attention_norm ffn_norm {GATED} post_ffw_norm"),
    Case("arctic", UNTIED, f"{SMALL_QKV} ffn_norm square_gate square_up square_down ffn_norm_exps {EXPERTS}", replace(SMALL_MOE, expert_ff=12)),
    Case("bailingmoe", UNTIED, f"{SMALL_QKV} ffn_norm {EXPERTS} {SHARED}", SMALL_MOE, {
        "expert_shared_count": 1, "expert_feed_forward_length": 8, "expert_weights_scale": 1.75, "expert_weights_norm": True, "leading_dense_block_count": 1,
    }),
    Case("cogvlm", f"{UNTIED} rope_freqs", f"attn_norm attn_qkv attn_output ffn_norm {GATED} vis_attn_qkv vis_attn_output vis_gate vis_up vis_down", SMALL_MHA,
         {"rope.freq_base": 500.0}),
    Case("cogvlm:few-kv", UNTIED, f"attn_norm attn_qkv attn_output ffn_norm {GATED} vis_attn_qkv vis_attn_output vis_gate vis_up vis_down", SMALL_MHA, {"attention.head_count_kv": 1}),
    # Heads that are together shorter than the model is wide, or longer: keys and values begin where its width says.
    Case("cogvlm:short-heads", UNTIED, f"attn_norm attn_qkv attn_output ffn_norm {GATED} vis_attn_qkv vis_attn_output vis_gate vis_up vis_down",
         replace(SMALL_MHA, embd=20), {"attention.head_count_kv": 1}),
    Case("cogvlm:long-heads", UNTIED, f"attn_norm attn_qkv attn_output ffn_norm {GATED} vis_attn_qkv vis_attn_output vis_gate vis_up vis_down",
         replace(SMALL_MHA, embd=12)),
    Case("cohere2moe", TIED, f"{SMALL_QKV} ffn_gate_inp ffn_gate_exps ffn_up_exps ffn_down_exps {SHARED}", replace(SMALL_MOE, layer=5), {
        **NEXT_TO_LEADING, "expert_shared_feed_forward_length": 8, "logit_scale": 0.4, "rope.freq_base_swa": 500.0, **WINDOW,
    }, LN, first=f"{SMALL_QKV} {GATED}"),
    Case("cohere2moe:rms", TIED, f"{SMALL_QKV} ffn_gate_inp ffn_gate_exps ffn_up_exps ffn_down_exps", SMALL_MOE, {
        "leading_dense_block_count": 0, "expert_feed_forward_length": 8, "logit_scale": 0.4, **WINDOW,
    }),
    Case("dbrx", UNTIED, f"attn_norm attn_qkv attn_output attn_output_norm {EXPERTS}", replace(SMALL_MOE, expert_ff=12), {"attention.clamp_kqv": 1.25}, LN),
    Case("exaone-moe", UNTIED, f"{SMALL_QKV} {HEAD_NORMS} ffn_norm {EXPERTS} exp_probs_b {SHARED}", replace(SMALL_MOE, layer=4), {
        **NEXT_TO_LEADING, "expert_shared_feed_forward_length": 8, "rope.freq_base_swa": 500.0, **WINDOW,
    }, first=f"{SMALL_QKV} {HEAD_NORMS} ffn_norm {GATED}"),
    Case("gemma-embedding", TIED, SANDWICH.format(HEAD_NORMS), replace(SMALL, layer=7, ff=12), {
        "attention.causal": False, "rope.freq_base": 30000.0, "attention.sliding_window": 6,
    }),
    Case("granite_swa", TIED, f"{SMALL_QKV}+ attn_sinks ffn_norm ffn_gate+ ffn_up+ ffn_down+", replace(SMALL, layer=4), {
        **GRANITE, "attention.sliding_window_pattern": [True, True, False, True], "attention.rope_pattern": [1, 0, 1, 1], "rope.freq_base_swa": 500.0, **WINDOW,
    }),
    Case("granite_swa:moe", TIED, f"{SMALL_QKV} attn_sinks ffn_norm {EXPERTS} fused_up_shexp ffn_down_shexp", replace(SMALL_MOE, expert_ff=12), {
        **GRANITE, "expert_shared_feed_forward_length": 8, "attention.sliding_window_pattern": [False, True], **WINDOW,
    }),
    Case("grok", UNTIED, f"{SMALL_QKV} attn_output_norm ffn_norm {GATED} {EXPERTS} layer_output_norm", SMALL_MOE, {
        "expert_feed_forward_length": 8, "logit_scale": 0.4, "embedding_scale": 2.5, "attention.output_scale": 0.3, **SOFTCAPS, **SMALL_YARN,
        "rope.scaling.yarn_ext_factor": 0.75,
    }),
    Case("grok:defaults", TIED, f"{SMALL_QKV} attn_output_norm ffn_norm {EXPERTS} post_ffw_norm", replace(SMALL_MOE, expert_ff=12)),
    Case("grovemoe", UNTIED, f"{SMALL_QKV} {HEAD_NORMS} ffn_norm {EXPERTS} ffn_gate_chexps ffn_up_chexps ffn_down_chexps", replace(SMALL_MOE, expert=4), {
        "expert_feed_forward_length": 8, "expert_chunk_feed_forward_length": 8, "expert_group_scale": 0.3, "experts_per_group": 2,
    }),
    Case("hrm_text", "token_embd output hrm.z_l_init", f"attn_q attn_k attn_v attn_output element_gate {GATED}", SMALL, {
        "block_count": 6, "hrm.layers_per_stack": 1, "hrm.h_cycles": 2, "hrm.l_cycles": 2, "embedding_scale": 2.5,
    }),
    Case("hunyuan_vl", TIED, QK_NORMED, SMALL, {"rope.dimension_sections": [2, 1, 1, 0], "rope.scaling.alpha": 3.0}),
    Case("hy_v3", UNTIED, f"{SMALL_QKV} {HEAD_NORMS} ffn_norm {EXPERTS} {SHARED}", SMALL_MOE, {
        "expert_feed_forward_length": 8, "expert_shared_feed_forward_length": 8, "expert_weights_scale": 1.75, "expert_weights_norm": True,
    }, first=f"{SMALL_QKV} {HEAD_NORMS} ffn_norm {GATED}"),
    Case("jais", LAYER_UNTIED, "attn_norm+ attn_qkv+ attn_output+ ffn_norm+ ffn_gate+ ffn_up+ ffn_down+", SMALL, {"rope.dimension_count": None, "attention.max_alibi_bias": 6.0}, LN),
    Case("jais2", LAYER_TIED, "attn_norm+ attn_q+ attn_k+ attn_v+ attn_output+ ffn_norm+ ffn_up+ ffn_down+", SMALL, {}, LN),
    Case("laguna", UNTIED, f"{SMALL_QKV} {HEAD_NORMS} head_gate ffn_norm {EXPERTS} exp_probs_b {SHARED}", replace(SMALL_MOE, layer=5), {
        **NEXT_TO_LEADING, "rope.freq_base": 20000.0, "rope.freq_base_swa": 8000.0, "rope.dimension_count_swa": 4, **SMALL_YARN, **WINDOW,
    }, first=f"{SMALL_QKV} {HEAD_NORMS} head_gate ffn_norm {GATED}"),
    Case("laguna:element-gates", TIED, f"{SMALL_QKV} {HEAD_NORMS} element_gate ffn_norm {GATED}", SMALL_MOE, {**NEXT_TO_LEADING, "leading_dense_block_count": 2}),
    Case("llama-embed", TIED, LLAMA, SMALL, {"attention.causal": False}),
    Case("llama-embed:causal", UNTIED, LLAMA, SMALL),
    Case("maincoder", TIED, QK_NORMED, SMALL),
    Case("maple", UNTIED, f"{SMALL_QKV} {HEAD_NORMS} ffn_norm {EXPERTS}", SMALL_MOE, {
        "expert_feed_forward_length": 8, "swiglu_clamp_exp": [0.75, 0.5], "attention.sliding_window_pattern": [True, False], "rope.freq_base_swa": 8000.0, **WINDOW,
    }),
    Case("mellum", UNTIED, f"{SMALL_QKV} {HEAD_NORMS} ffn_norm {EXPERTS}", replace(SMALL_MOE, layer=4), {
        "expert_feed_forward_length": 8, "rope.freq_base_swa": 500.0, **SMALL_YARN, **WINDOW,
    }),
    Case("mimo2", UNTIED, f"attn_norm {QKV} attn_output attn_sinks ffn_norm {EXPERTS} exp_probs_b", replace(SMALL_MOE, v=4), {
        "expert_feed_forward_length": 8, "attention.key_length": 8, "attention.value_length": 4, "attention.value_scale": 0.6, "attention.sliding_window_pattern": [False, True], "rope.freq_base": 20000.0, **WINDOW,
    }, first=f"attn_norm attn_qkv attn_output ffn_norm {GATED}"),
    Case("minimax-m2", UNTIED, f"{SMALL_QKV} {ROW_NORMS} ffn_norm {EXPERTS} exp_probs_b", replace(SMALL_MOE, expert_ff=12), {
        "expert_feed_forward_length": 12, "expert_gating_func": 2,
    }),
    Case("mistral4", UNTIED, f"{LATENT} {EXPERTS} {SHARED}", replace(MLA, layer=2, expert=3, embd=16, vocab=24, ff=12, kv_lora=8, q_lora=8, expert_ff=8, head=2, k=12, v=8, rot=4, mla_k=8, mla_v=6, shared_ff=8), {
        "attention.key_length": 12, "attention.value_length": 8, "attention.key_length_mla": 8, "attention.value_length_mla": 6,
        "attention.q_lora_rank": 8, "attention.kv_lora_rank": 8, **SMALL_YARN, "rope.scaling.yarn_log_multiplier": 0.08,
        "leading_dense_block_count": 1, "expert_shared_count": 1, "expert_feed_forward_length": 8,
    }, first=f"{LATENT} {GATED}"),
    Case("mpt:act-scales", f"{LAYER_TIED} position_embd", "attn_norm+ attn_qkv+ attn_output+ plain_k_norm+ ffn_norm+ ffn_up+ ffn_down+ act_scales",
         SMALL_MHA, {"rope.dimension_count": None}, LN),
    Case("muse-glimmer", UNTIED, f"{SMALL_QKV} {HEAD_NORMS} element_gate post_attention_norm ffn_norm {GATED} post_ffw_norm", replace(SMALL, layer=4), {
        "logit_scale": 0.4, "final_logit_softcapping": 1.5, "rope.freq_base": 20000.0, **SMALL_YARN, **WINDOW,
    }),
    Case("nanbeige", f"{TIED} rope_freqs", BIASED, SMALL, {"num_loops": 3}),
    Case("nanbeige:not-normalised", TIED, LLAMA, SMALL, {"num_loops": 2, "skip_loop_final_norm": True}),
    Case("openelm", TIED, f"attn_norm attn_qkv attn_output {HEAD_NORMS} ffn_norm {GATED}", replace(SMALL, head=4, head_kv=2, ff=16), {
        "attention.head_count": [2, 4], "attention.head_count_kv": [1, 2], "feed_forward_length": [12, 16], "attention.key_length": 8, "attention.value_length": 8,
    }, first=f"attn_norm attn_qkv attn_output {HEAD_NORMS} ffn_norm {GATED}", blocks={0: (f"attn_norm attn_qkv attn_output {HEAD_NORMS} ffn_norm {GATED}", SMALL)}),
    Case("paddleocr", TIED, f"{SMALL_QKV}+ ffn_norm {GATED}", SMALL, {"rope.dimension_sections": [2, 1, 1, 0]}),
    Case("pangu-embedded", f"{UNTIED} rope_freqs", f"{SMALL_QKV}+ ffn_norm {GATED}", SMALL),
    Case("plamo", UNTIED, f"{SMALL_QKV} {GATED}", SMALL),
    Case("plamo3", TIED, f"attn_norm attn_qkv attn_output {HEAD_NORMS} bare_attn_post ffn_norm {FUSED} bare_ffn_post", replace(SMALL, layer=8, ff=12, v=4), {
        "attention.key_length": 8, "attention.value_length": 4, "rope.freq_base": 20000.0, **WINDOW,
    }),
    Case("refact", f"{UNTIED} rope_freqs", f"{SMALL_QKV}+ ffn_norm ffn_gate+ ffn_up+ ffn_down+", SMALL, {"rope.dimension_count": None}),
    Case("refact:moe", TIED, f"{SMALL_QKV} ffn_norm {EXPERTS}", replace(SMALL_MOE, expert_ff=12), {"rope.dimension_count": None}),
    Case("smallthinker", TIED, f"{SMALL_QKV} ffn_norm {EXPERTS}", replace(SMALL_MOE, layer=5), {
        "expert_feed_forward_length": 8, "expert_gating_func": 2, "rope.freq_base_swa": 8000.0, **WINDOW,
    }),
    Case("smallthinker:four-layers", TIED, f"{SMALL_QKV} ffn_norm {EXPERTS}", replace(SMALL_MOE, layer=4), {
        "expert_feed_forward_length": 8, "expert_gating_func": 2, **WINDOW,
    }),
    Case("smallthinker:no-window", UNTIED, f"{SMALL_QKV} ffn_norm {EXPERTS}", SMALL_MOE, {"expert_feed_forward_length": 8, "expert_gating_func": 1}),
    Case("spark2_5", TIED, f"{SMALL_QKV} head_gate ffn_norm {GATED}", SMALL, {
        "attention.sliding_window_pattern": [True, False], "rope.freq_base_swa": 8000.0, **WINDOW,
    }),
    Case("talkie", "token_embd output", f"{QKV} attn_output factor_q_norm {GATED} layer_output_scale", SMALL, {"logit_scale": 0.4}),
    Case("baichuan:neither", UNTIED, LLAMA, SMALL),
    Case("apertus", f"{UNTIED} rope_freqs", f"{SMALL_QKV}+ {HEAD_NORMS} ffn_norm ffn_up ffn_down", SMALL, {
        "xielu.alpha_n": [0.8, -0.4], "xielu.alpha_p": [0.3, 1.1], "xielu.beta": 0.5, "xielu.eps": -1e-6,
    }),
    Case("bitnet", TIED, f"attn_norm {QKV} attn_sub_norm attn_output ffn_norm ffn_gate ffn_up ffn_sub_norm ffn_down", SMALL),
]  # fmt: skip


def make(case: Case, folder: Path) -> dict[str, object]:
    """Writes a case's files; returns its entry of the manifest."""
    stem = case.name.replace(":", "-")
    tensors, keys = case.tensors(), case.metadata()
    model = folder / f"{stem}.gguf"
    reference.write(model, case.family, keys, tensors)
    random = np.random.default_rng(zlib.crc32(f"{case.name} tokens".encode()))
    tokens = [int(token) for token in random.integers(0, case.dims.vocab, N_TOKENS)]
    tokens[-3] = tokens[2]
    is_encoder = case.family in ENCODERS
    width = case.dims.embd if is_encoder else case.dims.vocab
    with tempfile.TemporaryDirectory() as scratch:
        exact = Path(scratch) / "exact.gguf"
        reference.write_exact(exact, case.family, keys, tensors)
        expected = reference.logits(exact, tokens, width, is_encoder)
    expected.astype("<f4").tofile(folder / f"{stem}.logits")
    yardstick = reference.nmse(reference.logits(model, tokens, width, is_encoder, is_exact=False), expected)
    return {
        "name": stem,
        "architecture": case.family,
        "tokens": tokens,
        "width": width,
        "yardstick": yardstick,
        "limit": reference.limit(yardstick),
        "required": required(case.family, keys, tensors),
    }


def required(family: str, keys: dict[str, object], tensors: list[Tensor]) -> list[str]:
    """Keys and tensors without which llama.cpp refuses the file, naming them; of like tensors in several layers one."""
    names = []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "without.gguf"
        for missing in keys:
            reference.write(path, family, {key: value for key, value in keys.items() if key != missing}, tensors)
            if reference.refused_for(path) == f"{family}.{missing}":
                names.append(f"{family}.{missing}")
        seen = set()
        for missing in tensors:
            part = missing.name.split(".", 2)[-1] if missing.name.startswith("blk.") else missing.name
            if part in seen:
                continue
            seen.add(part)
            reference.write(path, family, keys, [tensor for tensor in tensors if tensor is not missing])
            if reference.refused_for(path) == missing.name:
                names.append(missing.name)
    return names


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", help="only these cases; the others stay as they are")
    chosen = parser.parse_args().name
    FOLDER.mkdir(parents=True, exist_ok=True)
    manifest = FOLDER / "manifest.json"
    before = {entry["name"]: entry for entry in json.loads(manifest.read_text())} if chosen else {}
    entries: dict[str, dict[str, object]] = dict(before)
    for case in CASES:
        stem = case.name.replace(":", "-")
        if chosen and stem not in chosen:
            continue
        entries[stem] = make(case, FOLDER)
        print(f"{stem:24} yardstick {entries[stem]['yardstick']:.1e}")
    manifest.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in entries.values()) + "\n]\n")


if __name__ == "__main__":
    main()
