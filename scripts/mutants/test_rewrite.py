"""Tests of what needs no compiler: which mutants are found, how they are written into the code, whom an error is blamed on."""

import unittest

from build import to_blame
from conditions import holds
from programs import failed_tests
from rewrite import instrument, parse
from values import replacements, shown

UNREACHABLE = ", _ => ::core::unreachable!() })"


def whats(source: str, status: str = "") -> list[str]:
    """The mutants with this status; checks that what is written is Rust."""
    mutants, text, _ = instrument(source.encode(), "a.rs", 1)
    assert not parse(source.encode()).has_error, source
    assert not parse(text).has_error, text
    return [mutant.what for mutant in mutants if mutant.status == status]


def written(source: str, dropped: set[int] = frozenset()) -> str:
    return instrument(source.encode(), "a.rs", 1, dropped.__contains__)[1].decode()


class Places(unittest.TestCase):
    def test_an_operator_has_its_original_first(self):
        found = written("fn f() { x(a < b) }", {1})
        wanted = "(match ::mutant_switch::switch(2, 3) { 0 => (a) < (b), 1 => (a) == (b), 2 => (a) > (b), 3 => (a) <= (b)"
        self.assertEqual(found, "fn f() { x(" + wanted + UNREACHABLE + ") }")

    def test_what_is_dropped_is_written_as_it_was_and_the_numbers_stay(self):
        source = "fn f() { x(a == b, c != d) }"
        self.assertEqual(written(source, {1, 2, 3}), source)
        self.assertIn("x(a == b, (match ::mutant_switch::switch(3, 1)", written(source, {2}))

    def test_some_of_a_place_are_dropped(self):
        self.assertIn("switch(2, 2) { 0 => (a) + (b), 2 => (a) * (b), _ =>", written("fn f() { x(a + b) }", {2}))

    def test_text_grows_with_the_square_of_the_depth_at_most(self):
        def length(depth: int) -> int:
            return len(written(f"fn f() {{ x({' + '.join(['a'] * depth)}) }}"))

        self.assertLess(length(64), 4.5 * length(32))

    def test_only_the_original_has_further_switches(self):
        found = written("fn f() { x(!(a && b)) }")
        self.assertEqual(found.count("0 => !("), 1)
        self.assertIn("1 => ((a && b))", found)

    def test_casts_before_a_comparison_stay_casts(self):
        self.assertEqual(len(whats("fn f() { x(a as u32 > b) }")), 4)

    def test_conditions_with_let_stay_conditions(self):
        found = whats("fn f() { if let Some(x) = a && b > c && let Some(y) = d {} }")
        self.assertEqual(found[1:], [f"replace > with {other} in f" for other in ("==", "<", ">=")])

    def test_assignments(self):
        self.assertIn("1 => (a[i]) -= (b)", written("fn f() { a[i] += b; }"))
        self.assertEqual(len(whats("fn f() { a |= b; c = d; }")), 2)

    def test_negative_patterns_are_no_operators(self):
        self.assertEqual(whats("fn f() { match a { -1 => b, c => -d } }")[1:], ["delete - in f"])


class Matches(unittest.TestCase):
    def test_arms_are_deleted_if_another_takes_what_they_took(self):
        self.assertEqual(len(whats("fn f() { match a { A | B => 1, C { x, .. } => 2, _ => 3 } }")), 3)
        self.assertEqual(len(whats("fn f() { match a { A => 1, b => 2 } }")), 1)
        self.assertEqual(len(whats("fn f() { match a { A => 1, _ if c => 2, B => 3 } }")), 3)
        self.assertIn("A if ::mutant_switch::switch(2, 1) == 0 => 1", written("fn f() { match a { A => 1, _ => 2 } }"))

    def test_guards_hold_or_do_not(self):
        found = whats("fn f() { match a { x if x > 1 => 1, _ => 2 } }")
        self.assertEqual(found[1:3], [f"replace match guard x > 1 with {value} in f" for value in ("true", "false")])
        self.assertEqual(len(found), 6)

    def test_guards_with_let_keep_it(self):
        found = whats("fn f() { match a { A if let Some(x) = b + 1 => 1, _ => 2 } }")
        self.assertEqual(found[1:], ["replace + with - in f", "replace + with * in f"])


class StructLiterals(unittest.TestCase):
    def test_fields_beside_a_base_are_deleted(self):
        found = written("fn f() { x(S { a: 1, b, ..S::new() }) }")
        self.assertIn("1 => S { b, ..S::new() }, 2 => S { a: 1, ..S::new() }", found)
        self.assertEqual(len(whats("fn f() { x(S { a: 1, b }) }")), 1)


