#!/usr/bin/env python3
"""Writes what templates make of conversations with tools.

    venv/bin/python scripts/golden/chat_tools.py

The templates are short ones after published ones: they show tools, calls and results between the marks of these, and
say nothing else. Each takes the arguments of calls as an object or as text; which, is written down here, and the engine
has to find out. Jinja for Python renders them, set up as in transformers' apply_chat_template. The published ones
are compared by scripts/check-templates.
"""

import json
import pathlib

from chat_templates import environment

BOS, EOS = "<s>", "</s>"

CHATML_TOOLS = (
    "{% if tools %}<|im_start|>system\n{% if messages[0].role == 'system' %}{{ messages[0].content }}\n\n{% endif %}"
    "<tools>{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}\n</tools><|im_end|>\n"
    "{% elif messages[0].role == 'system' %}<|im_start|>system\n{{ messages[0].content }}<|im_end|>\n{% endif %}"
)
RESULTS = (
    "{% elif m.role == 'tool' %}{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}<|im_start|>user{% endif %}"
    "\n<tool_response>\n{{ m.content }}\n</tool_response>"
    "{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}<|im_end|>\n{% endif %}"
)
CHATML_END = "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def chatml(call):
    """One like Qwen's: thoughts are shown after the last question, calls as `call` writes them."""
    return (
        CHATML_TOOLS
        + "{% for m in messages %}{% if m.role == 'user' %}<|im_start|>user\n{{ m.content }}<|im_end|>\n"
        "{% elif m.role == 'assistant' %}<|im_start|>assistant\n"
        "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m.content }}"
        "{% for c in m.tool_calls or [] %}{% if not loop.first or m.content %}\n{% endif %}"
        + call
        + "{% endfor %}<|im_end|>\n"
        + RESULTS
        + CHATML_END
    )


def keyed(before, between, after):
    """The arguments of a call, each key and value between these."""
    return (
        "{% for k, v in c.function.arguments.items() %}"
        + before
        + "{{ k }}"
        + between
        + "{{ v if v is string else v | tojson }}"
        + after
        + "{% endfor %}"
    )


