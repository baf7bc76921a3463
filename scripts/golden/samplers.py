#!/usr/bin/env python3
"""Writes what llama.cpp's samplers keep of logits, for crates/llm/tests/engine/sampling_golden.rs and the module `sampling`.

Needs numpy and llama-cpp-python; the last run had llama-cpp-python 0.3.36.

    python3 scripts/golden/samplers.py > crates/llm/tests/golden/samplers.txt

A line `logits NAME; recent ids; logits` is followed by its cases, one per line:
`NAME; parameters; id:probability ...`, without what has no probability. `stages` are the letters of the stages in their order.
A line `mirostat N; parameters; id:probability ...` is a step of a sequence on the same logits, in which the token of
the parameter `chosen` was drawn. A line `dry MODEL; parameters; breakers in JSON; tokens; id:change ...` is what DRY takes from logits
of 0 of the vocabulary of test_models/MODEL.gguf.
"""

import ctypes
import json
import pathlib

import llama_cpp
import numpy as np

DEFAULTS = dict(
    stages="edskypmxt",
    temperature=1.0,
    dynatemp_range=0.0,
    dynatemp_exponent=1.0,
    top_k=0,
    top_p=1.0,
    min_p=0.0,
    typical_p=1.0,
    top_n_sigma=-1.0,
    xtc_probability=0.0,
    xtc_threshold=0.1,
    repeat_penalty=1.0,
    frequency_penalty=0.0,
    presence_penalty=0.0,
    repeat_last_n=64,
    dry_multiplier=0.0,
    dry_base=1.75,
    dry_allowed_length=2,
    dry_penalty_last_n=64,
    mirostat=0,
    mirostat_tau=5.0,
    mirostat_eta=0.1,
    min_keep=0,
)
MODELS = pathlib.Path(__file__).parents[2] / "test_models"


class Settings(dict):
    __getattr__ = dict.__getitem__


def stage(letter, n_vocab, vocab, s):
    init = lambda name, *arguments: getattr(llama_cpp, "llama_sampler_init_" + name)(*arguments)
    return {
        "e": lambda: init(
            "penalties", n_vocab, s.repeat_last_n, s.repeat_penalty, s.frequency_penalty, s.presence_penalty
        ),
        "d": lambda: dry(vocab, [], s),
        "s": lambda: init("top_n_sigma", s.top_n_sigma),
        "k": lambda: init("top_k", s.top_k),
        "y": lambda: init("typical", s.typical_p, s.min_keep),
        "p": lambda: init("top_p", s.top_p, s.min_keep),
        "m": lambda: init("min_p", s.min_p, s.min_keep),
        "x": lambda: init("xtc", s.xtc_probability, s.xtc_threshold, s.min_keep, 1),
        "t": lambda: init("temp_ext", s.temperature, s.dynatemp_range, s.dynatemp_exponent),
    }[letter]()


def dry(vocab, breakers, s):
    texts = (ctypes.c_char_p * len(breakers))(*[text.encode() for text in breakers])
    return llama_cpp.llama_sampler_init_dry(
        vocab, s.dry_multiplier, s.dry_base, s.dry_allowed_length, s.dry_penalty_last_n, texts, len(breakers)
    )


class Candidates:
    def __init__(self, logits):
        n = len(logits)
        self.data = (llama_cpp.llama_token_data * n)(*[(i, float(logit), 0.0) for i, logit in enumerate(logits)])
        self.array = llama_cpp.llama_token_data_array(self.data, n, -1, False)

    def apply(self, sampler, tokens=()):
        for token in tokens:
            llama_cpp.llama_sampler_accept(sampler, token)
        llama_cpp.llama_sampler_apply(sampler, ctypes.byref(self.array))

    def entries(self):
        return [self.array.data[i] for i in range(self.array.size)]

    def shown(self):
        kept = sorted(((e.p, -e.id) for e in self.entries() if e.p > 0), reverse=True)
        return " ".join(f"{-id}:{p:.7g}" for p, id in kept)


def distribution(logits, recent, vocab, settings):
    candidates = Candidates(logits)
    for letter in settings.stages:
        sampler = stage(letter, len(logits), vocab, settings)
        candidates.apply(sampler, recent)
        llama_cpp.llama_sampler_free(sampler)
    last = llama_cpp.llama_sampler_init_dist(1)
    candidates.apply(last)
    llama_cpp.llama_sampler_free(last)
    return candidates.shown()


