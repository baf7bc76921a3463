"""Requests that need a look at the machine, what the commands might print, and what to answer then.

Each function makes up the output of a command, as the sources of the kernel write it, and the answer to each question
that the output answers.
"""

from dataclasses import dataclass

from corpus.dice import Dice, join_and

from .entries import read


@dataclass(frozen=True)
class Asked:
    """Ways to ask about the state of the machine, the tool that tells, and what of its output is asked."""

    questions: list[str]
    tool: str
    topic: str


ASKED = [Asked(entry.questions, *entry.name.split(" ")) for entry in read("state")]
# Requests, and the command that the user can type.
DENIED = [(entry.questions, entry.name) for entry in read("denied")]

SYLLABLES = ("fer", "ri", "to", "ka", "lo", "mi", "qu", "sa", "ne", "ba", "du", "zen", "or", "la", "pi", "vo")
FAMILIES = ("llama", "qwen2", "qwen3", "gemma3", "phi3", "smollm3", "mamba", "granite")
KINDS = ("Q4_0", "Q8_0", "Q4_K", "F16", "Q5_1", "Q6_K")


def model_name(dice: Dice) -> str:
    """The name of a model, known or made up."""
    if dice.random() < 0.2:
        return dice.one(
            "ferrite-chat",
            "ferrite-tiny",
            "ferrite-micro",
            "ferrite-chat",
            "smollm2-135m",
            "qwen3-0.6b",
            "tinyllama-1.1b",
        )
    stem = "".join(dice.some(SYLLABLES, 2, 3))
    return stem + dice.one(
        "",
        f"-{dice.randint(1, 9)}b",
        f"-{dice.randint(100, 900)}m",
        f"-{dice.randint(1, 9)}.{dice.randint(1, 9)}b",
        "-chat",
    )


def size(dice: Dice, low: float = 1, high: float = 990) -> str:
    """A size in MiB."""
    value = low * (high / low) ** dice.random()
    return f"{value:.1f} MiB"


def mem(dice: Dice) -> tuple[str, dict[str, list[str]]]:
    """`mem`."""
    heap, heap_all = f"{dice.uniform(90, 990):.1f} KiB", f"{dice.choice((16, 16, 32, 64))}.0 MiB"
    used, total, free, weights, arena = (
        size(dice, 3, 60),
        size(dice, 100, 4000),
        size(dice, 40, 990),
        size(dice),
        size(dice, 1, 60),
    )
    output = (
        f"heap      {heap} of {heap_all} used\n"
        f"pool      {used} of {total} used, high-water mark {size(dice, 3, 90)}, largest free block {free}\n"
        f"weights   {weights}\narena     {arena}, high-water mark {arena}\n"
    )
    return output, {
        "used": [f"{used} of the pool of {total} are used.", f"The pool has {total}, of which {used} are used."],
        "free": [
            f"The largest free block has {free}.",
            f"There is a free block of {free}; a larger model does not fit.",
        ],
        "weights": [
            f"The weights take {weights}, and the arena {arena}.",
            f"{weights} for the weights and {arena} for the arena.",
        ],
        "heap": [f"{heap} of the heap of {heap_all} are used.", f"The heap has {heap_all}; {heap} are used."],
    }


def cpus(dice: Dice) -> tuple[str, dict[str, list[str]]]:
    """`cpus`."""
    model = dice.choice(("Cortex-A72", "Cortex-A76", "Cortex-A53", "Neoverse N1", "Cortex-A710", "Neoverse V1"))
    model += f" r{dice.randint(0, 4)}p{dice.randint(0, 3)}"
    sets = ["neon"] + ["dotprod", "i8mm", "fp16", "sha2"][: dice.randint(0, 4)]
    count = dice.choice((1, 2, 2, 4, 4, 8))
    cores = [f"core {index}: mpidr {index:#x}, online" for index in range(count)]
    plural = "core" if count == 1 else "cores"
    return f"{model}, {', '.join(sets)}\n" + "\n".join(cores) + "\n", {
        "cores": [
            f"This machine has {count} {plural}.",
            f"There {'is' if count == 1 else 'are'} {count} {plural}, online.",
        ],
        "model": [f"It is a {model}.", f"This machine has a {model}."],
        "sets": [f"The CPU has {join_and(sets)}.", f"It has these instruction sets: {', '.join(sets)}."],
    }


