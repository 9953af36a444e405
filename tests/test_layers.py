"""Imports point down only, and the core needs no optional package. Read from the source: nothing is imported here."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "lmhead"
LAYERS = [  # from the bottom; a folder stands for all that is in it and is not named itself
    {"options", "shown", "stop_signals", "version"},
    {"errors"},
    {"packages"},
    {"ops"},
    {"ops/products"},
    {"ops/prepare"},
    {"ops/chunked", "ops/triton", "ops/divergence"},  # Triton shares the order by the vocabulary
    {"ops/backends"},
    {"ops/autograd"},
    {"ops/linear_cross_entropy", "ops/logprobs", "ops/divergence/linear_divergence"},
    {"labels"},
    {"labels/template", "labels/offsets", "labels/collated"},
    {"labels/conversation", "labels/packing"},
    {"labels/chat"},
    {"losses"},
    {"heads"},
    {"metrics"},
    {"record"},  # what reports read; whoever has something to show writes one
    {"models"},
    {"models/transformers/formats", "models/transformers/patching"},
    {"models/transformers"},
    {"ranks"},  # of a run: what its processes do together
    {"scaling"},  # what they would take
    {"data/rows"},  # files -> rows of columns
    {"data/formats"},  # -> samples
    {"data/tokenizer"},
    {"data/labelling"},  # -> labelled examples
    {"data/sets"},  # what a run reads
    {"data/tokens"},  # texts -> ids
    {"inspection", "inspection/tokens/token_text"},
    {"inspection/batch", "inspection/isolation"},
    {"inspection/doctor"},
    {"batches"},
    {"generation"},  # below training, which samples along the way
    {"evaluation", "evaluation/documents/document"},
    {"evaluation/held_out"},
    {"training/config"},
    {"training/run"},
    {"training/weights"},
    {"training"},
    {"trainers"},  # of other libraries
    {"tracking"},  # by other libraries
    {"report"},
    {"given"},  # anybody's model and tokenizer
    {"evaluation/documents"},  # data -> what is scored of them, by whichever tokenizer
    {"evaluation/folder"},
    {"inspection/tokens"},  # data, batches and models -> a record of tokens, and its page
    {"evaluation/card"},  # what an evaluation came to
    {"evaluation/evaluation_result", "evaluation/against_base"},
    {"evaluation/comparison"},  # of two results; draws a part of a page
    {"evaluation/prepared_evaluation"},
    {"evaluation/evaluate", "evaluation/audit_evaluation"},
    {"figures"},
    {"cli/flags"},
    {"cli"},
]
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}
OPTIONAL = {
    "transformers",
    "datasets",
    "accelerate",
    "pyarrow",
    "matplotlib",
    "peft",
    "trl",
    "liger_kernel",
    "bitsandbytes",
    "tensorboard",
    "wandb",
    "trackio",
    "triton",
}
KERNELS = {
    f"ops/triton/{name}.py" for name in ("kernels", "row_math", "row_pass", "row_top")
}  # whose decorators need Triton
FILES = sorted(PACKAGE.rglob("*.py"))

# `lmhead/__init__.py` gathers the public names of all layers, `__main__.py` starts the top one; neither is imported.
ROOTS = {"__init__.py", "__main__.py"}


def unit_of(parts: tuple[str, ...]) -> str | None:
    """The layer's own name of a module or of what it defines: the longest beginning that is named."""
    names = ("/".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((name for name in names if name in HEIGHT), None)


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def layer_of(file: Path) -> str | None:
    return unit_of(file.relative_to(PACKAGE).with_suffix("").parts)


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


def faults(tree: ast.Module, layer: str) -> list[str]:
    """Imports from a layer above, anywhere in a file of `layer`."""
    found = set()
    for node in ast.walk(tree):
        for name in imported(iter([node])):
            package, *rest = name.split(".")
            if package != "lmhead" or (isinstance(node, ast.ImportFrom) and name == node.module):
                continue  # `from m import x` is judged as m.x, which says more
            target = unit_of(tuple(rest))
            if target is None:
                found.add(f"{name}: import from the module that defines it, not from the package")
            elif HEIGHT[target] > HEIGHT[layer]:
                found.add(f"{name}: {target} is above {layer}")
    return sorted(found)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_down(file):
    if file.parent == PACKAGE and file.name in ROOTS:
        return
    layer = layer_of(file)
    if layer is None and file.name == "__init__.py":
        assert not list(imported(ast.walk(parsed(file)))), "a folder of layers imports nothing"
        return
    assert layer is not None, "a new layer: put it in LAYERS, where docs/about/architecture.md puts it"
    assert faults(parsed(file), layer) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_optional_package_is_imported_at_the_top(file):
    modules = set(imported(executed_on_import(parsed(file))))
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
        ("from lmhead.data.labelling import label_files", "data/rows", True),
        ("from lmhead.data.rows.row_error import broken", "data/formats", False),
        ("from lmhead import linear_cross_entropy", "heads", True),
        ("from lmhead import errors", "ops", False),
        ("import lmhead", "heads", True),
        ("import torch", "ops", False),
    ],
)
def test_the_rule_itself(source, layer, wrong):
    assert bool(faults(ast.parse(source), layer)) == wrong


def test_importing_lmhead_needs_torch_and_nothing_optional():
    program = (
        "import sys, lmhead; lmhead.linear_cross_entropy; print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120)
    loaded = set(done.stdout.split())
    assert "torch" in loaded
    assert loaded & (OPTIONAL | {"tokenizers", "safetensors", "rich", "jinja2", "yaml"}) == set()
