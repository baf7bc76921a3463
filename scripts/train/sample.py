"""Reads a GGUF file back, runs it in JAX on the dequantised weights: held-out loss, greedy continuations.

Nothing of the training code's state is used, only the file (and `model.forward`), so this checks the export too.
"""

import argparse
import math
from pathlib import Path

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import optax

from model import Params, Shape, forward

OPENINGS = (
    "Hello",
    "Once upon a time",
    "The kernel",
    "What is",
    "Good morning",
    "My name is",
    "Tell me a story",
    "How do I",
    "One day",
    "The little robot",
    "I am",
    "Why",
    "She",
    "What is Ferrite?",
    "How do I turn off the machine?",
    "Hello, my name is Anna.",
    "In the garden",
    "Today",
    "Can you help me?",
    "The owl",
)


def read(path: Path) -> tuple[Shape, Params, gguf.GGUFReader]:
    """Hyper-parameters and dequantised weights of a file."""
    reader = gguf.GGUFReader(path)
    value = lambda key: reader.fields[f"llama.{key}"].contents()
    shape = Shape(
        value("vocab_size"),
        value("block_count"),
        value("embedding_length"),
        value("feed_forward_length"),
        value("attention.head_count"),
        value("attention.head_count_kv"),
        value("context_length"),
        value("rope.freq_base"),
        value("attention.layer_norm_rms_epsilon"),
    )
    tensors = {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    kinds = {name.split(".")[2] for name in tensors if name.startswith("blk.")}
    params = {
        kind: jnp.stack([tensors[f"blk.{layer}.{kind}.weight"] for layer in range(shape.block_count)]) for kind in kinds
    }
    return (
        shape,
        params | {name: jnp.asarray(tensors[f"{name}.weight"]) for name in ("token_embd", "output_norm")},
        reader,
    )


class Text:
    """The tokenizer that the file was made with, read from the training folder."""

    def __init__(self, folder: Path) -> None:
        if (folder / "tokenizer.json").exists():
            from tokenizers import Tokenizer

            self.start, self.stop = 0, 0
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self.encode = lambda text: tokenizer.encode(text).ids
            self.decode = tokenizer.decode
        else:
            from sentencepiece import SentencePieceProcessor

            processor = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
            self.start, self.stop = 1, 2
            self.encode, self.decode = processor.encode, processor.decode


def held_out_loss(params: Params, shape: Shape, rows: np.ndarray, start: int) -> float:
    """Mean loss (nats a token) over rows of a held-out file, padding apart."""
    total, count = 0.0, 0
    for first in range(0, len(rows), 16):
        part = rows[first : first + 16].astype(np.int32)
        inputs, targets = part[:, :-1], part[:, 1:]
        logits = jax.jit(forward, static_argnums=(2, 3))(params, inputs, shape, start)
        losses = np.asarray(optax.softmax_cross_entropy_with_integer_labels(logits, targets))
        counts = ~((inputs == start) & (targets == start))
        total, count = total + float((losses * counts).sum()), count + int(counts.sum())
    return total / count


def continuations(params: Params, shape: Shape, text: Text, prompts: tuple[str, ...], length: int) -> list[str]:
    """Greedy continuations of all prompts at once; each stops at the end-of-text token."""
    rows = [[text.start] + text.encode(prompt) for prompt in prompts]
    done = [False] * len(rows)
    step = jax.jit(lambda params, tokens: forward(params, tokens, shape).argmax(-1))
    for _ in range(length):
        width = -(-max(map(len, rows)) // 32) * 32
        chosen = np.asarray(step(params, np.array([row + [0] * (width - len(row)) for row in rows], np.int32)))
        for index, row in enumerate(rows):
            if not done[index]:
                row.append(int(chosen[index, len(row) - 1]))
                done[index] = row[-1] == text.stop
        if all(done):
            break
    return [text.decode(row[1 : -1 if finished else None]) for row, finished in zip(rows, done, strict=True)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, required=True, help="the GGUF file")
    parser.add_argument("--data", type=Path, required=True, help="folder that tokenizer.py wrote")
    parser.add_argument("--tokens", type=int, default=80)
    parser.add_argument("--rows", type=int, default=64, help="held-out rows to score; 0 for none")
    parser.add_argument("--prompt", action="append", default=[])
    arguments = parser.parse_args()
    shape, params, _ = read(arguments.file)
    text = Text(arguments.data)
    if arguments.rows:
        loss = held_out_loss(
            params, shape, np.load(arguments.data / "stage2-heldout.npy")[: arguments.rows], text.start
        )
        print(f"held-out loss {loss:.4f}, perplexity {math.exp(loss):.3f}")
    prompts = tuple(arguments.prompt) or OPENINGS
    for prompt, line in zip(prompts, continuations(params, shape, text, prompts, arguments.tokens), strict=True):
        print(f"- **{prompt}**{line[len(prompt) :]!r}" if line.startswith(prompt) else f"- {line!r}")


if __name__ == "__main__":
    main()
