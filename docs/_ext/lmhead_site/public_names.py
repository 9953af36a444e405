"""Names in code spans: `lmhead.patch` leads to the reference; one that names nothing fails the build."""

import re
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from typing import Any, Final

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
DOTTED: Final = re.compile(r"(lmhead(?:\.[A-Za-z_]\w*)+)(?:\(.*\))?", re.DOTALL)
BARE: Final = re.compile(r"([A-Za-z_]\w*)(?:\(.*\))?", re.DOTALL)


class PublicNames(SphinxTransform):
    """Code spans become references by name."""

    default_priority = 210

    def apply(self, **kwargs: Any) -> None:
        for literal in list(self.document.findall(nodes.literal)):
            target = self._target(literal)
            if target is None or _is_within(literal, nodes.reference, nodes.title, addnodes.pending_xref):
                continue
            reference = addnodes.pending_xref(
                "", refdomain="py", reftype="obj", reftarget=target, refdoc=self.env.docname, lmhead_name=True
            )
            reference.source, reference.line = literal.source, literal.line
            literal.replace_self(reference)
            reference += literal

    def _target(self, literal: nodes.literal) -> str | None:
        text = literal.astext()
        dotted = DOTTED.fullmatch(text)
        if dotted is not None:
            if exists(dotted[1]):
                return dotted[1]
            told = (dotted[1], _nearest(dotted[1]))
            LOGGER.warning("%s names nothing of the library%s", *told, location=literal, type="lmhead", subtype="name")
            return None
        bare = BARE.fullmatch(text)
        return f"lmhead.{bare[1]}" if bare is not None and bare[1] in unmistakable_names() else None


def unresolved(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element) -> Any:
    """`missing-reference`: a name that exists but is in no page of the reference, a module's say, stays as it is."""
    return content if node.get("lmhead_name") else None


@cache
def exists(dotted: str) -> bool:
    """Whether the library has that: a module, or what is reached from one by its attributes."""
    first, *rest = dotted.split(".")
    value: Any = import_module(first)
    path = first
    for name in rest:
        path = f"{path}.{name}"
        if hasattr(value, name):
            value = getattr(value, name)
            continue
        try:
            value = import_module(path)
        except ModuleNotFoundError:
            return False
    return True


def _nearest(dotted: str) -> str:
    """: did you mean lmhead.patch? Or nothing."""
    library = import_module("lmhead")
    public: list[str] = [f"lmhead.{name}" for name in library.__all__]
    public += [f"lmhead.figures.{name}" for name in import_module("lmhead.figures").__all__]
    return "".join(f": did you mean {name}?" for name in get_close_matches(dotted, public, n=1, cutoff=0.7))


@cache
def unmistakable_names() -> frozenset[str]:
    """Public names that mean nothing else: ChatLabeler, linear_cross_entropy; not patch, nor torch's cross_entropy."""
    import torch

    public: list[str] = import_module("lmhead").__all__
    others = {*dir(torch.nn), *dir(torch.nn.functional), *dir(torch.optim)}
    return frozenset(name for name in public if name not in others and re.search(r"[A-Z]|_", name.strip("_")))


def _is_within(node: nodes.Node, *kinds: type[nodes.Node]) -> bool:
    parent = node.parent
    while parent is not None:
        if isinstance(parent, kinds):
            return True
        parent = parent.parent
    return False
