"""Requests of which a server's answers can be known, and wrong ones; what of an answer is the same each time."""

import json

MODEL_NAME = "ferrite-tiny"
WORDS = "Once upon a time there was a little robot who wanted to know how a kernel reads its model from a disk".split()
SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 6}, "age": {"type": "integer", "maximum": 99}}, "required": ["name", "age"]}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"enum": [1, 2, 3]}}, "required": ["a"]}}}


def questions(chosen):
    """Requests of which the answers can be known."""
    chat, completion = "/v1/chat/completions", "/v1/completions"
    for number in range(60):
        text = " ".join(chosen.choice(WORDS) for _ in range(chosen.choice([1, 3, 10, 30])))
        sampled = {"model": MODEL_NAME, "max_tokens": chosen.choice([1, 4, 12, 30]), "seed": number, "temperature": chosen.choice([0, 0.7, 1.2])}
        messages = [{"role": "user", "content": text}]
        streamed = {"stream": number % 2 == 1}
        yield from [
            [(completion, sampled | streamed | {"prompt": text, "n": chosen.choice([1, 1, 3])})],
            [(chat, sampled | streamed | {"messages": messages})],
            [(chat, sampled | {"messages": messages[:1], "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}})],
            [(chat, sampled | streamed | {"messages": [{"role": "user", "content": "Hi"}], "tools": [TOOL], "tool_choice": "required"})],
            [(chat, sampled | {"messages": messages, "grammar": "root ::= [a-f]+ (\"-\" [0-9]{1,3})?", "logprobs": True, "top_logprobs": 2})],
            [("/v1/embeddings", {"model": MODEL_NAME, "input": [text, "another"]})],
            [("/v1/messages", sampled | {"messages": messages, "system": "Be brief."})],
            [("/v1/responses", {"model": MODEL_NAME, "input": text, "max_output_tokens": 8, "temperature": 0})],
            [("/tokenize", {"model": MODEL_NAME, "content": text})],
            [("/apply-template", {"model": MODEL_NAME, "messages": messages})],
        ][number % 10]


def wrong(chosen, key):
    """A request that is refused with this key, as bytes, and the status of the refusal or several that it may be."""
    head = f"Host: a\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"

    def post(body, path="/v1/chat/completions", head=head):
        return f"POST {path} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()

    hi = json.dumps({"model": MODEL_NAME, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2})
    return chosen.choice([
        (post(hi[:-5]), 400),
        (post("[" * 1000), 400),
        (post(hi.replace("2}", '"two"}')), 400),
        (post(hi.replace('"Hi"', json.dumps("long " * 20000))), 400),
        (post(json.dumps({"model": MODEL_NAME, "messages": [], "grammar": "root ::="})), 400),
        (post(json.dumps({"model": MODEL_NAME, "prompt": "a", "max_tokens": 2, "logit_bias": {"x": 1}}), "/v1/completions"), 400),
        # Where only one model is loaded it answers to any name.
        (post(hi.replace(MODEL_NAME, "no-such-model")), {404, 200}),
        (post(hi, "/v1/nothing"), 404),
        (post(hi, head=head.replace(key, "wrong")), 401),
        (post(hi, head="Host: a\r\nContent-Type: application/json\r\n"), 401),
        (f"PUT /health HTTP/1.1\r\n{head}\r\n".encode(), 405),
        (f"GET /v1/receipts/none HTTP/1.1\r\n{head}\r\n".encode(), 404),
        (f"POST /v1/completions HTTP/1.1\r\n{head}Content-Length: 99999999\r\n\r\n".encode(), 413),
        (f"POST /v1/completions HTTP/1.1\r\n{head}Transfer-Encoding: gzip\r\n\r\n".encode(), {400, 501}),
        (f"GET /{'a' * 40000} HTTP/1.1\r\n{head}\r\n".encode(), {400, 404, 431}),
        (bytes(chosen.randrange(256) for _ in range(200)) + b"\r\n\r\n", {400, 505}),
        (b"GET / HTTP/9.9\r\n\r\n", {400, 505}),
    ])


def essence(path, answer):
    """What of an answer is the same each time."""
    if "choices" in answer:
        def of(choice):
            said = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
            calls = [call["function"] for call in said.get("tool_calls") or []]
            return [said.get("content"), said.get("reasoning_content"), calls, choice["finish_reason"], choice.get("logprobs")]

        return [of(choice) for choice in answer["choices"]]
    if path == "/v1/messages":
        return [[part.get("text") for part in answer["content"]], answer["stop_reason"]]
    if path == "/v1/responses":
        return [[part.get("text") for item in answer["output"] for part in item.get("content", [])], answer["status"]]
    return [value for key, value in sorted(answer.items()) if key in ("data", "tokens", "prompt")]


class Streamed:
    """A stream of an answer's choices, put together as the whole answer would be."""

    def __init__(self, n):
        self.choices = [[None, None, [], None, None] for _ in range(n)]

    def add(self, event):
        for part in event.get("choices", []):
            said = part.get("delta") or {"content": part.get("text")}
            choice = self.choices[part["index"]]
            for place, name in enumerate(["content", "reasoning_content"]):
                if said.get(name):
                    choice[place] = (choice[place] or "") + said[name]
            for call in said.get("tool_calls") or []:
                if call["index"] == len(choice[2]):
                    choice[2].append({"name": call["function"]["name"], "arguments": ""})
                choice[2][call["index"]]["arguments"] += call["function"].get("arguments", "")
            choice[3] = part["finish_reason"] or choice[3]
