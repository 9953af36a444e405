"""Imports point down only, and the core needs no optional package. Read from the source: nothing is imported here."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "lmhead"
LAYERS = [  # from the bottom
    {"errors", "shown", "version"},
    {"ops"},
    {"labels"},
    {"losses"},
    {"heads"},
    {"metrics"},
    {"models"},
    {"data"},  # files -> labelled examples
    {"generation"},  # below training, which samples along the way
    {"training"},
    {"report"},
    {"cli"},
]
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}
OPTIONAL = {
    "transformers",
    "datasets",
    "accelerate",
    "pyarrow",
    "matplotlib",
    "tensorboard",
    "wandb",
    "trackio",
    "peft",
    "triton",
}
KERNELS = {"ops/triton/kernels.py", "ops/triton/row_math.py", "ops/triton/row_pass.py"}  # Triton's decorators need it
FILES = sorted(PACKAGE.rglob("*.py"))

# `lmhead/__init__.py` gathers the public names of all layers, `__main__.py` starts the top one; neither is imported.
ROOTS = {"__init__.py", "__main__.py"}


def layer_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(nodes: Iterator[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def executed_on_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node outside functions and `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from executed_on_import(node)


def faults(source: str, layer: str) -> list[str]:
    """Imports from a layer above, anywhere in a file of `layer`."""
    found = []
    for name in imported(ast.walk(ast.parse(source))):
        package, _, rest = name.partition(".")
        if package != "lmhead":
            continue
        target = rest.partition(".")[0]
        if target not in HEIGHT:
            found.append(f"{name}: import from the module that defines it, not from the package")
        elif HEIGHT[target] > HEIGHT[layer]:
            found.append(f"{name}: {target} is above {layer}")
    # `from lmhead import x` yields "lmhead" and "lmhead.x"; the first says nothing where the second is a layer
    layers = {f"lmhead.{name}" for name in HEIGHT}
    names = set(imported(ast.walk(ast.parse(source))))
    return sorted(fault for fault in set(found) if not (fault.startswith("lmhead:") and names & layers))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_down(file):
    if file.parent == PACKAGE and file.name in ROOTS:
        return
    assert layer_of(file) in HEIGHT, "a new layer: put it in LAYERS, where the design puts it"
    assert faults(file.read_text(), layer_of(file)) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_optional_package_is_imported_at_the_top(file):
    modules = set(imported(executed_on_import(ast.parse(file.read_text()))))
    names = {name.partition(".")[0] for name in modules}
    if file.relative_to(PACKAGE).as_posix() in KERNELS:
        assert names & OPTIONAL == {"triton"}
        return
    assert names & OPTIONAL == set()
    assert modules & {f"lmhead.{kernels.removesuffix('.py').replace('/', '.')}" for kernels in KERNELS} == set()


@pytest.mark.parametrize(
    ("source", "layer", "wrong"),
    [
        ("from lmhead.ops.problem import Problem", "losses", False),
        ("from lmhead.losses.next_token import x", "ops", True),
        ("def f():\n    import lmhead.cli.main", "training", True),
        ("from lmhead import linear_cross_entropy", "heads", True),
        ("from lmhead import errors", "ops", False),
        ("import lmhead", "heads", True),
        ("import torch", "ops", False),
    ],
)
def test_the_rule_itself(source, layer, wrong):
    assert bool(faults(source, layer)) == wrong


def test_importing_lmhead_needs_torch_and_nothing_optional():
    program = (
        "import sys, lmhead; lmhead.linear_cross_entropy; print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120)
    loaded = set(done.stdout.split())
    assert "torch" in loaded
    assert loaded & (OPTIONAL | {"tokenizers", "safetensors", "tyro", "rich", "jinja2", "yaml"}) == set()