class Functions(unittest.TestCase):
    def test_a_body_returns_something_else(self):
        found = written("impl A { fn f(&self) -> bool { self.x } }")
        self.assertIn("-> bool { match ::mutant_switch::switch(1, 2) { 1 => return true, 2 => return false, _ => {} } self.x }", found)
        self.assertEqual(whats("impl<T> A<T> { fn f() { g() } }"), ["replace the body with () in A::f"])

    def test_not_what_it_is_already(self):
        self.assertEqual(whats("fn f() -> bool { true }"), ["replace the body -> bool with false in f"])
        self.assertEqual(whats("fn f() { /* nothing */ }"), [])

    def test_not_constructors_nor_unsafe_functions(self):
        self.assertEqual(whats("impl A { fn new() -> A { A(!a) } }"), ["delete ! in A::new"])
        self.assertEqual(whats("unsafe fn f() -> bool { !a }"), [])

    def test_not_tests_nor_what_is_not_compiled(self):
        off = ["#[cfg(test)] mod tests { fn f() { g() } }", "#[test] fn f() { g() }", '#[cfg(target_os = "none")] fn f() { g() }']
        for source in [*off, '#[cfg(not(feature = "std"))] impl A { fn f() { g() } }', "macro_rules! m { () => { !a } }"]:
            self.assertEqual(whats(source), [])
        self.assertEqual(len(whats("#[cfg(test)] use a; fn f() { #[cfg(test)] g(!a); match b { #[cfg(test)] C => !c, _ => d } }")), 1)

    def test_constants_are_only_counted(self):
        for source in ["const A: u8 = B + 1;", "const fn f() { a + b }", "fn f() -> u8 { 0 }", "enum A { B = 1 + 2 }"]:
            self.assertEqual(written(source) == source, "const" in source or "enum" in source)
        self.assertEqual(len(whats("const A: [u8; 1 << 2] = [B - 1; 1 << 3];", "const")), 4)
        self.assertEqual(len(whats("fn f() { [!a; 1 << 3] }", "const")), 1)


class Values(unittest.TestCase):
    def of(self, kind: str) -> list[str]:
        function = parse(f"fn f() -> {kind} {{}}".encode()).children[0]
        return [shown(value) for value in replacements(function.child_by_field_name("return_type"))]

    def test_values_by_type(self):
        for kind, values in {
            "i8": ["0", "1", "-1"],
            "String": ["String::new()", '"xyzzy".into()'],
            "&'a str": ['""', '"xyzzy"'],
            "&mut [bool]": ["Vec::leak(Vec::new())", "Vec::leak(vec![true])", "Vec::leak(vec![false])"],
            "&u8": ["Box::leak(Box::new(0))", "Box::leak(Box::new(1))"],
            "Result<Option<()>, E>": ["Ok(None)", "Ok(Some(()))"],
            "fmt::Result": ["Ok(Default::default())"],
            "[u8; N]": ["[0; N]", "[1; N]"],
            "(bool, Vec<A>)": [f"({a}, {b})" for a in ("true", "false") for b in ("Vec::new()", "vec![Default::default()]")],
            "Box<Option<u8>>": ["Box::new(None)", "Box::new(Some(0))", "Box::new(Some(1))"],
            "Range<u8>": ["Default::default()"],
            "!": [],
            "Self": ["Default::default()"],
            "View<'a>": ["Default::default()"],
        }.items():
            self.assertEqual(self.of(kind), values, kind)

    def test_nothing_for_types_that_only_the_body_can_name(self):
        self.assertEqual(self.of("impl Iterator<Item = u8> + '_"), [])


class Conditions(unittest.TestCase):
    def test_conditions_are_those_of_a_host(self):
        self.assertTrue(holds('all(target_arch = "x86_64", not(target_os = "none"), feature = "std")'))
        self.assertFalse(holds('any(test, target_arch = "aarch64", all(doctest, unix))'))


class Blame(unittest.TestCase):
    def test_the_innermost_place_is_to_blame_and_consequences_wait(self):
        source = b"fn f() -> u8 { x(a + (b == c)) }"
        mutants, text, ranges = instrument(source, "a.rs", 1)

        def error(main: bytes, *beside: bytes) -> dict:
            places = [(text.index(excerpt), len(excerpt), excerpt == main) for excerpt in (main, *beside)]
            return {"spans": [
                {"file_name": "a.rs", "byte_start": start, "byte_end": start + length, "is_primary": is_main, "expansion": None}
                for start, length, is_main in places
            ]}  # fmt: skip

        minus = next(mutant.id for mutant in mutants if "with -" in mutant.what)
        self.assertEqual(to_blame([error(b"(a) - ")], {"a.rs": ranges}), (0, {minus}))
        self.assertEqual(to_blame([error(b"x("), error(b"(a) - ")], {"a.rs": ranges}), (0, {minus}))
        self.assertEqual(to_blame([error(b"x(")], {"a.rs": ranges}), (2, {mutant.id for mutant in mutants}))
        equal = {mutant.id for mutant in mutants if "==" in mutant.what}
        self.assertEqual(to_blame([error(b"x(", b"switch(5, 1)")], {"a.rs": ranges}), (1, equal))
        self.assertEqual(to_blame([error(b"fn")], {"b.rs": ranges}), (0, set()))


class Output(unittest.TestCase):
    def test_names_of_failed_tests(self):
        self.assertEqual(failed_tests("test a::b ... ok\ntest a::c - should panic ... FAILED\ntest d ... FAILED\n"), ["a::c", "d"])


if __name__ == "__main__":
    unittest.main()
