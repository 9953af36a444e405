"""check_isolation tells models that keep documents apart from those that do not, and refuses what it cannot see."""

import json
import math
from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import lmhead
from lmhead.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from lmhead.inspection.isolation.isolation import check_isolation
from lmhead.inspection.isolation.isolation_report import Leak, leak_finding
from lmhead.labels.example import Example
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.packing.packed_rows import pack
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT

V = 40
SIZES = {"vocab_size": V, "embed_dim": 32, "num_heads": 2, "num_layers": 2, "max_seq_len": 32}


@pytest.fixture
def batch() -> PackedBatch:
    """Three rows of up to four documents, with padding."""
    sizes = [9, 5, 4, 2, 12, 6, 16, 3]
    examples = [
        Example.of([(7 * n + t) % V for t in range(size)], trained=[True] * size) for n, size in enumerate(sizes)
    ]
    packed = pack(examples, length=20, overflow="drop")
    return packed.take(0, packed.rows_per_epoch)


def gpt(**options) -> GPT:
    torch.manual_seed(0)
    return GPT.from_config(GPTConfig(**{**SIZES, **options})).eval()


def llama(attention: str) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=V,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.5,
        attn_implementation=attention,
    )
    return LlamaForCausalLM(config).eval()


def test_our_decoder_lets_documents_see_what_stands_before_them_where_a_batch_says_so(batch):
    report = check_isolation(gpt(), replace(batch, isolated=False))
    assert not report.ok
    assert len(report.leaks) < report.pairs  # none sees what stands behind it


@pytest.mark.parametrize("options", [{}, {"style": "course"}, {"qk_norm": True}])
def test_our_decoder_isolates_by_document_exactly(batch, options):
    report = check_isolation(gpt(**options), batch)
    assert report.ok
    assert report.largest == 0
    assert report.pairs == sum(
        n * (n - 1) + n * bool((d == -1).any()) for d in batch.document for n in [int(d.max()) + 1]
    )
    assert (report.findings, report.verdict()) == ((), "nothing wrong found")
    assert str(report) == f"isolated: no document reaches another ({report.pairs} pairs, largest change 0)"


