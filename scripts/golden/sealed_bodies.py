"""A request and an answer in encrypted bodies, by the protocol's own client for Python, for the tests of crates/trust and crates/serve.

    scripts/golden/sealed_bodies.py        needs tinfoil-ehbp from PyPI; the client has a new key each time

Writes crates/trust/tests/golden/ehbp.txt: a name in each line, and bytes in hexadecimal digits.
"""

import pathlib

from ehbp.derive import decrypt_framed_response, derive_response_keys, encrypt_chunk, frame_chunk
from ehbp.identity import ServerIdentity, _new_suite
from importlib.metadata import version

GOLDEN = pathlib.Path(__file__).parents[2] / "crates/trust/tests/golden/ehbp.txt"

# What the server's key follows from (RFC 9180, 7.1.3): that of the server in the tests of crates/serve.
SEED = bytes([3]) * 32
REQUEST = [b'{"prompt": "Hello", ', b'"max_tokens": 4, "temp', b'erature": 0}']
NONCE = bytes(range(32))
ANSWER = [b"data: one\n\n", b"data: [DONE]\n\n"]


def main():
    public_key = _new_suite().kem.derive_key_pair(SEED).public_key.to_public_bytes()
    identity = ServerIdentity(public_key)
    encapsulated, sender, token = identity._new_sender()
    # A chunk of no bytes, which counts for nothing, is allowed anywhere.
    sealed = bytes(4) + b"".join(frame_chunk(sender.seal(part, b"")) + bytes(4) for part in REQUEST)
    keys = derive_response_keys(token.exported_secret, encapsulated, NONCE)
    answer = b"".join(frame_chunk(encrypt_chunk(keys, number, part)) for number, part in enumerate(ANSWER))
    assert decrypt_framed_response(keys, answer) == b"".join(ANSWER)
    lines = {
        "seed": SEED,
        "public-key": public_key,
        "key-config": identity.marshal_public_config(),
        "encapsulated": encapsulated,
        "request": b"".join(REQUEST),
        "sealed-request": sealed,
        "exported-secret": token.exported_secret,
        "nonce": NONCE,
        "answer": b"".join(ANSWER),
        "sealed-answer": answer,
    }
    text = "".join(f"{name} {value.hex()}\n" for name, value in lines.items())
    GOLDEN.write_text(f"# tinfoil-ehbp {version('tinfoil-ehbp')}, pyhpke {version('pyhpke')}\n{text}")


main()
