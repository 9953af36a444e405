"""The sweep over all types of causal LM: what is silently wrong is found, and the command's status tells of it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from tests.models.transformers.causal_lms.mutants import without
from tests.nightly.causal_lms import __main__ as command
from tests.nightly.causal_lms.judge import judge
from tests.nightly.causal_lms.table import table
from tests.nightly.causal_lms.verdict import Verdict, summary

from lmhead.models.transformers.patching import patch as patching
from lmhead.models.transformers.patching.proof import Proof

FINE = Verdict(model_type="llama", class_name="LlamaForCausalLM", outcome="parity")
VERDICTS = {
    "parity": FINE,
    "refused as it may be": replace(FINE, model_type="prophetnet", outcome="refused", said="its loss | needs them"),
    "refused": replace(FINE, outcome="refused"),
    "not built as it may be": replace(FINE, model_type="gemma3n", outcome="not built"),
    "not built": replace(FINE, outcome="not built"),
    "wrong": replace(FINE, outcome="wrong"),
    "raised": replace(FINE, outcome="raised"),
}


@pytest.mark.parametrize("model_type", ["xlm", "mixtral"])
def test_a_type_at_parity_is_told_with_its_head_and_loss(model_type):
    verdict = judge(model_type)
    assert verdict.outcome == "parity", verdict
    assert (verdict.head, verdict.loss) == {
        "xlm": ("bias, tied", "its own, labels not shifted"),
        "mixtral": ("", "`loss_function`"),
    }[model_type]


def test_a_refusal_is_told_in_its_words():
    verdict = judge("musicgen")
    assert (verdict.outcome, verdict.bad) == ("refused", False)
    assert verdict.said.startswith("model must have one output layer")


def test_what_no_proof_has_stopped_is_found_to_be_wrong(monkeypatch):
    nothing = Proof(record="", loss=0.0, gradients=0.0, divides_by_items=True)
    monkeypatch.setattr(patching, "prove", lambda *_: nothing)
    with without("softcap"):
        verdict = judge("gemma2")
    assert (verdict.outcome, verdict.bad) == ("wrong", True)
    assert verdict.said.startswith("in training: loss")


def test_a_part_that_a_proof_does_not_miss_is_found(monkeypatch):
    nothing = Proof(record="", loss=0.0, gradients=0.0, divides_by_items=True)
    monkeypatch.setattr(patching, "prove", lambda *_: nothing)
    verdict = judge("phi")
    assert (verdict.outcome, verdict.said) == ("wrong", "proven without its bias")


@pytest.mark.parametrize("kind", VERDICTS)
def test_the_status_is_1_unless_every_type_ends_as_expected(monkeypatch, capsys, kind):
    monkeypatch.setattr(command, "_judged", lambda *_: [VERDICTS[kind]])
    expected = int(not (kind == "parity" or kind.endswith("as it may be")))
    assert command.main(["llama"]) == expected
    assert ("BAD" in capsys.readouterr().out) == bool(expected)


def test_too_few_types_at_parity_are_a_1(monkeypatch, capsys):
    monkeypatch.setattr(command, "BARS", {command.transformers.__version__: (1, 2)})
    monkeypatch.setattr(command, "_judged", lambda *_: [FINE])
    assert command.main([]) == 1
    assert capsys.readouterr().out == "1 of 1 types at parity; 0 refused, 0 wrong, 0 raised, 0 not built\n"


def test_what_a_type_raises_is_a_verdict(monkeypatch):
    def fails(model_type: str) -> Verdict:
        if model_type == "gpt2":
            raise RuntimeError("of its own")
        return FINE

    monkeypatch.setattr(command, "judge", fails)
    monkeypatch.setattr(command, "ProcessPoolExecutor", lambda workers, mp_context: ThreadPoolExecutor(workers))
    found = list(command._judged(["gpt2", "llama"], 2))
    assert [(each.outcome, each.said) for each in found] == [("raised", "RuntimeError: of its own"), ("parity", "")]


def test_a_transformers_that_cannot_be_had_is_a_1(capsys):
    assert command.main(["--transformers", "4.56.2"]) == 1
    assert capsys.readouterr().out == "transformers 4.56.2 cannot be had: no --scratch folder to install it in\n"


def test_a_page_has_a_row_for_each_type():
    page = table(list(VERDICTS.values()))
    rows = [line for line in page.splitlines() if line.startswith("| ") and "ForCausalLM" in line]
    assert len(rows) == len(VERDICTS)
    assert rows[1].endswith("| refused: its loss \\| needs them |")
    assert summary(list(VERDICTS.values())) in page
