"""Writes the ids that llama.cpp gives, for crates/llm/tests/portable/tokenizer_golden.rs.

Makes small vocabularies, one of each kind, asks llama.cpp for the ids of the same texts with each of
them, and for byte-level BPE with each pre-tokenizer name. Needs llama-cpp-python and gguf; the last
run had llama-cpp-python 0.3.36.

    python3 scripts/golden/tokenizers.py > crates/llm/tests/golden/tokenizers.json

The byte-level vocabulary is trained on the texts without cutting them into words first, so that
wherever two pre-tokenizers cut differently the ids differ too. The file holds the vocabularies, the
texts, and for each vocabulary the lists of ids, each with the names of the pre-tokenizers that give
it. Cases with `more` are of the first of `more_texts`.
"""

import ctypes
import json
import os
import random
import re
import sys
import tempfile
from collections import Counter

import gguf
import llama_cpp

NAMES = """
default gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert jina-v1-en
jina-v2-code roberta-bpe mpt olmo jais trillion granite-docling exaone4 starcoder refact command-r smollm
codeshell exaone minerva-7b mellum2 falcon llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2
jina-v5-nano glm4 glm5 chatglm-bpe dbrx smaug-bpe minicpm5 qwen2 deepseek-r1-qwen kormo f2llmv2 megrez
stablelm2 hunyuan solar-open grok-2 bailingmoe bailingmoe2 llada-moe qwen35 laguna seed-coder ufakzeka
jais-2 tekken gpt-4o llama4 kanana2 talkie minimax-m2 granite-embed-multi-97m kimi-k2 deepseek-llm
deepseek-coder deepseek-v3 hunyuan-dense joyai-llm hy_v4 bloom poro-chat gpt3-finnish viking
""".split()

# Those with `more_texts` alone.
MORE_NAMES = "spark2_5 youtu tiny_aya cohere2moe exaone-moe afmoe superbpe chameleon".split()

# What only the vocabularies and pre-tokenizers tell apart that came last.
MORE_TEXTS = [
    "x1234567 12345 123 99 1000000 abc1234def",
    "٣1234567 ٣٣٣ ½123456",
    "the cat  sat on\nthe mat. e\u0301te\u0301 a \u0301b",
    "!! //\n/ a!\n\n",
    "a\n\nb \n c\r\nd",
    "\ufeffa b\ufeff",
    "한국어ㄱㄴ ㄅㄆ、。〿 ﹏你好ひらカナ…“a”",
    "<sentinel:12> <sentinel:> IMGIMGABCDZ IMGIMGABCDEZ IMGIMGZ",
    "\t\t    x       y  z",
    "ﬁn ﬀ ﷺ Ａ１ ㎞",
    "a\tb\u00a0c\u3000d",
    "caf\u00e9 cafe\u0301",
    "<ext <extra <extr<extra>",
    "日本語ไทยລາວខ្មែរမြန်မာ 12豈\ue000",
    "<|plamo:eos|>x</s>",
    "\\n \\x41 \n\x00\x7f",
    "ABC Éa ÀB",
    "<0x41>\u0416",
]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

