//! Every template ends, and stays within its limits.

use jinja::{Error, ErrorKind, Limits, Map, Template};
use proptest::prelude::*;

fn render(source: &str, limits: Limits) -> Result<String, Error> {
    Template::parse(source)?.render(&Map::new(), limits)
}

/// Runs on a stack as small as the kernel's.
fn on_small_stack<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(128 << 10).spawn(run).unwrap().join().unwrap()
}

#[test]
fn nesting_is_limited_in_the_source() {
    let n = 100_000;
    let sources = [
        "{{ ".to_owned() + &"(".repeat(n) + "1" + &")".repeat(n) + " }}",
        "{{ ".to_owned() + &"[".repeat(n) + &"]".repeat(n) + " }}",
        "{{ ".to_owned() + &"not ".repeat(n) + "1 }}",
        "{{ ".to_owned() + &"-".repeat(n) + "1 }}",
        "{{ ".to_owned() + &"1 if 1 else ".repeat(n) + "1 }}",
        "{{ x".to_owned() + &"[x".repeat(n) + &"]".repeat(n) + " }}",
        "{% if 1 %}".repeat(n) + &"{% endif %}".repeat(n),
        "{% for i in [1] %}".repeat(n) + &"{% endfor %}".repeat(n),
        "{% macro f() %}".repeat(n) + &"{% endmacro %}".repeat(n),
        "{% autoescape true %}".repeat(n) + &"{% endautoescape %}".repeat(n),
        (0..n).map(|i| format!("{{% block b{i} %}}")).collect::<String>() + &"{% endblock %}".repeat(n),
    ];
    for source in sources {
        let shown = source[..40].to_owned();
        let error = on_small_stack(move || render(&source, Limits::default())).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooDeep, "{shown}");
    }
    // What stands side by side is not deep.
    for source in [
        "{{ 1".to_owned() + &" + 1".repeat(n) + " }}",
        "{{ 'a'".to_owned() + &"|upper".repeat(n) + " }}",
        "{{ x is defined".to_owned() + &" or x is defined".repeat(n) + " }}",
        "{% if x %}".to_owned() + &"{% elif x %}".repeat(n) + "{% endif %}",
    ] {
        assert!(on_small_stack(move || render(&source, Limits::default())).is_ok());
    }
}

#[test]
fn recursion_is_limited() {
    let sources = [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(x) %}{% for i in [1] %}{% if 1 %}{{ (f((x))) ~ '' }}{% endif %}{% endfor %}{% endmacro %}{{ f(1) }}",
        "{% macro f() %}{% autoescape true %}{% set x %}{{ f() }}{% endset %}{% endautoescape %}{% endmacro %}{{ f() }}",
        "{% macro f() %}{% block b %}{{ f() | e }}{% endblock %}{% endmacro %}{{ f() }}",
        "{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}",
        "{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}",
        "{% for x in [1] recursive %}{% for y in [1] %}{% if 1 %}{{ (loop and [0]) and caller }}{% endif %}{% endfor %}{{ loop([x]) ~ '' }}{% else %}{% endfor %}",
        "{% for x in [1] recursive %}{% set y %}{% filter upper %}{{ loop([x]) }}{% endfilter %}{% endset %}{% endfor %}",
        "{% macro f(l) %}{{ l([1]) }}{% endmacro %}{% for x in [1] recursive %}{{ f(loop) }}{% endfor %}",
        "{% macro f() %}{% set x %}{% filter upper %}{{ f() }}{% endfilter %}{% endset %}{% endmacro %}{{ f() }}",
    ];
    for source in sources {
        let error = on_small_stack(|| render(source, Limits::default())).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooDeep, "{source}");
    }
    // Values may neither nest without end nor hold themselves.
    let deep = "{% set n = namespace(x=[]) %}{% for i in range(1000) %}{% set n.x = [n.x] %}{% endfor %}";
    assert_eq!(render(deep, Limits::default()).unwrap_err().kind, ErrorKind::TooDeep);
    for source in [
        "{% for i in [1] %}{{ loop.changed(loop) }}{% endfor %}",
        "{% set n = namespace() %}{{ cycler(n) }}",
        "{% set n = namespace() %}{% set n.x = n %}",
        "{% set n = namespace() %}{{ [n] }}",
    ] {
        let error = render(source, Limits::default()).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::WrongType { .. }), "{source}");
    }
}

