"""Writes the expected answers of llama.cpp for a GGUF file: token ids of texts, logits, greedy continuations.

Token ids come from the file itself. For the logits the weights are dequantised to F32 first, the KV cache is F32, flash
attention is off and there is one thread, so the numbers hold none of the shortcuts of a quantised run. A greedy list ends
before the first near tie: a step whose best two logits are closer than four times the error of the reference's own run of
the quantised file, where a run with 8-bit activations may choose otherwise.

Output, in the folder given: NAME.json (see test_models/README.md) and NAME.logits (little-endian f32, one row a token).
"""

import argparse
import json
import tempfile
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
from texts import PROMPTS, TEXTS

NEAR_TIE_ERRORS = 4
GREEDY_TOKENS = 32
LOGITS_PROMPT = "Once upon a time, there was a little robot named Pip. It lived"
LOGITS_TOKENS = 16


def with_f32_weights(source: Path, target: Path) -> None:
    """A copy of the file in which every tensor is F32."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        writer.add_key_value(
            field.name, field.contents(), kind, sub_type=field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        )
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def opened(path: Path, vocab_only: bool = False) -> llama_cpp.Llama:
    """The reference, set up without shortcuts."""
    return llama_cpp.Llama(
        str(path),
        n_ctx=256,
        n_threads=1,
        n_threads_batch=1,
        logits_all=True,
        type_k=llama_cpp.GGML_TYPE_F32,
        type_v=llama_cpp.GGML_TYPE_F32,
        flash_attn=False,
        vocab_only=vocab_only,
        verbose=False,
    )


def logits_of(model: llama_cpp.Llama, tokens: list[int]) -> np.ndarray:
    """Logits of every token, fed as one batch into an empty cache."""
    model.reset()
    model.eval(tokens)
    return np.array(model.scores[: len(tokens)], dtype=np.float32)


def greedy(model: llama_cpp.Llama, prompt: str, near_tie: float) -> dict[str, object]:
    """The greedy continuation of a prompt, and why it ends."""
    prompt_ids = model.tokenize(prompt.encode(), add_bos=True, special=False)
    row = logits_of(model, prompt_ids)[-1]
    ids: list[int] = []
    gaps: list[float] = []
    ended = "length"
    while len(ids) < GREEDY_TOKENS:
        second, best = np.sort(row)[-2:]
        chosen = int(row.argmax())
        if best - second < near_tie:
            ended = "near tie"
            break
        if chosen == model.token_eos():
            ended = "end of text"
            break
        ids.append(chosen)
        gaps.append(float(best - second))
        model.eval([chosen])
        row = np.array(model.scores[model.n_tokens - 1], dtype=np.float32)
    text = model.detokenize(ids, prev_tokens=prompt_ids).decode(errors="replace")
    return {
        "prompt": prompt,
        "prompt_ids": prompt_ids,
        "ids": ids,
        "text": text,
        "ended": ended,
        "smallest_gap": round(min(gaps), 4) if gaps else None,
    }


def one_case_a_line(answers: dict[str, object]) -> str:
    """JSON in which every entry of a top-level list of cases has its line."""

    def value(entry: object) -> str:
        if isinstance(entry, list):
            return "[\n" + ",\n".join("  " + json.dumps(case) for case in entry) + "\n ]"
        return json.dumps(entry)

    return "{\n" + ",\n".join(f' "{key}": {value(entry)}' for key, entry in answers.items()) + "\n}\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, required=True, help="the GGUF file")
    parser.add_argument("--out", type=Path, required=True, help="folder for the answers")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = arguments.file.stem
    vocabulary = opened(arguments.file, vocab_only=True)
    with tempfile.TemporaryDirectory() as folder:
        exact = Path(folder) / "exact.gguf"
        with_f32_weights(arguments.file, exact)
        model = opened(exact)
        tokens = vocabulary.tokenize(LOGITS_PROMPT.encode(), add_bos=True, special=False)[:LOGITS_TOKENS]
        logits = logits_of(model, tokens)
        quantised = logits_of(opened(arguments.file), tokens)
        error = quantised - logits
        near_tie = NEAR_TIE_ERRORS * float(np.sqrt((error**2).mean()))
        answers = {
            "file": arguments.file.name,
            "reference": f"llama.cpp of llama-cpp-python {llama_cpp.__version__}, weights dequantised to F32",
            "logits": {
                "file": f"{name}.logits",
                "tokens": tokens,
                "shape": list(logits.shape),
                "nmse_of_quantised_run": float((error**2).sum() / (logits**2).sum()),
            },
            "near_tie": round(near_tie, 4),
            "greedy": [greedy(model, prompt, near_tie) for prompt in PROMPTS],
            "tokenizer": [
                {"text": text, "ids": vocabulary.tokenize(text.encode(), add_bos=False, special=False)}
                for text in TEXTS
            ],
        }
    logits.astype("<f4").tofile(arguments.out / f"{name}.logits")
    (arguments.out / f"{name}.json").write_text(one_case_a_line(answers))


if __name__ == "__main__":
    main()
