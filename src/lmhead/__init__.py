"""lmhead: everything between a causal language model's hidden states and its gradient.

Names are imported when they are first used, so that the command line's help does not wait for torch. Type checkers
read the imports and `__all__`, Python reads `_MODULES`; tests/test_public_names.py holds them together.
"""

import importlib
from typing import TYPE_CHECKING

from lmhead.errors import (
    IGNORE_INDEX,
    ArgumentError,
    ArgumentTypeError,
    ConversationError,
    InputError,
    LmheadError,
    NonFiniteError,
    NotTransparentError,
    TemplateError,
)
from lmhead.version import __version__

_MODULES = {
    "AuditReport": "lmhead.inspection.batch.audit_report",
    "BitsPerByteMetric": "lmhead.metrics.bits_per_byte",
    "ChatConfig": "lmhead.data.labelling.chat_config",
    "ChatLabeler": "lmhead.labels.chat.labeler",
    "CombinedLMHead": "lmhead.heads.combined",
    "Comparison": "lmhead.evaluation.comparison.comparison",
    "ContextShard": "lmhead.labels.packing.context_shard",
    "DepthWeighting": "lmhead.losses.depth_weighting",
    "DoctorReport": "lmhead.inspection.doctor.report",
    "DocumentOptions": "lmhead.evaluation.documents.document_options",
    "EvaluationAudit": "lmhead.evaluation.audit.evaluation_audit",
    "EvaluationCard": "lmhead.evaluation.card.evaluation_card",
    "EvaluationMixin": "lmhead.trainers.evaluation",
    "EvaluationResult": "lmhead.evaluation.evaluation_result",
    "Example": "lmhead.labels.example",
    "Finding": "lmhead.inspection.finding",
    "GPT": "lmhead.models.gpt",
    "GPTConfig": "lmhead.models.config",
    "Inspection": "lmhead.inspection.tokens.inspection",
    "IsolationReport": "lmhead.inspection.isolation.isolation_report",
    "LabelledData": "lmhead.data.labelling.data_set",
    "LambdaSchedule": "lmhead.losses.lambda_schedule",
    "LanguageModelingHead": "lmhead.heads.language_modeling",
    "LanguageModelingLoss": "lmhead.losses.next_token",
    "LoraOptions": "lmhead.models.transformers.lora_options",
    "LowRankAdapter": "lmhead.ops.adapter",
    "MultiTokenModel": "lmhead.models.multi_token.multi_token_model",
    "MultiTokenPredictionHead": "lmhead.heads.parallel_multi_token",
    "MultiTokenPredictionLoss": "lmhead.losses.multi_token",
    "MultiTokenPredictor": "lmhead.models.multi_token.predictor",
    "MultiTokenStyle": "lmhead.models.multi_token.style",
    "PackedBatch": "lmhead.labels.packing.packed_batch",
    "PackedCollator": "lmhead.trainers.collators",
    "PackedRows": "lmhead.labels.packing.packed_rows",
    "PackedStream": "lmhead.labels.packing.packed_rows",
    "PackingReport": "lmhead.labels.packing.packing_report",
    "PaddedCollator": "lmhead.trainers.collators",
    "Patch": "lmhead.models.transformers.patching.patch",
    "PerplexityMetric": "lmhead.metrics.perplexity",
    "PretrainedCausalLM": "lmhead.models.transformers.pretrained_causal_lm",
    "Reason": "lmhead.labels.targets",
    "Recipe": "lmhead.data.labelling.recipe",
    "SFTMixin": "lmhead.trainers.sft",
    "StatisticsCallback": "lmhead.trainers.statistics_callback",
    "Targets": "lmhead.labels.targets",
    "TokenAccuracyMetric": "lmhead.metrics.accuracy",
    "TokenLogprobs": "lmhead.ops.logprobs",
    "TokenMean": "lmhead.losses.token_mean",
    "TokenStatistics": "lmhead.ops.problem",
    "VocabularyShard": "lmhead.ops.sharded.vocabulary_shard",
    "WrappedHead": "lmhead.heads.wrapped",
    "audit": "lmhead.inspection.batch.audit",
    "audit_evaluation": "lmhead.evaluation.audit_evaluation",
    "causal_lm_loss": "lmhead.losses.next_token",
    "check_isolation": "lmhead.inspection.isolation.isolation",
    "compare": "lmhead.evaluation.comparison.compare",
    "cross_entropy": "lmhead.losses.cross_entropy",
    "depth_weights": "lmhead.losses.token_mean",
    "evaluate": "lmhead.evaluation.evaluate",
    "examine": "lmhead.inspection.doctor.examine",
    "inspect": "lmhead.inspection.tokens.inspect",
    "label_files": "lmhead.data.labelling.label_files",
    "label_samples": "lmhead.data.labelling.label_files",
    "last_statistics": "lmhead.models.transformers.patching.patch",
    "linear_cross_entropy": "lmhead.ops.linear_cross_entropy",
    "linear_divergence": "lmhead.ops.divergence.linear_divergence",
    "load_pretrained": "lmhead.models.transformers.formats.pretrained",
    "multi_token_loss": "lmhead.losses.multi_token",
    "pack": "lmhead.labels.packing.packed_rows",
    "pack_stream": "lmhead.labels.packing.packed_rows",
    "patch": "lmhead.models.transformers.patching.patch",
    "read_samples": "lmhead.data.formats.formats",
    "read_tokenizer": "lmhead.data.tokenizer.tokenizer_files",
    "release_workspace": "lmhead.ops.products.workspace",
    "sample": "lmhead.generation.sampling",
    "save_pretrained": "lmhead.models.transformers.formats.pretrained",
    "scored_weight": "lmhead.losses.token_mean",
    "shift_labels": "lmhead.labels.targets",
    "simulate_drafts": "lmhead.evaluation.held_out.simulated_drafts",
    "speculate": "lmhead.generation.speculative",
    "speculative_sample": "lmhead.generation.speculative",
    "token_logprobs": "lmhead.ops.logprobs",
    "trainer_dataset": "lmhead.trainers.dataset",
    "unpatch": "lmhead.models.transformers.patching.patch",
}

