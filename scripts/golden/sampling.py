#!/usr/bin/env python3
"""Writes the expected distributions for crates/llm/tests/engine/sampling_golden.rs.

A plain numpy rendering of the sampling chain (penalty, top-k, top-p, min-p, temperature) in double
precision, each step as its paper states it. Needs numpy.

    python3 scripts/golden/sampling.py > crates/llm/tests/golden/sampling.txt

A line `logits NAME; recent ids; logits` is followed by its cases, one per line:
`NAME; parameters; id:probability ...`, most likely first.
"""

import numpy as np

DEFAULTS = dict(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repeat_penalty=1.0, repeat_last_n=64)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def distribution(logits, recent, temperature, top_k, top_p, min_p, repeat_penalty, repeat_last_n):
    x = logits.astype(np.float64)
    if repeat_last_n > 0:
        for i in set(recent[-repeat_last_n:]):
            x[i] = x[i] / repeat_penalty if x[i] > 0 else x[i] * repeat_penalty
    ids = np.lexsort((np.arange(len(x)), -x))
    if temperature == 0:
        return ids[:1], np.ones(1)
    if top_k > 0:
        ids = ids[:top_k]
    if top_p < 1:
        cumulative = np.cumsum(softmax(x[ids]))
        ids = ids[: 1 + int(np.argmax(cumulative >= np.float32(top_p)))]
    if min_p > 0:
        p = softmax(x[ids])
        ids = ids[p >= np.float32(min_p) * p.max()]
    return ids, softmax(x[ids] / np.float32(temperature))


def main():
    rng = np.random.default_rng(20)
    shapes = {
        "narrow": rng.normal(0, 1, 48),
        "wide": rng.normal(-2, 6, 48),
        # More than top-p puts in order at once.
        "flat": rng.normal(3, 0.05, 300),
        "ties": np.repeat([2.0, -1.0, 2.0, 0.5], 12),
        "masked": np.where(rng.random(48) < 0.5, -np.inf, rng.normal(0, 3, 48)),
    }
    settings = {
        "plain": {},
        "greedy": dict(temperature=0.0),
        "greedy-penalty": dict(temperature=0.0, repeat_penalty=3.0),
        "penalty": dict(repeat_penalty=1.3),
        "penalty-below-one": dict(repeat_penalty=0.7),
        "penalty-short": dict(repeat_penalty=1.3, repeat_last_n=3),
        "penalty-off": dict(repeat_penalty=1.3, repeat_last_n=0),
        "top-k": dict(top_k=7),
        "top-k-all": dict(top_k=1000),
        "top-p": dict(top_p=0.8),
        "top-p-most": dict(top_p=0.99),
        "top-p-none": dict(top_p=0.0),
        "min-p": dict(min_p=0.1),
        "min-p-one": dict(min_p=1.0),
        "cold": dict(temperature=0.3),
        "hot": dict(temperature=2.5),
        "all": dict(temperature=0.8, top_k=20, top_p=0.9, min_p=0.05, repeat_penalty=1.1),
        "no-top-k": dict(temperature=1.2, top_p=0.95, min_p=0.02),
    }
    for shape, logits in shapes.items():
        logits = logits.astype(np.float32)
        recent = [int(i) for i in rng.integers(0, 48, 10)] + [int(np.argmax(logits))] * 2
        print(f"logits {shape}", " ".join(map(str, recent)), " ".join(f"{v:.9g}" for v in logits), sep="; ")
        for setting, changes in settings.items():
            parameters = DEFAULTS | changes
            ids, p = distribution(logits, recent, **parameters)
            print(
                setting,
                " ".join(f"{k}={v}" for k, v in parameters.items() if v != DEFAULTS[k]),
                " ".join(f"{i}:{v:.7g}" for i, v in zip(ids, p)),
                sep="; ",
            )


main()
