"""Trains a model on packed rows; writes a checkpoint every few minutes and goes on from it when started again.

The learning rate warms up, stays, and falls to zero over a last part of the steps. The rows of a last part of the steps come
from the second stage of the corpus. And in a last part the matrices of a model that is stored as Q4_0 are rounded so in the
forward pass: the weights settle where the file loses little.
"""

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from model import SHAPES, Params, Shape, forward, initial, quantized

WARMUP_STEPS = 100


@dataclass(frozen=True)
class LastParts:
    """Shares of the steps, each up to the end."""

    falling_rate: float = 0.45
    second_stage: float = 0.45
    # Nothing for a model that is not stored as Q4_0.
    rounded: float = 0.45


LAST_PARTS = {
    "tiny": LastParts(),
    "micro": LastParts(rounded=0.0),
    # Facts are learned best while the rate falls, and the longer rows of the second stage take half as long again.
    "chat": LastParts(falling_rate=0.9, second_stage=0.15),
}
# Tokens of held-out rows that are evaluated together.
EVALUATED_TOKENS = 16 * 256


def loss_of(params: Params, rows: jax.Array, shape: Shape, start: int, round_weights: bool) -> jax.Array:
    """Mean cross-entropy (nats a token). A start token after a start token is padding and does not count. Nor does a
    token that is to be read but not learned, which is stored as its complement, `~id`.
    """
    ids = jnp.where(rows < 0, ~rows, rows)
    inputs, targets = ids[:, :-1], ids[:, 1:]
    logits = forward(quantized(params) if round_weights else params, inputs, shape, start)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    counts = (rows[:, 1:] >= 0) & ~((inputs == start) & (targets == start))
    return jnp.sum(losses * counts) / jnp.sum(counts)


def optimizer(steps: int, peak: float, falling_rate: float) -> optax.GradientTransformation:
    """AdamW with clipping; the schedule depends on `steps` only in the last part, in which the rate falls."""
    decay_steps = int(falling_rate * steps)
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.0, peak, WARMUP_STEPS),
            optax.constant_schedule(peak),
            optax.linear_schedule(peak, 0.0, decay_steps),
        ],
        [WARMUP_STEPS, steps - decay_steps],
    )
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(
            schedule,
            b1=0.9,
            b2=0.98,
            weight_decay=0.05,
            mask=lambda params: {name: not name.endswith("norm") for name in params},
        ),
    )


def batch_at(rows: np.ndarray, step: int, batch: int, seed: int) -> np.ndarray:
    """The rows of a step: a new permutation each epoch, so a step's rows depend on the seed and the step alone."""
    per_epoch = len(rows) // batch
    epoch, index = divmod(step, per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(len(rows))
    return rows[order[index * batch : (index + 1) * batch]].astype(np.int32)


def save(path: Path, step: int, params: Params, state: optax.OptState) -> None:
    """Writes a checkpoint in one step, so that a reader never sees half of one."""
    leaves = {f"state.{index}": leaf for index, leaf in enumerate(jax.tree.leaves(state))}
    temporary = path.with_suffix(".part.npz")
    np.savez(temporary, step=step, **params, **leaves)
    os.replace(temporary, path)


def load(path: Path, params: Params, state: optax.OptState) -> tuple[int, Params, optax.OptState]:
    """Reads a checkpoint into the shapes of fresh parameters."""
    with np.load(path) as file:
        leaves, tree = jax.tree.flatten(state)
        state = jax.tree.unflatten(tree, [jnp.asarray(file[f"state.{index}"]) for index in range(len(leaves))])
        return int(file["step"]), {name: jnp.asarray(file[name]) for name in params}, state


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that tokenizer.py wrote")
    parser.add_argument("--model", choices=list(SHAPES), required=True)
    parser.add_argument("--vocab-size", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, default=2048, help="tokens a step")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes-per-checkpoint", type=float, default=3.0)
    arguments = parser.parse_args()

    # Half the work of a step, where the CPU has AMX.
    jax.config.update("jax_default_matmul_precision", "bfloat16")
    shape, start = SHAPES[arguments.model](arguments.vocab_size), 1 if arguments.model == "micro" else 0
    stages = [np.load(arguments.data / f"{name}.npy") for name in ("stage1", "stage2")]
    held_out = np.load(arguments.data / "stage2-heldout.npy").astype(np.int32)
    evaluated_rows = EVALUATED_TOKENS // (held_out.shape[1] - 1)
    held_out = held_out[: 4 * evaluated_rows]
    params = initial(shape, arguments.seed)
    parts = LAST_PARTS[arguments.model]
    rule = optimizer(arguments.steps, arguments.learning_rate, parts.falling_rate)
    state = rule.init(params)
    first_step, checkpoint = 0, arguments.data / "checkpoint.npz"
    (arguments.data / "shape.json").write_text(json.dumps(asdict(shape)))
    if checkpoint.exists():
        first_step, params, state = load(checkpoint, params, state)

    @partial(jax.jit, static_argnames="round_weights", donate_argnums=(0, 1))
    def update(params: Params, state: optax.OptState, rows: jax.Array, round_weights: bool):
        loss, gradient = jax.value_and_grad(loss_of)(params, rows, shape, start, round_weights)
        change, state = rule.update(gradient, state, params)
        return optax.apply_updates(params, change), state, loss

    evaluate = jax.jit(
        lambda params, rows, round_weights: loss_of(params, rows, shape, start, round_weights), static_argnums=2
    )
    count = sum(value.size for value in params.values())
    print(f"{count} parameters, {sum(map(len, stages))} rows, steps {first_step} to {arguments.steps}", flush=True)
    began = saved = time.monotonic()
    recent: list[float] = []
    for step in range(first_step, arguments.steps):
        left = arguments.steps - step
        round_weights = left <= int(parts.rounded * arguments.steps)
        stage = stages[left <= int(parts.second_stage * arguments.steps)]
        rows = batch_at(stage, step, arguments.batch // (stage.shape[1] - 1), arguments.seed)
        params, state, loss = update(params, state, rows, round_weights)
        recent.append(float(loss))
        now = time.monotonic()
        if (step + 1) % 20 == 0:
            steps_per_second = (step + 1 - first_step) / (now - began)
            print(
                f"step {step + 1} loss {np.mean(recent):.4f} seconds {now - began:.0f} "
                f"tokens/s {steps_per_second * arguments.batch:.0f}, "
                f"{(arguments.steps - step - 1) / steps_per_second / 60:.0f} minutes left",
                flush=True,
            )
            recent = []
        if now - saved > 60 * arguments.minutes_per_checkpoint or step + 1 == arguments.steps:
            save(checkpoint, step + 1, params, state)
            losses = [
                np.mean(
                    [
                        float(evaluate(params, held_out[i : i + evaluated_rows], flag))
                        for i in range(0, len(held_out), evaluated_rows)
                    ]
                )
                for flag in (False, True)
            ]
            print(f"step {step + 1} held-out loss {losses[0]:.4f} as Q4_0 {losses[1]:.4f}", flush=True)
            saved = time.monotonic()


if __name__ == "__main__":
    main()
