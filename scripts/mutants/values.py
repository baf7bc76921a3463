"""The values that a function may return instead of what it computes, by its type: those of cargo-mutants where one is known."""

import itertools
import re

from tree_sitter import Node

UNSIGNED = {"u8", "u16", "u32", "u64", "u128", "usize"}
SIGNED = {"i8", "i16", "i32", "i64", "i128", "isize"}
DEFAULT = ["Default::default()"]
# Whole paths: not every file of a crate without std imports these names.
VEC = "::alloc::vec::Vec"
BOX = "::alloc::boxed::Box"


def replacements(kind: Node | None) -> list[str]:
    """Expressions of the type `kind`; none where no other value fits beside the function's own."""
    match kind and kind.type:
        case None | "unit_type":
            return ["()"]
        case "never_type":
            return []
        # Every value returned has to be of one type, which only the function's own body can name.
        case "abstract_type" | "bounded_type":
            return []
        case "reference_type":
            return _references(kind.child_by_field_name("type"))
        case "array_type":
            values = replacements(kind.child_by_field_name("element"))
            length = kind.child_by_field_name("length")
            return [f"[{value}; {length.text.decode()}]" for value in values] if length else _slices(values)
        case "tuple_type":
            elements = [replacements(element) for element in kind.named_children]
            return [f"({', '.join(values)})" for values in itertools.product(*elements)]
        case "generic_type":
            return _generic(kind)
        case "primitive_type" | "type_identifier" | "scoped_type_identifier":
            return _named(kind.text.decode())
        case _:
            return DEFAULT


def shown(value: str) -> str:
    """The expression as it would be written where all names are imported."""
    return re.sub(r"::(alloc|core)::(\w+::)?(?=\w)", "", value)


def _named(name: str) -> list[str]:
    last = name.rsplit("::", 1)[-1]
    if name == "bool":
        return ["true", "false"]
    if name in UNSIGNED:
        return ["0", "1"]
    if name in SIGNED:
        return ["0", "1", "-1"]
    if name in ("f32", "f64"):
        return ["0.0", "1.0", "-1.0"]
    if name == "str":
        return ['""', '"xyzzy"']
    if name == "String":
        return ["::alloc::string::String::new()", '"xyzzy".into()']
    if last == "Result":
        return ["Ok(Default::default())"]
    return DEFAULT


def _generic(kind: Node) -> list[str]:
    name = kind.child_by_field_name("type").text.decode().rsplit("::", 1)[-1]
    arguments = kind.child_by_field_name("type_arguments").named_children
    types = [argument for argument in arguments if argument.type not in ("lifetime", "type_binding", "block")]
    if not types:
        return ["Ok(Default::default())"] if name == "Result" else DEFAULT
    inner = replacements(types[0])
    if name == "Result":
        return [f"Ok({value})" for value in inner]
    if name == "Option":
        return ["None"] + [f"Some({value})" for value in inner]
    if name == "Vec":
        return [f"{VEC}::new()"] + [f"::alloc::vec![{value}]" for value in inner]
    if name == "Box":
        return [f"{BOX}::new({value})" for value in inner]
    return DEFAULT


def _references(target: Node) -> list[str]:
    values = replacements(target)
    if target.type == "primitive_type" and target.text == b"str":
        return values
    # That of a slice is one already.
    if target.type == "array_type" and not target.child_by_field_name("length"):
        return values
    return [f"{BOX}::leak({BOX}::new({value}))" for value in values]


def _slices(values: list[str]) -> list[str]:
    """Of one type for those that are borrowed and those that are borrowed to be changed."""
    return [f"{VEC}::leak({VEC}::new())"] + [f"{VEC}::leak(::alloc::vec![{value}])" for value in values]
