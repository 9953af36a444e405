"""The words that a template may look for in a text: the string literals of its expressions, without those that it only
writes, and without names of fields and roles.

What remains decides which conversations are alike. A literal that is no more than written makes no difference to a text
that holds it by chance, as a comma or the word "user".
"""

from collections.abc import Iterator
from typing import Final

from jinja2 import nodes

_CAPTURES: Final = (nodes.Macro, nodes.AssignBlock, nodes.CallBlock, nodes.FilterBlock)  # what they write may be tested
_OF_NO_TEXT: Final = ("role", "type")  # what is compared with these is no text of a conversation
_STRIPS: Final = ("strip", "lstrip", "rstrip")


def tested_literals(tree: nodes.Template) -> frozenset[str]:
    """The literals of a parsed template that may decide what becomes of a text that holds them."""
    untested = {id(node) for node in _untested(tree)}
    constants = (node for node in tree.find_all(nodes.Const) if id(node) not in untested)
    return frozenset(node.value for node in constants if isinstance(node.value, str) and node.value)


def _untested(tree: nodes.Template) -> Iterator[nodes.Node]:
    for subscript in tree.find_all(nodes.Getitem):
        yield subscript.arg
    for call in tree.find_all(nodes.Call):
        method = call.node.attr if isinstance(call.node, nodes.Getattr) else ""
        if isinstance(call.node, nodes.Name) and call.node.name == "raise_exception":
            yield from call.args
        if method == "get":
            yield from call.args[:1]
        if method in _STRIPS:  # white space around a text is told apart in any case
            yield from (one for one in call.args if isinstance(one, nodes.Const) and not str(one.value).strip())
    for comparison in tree.find_all(nodes.Compare):
        compared = [comparison.expr, *(operand.expr for operand in comparison.ops)]
        if any(_is_no_text(one) for one in compared):
            for one in compared:
                yield from [one, *one.items] if isinstance(one, nodes.List | nodes.Tuple) else [one]
    yield from _written(tree)


def _is_no_text(node: nodes.Node) -> bool:
    """Whether a node is a field that holds no text of a conversation."""
    if isinstance(node, nodes.Getattr):
        return node.attr in _OF_NO_TEXT
    return isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and node.arg.value in _OF_NO_TEXT


def _written(node: nodes.Node) -> Iterator[nodes.Node]:
    """What stands in the output of a template as it is, unless something captures that."""
    for child in node.iter_child_nodes():
        if isinstance(child, _CAPTURES):
            continue
        if isinstance(child, nodes.Output):
            for one in child.nodes:
                yield from _summands(one)
        else:
            yield from _written(child)


def _summands(node: nodes.Node) -> Iterator[nodes.Node]:
    """A literal, or those that are put end to end with others."""
    if isinstance(node, nodes.Add):
        yield from _summands(node.left)
        yield from _summands(node.right)
    elif isinstance(node, nodes.Concat):
        for one in node.nodes:
            yield from _summands(one)
    elif isinstance(node, nodes.CondExpr):
        yield from _summands(node.expr1)
        if node.expr2 is not None:
            yield from _summands(node.expr2)
    else:
        yield node
