#!/usr/bin/env python3
"""Writes what Jinja for Python makes of small templates, for crates/jinja/tests/golden.rs.

    python3 scripts/golden/jinja.py > crates/jinja/tests/golden.json

The environment is that of transformers' apply_chat_template. Needs jinja2. Whole chat templates are
compared by chat_templates.py.
"""

import json

from chat_templates import NOW, environment

CONTEXT = {
    "n": 7,
    "x": 2.5,
    "s": "Hello, World",
    "u": "ünï çødé ÀÉ",
    "empty": "",
    "none": None,
    "yes": True,
    "list": [3, 1, 2],
    "words": ["pear", "Apple", "fig", "apple"],
    "map": {"b": 1, "a": [1, "two", None, True, 2.5], "items": "mine"},
    "people": [
        {"name": "Ann", "age": 30, "home": {"town": "Bern"}},
        {"name": "bob", "age": 25, "home": {"town": "Rome"}},
        {"name": "Cyd", "age": 30},
    ],
    "lines": "one\n  two\n\nthree\n",
}

TEMPLATES = r"""
plain text
{{ n }} {{ x }} {{ s }} {{ yes }} {{ none }} {{ missing }}|{{ list }} {{ map }}
{{ "a\tb\n\"c\" 'd' \\ \x41 ü" }}{{ 'it''s' }}{{ ["it's", 'a "q"', 'both \' "'] }}
{{ 1e3 }} {{ 1.0 }} {{ 1e16 }} {{ 1.5e-7 }} {{ 123456789.125 }} {{ 0.1 + 0.2 }} {{ 1_000 }}
{{ 1 + 2 * 3 - 4 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ -n }} {{ +n }}
{{ 7.5 - 0.5 }} {{ 1 + 0.5 }} {{ 2 * 1.5 }} {{ yes + 1 }}
{{ "a" + "b" }} {{ "a" ~ 1 ~ none }} {{ "ab" * 3 }} {{ [1] + [2] }} {{ [0] * 3 }}
{{ 1 ~ 2 + 3 }}
{{ "%s is %d%%" % ("x", 5) }} {{ "%s" % "only" }} {{ "{} {} {0}".format(1) if false else "{1}{0}{k}{{}}".format(1, 2, k=3) }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ "a" < "b" }} {{ [1, 2] < [1, 3] }} {{ 1 != 2 }} {{ yes == 1 }} {{ "1" == 1 }}
{{ not yes }} {{ yes and n }} {{ empty or "other" }} {{ none or 0 or [] }} {{ 1 and 0 and 2 }} {{ not not 1 }}
{{ "World" in s }} {{ 3 in list }} {{ "b" in map }} {{ 9 not in list }} {{ "x" in missing }}
{{ "yes" if yes else "no" }}|{{ "yes" if none }}|{{ 1 if 0 else 2 if 0 else 3 }}
{{ list[0] }} {{ list[-1] }} {{ list[9] }}|{{ s[0] }} {{ s[-1] }} {{ map["b"] }} {{ map.b }} {{ map["items"] }} {{ u[1] }}
{{ list[1:] }} {{ list[:-1] }} {{ list[::-1] }} {{ s[7:] }} {{ s[::-1] }} {{ s[-5:-2] }} {{ list[5:] }} {{ list[::2] }} {{ list[-100:100] }}
{{ people[0].name }} {{ people[0]["home"].town }} {{ people[2].home is defined }} {{ people.0.age }}
{{ missing is defined }} {{ missing is undefined }} {{ none is none }} {{ n is number }} {{ x is float }} {{ n is integer }} {{ yes is boolean }} {{ yes is number }} {{ s is string }}
{{ map is mapping }} {{ list is sequence }} {{ s is iterable }} {{ n is iterable }} {{ yes is true }} {{ yes is false }} {{ n is odd }} {{ n is even }} {{ n is divisibleby 7 }} {{ n is divisibleby(3) }}
{{ n is eq 7 }} {{ n is ne(7) }} {{ n is gt 3 }} {{ n is lt(3) }} {{ 3 is in list }} {{ "abc" is lower }} {{ "ABC" is upper }} {{ none is sameas none }} {{ not n is even }} {{ n is not even and yes }}
{% if n > 5 %}big{% elif n > 3 %}mid{% else %}small{% endif %}
{% for i in list %}{{ loop.index }}/{{ loop.length }}:{{ i }}{{ "," if not loop.last }}{% endfor %}
{% for i in list %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle("a", "b") }} {% endfor %}
{% for i in [] %}x{% else %}none{% endfor %}{% for i in missing %}x{% else %}none{% endfor %}
{% for i in range(10) if i is odd %}{{ i }}{{ loop.length }} {% endfor %}
{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for k, v in map.items() %}{{ k }}={{ v }};{% endfor %}{% for k in map %}{{ k }}{% endfor %}{% for (a, b) in [(1, 2), (3, 4)] %}{{ a + b }}{% endfor %}
{% for c in "abc" %}{{ c }}.{% endfor %}{% for a in [1, 2] %}{% for b in [3, 4] %}{{ loop.index }}{{ loop.depth }} {% endfor %}{% endfor %}
{% set a = 1 %}{% for i in list %}{% set a = i %}{{ a }}{% endfor %}{{ a }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c = a, b %}{{ c[1] }}{% if yes %}{% set d = 5 %}{% endif %}{{ d }}
{% set ns = namespace(count=0, found=false) %}{% for i in list %}{% set ns.count = ns.count + i %}{% endfor %}{{ ns.count }}{{ ns.found }}{{ ns.nothing }}
{% set block %}in {{ n }}{% set inner = 1 %}{% endset %}[{{ block }}]{{ inner }}{% set up | upper %}abc{% endset %}{{ up }}
{% macro f(a, b=2, c=none) %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ f(1) }} {{ f(1, c=3) }} {{ f(a=1, b=n) }} {{ f() }} {{ f(*list) }} {{ f(**{"a": 9}) }}
{% macro fib(k) %}{% if k < 2 %}{{ k }}{% else %}{{ fib(k - 1)|int + fib(k - 2)|int }}{% endif %}{% endmacro %}{{ fib(10) }}
{% set g = 1 %}{% macro f() %}{{ g }}{% set g = 2 %}{% endmacro %}{{ f() }}{{ g }}{% set g = 3 %}{{ f() }}
{% macro wrap(tag) %}<{{ tag }}>{{ caller() }}</{{ tag }}>{% endmacro %}{% call wrap("b") %}text {{ n }}{% endcall %}
{% macro each(l) %}{% for i in l %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(i) each(list) %}[{{ i }}]{% endcall %}
{% filter upper %}shout {{ s }}{% endfilter %}{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}
{% generation %}kept{% endgeneration %}{% raw %}{{ not }} {% this %}{% endraw %}{# comment #}.
{{ s | upper }} {{ s | lower }} {{ "heLLo wOrld" | capitalize }} {{ "hello wOrld-two" | title }} {{ u | upper }} {{ "  x " | trim }}|{{ "xxaxx" | trim("x") }}
{{ list | length }} {{ s | count }} {{ list | first }} {{ list | last }} {{ [] | first }}|{{ list | reverse | list }} {{ "abc" | reverse }} {{ list | sum }} {{ list | min }} {{ list | max }}
{{ list | sort }} {{ list | sort(reverse=true) }} {{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ words | unique | list }} {{ people | sort(attribute="age") | map(attribute="name") | join(",") }}
{{ words | join("-") }} {{ list | join }} {{ people | join(", ", attribute="name") }} {{ words | map("upper") | list }} {{ people | map(attribute="home.town", default="?") | list }}
{{ people | selectattr("age", "gt", 26) | map(attribute="name") | list }} {{ people | rejectattr("home") | list | length }} {{ list | select("odd") | list }} {{ list | reject("equalto", 1) | list }} {{ [0, 1, ""] | select | list }}
{{ none | selectattr("x") | list }} {{ missing | map("upper") | list }}
{{ missing | default("d") }} {{ empty | default("d") }} {{ empty | default("d", true) }} {{ none | d("e") }} {{ missing | default }}
{{ "7" | int }} {{ "x" | int(3) }} {{ 7.9 | int }} {{ "2.5" | float }} {{ -3 | abs }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 2.345 | round(2) }} {{ 2.1 | round(0, "ceil") }} {{ -2.5 | round(0, "floor") }}
{{ map | tojson }} {{ "ü\"\n\u0001" | tojson }} {{ [] | tojson }} {{ {} | tojson(indent=2) }} {{ none | tojson }}
{{ map | tojson(indent=2) }}
{{ {"z": 1, "a": {"k": [1, 2]}} | tojson(sort_keys=true, separators=(",", ":")) }} {{ u | tojson(ensure_ascii=true) }} {{ {1: 2, none: 3} | tojson }}
{{ map | items | list }} {{ map | dictsort }} {{ {"b": 1, "A": 2} | dictsort(reverse=true) }} {{ {"b": 1, "a": 2} | dictsort(by="value") }}
{{ lines | indent }}|{{ lines | indent(2, true) }}|{{ lines | indent(width=1, blank=true) }}|{{ lines | wordcount }}
{{ s | replace("l", "L") }} {{ s | replace("l", "L", 1) }} {{ "<a & 'b'>" | escape }} {{ s | string | safe }} {{ "%s!" | format("hi") }} {{ [1, 2, 3] | batch(2) | list }} {{ [1, 2, 3] | batch(2, 0) | list }}
{{ "  a b  ".strip() }}|{{ "xxaxx".lstrip("x") }}|{{ "xxaxx".rstrip("x") }}|{{ "a,b,,c".split(",") }} {{ " a  b ".split() }} {{ "a,b,c".split(",", 1) }} {{ "a b c".split(none, 1) }} {{ "a,b,c".rsplit(",", 1) }}
{{ lines.splitlines() }} {{ s.startswith("He") }} {{ s.endswith(("x", "ld")) }} {{ s.replace("o", "0") }} {{ s.upper() }} {{ s.title() }} {{ "aXb".lower() }} {{ "ab".capitalize() }}
{{ s.find("o") }} {{ s.rfind("o") }} {{ s.find("zz") }} {{ s.count("l") }} {{ s.index("W") }} {{ u.find("ç") }} {{ ",".join(words) }} {{ "pre-x".removeprefix("pre-") }} {{ "x.py".removesuffix(".py") }} {{ "a=b=c".partition("=") }} {{ "a=b=c".rpartition("=") }}
{{ "12".isdigit() }} {{ "ab".isalpha() }} {{ "a1".isalnum() }} {{ " ".isspace() }} {{ "AB".isupper() }} {{ "ab".islower() }} {{ "".isdigit() }}
{{ map.get("b") }} {{ map.get("q") }} {{ map.get("q", 5) }} {{ map.keys() | list }} {{ map.values() | list }} {{ list.count(1) }} {{ list.index(2) }} {{ dict(a=1, **{"b": 2}) }}
{{ () }} {{ (1,) }} {{ (1, "a") }} {{ (1, 2)[::-1] }} {{ (1, 2) == [1, 2] }} {{ (1, 2) == (1, 2) }} {{ (1, 2) + (3,) }} {{ (1, 2) | list }} {{ (1, [2]) | tojson }} {{ [(1, 2)] }}
{{ people | map(attribute="home.town") | list }}
{{ range(5) | list }} {{ range(2, 8, 3) | list }} {{ range(5, 0, -2) | list }} {{ range(3, 3) | list }}
{{ strftime_now("%d %b %Y") }} {{ strftime_now("%Y-%m-%d %H:%M:%S %A %B %j" | replace(" %j", "")) }}
{{ {"a": 1}["a"] }} {{ [1, 2, 3,][1] }} {{ (1, 2)[0] }} {{ {"k": {"j": 2}}.k.j }} {{ {} }} {{ [] }} {{ {'a': {'b': {}}}}}
{{ s|upper|lower|replace("h", "j")|length }} {{ (list|length) * 2 }} {{ list|length + 1 }} {{ - 5|abs }} {{ list | map("string") | join("+") }}
{{ missing.attr }}
{{ missing() }}
{{ n.x }} {{ none.x }} {{ s.nothing }}
{{ n() }}
{{ raise_exception("no " ~ n) }}
{{ 1 / 0 }}
{{ 1 % 0 }}
{{ "a" + 1 }}
{{ "a" < 1 }}
{{ list.append(1) }}
{{ map.pop("a") }}
{{ s | nofilter }}
{% if x is notest %}{% endif %}
{% set n.x = 1 %}
{% set a, b = [1] %}
{% for i in n %}{% endfor %}
{{ }}
{{ 1 + }}
{% if %}{% endif %}
{% if yes %}
{% endfor %}
{% unknown %}
{{ "open }}
{{ ( 1 }}
{{ 1 @ 2 }}
{% include "x" %}
{{ f(1)(2) }}
""".strip("\n").split("\n")

