#!/usr/bin/env python3
"""Writes the logits that llama.cpp's samplers for biases and penalties leave, for crates/llm/tests/engine/sampling_golden.rs.

Needs numpy and llama-cpp-python; the last run had llama-cpp-python 0.3.36.

    python3 scripts/golden/penalties.py > crates/llm/tests/golden/penalties.txt

A line `logits; tokens so far; logits` is followed by its cases, one per line: `biases as id:bias; parameters; logits`.
"""

import ctypes

import llama_cpp
import numpy as np

N_VOCAB = 40
DEFAULTS = dict(repeat_penalty=1.0, frequency_penalty=0.0, presence_penalty=0.0, repeat_last_n=64)
CASES = [
    ({}, dict(frequency_penalty=0.75)),
    ({}, dict(presence_penalty=1.25)),
    ({}, dict(frequency_penalty=-0.6, presence_penalty=-0.3)),
    ({}, dict(frequency_penalty=0.7, presence_penalty=0.9, repeat_last_n=7)),
    ({}, dict(repeat_penalty=1.3, frequency_penalty=0.35, presence_penalty=0.2)),
    ({}, dict(repeat_penalty=0.8, presence_penalty=2.0, repeat_last_n=3)),
    ({}, dict(repeat_penalty=1.3, frequency_penalty=0.35, presence_penalty=0.2, repeat_last_n=0)),
    ({0: 1.5, 7: -100.0, 39: 100.0, 11: float("-inf")}, {}),
    (
        {1: -3.5, 2: 4.25, 3: float("-inf"), 30: 0.125},
        dict(repeat_penalty=1.2, frequency_penalty=0.4, presence_penalty=0.6),
    ),
]


def logits_after(logits, tokens, biases, repeat_penalty, frequency_penalty, presence_penalty, repeat_last_n):
    pairs = (llama_cpp.llama_logit_bias * len(biases))(*biases.items())
    samplers = [
        llama_cpp.llama_sampler_init_logit_bias(N_VOCAB, len(biases), pairs),
        llama_cpp.llama_sampler_init_penalties(
            N_VOCAB, repeat_last_n, repeat_penalty, frequency_penalty, presence_penalty
        ),
    ]
    data = (llama_cpp.llama_token_data * N_VOCAB)(*[(i, float(logit), 0.0) for i, logit in enumerate(logits)])
    candidates = llama_cpp.llama_token_data_array(data, N_VOCAB, -1, False)
    for sampler in samplers:
        for token in tokens:
            llama_cpp.llama_sampler_accept(sampler, token)
        llama_cpp.llama_sampler_apply(sampler, ctypes.byref(candidates))
        llama_cpp.llama_sampler_free(sampler)
    found = {data[i].id: data[i].logit for i in range(N_VOCAB)}
    return [found[i] for i in range(N_VOCAB)]


def numbers(values):
    return " ".join(f"{value:.9g}" for value in values)


def main():
    rng = np.random.default_rng(21)
    for scale in [1, 8]:
        logits = rng.normal(0, scale, N_VOCAB).astype(np.float32)
        # Some of the tokens come often.
        tokens = [int(i) for i in rng.integers(0, N_VOCAB, 8)] + [int(i) for i in rng.integers(0, 5, 12)]
        print("logits", " ".join(map(str, tokens)), numbers(logits), sep="; ")
        for biases, changes in CASES:
            parameters = DEFAULTS | changes
            print(
                " ".join(f"{token}:{bias}" for token, bias in biases.items()),
                " ".join(f"{k}={v}" for k, v in parameters.items() if v != DEFAULTS[k]),
                numbers(logits_after(logits, tokens, biases, **parameters)),
                sep="; ",
            )


main()
