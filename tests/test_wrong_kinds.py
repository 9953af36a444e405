"""Who gives a public function the wrong kind of thing is told so in the library's words, not in torch's or Python's."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from torch import nn

import lmhead

B, T, D, V = 2, 5, 8, 9
IDS = torch.ones(B, T, dtype=torch.long)
HIDDEN, WEIGHT, LOGITS = torch.zeros(B, T, D), torch.zeros(V, D), torch.zeros(B, T, V)
TARGETS = lmhead.Targets.from_labels(IDS)
EXAMPLE = lmhead.Example.of([1, 2, 3], trained=[True] * 3)
PACKED = lmhead.pack([EXAMPLE], length=4, overflow="drop")
HEAD, COMBINED = lmhead.LanguageModelingHead(D, V), lmhead.CombinedLMHead(D, V)
PARALLEL, MODEL = lmhead.MultiTokenPredictionHead(D, V), lmhead.GPT(V, D, 2, 1)
TOKENIZER = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
MULTI = lmhead.MultiTokenModel.behind(MODEL)
PREDICTOR = lmhead.MultiTokenPredictor(D, block=lambda index: nn.Identity())

VALUES = {
    "a tensor": torch.zeros(B, T, D + 3),
    "Targets": TARGETS,
    "a list": [1.5, 2],
    "None": None,
    "an array": np.zeros((B, T, D)),
    "an Example": EXAMPLE,
    "a number": 1.5,
}
ANY = frozenset(VALUES)
BUT_NUMBERS = ANY - {"a number"}
BUT_NONE = ANY - {"None"}

# what is called -> (the call, the values that are of the wrong kind for it)
CALLS = {
    "BitsPerByteMetric.update": (
        lambda x: lmhead.BitsPerByteMetric().update(x, num_bytes=3), BUT_NUMBERS - {"a tensor"},
    ),
    "BitsPerByteMetric.merge": (lmhead.BitsPerByteMetric().merge, ANY),
    "BitsPerByteMetric.from_state": (lmhead.BitsPerByteMetric.from_state, ANY),
    "PerplexityMetric": (lmhead.PerplexityMetric, ANY),
    "PerplexityMetric.update": (lambda x: lmhead.PerplexityMetric().update(x, targets=IDS), ANY - {"a tensor"}),
    "PerplexityMetric.update, targets": (
        lambda x: lmhead.PerplexityMetric().update(LOGITS, targets=x), ANY - {"Targets"},
    ),
    "PerplexityMetric()": (lambda x: lmhead.PerplexityMetric(ids="labels")(LOGITS, x), ANY),
    "PerplexityMetric.merge": (lmhead.PerplexityMetric().merge, ANY),
    "PerplexityMetric.from_state": (lmhead.PerplexityMetric.from_state, ANY),
    "TokenAccuracyMetric.update": (lambda x: lmhead.TokenAccuracyMetric().update(x, targets=IDS), ANY - {"a tensor"}),
    "TokenAccuracyMetric.merge": (lmhead.TokenAccuracyMetric().merge, ANY),
    "TokenAccuracyMetric.from_state": (lmhead.TokenAccuracyMetric.from_state, ANY),
    "TokenMean.add": (lambda x: lmhead.TokenMean().add(x, 1), BUT_NUMBERS - {"a tensor"}),
    "TokenMean.merge": (lmhead.TokenMean().merge, ANY),
    "TokenMean.from_state": (lmhead.TokenMean.from_state, ANY),
    "scored_weight": (lmhead.scored_weight, ANY - {"Targets"}),
    "scored_weight, in a list": (lambda x: lmhead.scored_weight([TARGETS, x]), ANY - {"Targets"}),
    "depth_weights": (lambda x: lmhead.depth_weights(x, mtp_depth=1), ANY - {"Targets"}),
    "depth_weights, mtp_depth": (lambda x: lmhead.depth_weights(TARGETS, mtp_depth=x), ANY),
    "shift_labels": (lmhead.shift_labels, ANY),
    "ContextShard.of": (lambda x: lmhead.ContextShard.of(x, TARGETS, rank=0, size=1), ANY),
    "ContextShard.of, targets": (lambda x: lmhead.ContextShard.of(IDS, x, rank=0, size=1), ANY - {"Targets"}),
    "VocabularyShard.of": (lambda x: lmhead.VocabularyShard.of(x, None), ANY),
    "VocabularyShard, group": (lambda x: lmhead.VocabularyShard(0, 4, x), ANY),
    "Targets.from_labels": (lmhead.Targets.from_labels, ANY),
    "Targets.from_labels, mask": (lambda x: lmhead.Targets.from_labels(IDS, attention_mask=x), BUT_NONE),
    "Targets.from_labels, ignore_index": (lambda x: lmhead.Targets.from_labels(IDS, ignore_index=x), ANY),
    "Targets.from_targets": (lmhead.Targets.from_targets, ANY),
    "Targets.at": (TARGETS.at, ANY),
    "Targets.weighted": (TARGETS.weighted, ANY),
    "cross_entropy": (lambda x: lmhead.cross_entropy(x, IDS), ANY - {"a tensor"}),
    "cross_entropy, targets": (lambda x: lmhead.cross_entropy(LOGITS, x), ANY),
    "cross_entropy, divisor": (lambda x: lmhead.cross_entropy(LOGITS, IDS, divisor=x), BUT_NUMBERS - {"None"}),
    "cross_entropy, reduction": (lambda x: lmhead.cross_entropy(LOGITS, IDS, reduction=x), ANY),
    "causal_lm_loss": (lambda x: lmhead.causal_lm_loss(x, IDS), ANY - {"a tensor"}),
    "causal_lm_loss, labels": (lambda x: lmhead.causal_lm_loss(LOGITS, x), BUT_NONE),
    "LanguageModelingLoss": (lmhead.LanguageModelingLoss, ANY),
    "LanguageModelingLoss()": (lambda x: lmhead.LanguageModelingLoss(V)(x, labels=IDS), ANY),
    "LanguageModelingLoss(), ids": (lambda x: lmhead.LanguageModelingLoss(V, ids="labels")(LOGITS, x), ANY),
    "MultiTokenPredictionLoss": (lmhead.MultiTokenPredictionLoss, ANY),
    "MultiTokenPredictionLoss, mtp_lambda": (lambda x: lmhead.MultiTokenPredictionLoss(V, 1, x), BUT_NUMBERS),
    "MultiTokenPredictionLoss()": (lambda x: lmhead.MultiTokenPredictionLoss(V)(x, [LOGITS], labels=IDS), ANY),
    "MultiTokenPredictionLoss(), mtp": (lambda x: lmhead.MultiTokenPredictionLoss(V)(LOGITS, x, labels=IDS), BUT_NONE),
    "MultiTokenPredictionLoss(), divisor": (
        lambda x: lmhead.MultiTokenPredictionLoss(V)(LOGITS, [LOGITS], labels=IDS, divisor=x), BUT_NONE,
    ),
    "DepthWeighting": (lambda x: lmhead.DepthWeighting(mtp_lambda=x), BUT_NUMBERS - {"a list"}),
    "DepthWeighting, in a list": (lambda x: lmhead.DepthWeighting(mtp_lambda=[x]), BUT_NUMBERS),
    "LambdaSchedule": (lambda x: lmhead.LambdaSchedule(first=x), BUT_NUMBERS - {"a list"}),
    "LambdaSchedule, after": (lambda x: lmhead.LambdaSchedule(after=x), ANY),
    "LambdaSchedule.at": (lmhead.LambdaSchedule().at, BUT_NUMBERS),
    "multi_token_loss": (lambda x: lmhead.multi_token_loss(x, WEIGHT, TARGETS), ANY),
    "multi_token_loss, in a list": (lambda x: lmhead.multi_token_loss([HIDDEN, x], WEIGHT, TARGETS), ANY),
    "multi_token_loss, weight": (lambda x: lmhead.multi_token_loss([HIDDEN], x, TARGETS), ANY),
    "multi_token_loss, targets": (lambda x: lmhead.multi_token_loss([HIDDEN], WEIGHT, x), ANY - {"Targets"}),
    "multi_token_loss, weighting": (
        lambda x: lmhead.multi_token_loss([HIDDEN], WEIGHT, TARGETS, weighting=x), BUT_NONE,
    ),
    "linear_cross_entropy": (lambda x: lmhead.linear_cross_entropy(x, WEIGHT, IDS), ANY),
    "linear_cross_entropy, targets": (lambda x: lmhead.linear_cross_entropy(HIDDEN, WEIGHT, x), ANY),
    "linear_divergence": (lambda x: lmhead.linear_divergence(HIDDEN, WEIGHT, x, WEIGHT), ANY),
    "linear_divergence, kind": (lambda x: lmhead.linear_divergence(HIDDEN, WEIGHT, HIDDEN, WEIGHT, kind=x), ANY),
    "linear_divergence, backend": (
        lambda x: lmhead.linear_divergence(HIDDEN, WEIGHT, HIDDEN, WEIGHT, backend=x), BUT_NONE,
    ),
    "token_logprobs": (lambda x: lmhead.token_logprobs(HIDDEN, WEIGHT, x), ANY),
    "LowRankAdapter": (
        lambda x: lmhead.linear_cross_entropy(HIDDEN, WEIGHT, IDS, adapter=lmhead.LowRankAdapter(down=x, up=x)), ANY,
    ),
    "LanguageModelingHead": (lambda x: lmhead.LanguageModelingHead(x, V), ANY),
    "LanguageModelingHead()": (HEAD, ANY),
    "LanguageModelingHead.loss": (lambda x: HEAD.loss(x, labels=IDS), ANY),
    "LanguageModelingHead.loss, targets": (lambda x: HEAD.loss(HIDDEN, targets=x), ANY - {"Targets"}),
    "LanguageModelingHead.multi_token_loss": (lambda x: HEAD.multi_token_loss(x, labels=IDS), ANY),
    "LanguageModelingHead.tie": (HEAD.tie_embedding_weights, ANY),
    "WrappedHead": (lmhead.WrappedHead, ANY),
    "WrappedHead()": (lmhead.WrappedHead(nn.Linear(D, V)), ANY - {"a tensor"}),
    "MultiTokenPredictionHead": (lambda x: lmhead.MultiTokenPredictionHead(D, V, x), ANY),
    "MultiTokenPredictionHead()": (PARALLEL, ANY),
    "MultiTokenPredictionHead.losses": (lambda x: PARALLEL.losses([x], labels=IDS), ANY),
    "CombinedLMHead": (lambda x: lmhead.CombinedLMHead(D, x), ANY),
    "CombinedLMHead()": (COMBINED, ANY),
    "CombinedLMHead(), mtp": (lambda x: COMBINED(HIDDEN, x), BUT_NONE),
    "CombinedLMHead.loss": (lambda x: COMBINED.loss(x, [HIDDEN], labels=IDS), ANY),
    "CombinedLMHead.loss, mtp": (lambda x: COMBINED.loss(HIDDEN, [x], labels=IDS), ANY),
    "CombinedLMHead.loss, divisor": (lambda x: COMBINED.loss(HIDDEN, [HIDDEN], labels=IDS, divisor=x), BUT_NONE),
    "GPT": (lambda x: lmhead.GPT(x, D, 2, 1), ANY),
    "GPT()": (MODEL, ANY),
    "GPT.loss, document": (lambda x: MODEL.loss(IDS, IDS, document=x), BUT_NONE),
    "GPT.from_config": (lmhead.GPT.from_config, ANY),
    "MultiTokenPredictor": (lambda x: lmhead.MultiTokenPredictor(x, block=MODEL.new_block), ANY),
    "MultiTokenPredictor, style": (
        lambda x: lmhead.MultiTokenPredictor(D, block=MODEL.new_block, style=x), BUT_NONE,
    ),
    "MultiTokenPredictor()": (lambda x: PREDICTOR(x, HIDDEN), ANY),
    "MultiTokenPredictor(), embedded": (lambda x: PREDICTOR(HIDDEN, x), ANY),
    "MultiTokenStyle": (lambda x: lmhead.MultiTokenStyle(order=x), ANY),
    "MultiTokenModel": (lambda x: lmhead.MultiTokenModel(x, PARALLEL), ANY),
    "MultiTokenModel, mtp": (lambda x: lmhead.MultiTokenModel(MODEL, x), ANY),
    "MultiTokenModel.behind": (lmhead.MultiTokenModel.behind, ANY),
    "MultiTokenModel.behind, depth": (lambda x: lmhead.MultiTokenModel.behind(MODEL, depth=x), ANY),
    "MultiTokenModel.behind, kind": (lambda x: lmhead.MultiTokenModel.behind(MODEL, kind=x), ANY),
    "MultiTokenModel.multi_token_loss": (lambda x: MULTI.multi_token_loss(x, TARGETS), ANY),
    "MultiTokenModel.multi_token_loss, targets": (lambda x: MULTI.multi_token_loss(IDS, x), ANY - {"Targets"}),
    "sample": (lambda x: lmhead.sample(x, [1], max_new_tokens=1), ANY),
    "sample, ids": (lambda x: lmhead.sample(MODEL, x, max_new_tokens=1), ANY),
    "speculate": (lambda x: lmhead.speculate(x, [[1]], max_new_tokens=1), ANY),
    "speculate, prompts": (lambda x: lmhead.speculate(MULTI, x, max_new_tokens=1), ANY),
    "speculate, a prompt": (lambda x: lmhead.speculate(MULTI, [x], max_new_tokens=1), ANY),
    "speculate, draft_tokens": (lambda x: lmhead.speculate(MULTI, [[1]], max_new_tokens=1, draft_tokens=x), BUT_NONE),
    "speculative_sample": (lambda x: lmhead.speculative_sample(x, [1], max_new_tokens=1), ANY),
    "speculative_sample, ids": (lambda x: lmhead.speculative_sample(MULTI, x, max_new_tokens=1), ANY),
    "simulate_drafts": (lambda x: lmhead.simulate_drafts(x, [[1, 2]]), ANY),
    "simulate_drafts, rows": (lambda x: lmhead.simulate_drafts(MULTI, x), ANY),
    "simulate_drafts, a row": (lambda x: lmhead.simulate_drafts(MULTI, [[1, 2], x]), ANY),
    "simulate_drafts, begin": (lambda x: lmhead.simulate_drafts(MULTI, [[1, 2]], begin=x), ANY),
    "load_pretrained": (lmhead.load_pretrained, ANY),
    "save_pretrained": (lambda x: lmhead.save_pretrained(x, "nowhere"), ANY),
    "check_isolation": (lambda x: lmhead.check_isolation(x, PACKED.take(0, 1)), ANY),
    "check_isolation, batch": (lambda x: lmhead.check_isolation(MODEL, x), ANY),
    "Example.of": (lambda x: lmhead.Example.of(x, trained=[True] * 3), ANY - {"a list"}),
    "Example.of, trained": (lambda x: lmhead.Example.of([1, 2, 3], trained=x), ANY - {"a list"}),
    "pack": (lambda x: lmhead.pack(x, length=4, overflow="drop"), ANY),
    "pack, in a list": (lambda x: lmhead.pack([x], length=4, overflow="drop"), ANY - {"an Example"}),
    "pack, length": (lambda x: lmhead.pack([EXAMPLE], length=x, overflow="drop"), ANY),
    "pack, pad_id": (lambda x: lmhead.pack([EXAMPLE], length=4, overflow="drop", pad_id=x), ANY),
    "pack_stream": (lambda x: list(lmhead.pack_stream(x, length=4, overflow="drop", rows=1)), ANY),
    "pack_stream, rows": (lambda x: lmhead.pack_stream([EXAMPLE], length=4, overflow="drop", rows=x), ANY),
    "PackedRows.take": (lambda x: PACKED.take(x, 1), ANY),
    "PackedBatch.of": (lambda x: lmhead.PackedBatch.of(x, length=4), ANY),
    "audit": (lmhead.audit, ANY - {"an Example"}),
    "audit, labels": (lambda x: lmhead.audit({"input_ids": IDS, "labels": x}), BUT_NONE),
    "audit, tokenizer": (lambda x: lmhead.audit({"input_ids": IDS, "labels": IDS}, x), BUT_NONE),
    "examine": (lmhead.examine, ANY),
    "inspect": (lmhead.inspect, ANY - {"an Example", "Targets"}),
    "inspect, labels": (lambda x: lmhead.inspect({"input_ids": IDS, "labels": x}), BUT_NONE),
    "inspect, targets": (lambda x: lmhead.inspect({"input_ids": IDS, "targets": x}), ANY - {"None", "Targets"}),
    "inspect, model": (lambda x: lmhead.inspect(EXAMPLE, x), BUT_NONE),
    "inspect, against": (lambda x: lmhead.inspect(EXAMPLE, MODEL, against=x), BUT_NONE),
    "inspect, tokenizer": (lambda x: lmhead.inspect(EXAMPLE, tokenizer=x), BUT_NONE),
    "inspect, top": (lambda x: lmhead.inspect(EXAMPLE, MODEL, top=x), ANY),
    "inspect, ignore_index": (lambda x: lmhead.inspect(EXAMPLE, ignore_index=x), ANY),
    "evaluate": (lmhead.evaluate, ANY),
    "evaluate, data": (lambda x: lmhead.evaluate(MODEL, x), ANY),
    "evaluate, tokenizer": (lambda x: lmhead.evaluate(MODEL, __file__, tokenizer=x), BUT_NONE),
    "evaluate, window": (lambda x: lmhead.evaluate(MODEL, __file__, tokenizer=TOKENIZER, window=x), BUT_NONE),
    "evaluate, stride": (lambda x: lmhead.evaluate(MODEL, __file__, tokenizer=TOKENIZER, stride=x), BUT_NONE),
    "evaluate, tokens": (lambda x: lmhead.evaluate(MODEL, __file__, tokenizer=TOKENIZER, tokens=x), ANY),
    "evaluate, base": (lambda x: lmhead.evaluate(MODEL, __file__, tokenizer=TOKENIZER, base=x), BUT_NONE),
    "audit_evaluation": (lmhead.audit_evaluation, ANY),
    "audit_evaluation, data": (lambda x: lmhead.audit_evaluation(MODEL, x), ANY),
    "compare": (lambda x: lmhead.compare(x, x), ANY),
    "DocumentOptions": (lambda x: lmhead.DocumentOptions(limit=x), BUT_NONE),
    "EvaluationCard.read": (lmhead.EvaluationCard.read, ANY),
    "EvaluationResult.read": (lmhead.EvaluationResult.read, ANY),
    "patch": (lmhead.patch, ANY),
    "unpatch": (lmhead.unpatch, ANY),
    "last_statistics": (lmhead.last_statistics, ANY),
    "PretrainedCausalLM": (lmhead.PretrainedCausalLM, ANY),
    "LoraOptions": (lambda x: lmhead.LoraOptions(rank=x), ANY),
    "trainer_dataset": (lmhead.trainer_dataset, ANY - {"an Example"}),
    "PaddedCollator": (lambda x: lmhead.PaddedCollator()([x]), ANY - {"an Example"}),
    "PackedCollator": (lambda x: lmhead.PackedCollator()([x]), ANY),
    "label_files": (lambda x: lmhead.label_files(x, None), ANY),
    "label_files, recipe": (lambda x: lmhead.label_files(["nowhere"], x), ANY),
    "label_samples": (lambda x: lmhead.label_samples([], x), ANY),
    "read_samples": (lambda x: list(lmhead.read_samples(x)), ANY),
    "read_tokenizer": (lmhead.read_tokenizer, ANY),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_what_is_of_the_wrong_kind_is_refused_in_our_words(call):
    run, wrong = CALLS[call]
    for value in wrong:
        with pytest.raises(lmhead.LmheadError) as caught:
            run(VALUES[value])
        assert isinstance(caught.value, ValueError | TypeError), value
        assert ", got " in str(caught.value), (value, str(caught.value))


NOT_CALLED = {  # classes that only results are made of, errors and constants; ChatLabeler's and Recipe's are tokenizers
    "AuditReport", "ChatConfig", "ChatLabeler", "Comparison", "DoctorReport", "EvaluationAudit", "EvaluationMixin",
    "Finding", "GPTConfig",
    "IGNORE_INDEX", "Inspection", "IsolationReport", "LabelledData", "PackedStream", "PackingReport", "Patch",
    "Reason", "Recipe", "SFTMixin", "StatisticsCallback", "TokenLogprobs", "TokenStatistics", "__version__",
    "release_workspace",
}  # fmt: skip


def test_every_public_name_is_tried():
    names = {call.partition(",")[0].partition(".")[0].removesuffix("()") for call in CALLS}
    errors = {name for name in lmhead.__all__ if name.endswith("Error")}
    assert names | NOT_CALLED | errors == set(lmhead.__all__)
