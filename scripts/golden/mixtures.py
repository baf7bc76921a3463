#!/usr/bin/env python3
"""Writes crates/convert/tests/golden/mixtures.txt: which type llama.cpp's quantiser gives each matrix.

    scripts/golden/mixtures.py LLAMA_CPP

LLAMA_CPP is a source tree of llama.cpp, such as the one in the source archive of llama-cpp-python (requirements.txt
names the version). Of its src/llama-quant.cpp the functions that choose are compiled, with stand-ins for what they
ask of a model; so no model has to be written.

A case is a line with the family, the mixture, the numbers of layers, heads, heads of keys and values, and experts; then
a line for each matrix with its name, the length of its rows and its type. Cases are parted by an empty line. The rows are
whole numbers of 256 weights, of 32, and of neither, and there are layers enough that no eighth is empty.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/convert/tests/golden/mixtures.txt"
MIXTURES = ["Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K"]
# Family, width, width of the feed-forward, layers, heads, heads of keys and values, experts, mixtures.
MODELS = [
    ("qwen2", 224, 512, 24, 14, 2, 0, MIXTURES),
    ("llama", 256, 416, 22, 4, 4, 0, MIXTURES),
    ("llama", 256, 272, 3, 4, 4, 0, MIXTURES),
    ("gpt2", 256, 512, 12, 4, 4, 0, MIXTURES),
    ("llama", 256, 512, 80, 8, 1, 0, ["Q4_K_M", "Q5_K_S"]),
    ("llama", 256, 512, 16, 8, 2, 8, ["Q4_K_M", "Q4_K_S", "Q5_K_M"]),
    ("llama", 256, 512, 16, 8, 2, 16, ["Q4_K_M"]),
    ("falcon", 256, 512, 32, 8, 2, 0, ["Q4_K_M", "Q4_K_S", "Q6_K"]),
]
TIED = ["qwen2", "gpt2"]

PROLOGUE = r"""
#include "ggml.h"
#include "llama.h"
#include <cstdio>
#include <cstring>
#include <iostream>
#include <map>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>
#define LLAMA_LOG_WARN(...)
enum llm_arch { LLM_ARCH_LLAMA, LLM_ARCH_FALCON, LLM_ARCH_GLM5_NEXT, LLM_ARCH_BAILINGMOE3 };
enum llm_type { LLM_TYPE_UNKNOWN, LLM_TYPE_70B };
struct hyper_parameters { uint32_t n_expert, n_layer_all, gqa; uint32_t n_gqa() const { return gqa; } };
struct llama_model { llm_arch arch; llm_type type; hyper_parameters hparams; };
static std::string format(const char * text, ...) { return text; }
static const std::map<ggml_type, std::pair<const char *, int>> TYPES = {
    {GGML_TYPE_F16, {"F16", 1}}, {GGML_TYPE_Q8_0, {"Q8_0", 32}}, {GGML_TYPE_Q5_0, {"Q5_0", 32}},
    {GGML_TYPE_Q5_1, {"Q5_1", 32}}, {GGML_TYPE_Q4_K, {"Q4_K", 256}}, {GGML_TYPE_Q5_K, {"Q5_K", 256}},
    {GGML_TYPE_Q6_K, {"Q6_K", 256}},
};
int64_t ggml_blck_size(ggml_type type) { return TYPES.at(type).second; }
const char * ggml_type_name(ggml_type type) { return TYPES.at(type).first; }
const char * ggml_get_name(const ggml_tensor * tensor) { return tensor->name; }
"""
EPILOGUE = r"""
struct by_layer {
    static int layer(const std::string & name) { int n = -1; sscanf(name.c_str(), "blk.%d.", &n); return n; }
    bool operator()(const std::string & a, const std::string & b) const {
        return layer(a) != layer(b) ? layer(a) < layer(b) : a < b;
    }
};
int main() {
    std::string mixture, arch, name;
    int n_layer, n_head, n_head_kv, n_expert, n_cols;
    std::cin >> arch >> mixture >> n_layer >> n_head >> n_head_kv >> n_expert;
    llama_model model = {};
    model.arch = arch == "falcon" ? LLM_ARCH_FALCON : LLM_ARCH_LLAMA;
    model.type = arch == "llama" && n_layer == 80 && n_head != n_head_kv ? LLM_TYPE_70B : LLM_TYPE_UNKNOWN;
    model.hparams = { uint32_t(n_expert), uint32_t(n_layer), uint32_t(n_head / n_head_kv) };
    const std::map<std::string, std::pair<llama_ftype, ggml_type>> mixtures = {
        {"Q4_K_S", {LLAMA_FTYPE_MOSTLY_Q4_K_S, GGML_TYPE_Q4_K}}, {"Q4_K_M", {LLAMA_FTYPE_MOSTLY_Q4_K_M, GGML_TYPE_Q4_K}},
        {"Q5_K_S", {LLAMA_FTYPE_MOSTLY_Q5_K_S, GGML_TYPE_Q5_K}}, {"Q5_K_M", {LLAMA_FTYPE_MOSTLY_Q5_K_M, GGML_TYPE_Q5_K}},
        {"Q6_K", {LLAMA_FTYPE_MOSTLY_Q6_K, GGML_TYPE_Q6_K}},
    };
    auto [ftype, base] = mixtures.at(mixture);
    std::map<std::string, int, by_layer> matrices;
    while (std::cin >> name >> n_cols) matrices[name] = n_cols;
    llama_model_quantize_params params = {};
    params.output_tensor_type = params.token_embedding_type = GGML_TYPE_COUNT;
    quantize_state_impl state(model, &params);
    for (auto & [name, n_cols] : matrices) {
        state.n_attention_wv += category_is_attn_v(tensor_get_category(name));
        if (tensor_get_category(name) == tensor_category::OUTPUT) state.has_tied_embeddings = false;
    }
    state.n_ffn_down = state.n_ffn_gate = state.n_ffn_up = n_layer;
    for (auto & [name, n_cols] : matrices) {
        ggml_tensor tensor = {};
        strcpy(tensor.name, name.c_str());
        tensor.ne[0] = n_cols;
        tensor.ne[1] = 64;
        tensor.ne[2] = tensor.ne[3] = 1;
        auto type = llama_tensor_get_type_impl(state, base, &tensor, ftype, tensor_get_category(name));
        printf("%s %d %s\n", name.c_str(), n_cols, ggml_type_name(tensor_type_fallback(state, &tensor, type)));
    }
}
"""


def definition(source, head):
    """The definition that begins with a line that matches, up to its closing brace."""
    found = re.search(rf"^{head}.*?^}};?$", source, re.MULTILINE | re.DOTALL)
    return found.group(0) + "\n"


def build(llama_cpp, folder):
    source = (llama_cpp / "src/llama-quant.cpp").read_text()
    parts = [
        "enum class tensor_category", "static bool tensor_name_match_token_embd", "static bool tensor_name_match_output_weight",
        "static tensor_category tensor_get_category", "static bool category_is_attn_v", "struct quantize_state_impl",
        "static ggml_type tensor_type_fallback", "static ggml_type llama_tensor_get_type_impl",
    ]
    program = folder / "choose"
    text = PROLOGUE + "".join(definition(source, part) for part in parts) + EPILOGUE
    (folder / "choose.cpp").write_text(text)
    include = [f"-I{llama_cpp / 'ggml/include'}", f"-I{llama_cpp / 'include'}"]
    subprocess.run(["g++", "-std=c++17", "-w", *include, folder / "choose.cpp", "-o", program], check=True)
    return program


def matrices(family, n_embd, n_ff, n_layer, n_expert):
    yield "token_embd.weight", n_embd
    for layer in range(n_layer):
        fused = ["attn_qkv", "attn_output", "ffn_up"]
        apart = ["attn_q", "attn_k", "attn_v", "attn_output"]
        experts = "_exps" if n_expert else ""
        wide = fused if family in ("gpt2", "falcon") else [*apart, f"ffn_gate{experts}", f"ffn_up{experts}"]
        for part in wide:
            yield f"blk.{layer}.{part}.weight", n_embd
        yield f"blk.{layer}.ffn_down{experts}.weight", n_ff
    if family not in TIED:
        yield "output.weight", n_embd


def main():
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        program = build(pathlib.Path(sys.argv[1]), pathlib.Path(folder))
        for family, n_embd, n_ff, n_layer, n_head, n_head_kv, n_expert, mixtures in MODELS:
            for mixture in mixtures:
                title = f"{family} {mixture} {n_layer} {n_head} {n_head_kv} {n_expert}"
                lines = [f"{name} {n_cols}" for name, n_cols in matrices(family, n_embd, n_ff, n_layer, n_expert)]
                question = "\n".join([title, *lines])
                answer = subprocess.run([program], input=question, text=True, capture_output=True, check=True)
                cases.append(f"{title}\n{answer.stdout.strip()}")
    OUT.write_text("\n\n".join(cases) + "\n")


main()