def disks(dice: Dice) -> tuple[str, dict[str, list[str]]]:
    """`disks`."""
    if dice.random() < 0.06:
        none = ["There are no disks."]
        return "there are no disks\n", {"count": none, "names": none, "size": none}
    names = [model_name(dice) for _ in range(dice.choice((1, 1, 2, 3)))]
    kind = dice.one("virtio-mmio", "virtio-blk, PCI 0000:00:02.0", "NVMe 0000:00:03.0")
    sizes = [dice.randrange(300_000, 990_000_000) // 512 * 512 for _ in names]
    lines = [
        f"disk {index}: {name}, {kind}, {bytes_ / (1 << 20):.1f} MiB ({bytes_} bytes, file of {bytes_} bytes)"
        for index, (name, bytes_) in enumerate(zip(names, sizes, strict=True))
    ]
    count = len(names)
    first = f"{sizes[0] / (1 << 20):.1f} MiB"
    return "\n".join(lines) + "\n", {
        "count": [f"There is one disk: {names[0]}." if count == 1 else f"There are {count} disks: {join_and(names)}."],
        "names": [f"The disk is called {names[0]}." if count == 1 else f"The disks are {join_and(names)}."],
        "size": [f"Disk 0, {names[0]}, has {first}.", f"{first}: that is the size of {names[0]}."],
    }


def uptime(dice: Dice) -> tuple[str, dict[str, list[str]]]:
    """`uptime`."""
    seconds = f"{10 ** dice.uniform(0, 5):.3f}"
    return f"{seconds} s\n", {
        "uptime": [
            f"The machine has been running for {seconds} seconds.",
            f"For {seconds} s.",
            f"It was started {seconds} seconds ago.",
        ]
    }


def llm_list(dice: Dice) -> tuple[str, dict[str, list[str]]]:
    """`llm list`."""
    names = list(dict.fromkeys(model_name(dice) for _ in range(dice.choice((1, 1, 2, 2, 3)))))
    current = dice.choice(names)
    lines, sizes = [], []
    for name in names:
        millions, bytes_ = f"{10 ** dice.uniform(0, 2.9):.1f} million", size(dice)
        mark, memory = " ", ""
        if name == current:
            mark = "*"
            memory = f"; in memory: weights {dice.randrange(10**6, 10**8)}, state {dice.randrange(10**5, 10**7)}, scratch {dice.randrange(10**5, 10**7)} bytes"
        path = f"/models/{name}.gguf"
        lines.append(
            f"{mark} {path:<32} {dice.choice(FAMILIES)} {dice.choice(KINDS)}, {millions} parameters, {bytes_}{memory}"
        )
        sizes.append(f"{name} has {millions} parameters and {bytes_}")
    return "\n".join(lines) + "\n", {
        "names": [
            f"There is one model: {names[0]}."
            if len(names) == 1
            else f"There are {len(names)} models: {join_and(names)}."
        ],
        "loaded": [f"The current model is {current}.", f"{current} is loaded."],
        "sizes": [join_and(sizes) + "."],
    }


def llm_info(dice: Dice, name: str = "") -> tuple[str, dict[str, list[str]]]:
    """`llm info`."""
    name = name or model_name(dice)
    if dice.random() < 0.08:
        told = f"error: there is no model {name} in memory"
        sorry = [f"{name} is not loaded. Type `llm load {name}` first."]
        return told, {topic: sorry for topic in ("layers", "vocabulary", "context", "quantisation", "facts")}
    family, kind, layers = dice.choice(FAMILIES), dice.choice(KINDS), dice.randint(2, 64)
    vocabulary, context = dice.randrange(500, 150_000), dice.choice((256, 512, 1024, 2048, 4096))
    parameters = dice.randrange(2 * 10**5, 3 * 10**9)
    heads = dice.choice((4, 8, 16))
    output = (
        f"path          /models/{name}.gguf\nroot          not checked\narchitecture  {family}\nquantisation  {kind}\n"
        f"parameters    {parameters}\nfile          {parameters // 2} bytes\nn_layer       {layers}\nn_embd        {heads * 64}\n"
        f"n_head        {heads}\nn_head_kv     {heads // 2}\nn_ff          {heads * 192}\nn_vocab       {vocabulary}\n"
        f"n_ctx         {context} of {context}\nn_parallel    1 in {context // 64} pages of 64\n"
    )
    return output, {
        "layers": [f"{name} has {layers} layers.", f"There are {layers} layers."],
        "vocabulary": [f"The vocabulary has {vocabulary} tokens.", f"{name} knows {vocabulary} tokens."],
        "context": [f"The context has {context} tokens.", f"{name} has a context of {context} tokens."],
        "quantisation": [f"The weights of {name} are {kind}.", f"{name} is quantised to {kind}."],
        "facts": [f"{name} is a {family} model, {kind}, with {layers} layers and {parameters} parameters."],
    }


def llm_stats(dice: Dice) -> tuple[str, dict[str, list[str]]]:
    """`llm stats`."""
    inferences, tokens, prompts = dice.randint(1, 99), dice.randint(10, 9999), dice.randint(10, 9999)
    rate, first = f"{10 ** dice.uniform(0.5, 2.4):.1f}", f"{10 ** dice.uniform(0.8, 2.9):.1f} ms"
    output = (
        f"loads         {dice.randint(1, 3)} ({dice.randrange(10**6, 10**8)} bytes, {10 ** dice.uniform(1, 3):.1f} MB/s)\n"
        f"inferences    {inferences}\nprompt tokens {prompts}\ntokens        {tokens} ({rate} tokens/s after the first)\n"
        f"guessed       0 of 0 tokens came\nbatches       {tokens + inferences}\nprefix hits   0 (0 tokens reused)\npreemptions   0\n"
        f"first token   {first} on average\nnext tokens   p50 {10 ** dice.uniform(0.5, 2):.1f} ms, p99 {10 ** dice.uniform(1, 2.5):.1f} ms, max {10 ** dice.uniform(1.5, 2.9):.1f} ms\n"
    )
    return output, {
        "tokens": [f"{tokens} tokens were generated.", f"I have written {tokens} tokens and read {prompts}."],
        "rate": [f"{rate} tokens per second after the first.", f"I make {rate} tokens per second."],
        "inferences": [f"There were {inferences} inferences.", f"{inferences} so far."],
        "first": [f"The first token takes {first} on average.", f"{first} on average."],
        "all": [f"{inferences} inferences, {tokens} tokens, {rate} tokens per second."],
    }


OUTPUTS = {tool.__name__: tool for tool in (mem, cpus, disks, uptime, llm_list, llm_info, llm_stats)}
