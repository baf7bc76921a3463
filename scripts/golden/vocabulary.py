"""Writes the tokens of a GGUF file for `mask_cost`: a line for each, its bytes in hexadecimal.

    python3 scripts/golden/vocabulary.py FILE.gguf > TOKENS

`end` stands for a token that ends a text, an empty line for a control token. Needs the package llama-cpp-python.
"""
import ctypes
import sys

import llama_cpp

CONTROL = 1 << 3


def main():
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(sys.argv[1].encode(), parameters)
    vocab = llama_cpp.llama_model_get_vocab(model)
    buffer = ctypes.create_string_buffer(1 << 12)
    for token in range(llama_cpp.llama_vocab_n_tokens(vocab)):
        if llama_cpp.llama_vocab_is_eog(vocab, token):
            print("end")
        elif llama_cpp.llama_vocab_get_attr(vocab, token) & CONTROL:
            print()
        else:
            n = llama_cpp.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, True)
            print(buffer.raw[:n].hex())


main()