# Per template: its source; whether arguments are objects; whether there can be several calls in a message.
TEMPLATES = {
    "hermes": (
        chatml(
            '<tool_call>\n{"name": "{{ c.function.name }}", "arguments": '
            "{{ c.function.arguments if c.function.arguments is string else c.function.arguments | tojson }}}\n</tool_call>"
        ),
        True,
        True,
    ),
    "qwen3-coder": (
        chatml(
            "<tool_call>\n<function={{ c.function.name }}>\n"
            + keyed("<parameter=", ">\n", "\n</parameter>\n")
            + "</function>\n</tool_call>"
        ),
        True,
        True,
    ),
    "llama-3": (
        "{{ bos_token }}{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
        "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
        "<|start_header_id|>system<|end_header_id|>\n\n{% if tools is not none and tools %}Environment: ipython\n{% endif %}"
        "{{ system }}<|eot_id|>{% for m in messages %}{% if m.tool_calls %}"
        "{% if m.tool_calls | length != 1 %}{{ raise_exception('one call at a time') }}{% endif %}"
        "{% set c = m.tool_calls[0].function %}<|start_header_id|>assistant<|end_header_id|>\n\n"
        '{"name": "{{ c.name }}", "parameters": {{ c.arguments | tojson }}}<|eot_id|>'
        "{% elif m.role == 'tool' %}<|start_header_id|>ipython<|end_header_id|>\n\n"
        "{% if m.content is mapping %}{{ m.content | tojson }}{% else %}{{ m.content }}{% endif %}<|eot_id|>{% else %}"
        "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
        "{% if loop.first and tools %}{% for tool in tools %}{{ tool | tojson(indent=4) }}\n\n{% endfor %}{% endif %}"
        "{{ m.content | trim }}<|eot_id|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
        True,
        False,
    ),
    "mistral-array": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
        "{% if tools and loop.last %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}[INST]{{ m.content }}[/INST]"
        "{% elif m.role == 'system' %}[SYSTEM_PROMPT]{{ m.content }}[/SYSTEM_PROMPT]"
        "{% elif m.role == 'tool' %}[TOOL_RESULTS]{\"content\": {{ m.content }}, \"call_id\": \"{{ m.tool_call_id }}\"}[/TOOL_RESULTS]"
        "{% elif m.tool_calls %}[TOOL_CALLS][{% for c in m.tool_calls %}{% set f = c.function | tojson %}"
        "{% if c.id | length != 9 %}{{ raise_exception('ids have 9 letters') }}{% endif %}"
        "{{ f[:-1] }}, \"id\": \"{{ c.id }}\"}{{ '' if loop.last else ', ' }}{% endfor %}]{{ eos_token }}"
        "{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}",
        True,
        True,
    ),
    "mistral": (
        "{{ bos_token }}{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
        "{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]"
        "{% elif m.role == 'system' %}[SYSTEM_PROMPT]{{ m.content }}[/SYSTEM_PROMPT]"
        "{% elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.tool_call_id }}[TOOL_CONTENT]{{ m.content }}[/TOOL_RESULTS]"
        "{% else %}{{ m.content }}{% for c in m.tool_calls or [] %}[TOOL_CALLS]{{ c.function.name }}[ARGS]"
        "{{ c.function.arguments if c.function.arguments is string else c.function.arguments | tojson }}{% endfor %}"
        "{{ eos_token }}{% endif %}{% endfor %}",
        True,
        True,
    ),
    "hermes, tools as Python writes them": (
        "{% if tools %}{{ tools }}\n{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls or [] %}"
        '<tool_call>\n{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>'
        "{% endfor %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
        True,
        True,
    ),
    "granite": (
        "{% if tools %}<|start_of_role|>available_tools<|end_of_role|>{{ tools | tojson(indent=4) }}<|end_of_text|>\n{% endif %}"
        "{% for m in messages %}<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}"
        "{% if m.tool_calls %}<|tool_call|>[{% for c in m.tool_calls %}{{ c.function | tojson }}"
        "{{ '' if loop.last else ', ' }}{% endfor %}]{% endif %}<|end_of_text|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}",
        True,
        True,
    ),
    "command-r": (
        "{% for m in messages %}<|START_OF_TURN_TOKEN|>{% if m.role == 'tool' %}<|SYSTEM_TOKEN|><|START_TOOL_RESULT|>"
        "[\n    {\n        \"tool_call_id\": \"0\",\n        \"results\": {\"0\": {{ m.content | tojson }}}\n    }\n]<|END_TOOL_RESULT|>"
        "{% elif m.role == 'assistant' %}<|CHATBOT_TOKEN|>"
        "{% if m.tool_calls %}<|START_THINKING|>{{ m.reasoning_content }}<|END_THINKING|><|START_ACTION|>[\n"
        "{% for c in m.tool_calls %}    {\"tool_call_id\": \"{{ loop.index0 }}\", \"tool_name\": \"{{ c.function.name }}\", "
        "\"parameters\": {{ c.function.arguments | tojson }}}{{ '\n' if loop.last else ',\n' }}{% endfor %}]<|END_ACTION|>"
        "{% else %}<|START_RESPONSE|>{{ m.content }}<|END_RESPONSE|>{% endif %}"
        "{% else %}<|{{ m.role | upper }}_TOKEN|>{% if loop.first and tools %}{{ tools | tojson }}\n{% endif %}{{ m.content }}"
        "{% endif %}<|END_OF_TURN_TOKEN|>{% endfor %}"
        "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}",
        True,
        True,
    ),
    "deepseek-r1": (
        "{{ bos_token }}{% if tools %}{% for tool in tools %}{{ tool.function | tojson }}\n{% endfor %}{% endif %}"
        "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}<｜User｜>{{ m.content }}"
        "{% elif m.role == 'tool' %}<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>{{ m.content }}<｜tool▁output▁end｜>"
        "<｜tool▁outputs▁end｜>{% elif m.tool_calls %}<｜Assistant｜>{{ m.content }}<｜tool▁calls▁begin｜>{% for c in m.tool_calls %}"
        "{{ '' if loop.first else '\n' }}<｜tool▁call▁begin｜>{{ c.type }}<｜tool▁sep｜>{{ c.function.name }}\n```json\n"
        "{{ c.function.arguments + '\n```<｜tool▁call▁end｜>' }}{% endfor %}<｜tool▁calls▁end｜><｜end▁of▁sentence｜>{% else %}"
        "<｜Assistant｜>{{ m.content }}<｜end▁of▁sentence｜>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<｜Assistant｜><think>\n{% endif %}",
        False,
        True,
    ),
    "deepseek-3.1": (
        "{{ bos_token }}{% if tools %}{% for tool in tools %}{{ tool.function | tojson }}\n{% endfor %}{% endif %}"
        "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}<｜User｜>{{ m.content }}"
        "{% elif m.role == 'tool' %}<｜tool▁output▁begin｜>{{ m.content }}<｜tool▁output▁end｜>"
        "{% elif m.tool_calls %}<｜Assistant｜></think>{{ m.content }}<｜tool▁calls▁begin｜>{% for c in m.tool_calls %}"
        "<｜tool▁call▁begin｜>{{ c.function.name }}<｜tool▁sep｜>{{ c.function.arguments + '<｜tool▁call▁end｜>' }}{% endfor %}"
        "<｜tool▁calls▁end｜><｜end▁of▁sentence｜>{% else %}<｜Assistant｜></think>{{ m.content }}<｜end▁of▁sentence｜>{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}<｜Assistant｜>{% if thinking %}<think>{% else %}</think>{% endif %}{% endif %}",
        False,
        True,
    ),
    "kimi-k2": (
        "{% if tools %}<|im_system|>tool_declare<|im_middle|>{{ tools | tojson }}<|im_end|>{% endif %}"
        "{% for m in messages %}{% if m.role == 'tool' %}<|im_system|>tool<|im_middle|>## Return of {{ m.tool_call_id }}\n"
        "{{ m.content }}<|im_end|>{% else %}<|im_{{ m.role }}|>{{ m.role }}<|im_middle|>{{ m.content }}"
        "{% if m.tool_calls %}<|tool_calls_section_begin|>{% for c in m.tool_calls %}<|tool_call_begin|>"
        "functions.{{ c.function.name }}:{{ loop.index0 }}<|tool_call_argument_begin|>"
        "{% if c.function.arguments is string %}{{ c.function.arguments }}{% else %}{{ c.function.arguments | tojson }}{% endif %}"
        "<|tool_call_end|>{% endfor %}<|tool_calls_section_end|>{% endif %}<|im_end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_assistant|>assistant<|im_middle|>{% endif %}",
        True,
        True,
    ),
    "glm-4.5": (
        "[gMASK]<sop>{% if tools %}<|system|>\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}{% endif %}"
        "{% for m in messages %}{% if m.role == 'tool' %}<|observation|>\n<tool_response>\n{{ m.content }}\n</tool_response>"
        "{% else %}<|{{ m.role }}|>\n{{ m.content }}{% for c in m.tool_calls or [] %}\n<tool_call>{{ c.function.name }}\n"
        + keyed("<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>\n")
        + "</tool_call>{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n"
        "{% if enable_thinking is defined and not enable_thinking %}<think></think>\n{% endif %}{% endif %}",
        True,
        True,
    ),
    "gpt-oss": (
        "<|start|>system<|message|>Reasoning: {{ reasoning_effort or 'medium' }}<|end|>"
        "{% if tools %}<|start|>developer<|message|>{% for tool in tools %}type {{ tool.function.name }} = {{ tool.function.parameters | tojson }}"
        "\n{% endfor %}<|end|>{% endif %}{% for m in messages %}{% if m.role in ['developer', 'system'] %}"
        "<|start|>developer<|message|>{{ m.content }}<|end|>{% elif m.role == 'user' %}<|start|>user<|message|>{{ m.content }}<|end|>"
        "{% elif m.role == 'tool' %}<|start|>functions.{{ m.name }} to=assistant<|channel|>commentary<|message|>{{ m.content | tojson }}<|end|>"
        "{% elif m.tool_calls %}{% set message = m %}{% if message.content and message.thinking %}{{ raise_exception('both') }}{% endif %}"
        "{% if message.thinking %}<|start|>assistant<|channel|>analysis<|message|>{{ message.thinking }}<|end|>{% endif %}"
        "{% if m.tool_calls | length > 1 %}{{ raise_exception('one call at a time') }}{% endif %}"
        "<|start|>assistant to=functions.{{ m.tool_calls[0].function.name }}<|channel|>commentary json<|message|>"
        "{{ m.tool_calls[0].function.arguments | tojson }}<|call|>"
        "{% else %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}",
        True,
        False,
    ),
    "lfm2": (
        "{{ bos_token }}{% if tools %}<|im_start|>system\nList of tools: <|tool_list_start|>{{ tools | tojson }}<|tool_list_end|>"
        "<|im_end|>\n{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'tool' %}<|tool_response_start|>{{ m.content }}<|tool_response_end|>{% else %}"
        "{% if m.tool_calls %}<|tool_call_start|>[{% for c in m.tool_calls %}{{ c.function.name }}("
        "{% for k, v in c.function.arguments.items() %}{{ k }}={% if v is string %}'{{ v }}'{% else %}{{ v }}{% endif %}"
        "{{ '' if loop.last else ', ' }}{% endfor %}){{ '' if loop.last else ', ' }}{% endfor %}]<|tool_call_end|>{% endif %}"
        "{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        True,
        True,
    ),
    "gemma-4": (
        "{{ bos_token }}{% if tools %}<|turn>system\n{% for tool in tools %}<|tool>declaration:{{ tool.function.name }}"
        "{{ tool.function.parameters | tojson }}<tool|>{% endfor %}<turn|>\n{% endif %}{% for m in messages %}"
        "<|turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{% for c in m.tool_calls or [] %}<|tool_call>call:{{ c.function.name + '{' }}"
        "{% for k, v in c.function.arguments | dictsort %}{{ k }}:{% if v is string %}<|\"|>{{ v }}<|\"|>{% else %}{{ v | tojson }}{% endif %}"
        "{{ '' if loop.last else ',' }}{% endfor %}}<tool_call|>{% endfor %}{{ m.content }}<turn|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|turn>model\n{% endif %}",
        True,
        True,
    ),
    "seed": (
        "{% if tools %}{{ bos_token }}system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}{{ eos_token }}{% endif %}"
        "{% for m in messages %}{{ bos_token }}{{ m.role }}\n{% if m.reasoning_content %}<seed:think>{{ m.reasoning_content }}</seed:think>"
        "{% endif %}{{ m.content }}{% for c in m.tool_calls or [] %}\n<seed:tool_call>\n<function={{ c.function.name }}>\n"
        + keyed("<parameter=", ">", "</parameter>\n")
        + "</function>\n</seed:tool_call>{% endfor %}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}{{ bos_token }}assistant\n{% endif %}",
        True,
        True,
    ),
}