WHITE_SPACE = [
    "a\n{% if yes %}\nb\n{% endif %}\nc\n",
    "a\n  {% if yes %}\n  b\n  {% endif %}\n  c",
    "a  {%- if yes -%}  b  {%- endif -%}  c",
    "  {{- n -}}  \n {{ n }} \n{{- n }}\n\n{{ n -}}\n\n",
    "a {%+ if yes +%} \n b {% endif %} \n",
    "{% if yes +%}\nb\n{%- endif %}",
    "  {# c #}\n x {# d -#} \n y {#- e #} z\n",
    "\n\n{% set a = 1 %}\n\n  {%- set b = 2 %}\n{{ a }}",
    "a\r\nb\rc{% if yes %}\r\nd{% endif %}\r\n",
    "{% raw -%}  x  {%- endraw %}  y\n {% raw %}\n{{ z }}\n{% endraw %}\nw",
    "{% for i in list %}\n  {{ i }}\n{% endfor %}\nend\n\n",
    "  {% if yes %} x {% endif %}  {% if yes %}\n y {% endif %}\n",
    "tail {{ n }}\n",
    "",
    "\n",
    "{{ n }}{% if yes %}\n{{ n }}{% endif %}\t{% if yes %}\n\tz{% endif %}",
    "{%- for m in people %}\n    {{- m.name + '\n' }}\n    {%- if not loop.last %}\n        {{- '--' }}\n    {%- endif %}\n{%- endfor %}\n{{- 'end' }}",
]


def main():
    env = environment()
    cases = []
    for source in TEMPLATES + WHITE_SPACE:
        try:
            answer = {"text": env.from_string(source).render(**CONTEXT)}
        except Exception as error:
            answer = {"error": str(error)}
        cases.append({"template": source, **answer})
    print(json.dumps({"now": NOW, "context": CONTEXT, "cases": cases}, ensure_ascii=False, indent=1))


main()
