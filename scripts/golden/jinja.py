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
{% autoescape true %}{{ {"k": [1, 2]} | tojson(separators=("," | e, " : " | safe)) }}{% endautoescape %}
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
{{ 7.5 // 2 }} {{ -7.5 // 2 }} {{ 7 // 2.0 }} {{ -7 // 2.5 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ 0.0 // 3 }} {{ 1e300 // 1e-9 }} {{ -0.5 // 1 }} {{ 6.0 % 3 }} {{ -6.0 % 3 }}
{{ 2 ** -1 }} {{ 2.0 ** 3 }} {{ 2 ** 0.5 }} {{ 4 ** 0.5 }} {{ (-2) ** 3 }} {{ -2 ** 2 }} {{ 2 ** 3 ** 2 }} {{ 10 ** -3 }} {{ 2.5 ** 2 }} {{ 0 ** 0 }}
{{ 7.5 // 0 }}
{{ 7.5 % 0.0 }}
{{ 0 ** -1 }}
{{ 10.0 ** 400 }}
{{ 0x1F }} {{ 0o17 }} {{ 0b101 }} {{ 0XfF_0 }} {{ "\101\12x" }}
{% for g in people | groupby("age") %}{{ g.grouper }}:{{ g.list | length }}:{{ g[0] }}:{{ g[1][0].name }};{% endfor %}
{% for age, group in people | groupby("age") %}{{ age }}={{ group | map(attribute="name") | join("+") }} {% endfor %}
{% for town, group in people | groupby("home.town", default="none") %}{{ town }}={{ group | length }} {% endfor %}
{% for w, group in ["pear", "Apple", "apple", "Pear", "fig"] | groupby(0) %}{{ w }}{{ group }} {% endfor %}{{ [{"k": "b"}, {"k": "B"}, {"k": "a"}] | groupby("k") }}
{{ [{"k": "b"}, {"k": "B"}, {"k": "a"}] | groupby("k", case_sensitive=true) }} {{ [] | groupby("x") }} {{ [(1, 2), (1, 3), (0, 4)] | groupby(0) }}
{{ [{"k": 1}, {"k": "a"}] | groupby("k") }}
{{ people | groupby }}
{{ s | truncate(5) }}|{{ "one two three four" | truncate(12) }}|{{ "one two three four" | truncate(12, true) }}|{{ "one two three four" | truncate(12, false, "~") }}|{{ "one two three" | truncate(12) }}|{{ "one two three" | truncate(12, leeway=0) }}|{{ u | truncate(6, true, "…", 0) }}|{{ "nospaceshere at all" | truncate(8, leeway=0) }}
{{ s | truncate(2) }}
{{ ("x " * 200) | truncate | length }} {{ "abc" | truncate(3, leeway=0) }} {{ "abcdef" | truncate(3, leeway=0) }}
{{ "ab" | center(7) }}|{{ "abc" | center(6) }}|{{ "abc" | center(8) }}|{{ "ab" | center(5) }}|{{ "x" | center | length }}|{{ "long" | center(2) }}|{{ u | center(20) }}|{{ 5 | center(4) }}|
{{ "The quick brown fox jumps over the lazy dog" | wordwrap(10) }}
{{ "The quick brown-fox jumps--over the lazy-dog and a-b c--d" | wordwrap(9) }}
{{ "well-known mother-in-law e-mail x-y 1-2 foo--bar a--b --option -x" | wordwrap(6) }}
{{ "averyveryverylongword short anotherlongone" | wordwrap(8) }}|{{ "averyveryverylongword short" | wordwrap(8, false) }}|{{ "a-very-long-hyphenated-word here" | wordwrap(7, break_on_hyphens=false) }}|{{ "one two three" | wordwrap(7, true, "<br>") }}
{{ "  leading space and   inner   runs   \n\nsecond paragraph here\n" | wordwrap(12) }}|
{{ lines | wordwrap(5) }}|{{ "" | wordwrap }}|{{ "a\tb c" | wordwrap(3) }}|{{ "x" | wordwrap(1) }}|{{ "ab cd" | wordwrap(1) }}
{{ "a--very---long dash-ed  thing-s that's \"quoted\"-ly (par-en) 12-34 a1-b2c-d" | wordwrap(5) }}
{{ "x" | wordwrap(0) }}
{{ "a b/c?d=e&f ü~._-%" | urlencode }} {{ {"a b": "c/d", "e": 5, "ü": none} | urlencode }} {{ [("k", "v w"), ("x", 1)] | urlencode }} {{ 5 | urlencode }} {{ "" | urlencode }} {{ [] | urlencode }}
{{ [1] | urlencode }}
{% for x in [{"n": 1, "c": [{"n": 2, "c": [{"n": 3}]}, {"n": 4}]}, {"n": 5}] recursive %}{{ loop.depth }}{{ loop.depth0 }}:{{ x.n }}{% if x.c %}({{ loop(x.c) }}){% endif %}{{ "," if not loop.last }}{% endfor %}
{% set y = "out" %}{% for x in [[1, [2]], 3] recursive %}{% set y = "in" %}{% if x is iterable %}[{{ loop(x) }}]{% else %}{{ x }}{{ y }}{% endif %}{% else %}none{% endfor %}{{ y }}
{% for x in [[1], []] recursive %}{% if x is sequence %}<{{ loop(x) }}>{% else %}{{ x }}{% endif %}{% else %}empty{% endfor %}
{% for x in [[1, 2, 3], [4]] recursive if x != 2 %}{{ loop(x) if x is sequence else x }}{% endfor %}
{% for x in [[1, 2, 3], 2, [4]] if x != 2 recursive %}{% if x is sequence %}{{ loop(x) }}{% else %}{{ x }}/{{ loop.length }} {% endif %}{% endfor %}
{% for x in [1] %}{{ loop([2]) }}{% endfor %}
{% for x in [1] recursive %}{{ loop() }}{% endfor %}
{% for i in [1, 1, 2, 2, 1] %}{{ "*" if loop.changed(i) else "-" }}{{ i }}{% endfor %} {% for i in [1, 1, 2] %}{% if loop.changed(i, loop.first) %}x{% else %}.{% endif %}{% endfor %}{% for a in [1, 2] %}{% for b in [1, 1] %}{{ loop.changed(b) }}{% endfor %}{% endfor %}
{% set c = cycler("a", "b", "c") %}{{ c.current }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{% set _ = c.reset() %}{{ c.next() }}{{ c.nothing }}
{% set c = cycler(*list) %}{% for i in range(5) %}{{ c.next() }}{% endfor %}
{{ cycler() }}
{% set j = joiner() %}{% for i in list %}{{ j() }}{{ i }}{% endfor %}|{% set k = joiner(" | ") %}{{ k() }}{{ k() }}{{ k() }}{% set l = joiner(sep="-") %}{{ l() }}a{{ l() }}
{{ "%.1f" % 2.25 }} {{ "%.1f" % 0.35 }} {{ "%5.2f|" % x }} {{ "%-8.3f|" % x }} {{ "%+d %+d" % (5, -5) }} {{ "%05d" % 42 }} {{ "%05d" % -42 }} {{ "% d" % 7 }} {{ "%x %X %o %#x %#o" % (255, 255, 8, 255, 8) }} {{ "%e" % 12345.678 }} {{ "%.3e" % 0.00012 }} {{ "%E" % 1e10 }}
{{ "%g %g %g %g %g" % (1e10, 0.0001, 0.00001, 123456789.0, 100.0) }} {{ "%G" % 1e-10 }} {{ "%.3g" % 1234.5 }} {{ "%#g" % 1.0 }} {{ "%.0f %.0f %.0f" % (0.5, 1.5, 2.5) }} {{ "%f" % 3 }} {{ "%d" % 3.9 }} {{ "%d" % -3.9 }} {{ "%i %u" % (1, 2) }} {{ "%f" % 1e20 }} {{ "%#.0f" % 3 }} {{ "%.10f" % 0.1 }}
{{ "%s %r %s %r" % ("a", "a", 1.5, none) }} {{ "%10s|%-10s|%.2s|%5.1s|" % ("abc", "abc", "abc", "abc") }} {{ "%c%c" % ("a", 98) }} {{ "%a" % "ü" }} {{ "%%" % () }} {{ "%5s%%" % 7 }} {{ "%s" % [1, 2] }} {{ "%s" % ((1, 2),) }} {{ "%(a)s-%(b)05.1f" % {"a": 1, "b": 2.25} }} {{ "%*d|%-*d|" % (5, 1, 5, 2) }} {{ "%.*f" % (2, 3.14159) }} {{ "%d %s" % (yes, yes) }} {{ "%ld" % 5 }}
{{ "%s %s" % ("a",) }}
{{ "%s" % ("a", "b") }}
{{ "none" % "x" }}
{{ "none" % [1] }} {{ "none" % {"a": 1} }} {{ "none" % () }}
{{ "%d" % "5" }}
{{ "%x" % 1.5 }}
{{ "%q" % 1 }}
{{ "%" % 1 }}
{{ "%(a)s" % "x" }}
{{ "%s, %s!" | format("Hello", name) }} {{ "%(a)s %(b)d" | format(a=1, b=2) }} {{ "%.2f" | format(1.005) }} {{ "%05.1f" | format(-2.25) }} {{ "no" | format }}
{{ "{:>6}|{:<6}|{:^6}|{:*^7}|{:06d}|{:+}|{:,}|{:_}".format("ab", "ab", "ab", "ab", 42, 5, 1234567, 1234567) }}
{{ "{:.2f} {:8.3f}| {:e} {:g} {:.1%} {:g} {:.3} {:.3} {}".format(2.345, 2.5, 12345.678, 1e-5, 0.256, 1e6, 3.0, 1234.5, 2.0) }} {{ "{:x} {:#x} {:b} {:#b} {:o} {:c} {:X}".format(255, 255, 5, 5, 8, 65, 171) }} {{ "{0!r} {0!s} {a[k]} {b[1]} {:>{w}}".format("q", a={"k": 1}, b=[1, 2], w=5) if false else "" }} {{ "{0!r} {0!s} {a[k]} {b[1]} {0:>{w}}".format("q", a={"k": 1}, b=[1, 2], w=5) }}
{{ "{:5}|{:5}|{:<5}|{:=+6}|{:.2}|{:10.3}|{:d}|{:5}".format(1, "a", 1, 3, "abc", "abcdef", yes, yes) }} {{ "{a}{{}}".format(a=1) }} {{ "{x} {y:>3}".format_map({"x": 1, "y": 2}) }} {{ "{:,.2f} {:012,.1f} {:.0f}".format(1234567.891, 1234.5, 2.5) if false else "{:,.2f} {:.0f}".format(1234567.891, 2.5) }} {{ "{:s}".format("x") }}
{{ "{:d}".format("x") }}
{{ "{:d}".format(1.5) }}
{{ "{:s}".format(1) }}
{{ "{".format(1) }}
{{ "{0}{}".format(1) if false else "{}{}".format(1) }}
{{ 7 | round }} {{ 7.0 | round }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 1.115 | round(2) }} {{ 2.675 | round(2) }} {{ 0.285 | round(2) }} {{ 1234.5 | round(-2) }} {{ 1250 | round(-2) }} {{ 1350 | round(-2) }} {{ 42.55 | round(1, "floor") }} {{ 42.55 | round(1, "ceil") }} {{ 42 | round(0, "ceil") }} {{ -1.5 | round }} {{ -0.4 | round }} {{ 1e20 | round }} {{ 42.55 | round | int }} {{ 42.55 | round(precision=1) }} {{ 5 | round(1, "floor") }}
{{ 1.5 | round(1, "up") }}
{{ "12" | int }} {{ " 12 " | int }} {{ "-7" | int }} {{ "+7" | int }} {{ "0x1A" | int }} {{ "1A" | int(base=16) }} {{ "0x1A" | int(0, 16) }} {{ "0b11" | int(base=0) }} {{ "777" | int(base=8) }} {{ "1_000" | int }} {{ "4.7" | int }} {{ "1e3" | int }} {{ "abc" | int(-1) }} {{ none | int }} {{ yes | int }} {{ 4.9 | int }} {{ -4.9 | int }} {{ [] | int(5) }} {{ "" | int }} {{ "_1" | int }} {{ "inf" | int(9) }}
{{ missing | int }}
{{ "1.5" | float }} {{ "x" | float }} {{ "1e3" | float }} {{ 3 | float }} {{ none | float(2.5) }} {{ " 2 " | float }} {{ "inf" | float }}
{{ missing | float }}
{{ words | min }} {{ words | max }} {{ words | min(case_sensitive=true) }} {{ words | max(true) }} {{ (people | max(attribute="age")).name }} {{ (people | min(attribute="name")).name }} {{ [] | min }}|{{ [[1, 2], [0, 9]] | max }} {{ [1, 2.5] | max }} {{ "hello" | max }}
{{ [1, 2, 3, 4, 5, 6, 7] | slice(3) | list }} {{ [1, 2, 3, 4, 5, 6, 7] | slice(3, "x") | list }} {{ [1] | slice(3) | list }} {{ [] | slice(2) | list }} {{ "abcde" | slice(2) | list }} {{ [1, 2, 3] | batch(2, none) | list }} {{ [1, 2, 3, 4] | batch(2, 0) | list }} {{ "abc" | batch(2) | list }}
{{ list | slice(0) | list }}
{{ [[1], [2]] | sum(start=[]) }} {{ people | sum(attribute="age") }} {{ [1, 2.5] | sum }} {{ [] | sum }} {{ [1] | sum(start=10) }} {{ {1: 2, 3: 4} | sum }}
{{ ["a"] | sum }}
{{ people | sort(attribute="age,name") | map(attribute="name") | join }} {{ people | sort(attribute="age", reverse=true) | map(attribute="name") | join }} {{ [[2, "b"], [1, "c"], [2, "a"]] | sort(attribute="0,1") }} {{ {"b": 1, "a": 2} | sort }} {{ "bca" | sort }} {{ [yes, 0, 2.5] | sort }} {{ ["b", "A", "a", "B"] | sort }} {{ ["b", "A", "a", "B"] | sort(true, true) }}
{{ people | unique(attribute="age") | map(attribute="name") | list }} {{ ["a", "A", "b"] | unique | list }} {{ ["a", "A", "b"] | unique(true) | list }} {{ [1, 1.0, yes] | unique | list }} {{ "abca" | unique | list }}
{{ {"b": 1, "A": 2, "c": 0} | dictsort(true) }} {{ {"b": 1, "A": 2, "c": 0} | dictsort(false, "value") }} {{ {"b": 1, "a": 2} | dictsort(reverse=true, by="key") }}
{{ {"class": "x", "id": "a&b", "n": none, "m": missing, "v": 5, "q": "\"'" } | xmlattr }}|{{ {"a": 1} | xmlattr(false) }}|{{ {} | xmlattr }}|{{ {"a": yes} | xmlattr(autospace=true) }}
{{ {"a b": 1} | xmlattr }}
{{ "<p>Hello  <b>World</b></p>\n <!-- gone --> &amp; &lt;x&gt; &#65;&#x42;" | striptags }}|{{ "a < b > c" | striptags }}|{{ "a < b" | striptags }}|{{ "x &copy" | striptags if false }}|{{ 5 | striptags }}|{{ "a<br>b" | striptags }}
{{ 1 | filesizeformat }} {{ 0 | filesizeformat }} {{ 999 | filesizeformat }} {{ 1000 | filesizeformat }} {{ 1500 | filesizeformat }} {{ 1000000 | filesizeformat }} {{ 1234567890 | filesizeformat }} {{ 1024 | filesizeformat(true) }} {{ 1048576 | filesizeformat(binary=true) }} {{ "2048" | filesizeformat }} {{ 1e30 | filesizeformat }} {{ 1.5 | filesizeformat }} {{ 123456789012345 | filesizeformat(true) }}
{{ "x" | filesizeformat }}
{{ {"b": 1, "a": [1, "x"]} | pprint }} {{ "it's" | pprint }} {{ [1, none] | pprint }} {{ 5 | pprint }} {{ {2: "b", 1: {"z": 1, "y": ()}} | pprint }}
{{ "it's a dog-eat-dog (wild) world" | title }} {{ "HELLO wORLD" | title }} {{ "a.b [c] {d} <e" | title }} {{ u | title }} {{ "it's".title() }} {{ "" | title }}
{{ "one two, three's four_five - 6" | wordcount }} {{ "" | wordcount }} {{ " - " | wordcount }}
{{ "a\n\nb\n" | indent(2) }}|{{ "a\n\nb" | indent(2, first=true, blank=true) }}|{{ "a\r\nb\rc" | indent(1) }}|{{ "x" | indent("> ", true) }}|{{ "" | indent(2, true) }}|{{ "a\n" | indent("--") }}|
{{ {"a": 1} | attr("a") }}|{{ {"a": 1} | attr("get") is callable }}|{{ "x" | attr("upper") is callable }}|{{ missing | default("z") | attr("nope") }}|
{{ people | map(attribute="home.town", default="-") | join(",") }} {{ [[1, 2], [3, 4]] | map("first") | list }} {{ [[1, 2], [3, 4]] | map(attribute=1) | list }} {{ ["a-b", "c-d"] | map("replace", "-", "+") | list }} {{ ["a", "b"] | map("default", "x") | list }} {{ [1.234, 5.678] | map("round", 1) | list }} {{ [[3, 1], [2]] | map("sort", reverse=true) | list }} {{ list | map("string") | map("center", 3) | list }}
{{ [1, 2, 3, 4] | select("divisibleby", 2) | list }} {{ [1, "a", none] | reject("none") | list }} {{ list | select("gt", 1) | list }} {{ words | select("in", ["fig", "pear"]) | list }} {{ people | selectattr("home") | map(attribute="name") | list }} {{ people[:2] | selectattr("home.town", "equalto", "Rome") | map(attribute="name") | list }} {{ people | rejectattr("name", "in", ["Ann"]) | map(attribute="name") | list }} {{ people | selectattr("home", "defined") | list | length }} {{ list | select("==", 3) | list }} {{ list | reject("lessthan", 2) | list }}
{{ "upper" is filter }} {{ "nope" is filter }} {{ "defined" is test }} {{ "nope" is test }} {{ "groupby" is filter }} {{ "==" is test }} {{ 5 is filter }}
{{ range is callable }} {{ s is callable }} {{ s.upper is callable }} {{ namespace() is callable }} {{ 3 is ge 3 }} {{ 3 is le(2) }} {{ 3 is greaterthan 2 }} {{ 3 is lessthan 2 }} {{ "a" is eq "a" }} {{ 1.0 is integer }} {{ 2 is float }} {{ none is string }} {{ "" is lower }} {{ "a1" is lower }} {{ 5 is upper }} {{ list is mapping }} {{ missing is iterable }} {{ missing is sequence }} {{ none is sequence }} {{ map is iterable }} {{ n is divisibleby 0 if false }}
{{ "Straße".casefold() }} {{ "ab".center(7, "*") }} {{ "abc".center(6) }}| {{ "abc".ljust(5) }}| {{ "abc".rjust(5, ".") }} {{ "42".zfill(5) }} {{ "-42".zfill(5) }} {{ "+4".zfill(2) }} {{ "aBc".swapcase() }} {{ "a\tb\tc".expandtabs(4) }}| {{ "\ta".expandtabs() }}|{{ "ab".center(2) }}
{{ "abc".isascii() }} {{ u.isascii() }} {{ "12".isdecimal() }} {{ "1½".isnumeric() }} {{ "ab c".isprintable() }} {{ "a\n".isprintable() }} {{ "Hello World".istitle() }} {{ "Hello world".istitle() }} {{ "a_1".isidentifier() }} {{ "1a".isidentifier() }} {{ "".isascii() }} {{ "".isprintable() }} {{ "".isidentifier() }}
{{ s.find("l", 4) }} {{ s.find("l", 0, 2) }} {{ s.find("", 99) }} {{ s.rfind("l", 0, 4) }} {{ s.count("l", 3) }} {{ s.index("o", 5) }} {{ s.rindex("o") }} {{ s.startswith("World", 7) }} {{ s.endswith("Hello", 0, 5) }} {{ s.startswith(("x", "He")) }} {{ s.find("d", -1) }} {{ s.find("H", -100, 1) }} {{ "aaa".count("a", 1, -1) }} {{ "abc".startswith("") }} {{ "abc".find("", 3) }}
{{ s.rindex("zz") }}
{{ s.startswith(["He"]) }}
{{ " a  b c ".rsplit(none, 1) }} {{ "a b c".rsplit(none, 0) }} {{ "a,b,c".rsplit(",", 1) }} {{ " a b ".rsplit() }} {{ "a b c".split(maxsplit=1) }} {{ "abc".split("") if false }} {{ "".split() }} {{ "".split(",") }} {{ "a b  c".split(" ") }}
{{ "a\nb\r\nc\rd\x0be\u2028f".splitlines() }} {{ "a\n\nb\n".splitlines(true) }} {{ "".splitlines() }} {{ "\n".splitlines() }}
{% macro m() %}{{ varargs }}{{ varargs | length }}{% endmacro %}{{ m() }} {{ m(1) }} {{ m(1, "a") }} {% macro k(a) %}{{ a }}{{ kwargs }}{% endmacro %}{{ k(1) }} {{ k(1, b=2, c=3) }} {{ k(b=1) }} {% macro both(a) %}{{ a }}{{ varargs }}{{ kwargs.z }}{% endmacro %}{{ both(1, 2, 3, z=4) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, b=2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}
{% macro m(a, b=2) %}{{ a }}{% endmacro %}{{ m.name }} {{ m.arguments }} {{ m.catch_varargs }} {{ m.catch_kwargs }} {{ m.caller }}{% macro v() %}{{ varargs }}{{ caller() }}{% endmacro %} {{ v.catch_varargs }} {{ v.caller }} {{ v.arguments }}
{% macro list_of(items) %}{% for i in items %}{{ caller(i, loop.index) }}{% endfor %}{% endmacro %}{% call(item, nr=0) list_of(words) %}{{ nr }}.{{ item }} {% endcall %}
{% macro opt() %}{% if caller %}[{{ caller() }}]{% else %}none{% endif %}{% endmacro %}{{ opt() }}{% call opt() %}x{% endcall %}
{% filter upper | replace("A", "4") %}banana{% endfilter %}{% set t | trim | upper %} x {% endset %}[{{ t }}]
{% for k, v in {"a": 1, "b": 2}.items() %}{{ loop.previtem }}{{ k }}{{ v }}{{ loop.nextitem }};{% endfor %}{% for i in list %}{{ loop.cycle("odd", "even") }}{% if loop.previtem is defined and i > loop.previtem %}^{% endif %}{{ loop.first }}{{ loop.last }}{{ loop.revindex }} {% endfor %}
{{ strftime_now("%a %A %b %B %c|%C %d %D %e|%F %g %G %h %H %I %j|%k|%l|%m %M %n %p %P %r %R %S %t %T %u %U %V %w %W %x %X %y %Y %z|%Z|%%|%f|%s") }}
{{ strftime_now("%-d %-m %-H %-I %-M %-j %_d %_H %0e %^a %^B %#Z %#p %5d %Ey %Od %E %Q %") }}|{{ strftime_now("") }}|{{ strftime_now("no codes, 100 %%") }}|{{ strftime_now("%10A|%-y|%_m|%^p") }}
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
{{ "<b>" | safe }} {{ "<b>" | escape }} {{ "<b>" | e | e }} {{ "<b>" | e | forceescape }} {{ "<b>" | safe | e }} {{ "a" | safe + "<i>" }} {{ "<i>" + ("<b>" | safe) }} {{ ("<b>" | safe) + ("<i>" | safe) }} {{ ("<b>" | safe) ~ "<i>" }} {{ ("<b>" | safe) * 2 + "<" }} {{ 2 * ("<b>" | safe) + "&" }}
{{ ["<b>" | safe, "x" | e] }} {{ {"a": "<" | e} }} {{ "<" | safe == "<" }} {{ "<" | safe is string }} {{ "<" | safe is escaped }} {{ "<" is escaped }} {{ "<" | e | length }} {{ 5 | safe + "<" }} {{ none | e }} {{ missing | e }}| {{ missing | safe }}| {{ [1, "<"] | e }} {{ "escaped" is test }}
{{ ("<p>%s %r %d</p>" | safe) % ("<x>", "<y>", 3) }} {{ ("%s" | safe) % "<x>" }} {{ ("%s" | safe) % ("<x>" | safe) }} {{ "%s" % ("<x>" | safe) + "<" }} {{ ("%(a)s" | safe) % {"a": "<&>"} }} {{ ("%5s|" | safe) % "<" }} {{ "<%s>" | safe | format("<a>") }} {{ ("%s" | safe) % none }} {{ ("%s" | safe) % [1, "<"] if false else "" }}
{{ ("{} {a} {0!r}" | safe).format("<x>", a="'") if false else ("{} {a}" | safe).format("<x>", a="'") }} {{ ("{:>5}" | safe).format("<") }} {{ ("{}" | safe).format("<b>" | safe) }} {{ "{}".format("<b>" | safe) + "<" }} {{ ("{x}" | safe).format_map({"x": "<"}) }} {{ ("{0!r}" | safe).format("<") }}
{{ ("{:>5}" | safe).format("<" | safe) }}
{% set m = "<b>Ab c</b>" | safe %}{{ m | upper + "<" }} {{ m | lower + "<" }} {{ m | capitalize + "<" }} {{ m | title + "<" }} {{ m | trim("<") + "<" }} {{ m | replace("b", "<") + "<" }} {{ m | center(15) + "<" }}{{ m | reverse + "<" }} {{ m | string + "<" }} {{ m | list }} {{ m | first + "<" }} {{ m | join("-") }} {{ m | indent(2, true) + "<" }} {{ m | truncate(6, true, "<") + "<" }} {{ m | truncate(9, false, "<", 0) }} {{ m | wordwrap(4) + "<" }} {{ m | striptags + "<" }} {{ m | urlencode }} {{ m | wordcount }} {{ m | tojson }} {{ m | default("x") + "<" }} {{ m | int(3) }} {{ "7" | safe | int + 1 }} {{ m[0] + "<" }} {{ m[1:3] + "<" }} {{ m[::-1] + "<" }}
{% set m = "<b>Ab c</b>" | safe %}{{ m.upper() + "<" }} {{ m.replace("b", "<") + "<" }} {{ m.replace("<", "&", 1) + "<" }} {{ m.split("b") }} {{ m.split() }} {{ m.rsplit("b", 1) }} {{ m.splitlines() }} {{ m.partition("b") }} {{ m.rpartition("<") }} {{ m.strip("<>") + "<" }} {{ m.title() + "<" }} {{ m.swapcase() + "<" }} {{ m.ljust(13, "<") if false }} {{ m.rjust(13, ".") + "<" }} {{ m.removeprefix("<b>") + "<" }} {{ m.zfill(13) + "<" }} {{ m.startswith("<") }} {{ m.find("A") }} {{ m.count("b") }} {{ m.striptags() + "<" }} {{ ("&lt;x&amp;" | safe).unescape() + "<" }} {{ ("<" | safe).join(["<", "<" | safe, 5]) }} {{ "<".join(["a" | safe, "b"]) + "<" }} {{ m.casefold() + "<" }} {{ ("a\tb" | safe).expandtabs(2) + "<" }} {{ m.isupper() }}
{{ "x".striptags() }}
{{ {"a": "<" | safe, "b": "<"} | xmlattr }} {{ ["<" | safe, "<"] | join("&") + "<" }} {{ ["<" | safe, "<"] | join("&" | safe) }} {{ "<" | replace("<", "&" | safe) + "<" }} {{ ["<" | safe] | map("e") | list }} {{ ["<"] | map("e") | join }} {{ ["b" | safe, "a"] | sort }} {{ ["A" | safe, "a"] | unique | list }} {{ {"k" | safe: 1}.k }} {{ {"k": 1}["k" | safe] }} {{ "a" | safe in "cat" }} {{ "a" in ("cat" | safe) }} {{ "b" | safe > "a" }} {{ ["x" | safe, "y"] | sum(start="" | safe) if false }} {{ "<" | e if yes }} {% for c in "<>" | safe %}{{ c + "<" }}{{ c is escaped }}{% endfor %}
{% set x %}<b>{% endset %}{{ x | e }} {{ x is escaped }} {% set y | e %}<b>{% endset %}{{ y | e }} {% macro m() %}<b>{% endmacro %}{{ m() | e }} {{ m() is escaped }} {% filter e %}<{{ "<" }}{% endfilter %} {% macro c() %}{{ caller() | e }}{% endmacro %}{% call c() %}<{% endcall %}
{% autoescape true %}<b> {{ "<b>" }} {{ "<b>" | safe }} {{ "<b>" | e }} {{ 5 }} {{ none }} {{ [1, "<"] }} {{ missing }}| {{ "<" ~ "a" }} {{ (empty | safe) ~ "<" }} {{ "<" + "a" }} {{ ["<", "a"] | join("&") }} {{ ["<" | safe, "<"] | join("&") }} {{ ["<", "a"] | join("&" | safe) }} {{ "<a" | replace("a", "&" | safe) }} {{ "<a" | replace("a", "&") }} {{ ("<a" | safe) | replace("a", "&") }} {{ {"a": "<"} | xmlattr }} {{ "<" | upper }} {{ {"a": "<"} | tojson }}{% endautoescape %} {{ "<" }}
{% autoescape true %}{% set x %}<{{ "<" }}{% endset %}{{ x }}{{ x is escaped }} {% set y | upper %}a<{% endset %}{{ y }}{{ y is escaped }} {% macro m(v) %}<{{ v }}{% endmacro %}{{ m("<") }}{{ m("<") is escaped }} {% macro w() %}{{ caller() }}{% endmacro %}{% call w() %}<{{ "<" }}{% endcall %} {% filter upper %}a<{{ "<b" }}{% endfilter %}{% for i in ["<"] recursive %}{{ i }}{% if i is string %}{{ loop([1]) }}{% endif %}{% endfor %}{% if "<" %}{{ "<" }}{% endif %}{% with z = "<" %}{{ z }}{% endwith %}{% endautoescape %}{{ x }}|{{ m is defined }}
{% macro m(v) %}<{{ v }}{% endmacro %}{{ m("<") }} {% autoescape true %}{{ m("<") }} {{ m("<") is escaped }}{% autoescape false %}{{ "<" }} {{ m("<") }}{{ m("<") is escaped }}{% endautoescape %}{{ "<" }}{% endautoescape %}{{ "<" }}
{% set lt = "<" %}{% autoescape n > 5 %}{{ lt }} {% set x %}<{% endset %}{{ x }}{% macro m() %}{{ lt }}{% endmacro %}{{ m() }}{% set y | upper %}{{ lt }}{% endset %}{{ y ~ lt }}{% filter upper %}{{ lt }}{% endfilter %}{% autoescape false %}{{ lt }}{% endautoescape %}{% endautoescape %} {% autoescape none %}{{ lt }}{% endautoescape %} {% autoescape 1 %}{{ lt }}{{ lt ~ (lt | safe) }}{% endautoescape %} {% for on in [true, false] %}{% autoescape on %}{{ lt }}{% endautoescape %}{% endfor %}
{% autoescape %}x{% endautoescape %}
{% autoescape true %}x
{% block title %}A {{ n }}{% endblock %} {% block b %}{% set v = 1 %}{{ v }}{% block inner %}in{% endblock inner %}{% endblock b %}{{ v }}|{% set g = "top" %}{% block sees %}{{ g }}{% endblock %} {% for i in [1] %}{% block loopless %}[{{ i }}]{% endblock %}{% endfor %}{% for i in [1, 2] %}{% block looped scoped %}[{{ i }}{{ loop.last }}]{% endblock %}{% endfor %}{% with w = 3 %}{% block plain %}{{ w }}.{% endblock %}{% endwith %}{% if yes %}{% set h = 2 %}{% endif %}{% block late %}{{ h }}{% endblock %}
{% block a %}x{% endblock b %}
{% block a %}x{% endblock %}{% block a %}y{% endblock %}
{% block a required %}{% endblock %}
{% block %}x{% endblock %}
{% block a %}x
{% autoescape true %}{% block a %}{{ "<" }}{% set x %}<{% endset %}{{ x is escaped }}{% endblock %}{{ "<" }}{% endautoescape %}
{% macro m() %}{{ "<" }}{% endmacro %}{% block a %}{{ m() }}{{ "<" }}{% autoescape true %}{{ "<" }}{{ m() }}{% endautoescape %}{% endblock %}
{% extends "x" %}
{% import "x" as y %}
{% from "x" import y %}
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