def mirostat(logits, settings):
    """Steps on the same logits, each with the token that was drawn."""
    make = {
        1: lambda: llama_cpp.llama_sampler_init_mirostat(len(logits), 7, settings.mirostat_tau, settings.mirostat_eta, 100),
        2: lambda: llama_cpp.llama_sampler_init_mirostat_v2(7, settings.mirostat_tau, settings.mirostat_eta),
    }
    sampler = make[settings.mirostat]()
    for _ in range(12):
        candidates = Candidates(logits)
        temperature = llama_cpp.llama_sampler_init_temp(settings.temperature)
        candidates.apply(temperature)
        llama_cpp.llama_sampler_free(temperature)
        candidates.apply(sampler)
        yield candidates.array.data[candidates.array.selected].id, candidates.shown()
    llama_cpp.llama_sampler_free(sampler)


def changed(settings):
    return " ".join(f"{k}={v}" for k, v in settings.items() if v != DEFAULTS[k])


def numbers(values):
    return " ".join(f"{value:.9g}" for value in values)


CASES = {
    "typical": dict(typical_p=0.7),
    "typical-little": dict(typical_p=0.05),
    "typical-most": dict(typical_p=0.98),
    "typical-keep": dict(typical_p=0.05, min_keep=9),
    "sigma-one": dict(top_n_sigma=1.0),
    "sigma-half": dict(top_n_sigma=0.5),
    "sigma-three": dict(top_n_sigma=3.0),
    "top-p-keep": dict(top_p=0.1, min_keep=11),
    "min-p-keep": dict(min_p=0.9, min_keep=12),
    "xtc": dict(xtc_probability=1.0, xtc_threshold=0.03),
    "xtc-none": dict(xtc_probability=0.0, xtc_threshold=0.03),
    "xtc-high": dict(xtc_probability=1.0, xtc_threshold=0.51),
    "xtc-all": dict(xtc_probability=1.0, xtc_threshold=0.0),
    "xtc-keep": dict(xtc_probability=1.0, xtc_threshold=0.0, min_keep=5),
    "xtc-top-k": dict(xtc_probability=1.0, xtc_threshold=0.08, top_k=12),
    "dynatemp": dict(temperature=0.9, dynatemp_range=0.6),
    "dynatemp-exponent": dict(temperature=0.9, dynatemp_range=0.6, dynatemp_exponent=2.5),
    "dynatemp-to-zero": dict(temperature=0.4, dynatemp_range=0.7, top_k=10),
    "dynatemp-sigma": dict(temperature=0.9, dynatemp_range=0.6, top_n_sigma=1.0),
    "dry": dict(dry_multiplier=0.8),
    "dry-long": dict(dry_multiplier=1.5, dry_base=1.2, dry_allowed_length=1),
    "dry-short-window": dict(dry_multiplier=0.8, dry_penalty_last_n=9),
    "dry-any": dict(dry_multiplier=0.3, dry_allowed_length=0),
    "greedy-xtc": dict(temperature=0.0, xtc_probability=1.0, xtc_threshold=0.03, top_k=20),
    "greedy-typical": dict(temperature=0.0, typical_p=0.3),
    "greedy-penalty": dict(temperature=0.0, repeat_penalty=4.0, top_k=20),
    "all": dict(
        temperature=0.8,
        dynatemp_range=0.3,
        top_k=30,
        top_p=0.97,
        min_p=0.01,
        top_n_sigma=2.0,
        xtc_probability=1.0,
        xtc_threshold=0.1,
        repeat_penalty=1.1,
        frequency_penalty=0.1,
        dry_multiplier=0.5,
    ),
    # Behind top-n-sigma the reference's typical-p computes with what is no number.
    "all-typical": dict(
        temperature=0.8,
        dynatemp_range=0.3,
        top_k=30,
        top_p=0.97,
        min_p=0.01,
        typical_p=0.95,
        xtc_probability=1.0,
        xtc_threshold=0.1,
        repeat_penalty=1.1,
        dry_multiplier=0.5,
    ),
    "order-cold-first": dict(stages="tkpm", temperature=0.5, top_k=25, top_p=0.9, min_p=0.1),
    "order-filters-before-penalties": dict(
        stages="kmedt", temperature=1.3, top_k=15, min_p=0.02, repeat_penalty=1.5, presence_penalty=0.2, dry_multiplier=0.6
    ),
    "order-no-temperature": dict(stages="k", temperature=0.0, top_k=5),
    "order-nothing": dict(stages="", temperature=0.2, top_k=3),
    "order-twice": dict(stages="etet", temperature=0.7, repeat_penalty=1.2),
    "order-greedy-first": dict(stages="tke", temperature=0.0, top_k=5, repeat_penalty=9.0),
    "order-typical-last": dict(stages="tpy", temperature=1.5, top_p=0.9, typical_p=0.6),
}
# With tokens without any probability the reference's entropy is no number here, and what XTC keeps is one of them.
NOT_OF_MASKED = ["typical", "typical-little", "typical-most", "typical-keep", "greedy-typical", "all-typical", "xtc-all", "xtc-keep"]
MIROSTAT = [
    dict(mirostat=1),
    dict(mirostat=1, mirostat_tau=2.0, mirostat_eta=0.6),
    dict(mirostat=1, temperature=0.7, mirostat_tau=3.0, mirostat_eta=0.3),
    dict(mirostat=2),
    dict(mirostat=2, mirostat_tau=2.0, mirostat_eta=0.6),
    dict(mirostat=2, temperature=1.4, mirostat_tau=1.0, mirostat_eta=0.9),
]
TEXTS = [
    "The cat sat on the mat. The cat sat on the",
    "one two three four one two three four one two",
    'He said: "no no no". She said: "no no',
    "a:b:c a:b:c a:b:",
    "first line\nsecond line\nfirst line\nsecond",
    "* one * two * one *",
]
BREAKERS = [[], ["\n", ":", '"', "*"], ["sat on"], ["e", " two"], ["on the mat. The cat sat on the mat. The cat sat", "no no"]]
DRY = [
    dict(dry_multiplier=0.8),
    dict(dry_multiplier=1.0, dry_base=1.1, dry_allowed_length=1),
    dict(dry_multiplier=2.0, dry_base=3.0, dry_allowed_length=1, dry_penalty_last_n=6),
    dict(dry_multiplier=0.5, dry_base=1.0, dry_allowed_length=0),
]


