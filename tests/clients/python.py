#!/usr/bin/env python3
"""Asks a server as people do who know OpenAI's: by openai-python, also with encrypted bodies, LangChain, LiteLLM and the program `llm`, unmodified.

    PYTHON python.py URL TEXT [CLIENT...]      URL such as http://127.0.0.1:8080, TEXT what the model says greedily after "Hello";
                                               of the clients only these, such as openai_python

Prints a line for each client; the first answer that is not as it must be ends the program.
"""

import asyncio
import json
import os
import pathlib
import subprocess
import sys
import tempfile

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is Ferrite?"}]


def openai_python(url, text):
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=2)
    models = client.models.list().data
    assert models[0].object == "model" and models[0].id, models
    model = models[0].id

    completion = client.completions.create(model=model, prompt="Hello", max_tokens=10, temperature=0)
    assert completion.choices[0].text == text, (completion.choices[0].text, text)
    usage = completion.usage
    assert usage.completion_tokens == 10 and usage.total_tokens == usage.prompt_tokens + 10, usage
    stream = client.completions.create(model=model, prompt="Hello", max_tokens=10, temperature=0, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == text

    whole = client.chat.completions.create(model=model, messages=MESSAGES, temperature=0, max_tokens=100)
    answer = whole.choices[0].message
    assert answer.role == "assistant" and answer.content, whole
    assert whole.choices[0].finish_reason in ("stop", "length")
    pieces, counts = [], None
    options = {"include_usage": True}
    for chunk in client.chat.completions.create(
        model=model, messages=MESSAGES, temperature=0, max_tokens=100, stream=True, stream_options=options
    ):
        counts = chunk.usage or counts
        pieces += [choice.delta.content or "" for choice in chunk.choices]
    assert "".join(pieces) == answer.content, (pieces, answer.content)
    assert counts.completion_tokens == whole.usage.completion_tokens

    with client.chat.completions.stream(model=model, messages=MESSAGES, temperature=0, max_tokens=100) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content == answer.content

    several = client.chat.completions.create(model=model, messages=MESSAGES, n=3, seed=1, max_tokens=8)
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    again = client.chat.completions.create(model=model, messages=MESSAGES, n=3, seed=1, max_tokens=8)
    assert [choice.message.content for choice in several.choices] == [
        choice.message.content for choice in again.choices
    ]

    for error, request in [
        (openai.BadRequestError, {"messages": []}),
        (openai.BadRequestError, {"messages": MESSAGES, "temperature": -1}),
        (openai.BadRequestError, {"messages": [{"role": "user", "content": "word " * 9000}]}),
    ]:
        try:
            client.chat.completions.create(model=model, **request)
        except error as refused:
            assert refused.body["message"] and refused.type == "invalid_request_error", refused.body
        else:
            raise AssertionError(f"{request} was not refused")
    # Unless told otherwise, openai-python asks for base 64.
    vectors = client.embeddings.create(model=model, input=["Hello", "What is Ferrite?"])
    assert [item.index for item in vectors.data] == [0, 1] and vectors.usage.prompt_tokens > 2, vectors.usage
    plain = client.embeddings.create(model=model, input="Hello", encoding_format="float").data[0].embedding
    assert max(abs(a - b) for a, b in zip(plain, vectors.data[0].embedding, strict=True)) < 1e-6
    assert abs(sum(value * value for value in plain) - 1) < 1e-4

    async def many():
        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=8)
        one = lambda: client.completions.create(model=model, prompt="Hello", max_tokens=10, temperature=0)
        return await asyncio.gather(*[one() for _ in range(16)])

    assert all(completion.choices[0].text == text for completion in asyncio.run(many()))


