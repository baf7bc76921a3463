#!/usr/bin/env python3
"""Has people's clients call tools: openai-python (chats and responses), LangChain and Anthropic's client, unmodified, whole
answers and streams.

    PYTHON tools.py URL      URL of `cargo run -p serve --example told`, whose models say what they are told

Each model has the template of a family, and says what such a model says: the clients must get the thoughts, the text and the
calls out of it, and what they send back must become the model's next prompt. Prints a line for each client; the first answer
that is not as it must be ends the program.
"""

import json
import sys

CITY = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}
TOOLS = [("get_weather", "Tells the weather.", CITY), ("now", "Tells the time.", {"type": "object", "properties": {}})]
ASKED = "What is the weather in Paris?"

# A family, what its model says, and what of that is thought, said and called.
PARIS = ("get_weather", {"city": "Paris", "days": 3})
NOW = ("now", {})
CASES = [
    (
        "smollm2",
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}\n</tool_call>',
        ("", "", [PARIS]),
    ),
    (
        "hermes",
        '<think>\nHm.\n</think>\n\nI look.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}\n'
        '</tool_call>\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
        ("Hm.", "I look.", [PARIS, NOW]),
    ),
    (
        "qwen3-coder",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
        "</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>",
        ("", "", [PARIS, NOW]),
    ),
    ("llama-3", '{"name": "get_weather", "parameters": {"city": "Paris", "days": 3}}', ("", "", [PARIS])),
    (
        "mistral",
        'Well.[TOOL_CALLS]get_weather[ARGS]{"city": "Paris", "days": 3}[TOOL_CALLS]now[ARGS]{}',
        ("", "Well.", [PARIS, NOW]),
    ),
    (
        "mistral-array",
        '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}, {"name": "now", "arguments": {}}]',
        ("", "", [PARIS, NOW]),
    ),
    (
        "granite",
        '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}, {"name": "now", "arguments": {}}]',
        ("", "", [PARIS, NOW]),
    ),
    (
        "command-r",
        "<|START_THINKING|>Plan<|END_THINKING|><|START_ACTION|>[\n"
        '    {"tool_call_id": "0", "tool_name": "get_weather", "parameters": {"city": "Paris", "days": 3}},\n'
        '    {"tool_call_id": "1", "tool_name": "now", "parameters": {}}\n]<|END_ACTION|>',
        ("Plan", "", [PARIS, NOW]),
    ),
    (
        "deepseek-r1",
        "Hm.\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
        '{"city": "Paris", "days": 3}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        ("Hm.", "", [PARIS]),
    ),
    (
        "deepseek-3.1",
        'Well.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Paris", "days": 3}<｜tool▁call▁end｜>'
        "<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        ("", "Well.", [PARIS, NOW]),
    ),
    (
        "glm-4.5",
        "\n<think>Hm.</think>\nWell.\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>\n<tool_call>now</tool_call>",
        ("Hm.", "Well.", [PARIS, NOW]),
    ),
    (
        "gpt-oss",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather "
        '<|constrain|>json<|message|>{"city": "Paris", "days": 3}<|call|>',
        ("Hm.", "", [PARIS]),
    ),
    (
        "lfm2",
        'Let me.<|tool_call_start|>[get_weather(city="Paris", days=3), now()]<|tool_call_end|>',
        ("", "Let me.", [PARIS, NOW]),
    ),
    (
        "gemma-4",
        'Well.<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:3}<tool_call|>'
        "<|tool_call>call:now{}<tool_call|>",
        ("", "Well.", [PARIS, NOW]),
    ),
    ("hermes", "No tool helps here.", ("", "No tool helps here.", [])),
]


def check(client, model, found, expected):
    thought, said, calls = found
    assert (thought, said, calls) == expected, f"{client}, {model}: {found} and not {expected}"


def openai_chat(url, model, say, expected):
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    tools = [
        {"type": "function", "function": {"name": name, "description": about, "parameters": schema}}
        for name, about, schema in TOOLS
    ]
    messages = [{"role": "user", "content": say}]
    request = {"model": model, "tools": tools, "max_tokens": 400}
    answer = client.chat.completions.create(messages=messages, **request)
    message = answer.choices[0].message
    calls = message.tool_calls or []
    assert len({call.id for call in calls}) == len(calls)
    assert answer.choices[0].finish_reason == ("tool_calls" if calls else "stop"), answer

    def parts(message):
        calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]
        return getattr(message, "reasoning_content", None) or "", message.content or "", calls

    check("openai-python, chat", model, parts(message), expected)
    with client.chat.completions.stream(messages=messages, **request) as stream:
        thought = "".join(
            chunk.chunk.choices[0].delta.model_extra.get("reasoning_content") or ""
            for chunk in stream
            if chunk.type == "chunk" and chunk.chunk.choices
        )
        _, said, called = parts(stream.get_final_completion().choices[0].message)
    check("openai-python, chat as a stream", model, (thought, said, called), expected)
    if calls:
        messages += [message] + [
            {"role": "tool", "tool_call_id": call.id, "content": f"{call.function.name}: 12:34"} for call in calls
        ]
        answer = client.chat.completions.create(messages=messages, **request)
        assert answer.choices[0].message.content == f"{calls[-1].function.name}: 12:34", (model, answer)