def tokens_of(vocab, text):
    ids = (llama_cpp.llama_token * 256)()
    n = llama_cpp.llama_tokenize(vocab, text.encode(), len(text.encode()), ids, 256, False, False)
    return list(ids[:n])


def main():
    llama_cpp.llama_log_set(silent, None)
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    models = {
        name: llama_cpp.llama_model_load_from_file(str(MODELS / f"{name}.gguf").encode(), parameters)
        for name in ["micro", "tiny"]
    }
    vocabs = {name: llama_cpp.llama_model_get_vocab(model) for name, model in models.items()}
    rng = np.random.default_rng(22)
    shapes = {
        "narrow": rng.normal(0, 1, 48),
        "wide": rng.normal(-2, 3, 48),
        "flat": rng.normal(3, 0.2, 300),
        "masked": np.where(rng.random(48) < 0.4, -np.inf, rng.normal(0, 2, 48)),
        "peaked": np.concatenate([rng.normal(0, 1, 40), [6.0, 5.5, 5.0]]),
    }
    for shape, logits in shapes.items():
        logits = logits.astype(np.float32)
        some = [int(i) for i in rng.integers(0, 40, 5)]
        likely = [int(i) for i in np.argsort(-logits)[:3]]
        recent = some + likely + some[:2] + likely + some + likely[:2]
        print(f"logits {shape}", " ".join(map(str, recent)), numbers(logits), sep="; ")
        for name, changes in CASES.items():
            if shape == "masked" and name in NOT_OF_MASKED:
                continue
            settings = Settings(DEFAULTS | changes)
            print(name, changed(settings), distribution(logits, recent, vocabs["micro"], settings), sep="; ")
        if shape == "masked":
            # What has no probability makes the reference's mirostat compute with infinities.
            continue
        for n, changes in enumerate(MIROSTAT):
            settings = Settings(DEFAULTS | changes)
            if shape == "flat" and settings.mirostat == 1:
                # The reference's k is too large for its int.
                continue
            for chosen, kept in mirostat(logits, settings):
                print(f"mirostat {n}", f"{changed(settings)} chosen={chosen}", kept, sep="; ")
    for name, vocab in vocabs.items():
        n_vocab = llama_cpp.llama_vocab_n_tokens(vocab)
        for text in TEXTS:
            tokens = tokens_of(vocab, text)
            for breakers in BREAKERS:
                for changes in DRY:
                    settings = Settings(DEFAULTS | changes)
                    sampler = dry(vocab, breakers, settings)
                    candidates = Candidates(np.zeros(n_vocab, np.float32))
                    candidates.apply(sampler, tokens)
                    llama_cpp.llama_sampler_free(sampler)
                    found = sorted((e.id, e.logit) for e in candidates.entries() if e.logit != 0)
                    print(
                        f"dry {name}",
                        changed(settings),
                        json.dumps(breakers),
                        " ".join(map(str, tokens)),
                        " ".join(f"{id}:{change:.9g}" for id, change in found),
                        sep="; ",
                    )


@llama_cpp.llama_log_callback
def silent(level, text, user_data):
    pass


main()