def test_our_decoder_leaks_without_documents(batch):
    report = check_isolation(gpt(), batch, inputs=lambda batch: {"ids": batch.ids})
    assert not report.ok
    assert all(0 <= leak.source < leak.into for leak in report.leaks)
    expected = sum(n * (n - 1) // 2 for document in batch.document for n in [int(document.max()) + 1])
    assert len(report.leaks) == expected
    assert "LEAKS" in str(report)
    assert "document 0 reaches document 1" in str(report)
    assert "batch.attention_mask() for SDPA" in str(report)
    told = json.loads(json.dumps(report.to_dict()))
    assert (told["ok"], told["pairs"], len(told["leaks"])) == (False, report.pairs, expected)
    (finding,) = report.errors
    assert (finding.code, finding.count) == ("documents_leak", expected)
    assert finding.rows == tuple(dict.fromkeys(leak.row for leak in report.leaks))[:5]
    assert finding.remedy == told["findings"][0]["remedy"] != ""


def test_one_pair_is_told_as_one():
    finding = leak_finding([Leak(row=1, source=0, into=1, difference=2.0)])
    assert "in 1 pair (rows 1)" in str(finding)


def test_a_packed_document_gets_the_logits_that_it_gets_alone(batch):
    model = gpt(style="course")  # learned positions: only restarting ones give the same
    logits, _ = model(batch.ids, document=batch.document)
    for row in range(len(batch.ids)):
        for number in range(int(batch.document[row].max()) + 1):
            where = batch.document[row] == number
            alone, _ = model(batch.ids[row][where].unsqueeze(0))
            torch.testing.assert_close(logits[row][where], alone[0])


def test_transformers_isolates_by_the_block_mask(batch):
    assert check_isolation(llama("sdpa"), batch, inputs=PackedBatch.for_transformers).ok
    assert check_isolation(llama("sdpa"), batch.for_transformers()).ok


def test_eager_attention_adds_a_bool_mask_and_leaks(batch):
    report = check_isolation(llama("eager"), batch, inputs=PackedBatch.for_transformers)
    assert not report.ok
    assert any(leak.into < leak.source for leak in report.leaks)
    assert "attention_not_causal" in report
    assert "dtype" in str(report)
    added = lambda batch: batch.for_transformers(dtype=torch.float32)  # noqa: E731
    assert check_isolation(llama("eager"), batch, inputs=added).ok
    assert check_isolation(llama("sdpa"), batch, inputs=added).ok


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_isolates_by_the_block_mask(batch):
    assert check_isolation(flexible, batch, inputs=lambda b: {"ids": b.ids, "block_mask": b.block_mask()}).ok
    assert not check_isolation(flexible, batch, inputs=lambda b: {"ids": b.ids, "block_mask": None}).ok


def flexible(ids: torch.Tensor, block_mask) -> torch.Tensor:
    """One layer of attention, each id its own key and value."""
    from torch.nn.attention.flex_attention import flex_attention

    x = torch.eye(V)[ids].unsqueeze(1)
    return flex_attention(x, x, x, block_mask=block_mask).squeeze(1)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_transformers_infers_documents_from_positions_only_without_mask_and_cache(batch, attention):
    """transformers 5.23 looks for restarts where there is neither a 2-D mask nor a cache, and makes a cache by default.

    Other versions may differ: whoever relies on positions alone asks check_isolation.
    """
    model = llama(attention)
    positions = {"input_ids": batch.ids, "position_ids": batch.positions}
    assert check_isolation(model, {**positions, "use_cache": False}).ok
    assert not check_isolation(model, positions).ok
    ones = torch.ones_like(batch.ids)
    assert not check_isolation(model, {**positions, "use_cache": False, "attention_mask": ones}).ok


def test_documents_of_a_batch_of_keywords_may_be_told_by_lengths(batch):
    def plain(input_ids, cu_seqlens):
        return gpt()(input_ids)[0]

    report = check_isolation(plain, {"input_ids": batch.ids, "cu_seqlens": batch.cu_seqlens})
    assert report.leaks[0].row == 0
    assert (report.leaks[0].source, report.leaks[0].into) == (0, 1)


def test_padding_that_reaches_a_document_is_a_leak():
    batch = {"ids": torch.tensor([[9, 9, 5, 6, 7, 8]]), "document": torch.tensor([[-1, -1, 0, 0, 1, 1]])}

    def sees_all(input_ids, document):
        return gpt()(input_ids)[0]

    report = check_isolation(sees_all, {"input_ids": batch["ids"], "document": batch["document"]})
    assert "row 0: padding reaches document 0" in str(report)
    assert {(leak.source, leak.into) for leak in report.leaks} == {(-1, 0), (-1, 1), (0, 1)}


def test_a_tolerance_forgives_small_changes(batch):
    model = gpt()

    def nearly(ids, document):
        kept, leaking = model(ids, document=document)[0], model(ids)[0]
        return kept + 1e-6 * leaking

    inputs = lambda batch: {"ids": batch.ids, "document": batch.document}  # noqa: E731
    assert not check_isolation(nearly, batch, inputs=inputs).ok
    report = check_isolation(nearly, batch, inputs=inputs, tolerance=1e-3)
    assert report.ok
    assert 0 < report.largest < 1e-3


def refused(model, batch, **options) -> str:
    with pytest.raises(ArgumentError) as caught:
        check_isolation(model, batch, **options)
    return str(caught.value)


def test_a_model_in_which_no_leak_could_be_seen_is_refused(batch):
    fresh = gpt(zero_init_projections=True)
    assert "model must let a document's first token reach its others" in refused(fresh, batch)
    assert "fill zero-initialised projections" in refused(fresh, batch)


def test_a_model_that_answers_differently_each_time_is_refused(batch):
    assert "give the same outputs twice" in refused(gpt(dropout=0.1).train(), batch)
    assert "call model.eval()" in refused(gpt(dropout=0.1).train(), batch)


def test_a_function_that_does_not_read_the_ids_is_refused(batch):
    model = gpt()
    frozen = lambda ids: model(batch.ids)[0]  # noqa: E731
    assert "first token reach its others" in refused(frozen, batch, inputs=lambda b: {"ids": b.ids})
    only_first = lambda ids: model(torch.where(batch.document == 0, ids, batch.ids))[0]  # noqa: E731
    assert "read the ids it is given" in refused(only_first, batch, inputs=lambda b: {"ids": b.ids})


def test_a_batch_without_two_documents_in_a_row_is_refused():
    lone = pack([Example.of([1, 2, 3], trained=[True] * 3)], length=3, overflow="drop").take(0, 1)
    assert "batch must have a row with two documents or more, got none" in refused(gpt(), lone)
    ids = torch.tensor([[1, 2, 3]])
    assert "batch must tell its documents" in refused(gpt(), {"input_ids": ids})


def test_what_the_model_is_given_must_be_said_once(batch):
    assert "inputs must say what the model is given, got None" in refused(llama("sdpa"), batch)
    assert "got both" in refused(gpt(), {"input_ids": batch.ids}, inputs=PackedBatch.for_transformers)


def test_outputs_that_are_none_are_refused(batch):
    inputs = lambda b: {"ids": b.ids}  # noqa: E731
    with pytest.raises(ArgumentTypeError, match="model must give a Tensor"):
        check_isolation(lambda ids: None, batch, inputs=inputs)
    assert "give outputs [3, 20, ...]" in refused(lambda ids: torch.zeros(3, V), batch, inputs=inputs)
    with pytest.raises(NonFiniteError, match="NaN or infinite"):
        check_isolation(lambda ids: torch.full((3, 20, 4), math.nan), batch, inputs=inputs)
    with pytest.raises(ArgumentTypeError, match="input_ids must be a Tensor"):
        check_isolation(gpt(), {"input_ids": batch.ids.tolist(), "document": batch.document})


def test_it_is_public(batch):
    assert lmhead.check_isolation(gpt(), batch).ok