def encrypted_bodies(url, text):
    import ehbp
    import httpx
    import openai
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    attestation = httpx.get(f"{url}/v1/attestation", params={"nonce": "mine"}).json()
    record = attestation["record"]
    assert record["nonce"] == "mine"
    signed = f"{record['type']}\n{json.dumps(record, separators=(',', ':'), sort_keys=True, ensure_ascii=False)}"
    signer = Ed25519PublicKey.from_public_bytes(bytes.fromhex(record["key"]))
    signer.verify(bytes.fromhex(attestation["signature"]), signed.encode())
    config = httpx.get(f"{url}/.well-known/hpke-keys")
    assert config.headers["content-type"] == "application/ohttp-keys"
    assert ehbp.ServerIdentity.unmarshal_public_config(config.content).public_key_hex() == record["hpke_key"]

    # What goes over the wire, by what is below the encryption.
    wire = []

    class Wire(httpx.HTTPTransport):
        def handle_request(self, request):
            response = super().handle_request(request)
            wire.append((request.headers, response.headers))
            return response

    def web(key):
        return httpx.Client(transport=ehbp.EHBPTransport.from_public_key_hex(key, inner=Wire()), timeout=60)

    def client(key):
        return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, http_client=web(key))

    asker = client(record["hpke_key"])
    request = {"model": "ferrite", "prompt": "Hello", "max_tokens": 10, "temperature": 0}
    assert asker.completions.create(**request).choices[0].text == text
    stream = asker.completions.create(**request, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == text
    # In several chunks each.
    long = {"content": "Hello world. " * 20000}
    tokens = httpx.post(f"{url}/tokenize", json=long, timeout=60).json()
    assert len(tokens["tokens"]) > 30000
    assert web(record["hpke_key"]).post(f"{url}/tokenize", json=long).json() == tokens
    try:
        asker.chat.completions.create(model="ferrite", messages=[])
    except openai.BadRequestError as refused:
        assert refused.body["message"], refused.body
    else:
        raise AssertionError("no messages were not refused")
    for asked, answered in wire:
        assert "ehbp-encapsulated-key" in asked and len(answered["ehbp-response-nonce"]) == 64, (asked, answered)
    assert len({answered["ehbp-response-nonce"] for _, answered in wire}) == len(wire) == 4
    try:
        client("09" + "00" * 31).completions.create(**request)
    except ehbp.KeyConfigMismatchError:
        pass
    else:
        raise AssertionError("a request to another key was not refused")


def langchain(url, text):
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(base_url=f"{url}/v1", api_key="none", model="ferrite", temperature=0, max_tokens=100)
    said = [("system", "Be brief."), ("human", "What is Ferrite?")]
    answer = chat.invoke(said)
    assert answer.content and answer.usage_metadata["output_tokens"] > 0, answer
    assert "".join(chunk.content for chunk in chat.stream(said)) == answer.content


def litellm(url, text):
    # Else it asks the web for prices.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    request = {
        "model": "openai/ferrite", "api_base": f"{url}/v1", "api_key": "none", "messages": MESSAGES,
        "temperature": 0, "max_tokens": 100,
    }
    answer = litellm.completion(**request)
    content = answer.choices[0].message.content
    assert content and answer.usage.completion_tokens > 0, answer
    pieces = [chunk.choices[0].delta.content or "" for chunk in litellm.completion(stream=True, **request)]
    assert "".join(pieces) == content, (pieces, content)


def llm_program(url, text):
    with tempfile.TemporaryDirectory() as folder:
        models = pathlib.Path(folder) / "extra-openai-models.yaml"
        models.write_text(
            f"- model_id: ferrite\n  model_name: ferrite\n  api_base: {url}/v1\n"
            f"- model_id: ferrite-text\n  model_name: ferrite\n  api_base: {url}/v1\n  completion: true\n"
        )
        program = pathlib.Path(sys.executable).parent / "llm"
        environment = {**os.environ, "LLM_USER_PATH": folder, "OPENAI_API_KEY": "none"}

        def run(*arguments):
            command = [program, *arguments, "-o", "temperature", "0", "-o", "max_tokens", "10"]
            return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

        answer = run("-m", "ferrite", "What is Ferrite?")
        assert answer.strip(), answer
        assert run("-m", "ferrite", "--no-stream", "What is Ferrite?") == answer
        assert run("-m", "ferrite-text", "Hello").rstrip("\n") == text.rstrip("\n")


def main():
    url, text, *names = sys.argv[1:]
    for client in [openai_python, encrypted_bodies, langchain, litellm, llm_program]:
        if names and client.__name__ not in names:
            continue
        client(url, text)
        print(f"{client.__name__.replace('_', ' ')}: as it must be", flush=True)


main()