if TYPE_CHECKING:
    from lmhead.data.formats.formats import read_samples
    from lmhead.data.labelling.chat_config import ChatConfig
    from lmhead.data.labelling.data_set import LabelledData
    from lmhead.data.labelling.label_files import label_files, label_samples
    from lmhead.data.labelling.recipe import Recipe
    from lmhead.data.tokenizer.tokenizer_files import read_tokenizer
    from lmhead.evaluation.audit.evaluation_audit import EvaluationAudit
    from lmhead.evaluation.audit_evaluation import audit_evaluation
    from lmhead.evaluation.card.evaluation_card import EvaluationCard
    from lmhead.evaluation.comparison.compare import compare
    from lmhead.evaluation.comparison.comparison import Comparison
    from lmhead.evaluation.documents.document_options import DocumentOptions
    from lmhead.evaluation.evaluate import evaluate
    from lmhead.evaluation.evaluation_result import EvaluationResult
    from lmhead.evaluation.held_out.simulated_drafts import simulate_drafts
    from lmhead.generation.sampling import sample
    from lmhead.generation.speculative import speculate, speculative_sample
    from lmhead.heads.combined import CombinedLMHead
    from lmhead.heads.language_modeling import LanguageModelingHead
    from lmhead.heads.parallel_multi_token import MultiTokenPredictionHead
    from lmhead.heads.wrapped import WrappedHead
    from lmhead.inspection.batch.audit import audit
    from lmhead.inspection.batch.audit_report import AuditReport
    from lmhead.inspection.doctor.examine import examine
    from lmhead.inspection.doctor.report import DoctorReport
    from lmhead.inspection.finding import Finding
    from lmhead.inspection.isolation.isolation import check_isolation
    from lmhead.inspection.isolation.isolation_report import IsolationReport
    from lmhead.inspection.tokens.inspect import inspect
    from lmhead.inspection.tokens.inspection import Inspection
    from lmhead.labels.chat.labeler import ChatLabeler
    from lmhead.labels.example import Example
    from lmhead.labels.packing.context_shard import ContextShard
    from lmhead.labels.packing.packed_batch import PackedBatch
    from lmhead.labels.packing.packed_rows import PackedRows, PackedStream, pack, pack_stream
    from lmhead.labels.packing.packing_report import PackingReport
    from lmhead.labels.targets import Reason, Targets, shift_labels
    from lmhead.losses.cross_entropy import cross_entropy
    from lmhead.losses.depth_weighting import DepthWeighting
    from lmhead.losses.lambda_schedule import LambdaSchedule
    from lmhead.losses.multi_token import MultiTokenPredictionLoss, multi_token_loss
    from lmhead.losses.next_token import LanguageModelingLoss, causal_lm_loss
    from lmhead.losses.token_mean import TokenMean, depth_weights, scored_weight
    from lmhead.metrics.accuracy import TokenAccuracyMetric
    from lmhead.metrics.bits_per_byte import BitsPerByteMetric
    from lmhead.metrics.perplexity import PerplexityMetric
    from lmhead.models.config import GPTConfig
    from lmhead.models.gpt import GPT
    from lmhead.models.multi_token.multi_token_model import MultiTokenModel
    from lmhead.models.multi_token.predictor import MultiTokenPredictor
    from lmhead.models.multi_token.style import MultiTokenStyle
    from lmhead.models.transformers.formats.pretrained import load_pretrained, save_pretrained
    from lmhead.models.transformers.lora_options import LoraOptions
    from lmhead.models.transformers.patching.patch import Patch, last_statistics, patch, unpatch
    from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM
    from lmhead.ops.adapter import LowRankAdapter
    from lmhead.ops.divergence.linear_divergence import linear_divergence
    from lmhead.ops.linear_cross_entropy import linear_cross_entropy
    from lmhead.ops.logprobs import TokenLogprobs, token_logprobs
    from lmhead.ops.problem import TokenStatistics
    from lmhead.ops.products.workspace import release_workspace
    from lmhead.ops.sharded.vocabulary_shard import VocabularyShard
    from lmhead.trainers.collators import PackedCollator, PaddedCollator
    from lmhead.trainers.dataset import trainer_dataset
    from lmhead.trainers.evaluation import EvaluationMixin
    from lmhead.trainers.sft import SFTMixin
    from lmhead.trainers.statistics_callback import StatisticsCallback
else:  # a type checker that saw __getattr__ would believe in any name

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module 'lmhead' has no attribute {name!r}")
        value = getattr(importlib.import_module(_MODULES[name]), name)
        globals()[name] = value
        return value


__all__ = [  # noqa: RUF022 (as sorted() sorts)
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


def __dir__() -> list[str]:
    return __all__