TEXTS = [
    "",
    " ",
    "  ",
    "   ",
    "\n",
    "\n\n",
    " \n",
    "\n ",
    " \n \n  ",
    "\t",
    "\t\t\n",
    "\r\n",
    "\r\n\r\n",
    "\r",
    " " * 33,
    " " * 700 + "x",
    " " * 512,
    " " * 257 + "\n",
    "\n" * 40,
    "a",
    " a",
    "  a",
    "a ",
    "a  ",
    "a b",
    "a  b",
    "a   b",
    "Hello",
    " Hello",
    "Hello world",
    "Hello, world!",
    "Hello World! How are YOU?",
    "the the  the   the",
    "I'm sure they're Bob's, we've said it'll do; he'd know. DON'T! I'LL, WE'RE, O'Neill's 'sup",
    "'sup 'sup 'tis 'tis 'Tis 'Twas 'Twas 'Real 'Real",
    "'s 'S '' ' 's'",
    "x'y 'Ll'vE'm'D 'T't",
    "don’t it’s",
    "1",
    "12",
    "123",
    "1234",
    "12345",
    "1234567890",
    "3.14159",
    "1,234,567.89",
    "a1b22c333d4444",
    "x1 2y 33 zz44",
    "v2.0.1-rc3",
    "2024-01-31T23:59",
    "١٢٣٤٥ ०१२३ ½¾ Ⅷ ²³ ①②③④",
    "camelCase PascalCase HTTPServer2Go SCREAMING_CASE kebab-case snake_case",
    "ÉtéÉÉ École ÉCOLE éCoLé AÉ ÉA aÉb",
    "ǅ ǈa ĳ ẞß ΑΒΓαβγ ДЖдж Ԉԉ",
    "你好，世界！今天天气真好。",
    "東京都は日本のカタカナとひらがな、漢字。",
    "漢字ABC漢字abc1漢",
    "한국어 텍스트 예시",
    "مرحبا بالعالم، كيف؟",
    "שלום עולם",
    "नमस्ते दुनिया, क्या हाल है?",
    "ไทยไม่มีช่องว่าง",
    "Привет, Мир!",
    "Zażółć gęślą jaźń",
    "e\u0301 a\u0300\u0301 \u0301 \u0301a !\u0301a 1\u0301 \u0301\u0301",
    "👨‍👩‍👧 👍🏽 🇩🇪🇫🇷 ❤️",
    "¿Qué? ¡Sí! «non» „ja“ …—–·",
    'fn main() { println!("{}", 1 + 2); }\n',
    "for (int i=0;i<n;++i) {\n\t\tx[i] += 1;\n\t}\n\n\n// done",
    "#include <a.h>\r\n\r\n",
    "a/b//c/\n/d",
    "... --- ***\n\n***",
    "!!!\n",
    "!!!\n\n/x",
    '()[]{}<>|~^`$+=@#%&*\\"',
    "$5 +3 =x <y >z ^w ~v |u `t",
    "$ + = x",
    "https://example.org/path?q=1&r=%20#frag",
    "C:\\dir\\file.txt",
    "a\u00a0b \u3000c\u2003d\u0085e\u2028f\u200bg",
    "\u3000\u3000x \u3000",
    "x \u00a0 \n",
    "\u0001\u0002 a\u0003b",
    "\u007f\u0080",
    "\ufffd\ufffe",
    "\U000e0001\U0010ffff",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "abababababababababababababababababababababababab",
    "(a|b), c.d! e?f",
    "a،b ۔c ।d",
    "_a __b a_b_",
    "<s> </s> <|user|> <extra>",
    "<|user|>hi<|end|>\n<|user|>",
    "<extra><extra> <extra>\n",
    "a<s>b</s>c",
    "<ex<extra>tra> <extra>>",
    "[gap] a [gap][gap]\n[gap]",
    "  <extra>  x  ",
    "▁",
    "▁▁a ▁b",
    "Ġa Ċ",
    "<0x41> <0x0A>",
    "End.",
    "trailing \n ",
    "tab\tseparated\tvalues\n",
    "MiXeD CaSe WoRdS",
]

# Characters of every class that some expression tells apart.
ALPHABET = list("  \n\r\t''sStTrevmlLdDabcXYZ012,.!?-_/+<$~|()") + list(
    "éÉßСс中国あア한１٣²\u0301\u094d…，。।€\u00a0\u3000\u200b😀"
)

WORDPIECE = """[PAD] [UNK] [CLS] [SEP] [MASK] ▁hello ▁world ▁the ▁a ▁b ▁x ▁how ▁are ▁you ▁! ▁? ▁. ▁, ▁' ▁- ▁1 ▁2 ▁ecole ▁ete
▁resume lo rld s ing ed er 1 2 3 34 a b c d e ab ▁中 ▁国 ▁日 ▁world's ▁un aff able ▁$ ▁+ ▁hel wor ▁i m ▁bob ▁don t ▁é cole""".split()


