"""What llama.cpp accepts: grammars in GBNF, texts, and what may come after each beginning of a text.

    venv/bin/python scripts/golden/gbnf.py LLAMA_CPP_SOURCE

The grammars are those of llama.cpp's folder `grammars/`, with texts from here, those of its
`tests/test-grammar-integration.cpp`, with the texts there, and some from here. llama.cpp itself judges each text, byte by
byte, by the tokens of single bytes of its file `models/ggml-vocab-llama-spm.gguf`.

Writes `crates/grammar/tests/golden/gbnf.json`: for each grammar its texts; for each text whether it is accepted; and for each
of its beginnings, as far as they are allowed and do not end within a character, which ASCII characters may come next (`next`) and
whether the text may end (`ends`).
"""
import json
import re
import sys
from pathlib import Path

import llama_cpp

SOURCE = Path(sys.argv[1])
OUT = Path(__file__).parents[2] / "crates/grammar/tests/golden/gbnf.json"

TEXTS = {
    "arithmetic": ["x = 1\n", "x+1 = 2\n", "(x + 1) * y_2 = 3\ny = 4 \n", "1 = x", "x = \n", "(x = 1\n", "X = 1\n"],
    "c": [
        "int main(){}", "int f(int x){return x;}", "float g(){ int y = x + 1;}", "int main(){return  (1+2)*3;}",
        "int f(){//x\n}", "int f(){/* a * b */}", "int f(){while(a<b){f(a,b);}}", "main(){}", "int f({}", "int f(){x}",
    ],
    "chess": [
        "1. e4 e5\n2. Nf3 Nc6\n", "1. e4 e5\n", "1. e4 e5\n2. O-O O-O-O#\n", "1. exd5 e8=Q+\n12. Nbd7 R1xa3\n",
        "2. e4 e5\n2. a3 a4\n", "1. e9 e5\n2. a3 a4\n", "1. Nbx e5\n2. a3 a4\n",
    ],
    "english": ["Hello world.", "a\tb\nc", "a  b", "", "na\u00efve", "\\_(\"x\")_/~ `a` {b}|c^"],
    "japanese": ["\u3053\u3093\u306b\u3061\u306f\u3002", "\u30ab\u30bf \u6f22\u5b57", "abc", "\u3042 ", "\u3041\u309f\u4e00\u9fff", "\uff01"],
    "json": [
        "{}", "{\"a\": [1, -2.5e+3, \"x\\n\\u12aB \u00e9\U0001f600\"], \"b\": {\"c\": null}}", "{\"a\":true}", "[]", "{\"a\" 1}",
        "{\"a\":\"\n\"}", "{\"a\":01}", "{\n\t\t\"a\": 1}", "{\"a\":1,}", "{\"a\":\"\\x\"}", "{\"a\": 12345678901234567}",
        "{ \"\" : {} }", "{\"\x7f\":1}", "{\"\\u00e\":1}",
    ],
    "json_arr": ["[\n1,\n2]", "[\n]", "[1]", "[\n{\"a\": [1, 2]},\n\"b\" ]", "[\n1,2]", "[\n1] "],
    "list": ["- a\n", "- a\n- b c\n", "- \n", "- a", "-a\n", "- a\u0085\n", "- \u00e9\u2028\n", "- \U0001f600\n"],
}

