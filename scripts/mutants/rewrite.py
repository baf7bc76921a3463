"""Finds the mutants of a source file and writes the file with all of them inside, each behind a switch.

A place `a < b` becomes

    (match ::mutant_switch::switch(7, 2) { 0 => (a) < (b), 1 => (a) == (b), 2 => (a) > (b), _ => ::core::unreachable!() })

where `switch` says which of the mutants 7 and 8 is switched on, if one is. The original comes first, because the compiler blames
the later branches for another type. Only the original has further switches inside: one mutant at a time is on, so the others can
be written as the source has them. Hence the text grows with the depth of an expression, not exponentially.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import tree_sitter_rust
from tree_sitter import Language, Node, Parser

from conditions import is_compiled
from values import replacements, shown

OPERATORS = {
    "==": ["!="], "!=": ["=="], "&&": ["||"], "||": ["&&"], "<": ["==", ">", "<="], ">": ["==", "<", ">="], "<=": [">"], ">=": ["<"],
    "+": ["-", "*"], "-": ["+", "/"], "*": ["+", "/"], "/": ["%", "*"], "%": ["/", "+"],
    "<<": [">>"], ">>": ["<<"], "&": ["|", "^"], "|": ["&", "^"], "^": ["|", "&"],
    "+=": ["-=", "*="], "-=": ["+=", "/="], "*=": ["+=", "/="], "/=": ["%=", "*="], "%=": ["/=", "+="],
    "<<=": [">>="], ">>=": ["<<="], "&=": ["|="], "|=": ["&="], "^=": ["|=", "&="],
}  # fmt: skip
# What the compiler evaluates: no switch can be inside.
CONST = {"const_item", "static_item", "const_block", "enum_variant", "type_arguments", "const_parameter", "array_type"}
OPAQUE = {"macro_invocation", "macro_definition", "attribute_item", "inner_attribute_item", "use_declaration", "line_comment", "block_comment"}
COMMENTS = {"line_comment", "block_comment"}

_PARSER = Parser(Language(tree_sitter_rust.language()))


def parse(source: bytes) -> Node:
    return _PARSER.parse(source).root_node


@dataclass
class Mutant:
    """One change. `site` is the number of the first one at its place; `source` tells versions of the file apart.

    `status` is empty, or says why it is not tried: `const` or `uncompiled`.
    """

    id: int
    site: int
    source: str
    file: str
    line: int
    column: int
    function: str
    change: str
    status: str = ""

    @property
    def what(self) -> str:
        return f"{self.change} in {self.function}" if self.function else self.change

    @property
    def name(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.what}"

    @property
    def key(self) -> str:
        return f"{self.source} {self.name}"


@dataclass
class Part:
    """A piece of the text written. `mutants` are those to blame if the compiler complains about it, `rank` how surely: 0 is most."""

    mutants: list[int]
    rank: int
    pieces: list


@dataclass
class Range:
    start: int
    end: int
    mutants: list[int]
    rank: int


def instrument(
    source: bytes, file: str, first: int, is_dropped: Callable[[int], bool] = lambda _: False
) -> tuple[list[Mutant], bytes, list[Range]]:
    """The mutants of a file, numbered from `first` on; the file with those of them that are not dropped; where they are in it."""
    rewriter = _Rewriter(source, file, first, is_dropped)
    text = bytearray()
    ranges: list[Range] = []
    _flatten(rewriter.emit(parse(source)), text, ranges)
    return rewriter.mutants, bytes(text), ranges


def _flatten(pieces: list, text: bytearray, ranges: list[Range]) -> None:
    for piece in pieces:
        if isinstance(piece, Part):
            start = len(text)
            _flatten(piece.pieces, text, ranges)
            ranges.append(Range(start, len(text), piece.mutants, piece.rank))
        else:
            text += piece


def compiled_children(node: Node) -> Iterable[tuple[Node, bool]]:
    """A node's children, and whether each is compiled."""
    attributes: list[str] = []
    for child in node.children:
        if child.type == "attribute_item":
            attributes.append(child.text.decode())
        own = [inner.text.decode() for inner in child.children if inner.type == "attribute_item"] if child.type == "match_arm" else []
        yield child, is_compiled(attributes + own)
        if child.type not in ("attribute_item", *COMMENTS):
            attributes = []


