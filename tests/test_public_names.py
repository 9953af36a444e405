"""The public names, pinned: adding one is a decision, losing one breaks somebody's program."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lmhead

NAMES = [
    "ArgumentError",
    "ArgumentTypeError",
    "AuditReport",
    "BitsPerByteMetric",
    "ChatConfig",
    "ChatLabeler",
    "CombinedLMHead",
    "Comparison",
    "ContextShard",
    "ConversationError",
    "DepthWeighting",
    "DoctorReport",
    "DocumentOptions",
    "EvaluationAudit",
    "EvaluationCard",
    "EvaluationMixin",
    "EvaluationResult",
    "Example",
    "Finding",
    "GPT",
    "GPTConfig",
    "IGNORE_INDEX",
    "InputError",
    "Inspection",
    "IsolationReport",
    "LabelledData",
    "LambdaSchedule",
    "LanguageModelingHead",
    "LanguageModelingLoss",
    "LmheadError",
    "LoraOptions",
    "LowRankAdapter",
    "MultiTokenModel",
    "MultiTokenPredictionHead",
    "MultiTokenPredictionLoss",
    "MultiTokenPredictor",
    "MultiTokenStyle",
    "NonFiniteError",
    "NotTransparentError",
    "PackedBatch",
    "PackedCollator",
    "PackedRows",
    "PackedStream",
    "PackingReport",
    "PaddedCollator",
    "Patch",
    "PerplexityMetric",
    "PretrainedCausalLM",
    "Reason",
    "Recipe",
    "SFTMixin",
    "StatisticsCallback",
    "Targets",
    "TemplateError",
    "TokenAccuracyMetric",
    "TokenLogprobs",
    "TokenMean",
    "TokenStatistics",
    "VocabularyShard",
    "WrappedHead",
    "__version__",
    "audit",
    "audit_evaluation",
    "causal_lm_loss",
    "check_isolation",
    "compare",
    "cross_entropy",
    "depth_weights",
    "evaluate",
    "examine",
    "inspect",
    "label_files",
    "label_samples",
    "last_statistics",
    "linear_cross_entropy",
    "linear_divergence",
    "load_pretrained",
    "multi_token_loss",
    "pack",
    "pack_stream",
    "patch",
    "read_samples",
    "read_tokenizer",
    "release_workspace",
    "sample",
    "save_pretrained",
    "scored_weight",
    "shift_labels",
    "simulate_drafts",
    "speculate",
    "speculative_sample",
    "token_logprobs",
    "trainer_dataset",
    "unpatch",
]


def test_all_is_sorted_and_pinned():
    assert sorted(lmhead.__all__) == lmhead.__all__
    assert lmhead.__all__ == NAMES
    assert dir(lmhead) == NAMES


def test_every_name_is_there():
    assert all(getattr(lmhead, name) is not None for name in lmhead.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'lmhead' has no attribute 'nonsense'"):
        lmhead.nonsense  # noqa: B018


def imports_for_type_checkers() -> Iterator[tuple[str, str]]:
    """(name, module) of every import under `if TYPE_CHECKING`."""
    tree = ast.parse(Path(lmhead.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        yield from ((alias.name, node.module) for alias in node.names)


def test_type_checkers_and_python_import_the_same():
    assert dict(imports_for_type_checkers()) == lmhead._MODULES


def test_what_is_imported_at_once_is_the_rest():
    assert set(lmhead.__all__) - set(lmhead._MODULES) == {
        "ArgumentError",
        "ArgumentTypeError",
        "ConversationError",
        "IGNORE_INDEX",
        "InputError",
        "LmheadError",
        "NonFiniteError",
        "NotTransparentError",
        "TemplateError",
        "__version__",
    }


def test_importing_lmhead_imports_no_torch():
    program = "import sys, lmhead; dir(lmhead); lmhead.GPTConfig; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
