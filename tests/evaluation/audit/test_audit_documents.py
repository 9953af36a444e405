"""An audit names each fault of a model and nothing of a right one; its tolerance is what rounding does, measured."""

import json

import numpy as np
import pytest
import torch
from tests.evaluation.audit import mutants
from tests.evaluation.audit.mutants import CONTEXT, documents, gpt

import lmhead
from lmhead.errors import ArgumentError, InputError
from lmhead.evaluation.audit.audit_documents import audit_documents
from lmhead.evaluation.audit.audited_rows import audited_rows, spread_documents
from lmhead.evaluation.audit.readings import Reader, read_alone
from lmhead.evaluation.audit.rounding import MARGIN, tolerance
from lmhead.evaluation.scores.windows import Windows
from lmhead.models.multi_token.multi_token_model import MultiTokenModel

CPU = torch.device("cpu")
WINDOWS = Windows(window=CONTEXT, stride=CONTEXT // 2)


def audit(model, given=None, **options):
    return audit_documents(model, given or documents(), WINDOWS, device=CPU, **options)


def verdicts(report):
    return {probe.name: probe.verdict for probe in report.probes}


def codes(report):
    return {finding.code for finding in report.errors}


@pytest.mark.parametrize("whole", [True, False])
def test_a_right_model_has_no_fault(whole):
    report = audit(gpt(), documents(whole=whole), compare_device=CPU)
    assert report.ok, str(report)
    found = verdicts(report)
    assert found["read again"] == "exact"
    assert all(verdict in ("exact", "rounding", "depends") for verdict in found.values())
    assert found["mean of means of 4 rows"] == "depends"
    assert found["window 16, stride 8"] == "depends"


def test_a_right_model_of_today_and_one_with_modules_behind_it_have_no_fault():
    torch.manual_seed(0)
    config = lmhead.GPTConfig(vocab_size=40, embed_dim=16, num_heads=2, num_layers=2, max_seq_len=CONTEXT, qk_norm=True)
    today = lmhead.GPT.from_config(config).eval()
    with torch.no_grad():
        for parameter in today.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    assert audit(today).ok
    assert audit(MultiTokenModel.behind(gpt(), depth=1).eval()).ok


FAULTS = {
    "SeesPadding": {"padding_seen"},
    "PositionsOfTheRow": {"positions_not_restarted", "packed_positions_not_restarted"},
    "DocumentsMeet": {"documents_leak"},
    "NormalisesTheBatch": {"batch_dependent"},
    "DropoutLeftOn": {"not_deterministic"},
    "MeanOfMeans": {"mean_of_means"},
    "CountsOneTooMany": {"mean_of_means"},
    "CacheForgets": {"cache_differs"},
    "RoundsOnDevices": {"device_differs"},
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_and_no_other(name):
    report = audit(getattr(mutants, name)(), compare_device=CPU)
    assert codes(report) == FAULTS[name], str(report)
    assert not report.ok
    assert all(finding.remedy for finding in report.errors)


def test_a_model_that_looks_ahead_is_named():
    """What is normalised over a row sees its padding, and of a batch that is cut to one length what was cut off."""
    report = audit(mutants.LooksAhead())
    assert "padding_seen" in codes(report)
    assert "not causal" in report["padding_seen"].message


def test_amounts_are_those_of_float64():
    """Of a fault whose effect is known: every row moves by what its batch's mean adds."""
    model, given = mutants.CountsOneTooMany(), documents()
    report = audit(model, given)
    probe = next(each for each in report.probes if each.name == "micro-batches summed")
    rows = audited_rows(given, length=CONTEXT - 3)
    nll = np.concatenate([each[~np.isnan(each)] for each in read_alone(Reader(model=model, device=CPU), rows)])
    batches = [rows[start : start + 4] for start in range(0, len(rows), 4)]
    N = len(nll)
    sums = [sum(np.nansum(each) for each in read_alone(Reader(model=model, device=CPU), batch)) for batch in batches]
    wrong = sum(total / (N + len(batch)) for total, batch in zip(sums, batches, strict=True))
    assert report.nll == pytest.approx(nll.mean(), rel=1e-6)
    assert probe.change.nll == pytest.approx(wrong - nll.mean(), rel=1e-4)
    assert probe.change.bits_per_byte == pytest.approx(probe.change.nll / np.log(2), rel=1e-9)  # ids are bytes


def test_the_naive_mean_is_shown_by_how_much_it_would_be_off():
    given, model = documents(), gpt()
    report = audit(model, given)
    probe = next(each for each in report.probes if each.name == "mean of means of 4 rows")
    rows = audited_rows(given, length=CONTEXT - 3)
    nll = read_alone(Reader(model=model, device=CPU), rows)
    means = [np.nanmean(np.concatenate(nll[start : start + 4])) for start in range(0, len(rows), 4)]
    assert probe.change.nll == pytest.approx(np.mean(means) - report.nll, rel=1e-4)
    assert report.ok


def test_rounding_is_measured_and_bounds_what_other_kernels_do():
    """The tolerance lies above what float32 differs from float64 by, and not far above."""
    model, rows = gpt(), audited_rows(documents(), length=CONTEXT)
    reader = Reader(model=model, device=CPU)
    alone = read_alone(reader, rows)
    allowed = tolerance(reader, rows, alone)
    assert allowed == tolerance(reader, rows, alone)
    exact = read_alone(Reader(model=gpt().double(), device=CPU), rows)
    error = max(np.nanmax(np.abs(one - other)) for one, other in zip(alone, exact, strict=True))
    assert error < allowed < 100 * MARGIN * error
    narrow = Reader(model=model, device=CPU, dtype=torch.bfloat16)
    by_autocast = read_alone(narrow, rows)
    error = max(np.nanmax(np.abs(one - other)) for one, other in zip(by_autocast, exact, strict=True))
    assert error < tolerance(narrow, rows, by_autocast) < 100 * MARGIN * error


def test_an_audit_is_the_same_twice_and_leaves_the_model_as_it_was():
    model = gpt()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = (json.dumps(audit(model).to_dict()) for _ in range(2))
    assert first == second
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_the_table_fits_80_columns_and_a_name_cannot_obey_a_terminal():
    text = str(audit(mutants.SeesPadding(), name="x" * 90 + "\x1b[2J"))
    table, _, _ = text.partition("\nerror:")
    assert max(map(len, table.splitlines())) <= 80
    assert "\x1b" not in text


def test_the_part_is_spread_over_the_data_and_told():
    given = documents(count=200, longest=20)
    part, count = spread_documents(iter(given), tokens=300, length=64)
    assert count == 200
    assert 150 <= sum(map(len, part)) <= 300
    numbers = [given.index(each) for each in part]
    assert numbers == list(range(0, 200, numbers[1]))
    report = audit(gpt(), given, tokens=300)
    assert (report.documents, report.of_documents) == (len(part), 200)


def test_one_document_is_audited_as_far_as_one_can_be():
    report = audit(gpt(), documents(count=1, longest=20))
    assert report.ok
    assert verdicts(report)["8 rows at once"] == "not run"
    assert verdicts(report)["3 documents in a row"] == "not run"


def test_no_scored_token_is_refused():
    given = [each for each in documents() if len(each) < 1]
    with pytest.raises(InputError, match="no token scored in 0 documents"):
        audit_documents(gpt(), given, WINDOWS, device=CPU)


def test_a_window_beyond_the_context_is_refused():
    with pytest.raises(ArgumentError, match="window must be within the model's context"):
        audit_documents(gpt(), documents(), Windows(window=33, stride=33), device=CPU)