class _Rewriter:
    def __init__(self, source: bytes, file: str, first: int, is_dropped: Callable[[int], bool]):
        self.source, self.file, self.next, self.is_dropped = source, file, first, is_dropped
        self.digest = hashlib.sha256(source).hexdigest()[:12]
        self.mutants: list[Mutant] = []
        self.scopes: list[str] = []
        self.in_const = 0

    def emit(self, node: Node) -> list:
        """The text of a node, as pieces."""
        if node.type in OPAQUE:
            return [node.text]
        handler = getattr(self, node.type, self.inside)
        return self.constant(node, handler) if node.type in CONST else handler(node)

    def inside(self, node: Node, put: dict[int, Callable[[Node], list]] | None = None) -> list:
        """A node with its children rewritten; `put` has other functions for some of them, by their first byte."""
        pieces, at = [], node.start_byte
        for child, compiled in compiled_children(node):
            pieces.append(self.source[at : child.start_byte])
            how = (put or {}).get(child.start_byte, self.emit)
            pieces += how(child) if compiled else [child.text]
            at = child.end_byte
        pieces.append(self.source[at : node.end_byte])
        return pieces

    def constant(self, node: Node, how: Callable[[Node], list]) -> list:
        """What `how` makes of a node, with its mutants noted as those of a constant."""
        self.in_const += 1
        pieces = how(node)
        self.in_const -= 1
        return pieces

    def note(self, node: Node, changes: list[str]) -> list[int]:
        """Notes mutants at a place. Their numbers, which are consecutive; none in a constant."""
        line, column = node.start_point
        status = "const" if self.in_const else ""
        numbers = [0 if self.in_const else self.next + place for place in range(len(changes))]
        for number, change in zip(numbers, changes):
            where = (self.file, line + 1, column + 1, "::".join(self.scopes))
            self.mutants.append(Mutant(number, numbers[0], self.digest, *where, change, status))
        if self.in_const:
            return []
        self.next += len(changes)
        return numbers

    def site(self, numbers: list[int], original: Callable[[], list], alternatives: list[bytes], plain: Callable[[], list]) -> list:
        """A place: `original()`, or one of the alternatives; `plain()` if none is to be there."""
        kept = [(place, number) for place, number in enumerate(numbers) if not self.is_dropped(number)]
        if not kept:
            return plain()
        pieces = [b"(match ::mutant_switch::switch(%d, %d) { 0 => " % (numbers[0], len(numbers)), *original()]
        for place, number in kept:
            pieces += [b", %d => " % (place + 1), Part([number], 0, [alternatives[place]])]
        pieces.append(b", _ => ::core::unreachable!() })")
        return [Part([number for _, number in kept], 1, pieces)]

    # Operators

    def binary_expression(self, node: Node) -> list:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        operator = node.child_by_field_name("operator")
        sign = operator.text.decode()
        others = OPERATORS.get(sign, [])
        numbers = self.note(operator, [f"replace {sign} with {other}" for other in others])

        def original() -> list:
            return [b"(", *self.emit(left), b") ", operator.text, b" (", *self.emit(right), b")"]

        alternatives = [b"(%s) %s (%s)" % (left.text, other.encode(), right.text) for other in others]
        return self.site(numbers, original, alternatives, lambda: self.inside(node))

    compound_assignment_expr = binary_expression

    def unary_expression(self, node: Node) -> list:
        sign, operand = node.children[0], node.children[-1]
        if sign.type not in ("!", "-"):
            return self.inside(node)
        numbers = self.note(sign, [f"delete {sign.type}"])
        return self.site(numbers, lambda: self.inside(node), [b"(%s)" % operand.text], lambda: self.inside(node))

    # Matches and struct literals

    def match_block(self, node: Node) -> list:
        arms = [arm for arm, compiled in compiled_children(node) if arm.type == "match_arm" and compiled]
        has_wildcard = any(arm.child_by_field_name("pattern").text == b"_" for arm in arms)
        put = {arm.start_byte: lambda arm: self.arm(arm, has_wildcard) for arm in arms}
        return self.inside(node, put)

    def arm(self, node: Node, has_wildcard: bool) -> list:
        pattern = node.child_by_field_name("pattern")
        return self.inside(node, {pattern.start_byte: lambda pattern: self.pattern(node, pattern, has_wildcard)})

    def pattern(self, arm: Node, pattern: Node, has_wildcard: bool) -> list:
        guard = pattern.child_by_field_name("condition")
        if guard is None:
            if not has_wildcard or pattern.text == b"_":
                return [pattern.text]
            numbers = self.note(arm, [f"delete match arm {_one_line(pattern)}"])
            if not numbers or self.is_dropped(numbers[0]):
                return [pattern.text]
            switch = b" if ::mutant_switch::switch(%d, 1) == 0" % numbers[0]
            return [Part(numbers, 0, [pattern.text, switch])]
        before = self.source[pattern.start_byte : guard.start_byte]
        if guard.type in ("let_condition", "let_chain"):
            return [before, *self.emit(guard)]
        numbers = self.note(guard, [f"replace match guard {_one_line(guard)} with {value}" for value in ("true", "false")])
        return [before, *self.site(numbers, lambda: self.emit(guard), [b"true", b"false"], lambda: self.emit(guard))]

    def struct_expression(self, node: Node) -> list:
        fields = node.child_by_field_name("body").named_children
        if not any(field.type == "base_field_initializer" for field in fields):
            return self.inside(node)
        kind = node.child_by_field_name("name")
        changes, alternatives = [], []
        for field in fields:
            if field.type not in ("field_initializer", "shorthand_field_initializer"):
                continue
            name = field.child_by_field_name("field") or field.named_children[-1]
            changes.append(f"delete field {name.text.decode()} from struct {kind.text.decode()} expression")
            rest = [other.text for other in fields if other != field and other.type not in COMMENTS]
            alternatives.append(kind.text + b" { " + b", ".join(rest) + b" }")
        numbers = self.note(node, changes)
        return self.site(numbers, lambda: self.inside(node), alternatives, lambda: self.inside(node))

    def array_expression(self, node: Node) -> list:
        length = node.child_by_field_name("length")
        return self.inside(node, {length.start_byte: lambda length: self.constant(length, self.emit)} if length else None)

    # Functions

    def scope(self, name: str, node: Node, pieces: Callable[[Node], list]) -> list:
        self.scopes.append(name)
        found = pieces(node)
        self.scopes.pop()
        return found

    def impl_item(self, node: Node) -> list:
        return self.scope(re.sub(r"<.*", "", _one_line(node.child_by_field_name("type"))), node, self.inside)

    def trait_item(self, node: Node) -> list:
        return self.scope(node.child_by_field_name("name").text.decode(), node, self.inside)

    def function_item(self, node: Node) -> list:
        modifiers = next((child.text.split() for child in node.children if child.type == "function_modifiers"), [])
        if b"unsafe" in modifiers:
            return [node.text]
        name, body = node.child_by_field_name("name").text.decode(), node.child_by_field_name("body")
        is_const = b"const" in modifiers
        self.in_const += is_const
        first = self.next
        put = {body.start_byte: lambda body: self.body(node, body)}
        pieces = self.scope(name, node, lambda node: self.inside(node, put))
        self.in_const -= is_const
        # Whatever else the compiler says of a function is due to one of its mutants.
        kept = [number for number in range(first, self.next) if not self.is_dropped(number)]
        return [Part(kept, 2, pieces)] if kept else pieces

    def body(self, node: Node, body: Node) -> list:
        name, kind = node.child_by_field_name("name"), node.child_by_field_name("return_type")
        statements = [child for child in body.named_children if child.type not in COMMENTS]
        is_constructor = name.text == b"new" and node.parent.type == "declaration_list" and node.parent.parent.type != "mod_item"
        if not statements or is_constructor:
            return self.inside(body)
        own = b"".join(body.text[1:-1].split())
        values = [value for value in replacements(kind) if own != b"".join(shown(value).encode().split())]
        arrow = f" -> {_one_line(kind)}" if kind else ""
        numbers = self.note(name, [f"replace the body{arrow} with {shown(value)}" for value in values])
        kept = [(place, number) for place, number in enumerate(numbers) if not self.is_dropped(number)]
        pieces = self.inside(body)
        if not kept:
            return pieces
        switch = [b"{ match ::mutant_switch::switch(%d, %d) { " % (numbers[0], len(numbers))]
        for place, number in kept:
            switch += [b"%d => " % (place + 1), Part([number], 0, [b"return " + values[place].encode()]), b", "]
        # The first piece is empty, the second the opening brace.
        return [Part([number for _, number in kept], 1, [*switch, b"_ => {} }"]), *_without_brace(pieces)]


def _without_brace(pieces: list) -> list:
    assert pieces[:2] == [b"", b"{"], pieces[:2]
    return pieces[2:]


def _one_line(node: Node) -> str:
    return " ".join(node.text.decode().split())