OWN = [
    ("counts inside one another", 'root ::= (("a"{2} | "b"){1,2} "c"?){2,3}',
     ["aab", "bb", "baacaab", "a", "b", "bcbcbcb", "aaaaaa", "aaaaaaaaaaaaaa", "bcc"]),
    ("what may be empty, counted", 'root ::= ("a"? "b"?){2,3} "c"', ["c", "abc", "ababc", "bbbc", "aaac", "aaaac", "babac", "bababac"]),
    ("ambiguous nesting", 'root ::= "a" root "b" | "a" root "c" | ""', ["", "ab", "aacb", "aabcb", "aaabbb", "aab"]),
    ("lists that end with themselves", 'root ::= item root | item\nitem ::= "x" item | "y"', ["y", "xyy", "xx", "xxyxy", ""]),
    ("escapes", 'root ::= "\\x41\\u00e9\\U0001F600\\t\\r\\n\\\\\\"\\[\\]" [\\x30-\\x39\\]\\-a]+',
     ["A\u00e9\U0001f600\t\r\n\\\"[]0", "A\u00e9\U0001f600\t\r\n\\\"[]]-a9", "A\u00e9\U0001f600\t\r\n\\\"[]b", "A\u00e9"]),
    ("classes across the lengths of UTF-8", "root ::= [\\x7F-\\u0080\\u07FF-\\u0800\\uFFFD-\\U00010000\\U0010FFFF]+",
     ["\x7f\x80\u07ff\u0800\ufffd\uffff\U00010000\U0010ffff", "~", "\x81", "\u07fe", "\u0801", "\U00010001"]),
    # llama.cpp refuses a first byte after which some character is left out, so whole blocks of 64 are left out here.
    ("a class that leaves out", "root ::= [^a-y\\u0100-\\u013f]{1,3}", ["z", "A\u00e8\u0140", "a", "\u0100", "zzzz", "\U0001f600"]),
    ("a hyphen at the end", "root ::= [a-]+ [-b]", ["a-b", "--", "b", "a-c"]),
    ("comments and lines", 'root ::= # first\n  ("a" # x\n   | "b")  # y\n  # z\nother ::= root |\n  "c" # end', ["a", "b", "c", ""]),
    ("twenty ways", 'root ::= ("a" | "a" "a" | "aaa")* "b"', ["aaaaaaaaaaaaaaaaaaab", "b", "aaaaaaaaaaaaaaac"]),
]


def cases_of_reference():
    source = (SOURCE / "tests/test-grammar-integration.cpp").read_text()
    string = r'R"""\((.*?)\)"""|"((?:[^"\\]|\\.)*)"'
    for call in re.split(r"\n    test_grammar\(", source)[1:]:
        body = call.split("\n    );")[0]
        if "token(" in body:
            continue
        found = re.findall(string, re.sub(r"^\s*//.*$", "", body, flags=re.M), flags=re.S)
        texts = [raw if raw else plain.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1", "ignore").decode("utf-8", "ignore") if "\\" in plain else plain for raw, plain in found]
        yield texts[0], texts[1], texts[2:]


class Judge:
    def __init__(self):
        parameters = llama_cpp.llama_model_default_params()
        parameters.vocab_only = True
        path = SOURCE / "models/ggml-vocab-llama-spm.gguf"
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        # <0x00> is token 3.
        self.tokens = [3 + byte for byte in range(256)] + [llama_cpp.llama_vocab_eos(self.vocab)]

    def allowed(self, sampler):
        data = (llama_cpp.llama_token_data * len(self.tokens))()
        for i, token in enumerate(self.tokens):
            data[i].id, data[i].logit, data[i].p = token, 0.0, 0.0
        array = llama_cpp.llama_token_data_array(data, len(self.tokens), -1, False)
        llama_cpp.llama_sampler_apply(sampler, array)
        return [data[i].logit == 0.0 for i in range(len(self.tokens))]

    def judge(self, grammar, text):
        sampler = llama_cpp.llama_sampler_init_grammar(self.vocab, grammar.encode(), b"root")
        assert sampler, grammar
        following, ends, n_more = [], [], 0
        for byte in [*text.encode(), 256]:
            allowed = self.allowed(sampler)
            if n_more == 0:
                following.append("".join(chr(b) for b in range(1, 128) if allowed[b]))
                ends.append(allowed[256])
            if not allowed[byte]:
                break
            if byte < 256:
                n_more = n_more - 1 if n_more else (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3)[byte >> 4]
                llama_cpp.llama_sampler_accept(sampler, self.tokens[byte])
        llama_cpp.llama_sampler_free(sampler)
        return {"text": text, "accepted": byte == 256 and allowed[256], "next": following, "ends": ends}


def main():
    judge = Judge()
    grammars = [(name, (SOURCE / f"grammars/{name}.gbnf").read_text(), texts) for name, texts in TEXTS.items()]
    grammars += list(cases_of_reference()) + OWN
    cases = [
        {"name": name, "grammar": grammar, "texts": [judge.judge(grammar, text) for text in texts]}
        for name, grammar, texts in grammars
    ]
    n = sum(len(case["texts"]) for case in cases)
    n_accepted = sum(text["accepted"] for case in cases for text in case["texts"])
    print(f"{len(cases)} grammars, {n} texts, {n_accepted} accepted")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(cases, indent=0, ensure_ascii=False) + "\n")


main()