#[test]
fn time_and_memory_are_limited() {
    let limits = Limits { steps: 100_000, bytes: 1 << 20, now_seconds: Some(0) };
    let doubling = "{% set n = namespace(x=[1]) %}{% set m = namespace(x=[1]) %}{% for i in range(60) %}\
                    {% set n.x = [n.x, n.x] %}{% set m.x = [m.x, m.x] %}{% endfor %}";
    let sources = [
        "{{ 'a' * 1000000000000 }}".to_owned(),
        "{{ [1] * 9223372036854775807 }}".to_owned(),
        "{{ range(1000000000) }}".to_owned(),
        "{{ range(0, 9223372036854775807, 1) | length }}".to_owned(),
        "{% for i in range(1000) %}{% for i in range(1000) %}{% for i in range(1000) %}x{% endfor %}{% endfor %}{% endfor %}".to_owned(),
        "{{ ('a' * 10000).replace('a', 'b' * 10000) }}".to_owned(),
        "{{ ('x' * 1000) | replace('', 'y' * 1000) }}".to_owned(),
        "{{ (['a'] * 1000) | join('b' * 10000) }}".to_owned(),
        "{{ ('\n' * 1000) | indent(10000, true, true) }}".to_owned(),
        "{{ [1] | batch(1000000000, 0) }}".to_owned(),
        "{{ {'a': [1]} | tojson(indent=1000000000) }}".to_owned(),
        "{{ range(1000) | unique | length }}{{ range(1000) | unique | length }}".to_owned(),
        "{{ 'x' | center(1000000000) }}".to_owned(),
        "{{ 'x'.zfill(9223372036854775807) }}".to_owned(),
        "{{ '\t' | string }}{{ ('\t' * 1000).expandtabs(1000000000) }}".to_owned(),
        "{{ '%1000000000d' % 1 }}".to_owned(),
        "{{ '%.1000000000f' % 1 }}".to_owned(),
        "{{ '%*d' % (9223372036854775807, 1) }}".to_owned(),
        "{{ '{:>1000000000}'.format(1) }}".to_owned(),
        "{{ '{:.99999f}'.format(1.5) }}".to_owned(),
        "{{ [1] | slice(1000000000) }}".to_owned(),
        "{{ ('%1000d' * 2000) | replace('d', 'd') | length }}{{ strftime_now('%1000d' * 2000) }}".to_owned(),
        "{{ ('ab ' * 10000) | wordwrap(1, true, 'x' * 1000) }}".to_owned(),
        "{% autoescape true %}{{ '&' * 300000 }}{% endautoescape %}".to_owned(),
        "{{ ('%s' | safe) % ('&' * 300000) }}".to_owned(),
        "{{ (('<' * 1000) | safe).join('&' * 1000) }}".to_owned(),
        "{% for x in [[1]] recursive %}{% for i in range(1000) %}{% for j in range(1000) %}{{ i }}{% endfor %}{% endfor %}{% endfor %}".to_owned(),
        format!("{doubling}{{{{ n.x }}}}"),
        format!("{doubling}{{{{ n.x | tojson }}}}"),
        format!("{doubling}{{{{ n.x == m.x }}}}"),
        format!("{doubling}{{{{ n.x < m.x }}}}"),
    ];
    for source in sources {
        let error = render(&source, limits).unwrap_err();
        assert!(
            matches!(error.kind, ErrorKind::TooManySteps | ErrorKind::TooMuchMemory | ErrorKind::TooDeep),
            "{source}: {error}"
        );
    }
}

