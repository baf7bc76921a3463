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
    let source = "a\n{% if 1 %}\n{{ b.c.d }}\n{% endif %}";
    let error = render(source, Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "line 3 of the template: `b` is undefined");
    let error = render("{% set m = {'x': 1} %}\n\n{{ m.y['z'].w }}", Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "line 3 of the template: `m.y` is undefined");
    let error = render("\n\n{{ raise_exception('roles\nmust alternate') }}", Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "line 3 of the template: the template refuses: roles\\nmust alternate");
    let error = Template::parse("x\n{% for a in %}").unwrap_err();
    assert_eq!(error.to_string(), "line 2 of the template: expected an expression, found %}");
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