def byte_alphabet():
    """GPT-2's characters for the 256 bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table, extra = {}, 0
    for byte in range(256):
        if byte in printable:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(256 + extra)
            extra += 1
    return table


def random_texts(n, seed):
    rng = random.Random(seed)
    for _ in range(n):
        pool = rng.sample(ALPHABET, rng.randint(3, 14))
        yield "".join(rng.choice(pool) for _ in range(rng.randint(2, 40)))


def train_merges(sequences, n):
    """Byte-pair encoding in its plainest form: the most frequent pair becomes a symbol, n times."""
    merges = []
    for _ in range(n):
        pairs = Counter(pair for s in sequences for pair in zip(s, s[1:]))
        (left, right), count = min(pairs.items(), key=lambda item: (-item[1], item[0]), default=(("", ""), 0))
        if count < 2:
            break
        merges.append((left, right))
        for s in sequences:
            i = 0
            while i + 1 < len(s):
                if s[i] == left and s[i + 1] == right:
                    s[i : i + 2] = [left + right]
                i += 1
    return merges


SPECIAL = [
    ("<s>", CONTROL),
    ("</s>", CONTROL),
    ("<|endoftext|>", CONTROL),
    ("<|user|>", CONTROL),
    ("<|end|>", CONTROL),
    ("<extra>", USER_DEFINED),
    ("<extra><extra>", USER_DEFINED),
    ("[gap]", USER_DEFINED),
    ("\n\n\n", USER_DEFINED),
]


def without_special(texts):
    """The texts, cut at special tokens: training must not make a second token of the same text."""
    pattern = "|".join(re.escape(text) for text, _ in SPECIAL)
    return [part for t in texts for part in re.split(pattern, t)]


def byte_level(texts):
    alphabet = byte_alphabet()
    merges = train_merges([[alphabet[b] for b in t.encode()] for t in without_special(texts)], 900)
    pieces = list(alphabet.values())
    pieces += [left + right for left, right in merges if left + right not in pieces]
    pieces = list(dict.fromkeys(pieces))
    # Words that only a tokenizer that looks at whole words first can find.
    whole = [w for w in ["Hello", "Ġworld", "ĠHello", "123", "don", "ĠĠĠĠĠĠĠ", "Ġthey"] if w not in pieces]
    tokens = pieces + whole + [text for text, _ in SPECIAL]
    types = [NORMAL] * (len(pieces) + len(whole)) + [kind for _, kind in SPECIAL]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": [" ".join(merge) for merge in merges],
        "tokenizer.ggml.bos_token_id": tokens.index("<s>"),
        "tokenizer.ggml.eos_token_id": tokens.index("</s>"),
    }


def with_merges_outside(vocabulary):
    """Without every third token that merges make, and some that they begin with: the merges stay."""
    made = {merge.replace(" ", "") for merge in vocabulary["tokenizer.ggml.merges"]}
    lost = {token for i, token in enumerate(sorted(made, key=vocabulary["tokenizer.ggml.tokens"].index)) if i % 3 == 0}
    lost |= set("eoÃ日")
    kept = [i for i, token in enumerate(vocabulary["tokenizer.ggml.tokens"]) if token not in lost]
    tokens = [vocabulary["tokenizer.ggml.tokens"][i] for i in kept]
    roles = {
        key: tokens.index(vocabulary["tokenizer.ggml.tokens"][id])
        for key, id in vocabulary.items()
        if key.endswith("_token_id")
    }
    return vocabulary | roles | {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [vocabulary["tokenizer.ggml.token_type"][i] for i in kept],
    }


def char_level(texts):
    """Characters with byte tokens, as gemma 4 has them."""
    escaped = [t.replace(" ", "▁") for t in without_special(texts)]
    chars = [c for c, n in Counter("".join(escaped)).most_common() if n > 2 and c != "\n"]
    merges = train_merges([[c for c in line] for t in escaped for line in t.split("\n")], 400)
    pieces = list(
        dict.fromkeys(
            ["\n", "\n\n"] + chars + [p for merge in merges for p in merge] + [left + right for left, right in merges]
        )
    )
    byte_tokens = ["<0x%02X>" % b for b in range(256)]
    tokens = (
        ["<pad>", "<eos>", "<bos>", "<unk>"]
        + byte_tokens
        + pieces
        + [text for text, _ in SPECIAL if text not in pieces]
    )
    kinds = dict(SPECIAL) | {"<pad>": CONTROL, "<eos>": CONTROL, "<bos>": CONTROL, "<unk>": UNKNOWN}
    types = [BYTE if t in byte_tokens else kinds.get(t, NORMAL) for t in tokens]
    return {
        "tokenizer.ggml.model": "gemma4",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": [" ".join(merge) for merge in merges],
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 3,
    }


def sentencepiece(texts, seed, **flags):
    """Pieces with random scores, so that the order of joining is not that of training."""
    rng = random.Random(seed)
    escaped = [(" " + t).replace(" ", "▁") for t in without_special(texts)]
    merges = train_merges([list(t) for t in escaped], 500)
    chars = [c for c, n in Counter("".join(escaped)).most_common() if n > 3]
    pieces = list(dict.fromkeys(chars + [left + right for left, right in merges]))
    byte_tokens = ["<0x%02X>" % b for b in range(256)]
    tokens = ["<unk>", "<s>", "</s>"] + byte_tokens + [p for p in pieces if p not in dict(SPECIAL)]
    tokens += [text for text, _ in SPECIAL if text not in tokens]
    kinds = dict(SPECIAL) | {"<unk>": UNKNOWN}
    types = [BYTE if t in byte_tokens else kinds.get(t, NORMAL) for t in tokens]
    scores = [round(rng.uniform(-20, 0) * 4) / 4 for _ in tokens]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.scores": scores,
    } | flags


def character_map(replacements):
    """A map as SentencePiece writes it: see crates/llm/src/tokenizer/charsmap.rs."""
    texts, places = bytearray(), {}
    for replacement in replacements.values():
        places.setdefault(replacement, len(texts))
        if places[replacement] == len(texts):
            texts += replacement.encode() + b"\0"
    tree = {}
    for sequence, replacement in replacements.items():
        node = tree
        for byte in sequence.encode():
            node = node.setdefault(byte, {})
        node[0] = places[replacement]
    entries = {0: 0}
    waiting = [(0, tree)]
    while waiting:
        place, node = waiting.pop(0)
        offset = next(o for o in range(1, 1 << 21) if all(place ^ o ^ byte not in entries for byte in node))
        entries[place] |= offset << 10 | (0 in node) << 8
        for byte, child in node.items():
            entries[place ^ offset ^ byte] = 1 << 31 | child if byte == 0 else byte
        waiting += [(place ^ offset ^ byte, child) for byte, child in node.items() if byte]
    array = b"".join(entries.get(i, 0).to_bytes(4, "little") for i in range(max(entries) | 255))
    return list(len(array).to_bytes(4, "little") + array + bytes(texts))


REPLACEMENTS = {
    "\t": " ", "\n": " ", "\u00a0": " ", "\u3000": " ", "ﬁ": "fi", "ﬀ": "ff", "ﷺ": "صلى الله عليه وسلم", "Ａ": "A",
    "１": "1", "㎞": "km", "e\u0301": "é", "\u200b": "", "\u0001": "", "…": "...",
}  # fmt: skip


def unigram(texts, seed, **flags):
    """Pieces with random scores, some of them longer than a word, some unused, and no bytes."""
    rng = random.Random(seed)
    escaped = [t.replace(" ", "▁") for t in without_special(texts)]
    merges = train_merges([list(t) for t in escaped], 150)
    chars = [c for c, n in Counter("".join(escaped)).most_common() if n > 4]
    pieces = list(dict.fromkeys(chars + [left + right for left, right in merges] + ["fi", "ff", "km", "صل", "..."]))
    tokens = ["<pad>", "</s>", "<unk>"] + [p for p in pieces if p not in dict(SPECIAL)]
    tokens += [text for text, _ in SPECIAL if text not in tokens] + ["café"]
    kinds = dict(SPECIAL) | {"<pad>": CONTROL, "<unk>": UNKNOWN, "café": USER_DEFINED, "the": UNUSED, "fi": UNUSED}
    scores = [round(-len(t) - rng.uniform(0, 12) if i % 7 else rng.uniform(-4, 1), 2) for i, t in enumerate(tokens)]
    return {
        "tokenizer.ggml.model": "t5",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [kinds.get(t, NORMAL) for t in tokens],
        "tokenizer.ggml.scores": scores,
    } | flags


def rwkv(texts):
    """All bytes, and sequences of bytes that need not be characters, written as Python writes them."""
    merges = train_merges([[bytes([b]) for b in t.encode()] for t in without_special(texts)], 200)
    sequences = [bytes([b]) for b in range(256)] + [left + right for left, right in merges] + [b"\\n", b"it's", b"\n\n\t"]

    def written(sequence):
        try:
            return repr(sequence.decode())[1:-1]
        except UnicodeDecodeError:
            return repr(sequence)[2:-1]

    tokens = ["<s>"] + list(dict.fromkeys(written(s) for s in sequences)) + ["<|user|>"]
    return {
        "tokenizer.ggml.model": "rwkv",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [CONTROL if t in ("<s>", "<|user|>") else NORMAL for t in tokens],
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.bos_token_id": 0,
    }


def plamo2(texts, seed):
    rng = random.Random(seed)
    merges = train_merges([list(t) for t in without_special(texts)], 150)
    chars = [c for c, n in Counter("".join(texts)).most_common() if n > 4]
    pieces = list(dict.fromkeys(chars + [left + right for left, right in merges]))
    byte_tokens = ["<0x%02X>" % b for b in range(256)]
    roles = ["<|plamo:unk|>", "<|plamo:bos|>", "<|plamo:eos|>", "<|plamo:pad|>"]
    tokens = roles + byte_tokens + [p for p in pieces if p not in dict(SPECIAL)]
    tokens += [text for text, _ in SPECIAL if text not in tokens]
    kinds = dict(SPECIAL) | dict.fromkeys(roles, CONTROL) | {"<|plamo:unk|>": UNKNOWN}
    scores = [round(-len(t) - rng.uniform(0, 12) if i % 7 else rng.uniform(-4, 1), 3) for i, t in enumerate(tokens)]
    return {
        "tokenizer.ggml.model": "plamo2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [BYTE if t in byte_tokens else kinds.get(t, NORMAL) for t in tokens],
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.add_bos_token": True,
    }


def whitespace(texts, **flags):
    """Characters as they are, as jina-embeddings-v2-base-zh has them."""
    lower = [t.lower() for t in without_special(texts)]
    merges = train_merges([list(word) for t in lower for word in t.split()], 100)
    chars = [c for c, n in Counter("".join("".join(t.split()) for t in lower)).most_common() if n > 2]
    pieces = list(dict.fromkeys(chars + [left + right for left, right in merges]))
    byte_tokens = ["<0x%02X>" % b for b in range(256)]
    tokens = ["<s>", "</s>"] + byte_tokens + pieces + ["<extra>"]
    kinds = {"<s>": CONTROL, "</s>": CONTROL, "<extra>": USER_DEFINED}
    return {
        "tokenizer.ggml.model": "whitespace",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [BYTE if t in byte_tokens else kinds.get(t, NORMAL) for t in tokens],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in merges],
        "tokenizer.ggml.pre": "whitespace",
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.add_bos_token": True,
    } | flags


def wordpiece():
    types = [CONTROL if t.startswith("[") else NORMAL for t in WORDPIECE]
    return {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": WORDPIECE,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.unknown_token_id": 1,
    }


def write(vocabulary, path):
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in vocabulary.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif key.endswith("charsmap"):
            writer.add_array(key, bytes(value))
        else:
            writer.add_array(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def reference_ids(vocabulary, texts, add_special, parse_special):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "vocabulary.gguf")
        write(vocabulary, path)
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = True
        model = llama_cpp.llama_model_load_from_file(path.encode(), params)
        assert model, "llama.cpp refuses the vocabulary"
        vocab = llama_cpp.llama_model_get_vocab(model)
        lists = []
        for text in texts:
            raw = text.encode()
            room = len(raw) * 4 + 16
            ids = (llama_cpp.llama_token * room)()
            n = llama_cpp.llama_tokenize(vocab, raw, len(raw), ids, room, add_special, parse_special)
            assert n >= 0
            lists.append(list(ids[:n]))
        llama_cpp.llama_model_free(model)
        return lists


def main():
    keep_silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(keep_silent, ctypes.c_void_p(0))
    texts = TEXTS + list(random_texts(160, 7))
    short_texts = MORE_TEXTS + list(random_texts(50, 8))
    more_texts = short_texts + TEXTS[::2]
    vocabularies = {
        "byte-level": byte_level(texts),
        "char-level": char_level(texts),
        "byte-level-outside": with_merges_outside(byte_level(texts)) | {"tokenizer.ggml.pre": "gpt-2"},
        "char-level-outside": with_merges_outside(char_level(texts)),
        "sentencepiece": sentencepiece(texts, 1),
        "sentencepiece-bare": sentencepiece(texts, 2)
        | {
            "tokenizer.ggml.add_space_prefix": False,
            "tokenizer.ggml.add_bos_token": False,
            "tokenizer.ggml.add_eos_token": True,
        },
        "sentencepiece-phi-3": sentencepiece(texts, 3) | {"general.name": "Phi-3 Mini"},
        "wordpiece": wordpiece(),
        "wordpiece-cased": wordpiece() | {"tokenizer.ggml.normalizer.lowercase": False},
    }
    charsmap = {"tokenizer.ggml.precompiled_charsmap": character_map(REPLACEMENTS)}
    merged_spaces = {"tokenizer.ggml.add_space_prefix": True, "tokenizer.ggml.remove_extra_whitespaces": True}
    no_merges = byte_level(["the they"] * 3) | {"tokenizer.ggml.pre": "kimi-k2"}
    del no_merges["tokenizer.ggml.merges"]
    later = {
        "unigram": unigram(texts, 4, **charsmap, **merged_spaces),
        "unigram-spaces": unigram(texts, 5, **{"tokenizer.ggml.add_space_prefix": True}),
        "unigram-bare": unigram(texts, 6, **charsmap),
        "rwkv": rwkv(texts),
        "plamo2": plamo2(texts, 7),
        "whitespace": whitespace(texts, **{"tokenizer.ggml.normalizer.lowercase": True}),
        "whitespace-cased": whitespace(texts),
        "char-level-sarvam": char_level(TEXTS[:60]) | {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "sarvam-moe"},
        "without-merges": no_merges,
    }
    cases = []
    for name, vocabulary in vocabularies.items():
        if name == "byte-level":
            by_ids = {}
            for pre in NAMES:
                lists = reference_ids(vocabulary | {"tokenizer.ggml.pre": pre}, texts, False, False)
                by_ids.setdefault(json.dumps(lists), []).append(pre)
            for lists, names in by_ids.items():
                cases.append(
                    dict(vocabulary=name, pre=names, add_special=False, parse_special=False, ids=json.loads(lists))
                )
            lists = reference_ids(vocabulary | {"tokenizer.ggml.pre": "llama-bpe"}, texts, True, True)
            cases.append(dict(vocabulary=name, pre=["llama-bpe"], add_special=True, parse_special=True, ids=lists))
            by_ids = {}
            for pre in NAMES + MORE_NAMES:
                used = short_texts if pre in MORE_NAMES else MORE_TEXTS
                lists = reference_ids(vocabulary | {"tokenizer.ggml.pre": pre}, used, False, False)
                by_ids.setdefault(json.dumps(lists), []).append(pre)
            for lists, names in by_ids.items():
                case = dict(vocabulary=name, pre=names, add_special=False, parse_special=False, more=True)
                cases.append(case | dict(ids=json.loads(lists)))
        else:
            for special in (False, True):
                lists = reference_ids(vocabulary, texts, special, special)
                cases.append(dict(vocabulary=name, pre=[], add_special=special, parse_special=special, ids=lists))
    for name, vocabulary in later.items():
        lists = reference_ids(vocabulary, short_texts if name == "without-merges" else more_texts, True, True)
        cases.append(dict(vocabulary=name, pre=[], add_special=True, parse_special=True, more=True, ids=lists))
        lists = reference_ids(vocabulary, MORE_TEXTS, False, False)
        cases.append(dict(vocabulary=name, pre=[], add_special=False, parse_special=False, more=True, ids=lists))
    vocabularies |= later
    golden = dict(texts=texts, more_texts=more_texts, vocabularies=vocabularies, cases=cases)
    json.dump(golden, sys.stdout, ensure_ascii=True, separators=(",", ":"))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