#[test]
fn errors_name_their_line() {
    let cases = [
        // Errors when the template is read.
        ("x\n{% for a in %}", "line 2 of the template: expected an expression, found %}"),
        ("a\n{% nope %}", "line 2 of the template: unknown statement `nope`"),
        ("a\n{{ 1 ? 2 }}", "line 2 of the template: unexpected character '?'"),
        ("\n{{ 'abc }}\n\n", "line 2 of the template: a text without an end"),
        ("a\n{# b\nc", "line 2 of the template: a comment without an end"),
        // What is never closed is noticed in the last line.
        ("a\n{% if 1 %}\nb\n", "line 3 of the template: a block without an end"),
        ("a\n{% if 1 %}\nb\n{% endfor %}", "line 4 of the template: unknown statement `endfor`"),
        // Errors when it runs.
        ("a\n{% if 1 %}\n{{ b.c.d }}\n{% endif %}", "line 3 of the template: `b` is undefined"),
        ("{% set m = {'x': 1} %}\n\n{{ m.y['z'].w }}", "line 3 of the template: `m.y` is undefined"),
        (
            "\n\n{{ raise_exception('roles\nmust alternate') }}",
            "line 3 of the template: the template refuses: roles\\nmust alternate",
        ),
        ("\n{{ 'a' | nope }}", "line 2 of the template: unknown filter `nope`"),
        ("\n{{ 'a' is nope }}", "line 2 of the template: unknown test `nope`"),
        ("\n\n{{ 'a'.nope() }}", "line 3 of the template: `….nope` is undefined"),
        (
            "{% macro f(x) %}\n{{ x.y.z }}\n{% endmacro %}\n\n{{ f({}) }}",
            "line 2 of the template: `x.y` is undefined",
        ),
        (
            "{% for i in [1, 0] %}\n{{ 1 // i }}\n{% endfor %}\n",
            "line 2 of the template: a calculation without a representable result",
        ),
        // An expression over several lines has the line in which its tag begins.
        ("{{ 'a\nb' ~ c.d }}", "line 1 of the template: `c` is undefined"),
        ("{{ [1,\n2,\nb.c] }}", "line 1 of the template: `b` is undefined"),
        // Lines that are trimmed, shown as they are or left out count as well.
        ("a\n\n\n{%- if 1 -%}\n\n{{ b.c }}{% endif %}", "line 6 of the template: `b` is undefined"),
        ("{% raw %}\n{{\n{% endraw %}\n{{ b.c }}", "line 4 of the template: `b` is undefined"),
        ("{# a\nb #}\n{{ b.c }}", "line 3 of the template: `b` is undefined"),
        ("a\r\n\r\n{{ b.c }}", "line 3 of the template: `b` is undefined"),
    ];
    for (source, expected) in cases {
        let error = render(source, Limits::default()).unwrap_err();
        assert_eq!(error.to_string(), expected, "{source:?}");
    }
}

/// Pieces that often make a valid template together.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(
        &[
            "{{",
            "}}",
            "{%",
            "%}",
            "{%-",
            "-%}",
            "{#",
            "#}",
            " ",
            "\n",
            "x",
            "if ",
            "else",
            "endif",
            "for ",
            " in ",
            "endfor",
            "set ",
            "=",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            "'",
            "\"",
            "\\",
            "1",
            "-9223372036854775808",
            "1.5",
            "+",
            "-",
            "*",
            "**",
            "/",
            "//",
            "%",
            "~",
            "|",
            ".",
            ",",
            ":",
            "==",
            "<",
            "not ",
            "and ",
            "is ",
            "defined",
            "'é'",
            "range(3)",
            "|length",
            "|tojson",
            "|sort",
            "|int",
            "|round(9)",
            ".split(",
            "[::-1]",
            "[-1:]",
            "namespace(",
            "macro f(",
            "endmacro",
            "call ",
            "endcall",
            "caller()",
            "loop.",
            "index",
            "raw",
            "endraw",
            "% (",
            "'%d%%'",
            "|indent",
            "|batch(",
            "recursive ",
            "loop(",
            "loop.changed(",
            "|groupby(0)",
            "|slice(3)",
            "|truncate(4)",
            "|wordwrap(3)",
            "|center(9)",
            "|striptags",
            "|urlencode",
            "|xmlattr",
            "|pprint",
            "|filesizeformat",
            "'<a>&#65;'",
            "'%-+ 09.3f'",
            "'{:>{}.2f}'.format(",
            "cycler(",
            "joiner(",
            ".next()",
            "varargs",
            "kwargs",
            "strftime_now('%5d%Z%",
            "-0.5",
            "9223372036854775807",
            ".find('', 1, -1)",
        ][..],
    );
    prop_oneof![
        3 => prop::collection::vec(piece.clone(), 0..40).prop_map(|pieces| pieces.concat()),
        3 => prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("{{{{ {} }}}}", pieces.concat())),
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_template_makes_it_panic(source in pieces()) {
        let limits = Limits { steps: 10_000, bytes: 1 << 20, now_seconds: Some(0) };
        let _ = render(&source, limits);
    }
}