def openai_responses(url, model, say, expected):
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    tools = [
        {"type": "function", "name": name, "description": about, "parameters": schema, "strict": False}
        for name, about, schema in TOOLS
    ]
    asked = [{"role": "user", "content": say}]
    request = {"model": model, "tools": tools, "max_output_tokens": 400}

    def parts(answer):
        of = lambda kind: [item for item in answer.output if item.type == kind]
        thought = "".join(part.text for item in of("reasoning") for part in item.content)
        calls = [(item.name, json.loads(item.arguments)) for item in of("function_call")]
        return thought, answer.output_text, calls

    answer = client.responses.create(input=asked, **request)
    assert answer.status == "completed" and answer.usage.output_tokens > 0, answer
    check("openai-python, responses", model, parts(answer), expected)
    with client.responses.stream(input=asked, **request) as stream:
        deltas = {"response.reasoning_text.delta": "", "response.output_text.delta": ""}
        for event in stream:
            if event.type in deltas:
                deltas[event.type] += event.delta
        final = parts(stream.get_final_response())
    check("openai-python, responses as a stream", model, final, expected)
    assert tuple(deltas.values()) == expected[:2], (model, deltas)
    calls = [item for item in answer.output if item.type == "function_call"]
    if calls:
        results = [
            {"type": "function_call_output", "call_id": call.call_id, "output": f"{call.name}: 12:34"} for call in calls
        ]
        answer = client.responses.create(input=asked + list(answer.output) + results, **request)
        assert answer.output_text == f"{calls[-1].name}: 12:34", (model, answer)


def langchain(url, model, say, expected):
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    @tool
    def get_weather(city: str, days: int = 1) -> str:
        """Tells the weather."""
        return "get_weather: 12:34"

    @tool
    def now() -> str:
        """Tells the time."""
        return "now: 12:34"

    known = {"get_weather": get_weather, "now": now}
    for responses in False, True:
        chat = ChatOpenAI(base_url=f"{url}/v1", api_key="none", model=model, max_tokens=400, use_responses_api=responses)
        chat = chat.bind_tools(list(known.values()))

        def parts(message):
            calls = [(call["name"], call["args"]) for call in message.tool_calls]
            # Of a chat it tells no thoughts.
            return expected[0], str(message.text), calls

        asked = [HumanMessage(say)]
        answer = chat.invoke(asked)
        check("LangChain", model, parts(answer), expected)
        whole = None
        for chunk in chat.stream(asked):
            whole = chunk if whole is None else whole + chunk
        check("LangChain, as a stream", model, parts(whole), expected)
        if answer.tool_calls:
            results = [
                ToolMessage(known[call["name"]].invoke(call["args"]), tool_call_id=call["id"]) for call in answer.tool_calls
            ]
            _, said, _ = parts(chat.invoke([*asked, answer, *results]))
            assert said == f"{answer.tool_calls[-1]['name']}: 12:34", (model, said)


def anthropic(url, model, say, expected):
    import anthropic

    client = anthropic.Anthropic(base_url=url, api_key="none")
    tools = [{"name": name, "description": about, "input_schema": schema} for name, about, schema in TOOLS]
    messages = [{"role": "user", "content": say}]
    request = {"model": model, "tools": tools, "max_tokens": 400}

    def parts(answer):
        of = lambda kind: [block for block in answer.content if block.type == kind]
        calls = [(block.name, block.input) for block in of("tool_use")]
        return "".join(b.thinking for b in of("thinking")), "".join(b.text for b in of("text")), calls

    answer = client.messages.create(messages=messages, **request)
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert answer.stop_reason == ("tool_use" if calls else "end_turn"), answer
    check("Anthropic's client", model, parts(answer), expected)
    with client.messages.stream(messages=messages, **request) as stream:
        final = stream.get_final_message()
    check("Anthropic's client, as a stream", model, parts(final), expected)
    assert final.stop_reason == answer.stop_reason and final.usage.output_tokens == answer.usage.output_tokens, final
    of_prompt = lambda usage: usage.input_tokens + usage.cache_read_input_tokens
    count = client.messages.count_tokens(model=model, tools=tools, messages=messages)
    assert of_prompt(final.usage) == of_prompt(answer.usage) == count.input_tokens, (final.usage, answer.usage, count)
    if calls:
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": f"{call.name}: 12:34"}]}
            for call in calls
        ]
        messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
        answer = client.messages.create(messages=messages, **request)
        assert parts(answer) == ("", f"{calls[-1].name}: 12:34", []), (model, answer)


def anthropic_errors(url):
    import anthropic

    client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"}}
    try:
        client.messages.create(model="hermes", max_tokens=10, messages=[{"role": "user", "content": [image]}])
    except anthropic.BadRequestError as refused:
        assert refused.body["error"]["type"] == "invalid_request_error", refused.body
        assert 'parts of type "image"' in refused.body["error"]["message"], refused.body
    else:
        raise AssertionError("an image was not refused")


def main():
    (url,) = sys.argv[1:]
    for client in [openai_chat, openai_responses, langchain, anthropic]:
        for model, said, expected in CASES:
            client(url, model, f"{ASKED} Say:\n{said}", expected)
        print(f"tools, {client.__name__.replace('_', ' ')}: as they must be, of {len(CASES)} transcripts", flush=True)
    anthropic_errors(url)


main()