PARAMETERS = {
    "type": "object",
    "properties": {
        "place": {"type": "string", "description": "Where", "enum": ["Zürich", "Rome"]},
        "days": {"type": "integer", "minimum": 1},
    },
    "required": ["place"],
}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "weather", "description": "The weather.\nToday & \"tomorrow\".", "parameters": PARAMETERS},
    },
    {"type": "function", "function": {"name": "clock", "description": "", "parameters": {"type": "object", "properties": {}}}},
]

SYSTEM = {"role": "system", "content": "You are terse."}
QUESTION = {"role": "user", "content": "What is it like there?"}
AGAIN = {"role": "user", "content": "And at noon?"}
ANSWER = {"role": "assistant", "content": "Blue."}


def calls(*of):
    return [
        {"id": f"call{index:05}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for index, (name, arguments) in enumerate(of, 1)
    ]


def called(*of, thought=""):
    message = {"role": "assistant", "content": "", "tool_calls": calls(*of)}
    return message | ({"reasoning_content": thought} if thought else {})


def result(index, name, content):
    return {"role": "tool", "tool_call_id": f"call{index:05}", "name": name, "content": content}


WEATHER = ("weather", {"place": "Zürich", "days": 3})
CLOCK = ("clock", {"place": "Rome"})
CONVERSATIONS = [
    [QUESTION],
    [SYSTEM, QUESTION, ANSWER, AGAIN],
    [QUESTION, called(WEATHER, thought="I look."), result(1, "weather", '{"sky": "blue"}')],
    [SYSTEM, QUESTION, called(WEATHER), result(1, "weather", '{"sky": "blue"}'), ANSWER, AGAIN],
]
PARALLEL = [QUESTION, called(WEATHER, CLOCK), result(1, "weather", '{"sky": "blue"}'), result(2, "clock", "12:00")]


def with_text(message):
    """The message with arguments as text."""
    message = json.loads(json.dumps(message))
    for call in message.get("tool_calls", []):
        call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
    return message


def main():
    env, golden = environment(), []
    for name, (source, takes_objects, takes_several) in TEMPLATES.items():
        template = env.from_string(source)
        cases = []
        for index, messages in enumerate(CONVERSATIONS + [PARALLEL] * takes_several):
            given = messages if takes_objects else [with_text(message) for message in messages]
            if name == "gpt-oss":
                given = [dict(message) for message in given]
                for message in given:
                    if "reasoning_content" in message:
                        message["thinking"] = message["reasoning_content"]
            for tools in (TOOLS, None):
                text = template.render(
                    messages=given,
                    tools=tools,
                    documents=None,
                    bos_token=BOS,
                    eos_token=EOS,
                    add_generation_prompt=True,
                    enable_thinking=True,
                )
                cases.append({"conversation": index, "tools": tools is not None, "text": text})
        golden.append({"name": name, "template": source, "parallel": takes_several, "cases": cases})
    repository = pathlib.Path(__file__).resolve().parents[2]
    path = repository / "crates/llm/tests/golden/chat_tools.json"
    conversations = [[with_text(message) for message in messages] for messages in CONVERSATIONS + [PARALLEL]]
    golden = {"tools": TOOLS, "conversations": conversations, "templates": golden}
    path.write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
