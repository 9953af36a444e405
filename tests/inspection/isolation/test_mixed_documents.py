"""Which models read a document of a packed row as they read it alone: found out, not known by their names."""

from dataclasses import replace

import pytest
import torch
from tests.models.transformers.causal_lms.build import build
from transformers import masking_utils

from lmhead.errors import ArgumentError
from lmhead.inspection.isolation.isolation import check_isolation
from lmhead.inspection.isolation.mixed_documents import _drawn, why_documents_mix
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM

LENGTH = 48
BY_POSITIONS = ["llama", "qwen3", "mistral", "gemma2", "gemma3_text", "gpt2", "mixtral", "gpt_neox", "phi"]
BY_MASKS = ["opt", "gpt_oss"]  # they do not look at positions for their masks
MIXED = ["mamba", "mamba2", "recurrent_gemma", "jamba", "lfm2", "bloom", "bart"]


def made(kind: str, dtype: torch.dtype = torch.float32, **fields) -> PretrainedCausalLM:
    model = build(kind, **fields)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)  # freshly made, attention hardly matters
    return PretrainedCausalLM(model.to(dtype))


@pytest.mark.parametrize("kind", BY_POSITIONS)
def test_models_that_make_masks_of_positions_keep_documents_apart(kind):
    model = made(kind)
    assert why_documents_mix(model, length=LENGTH) is None
    assert model.tells_documents_by == "positions"


@pytest.mark.parametrize("kind", BY_MASKS)
def test_models_that_do_not_are_given_the_masks(kind):
    model = made(kind)
    assert why_documents_mix(model, length=LENGTH) is None
    assert model.tells_documents_by == "masks"


@pytest.mark.parametrize("kind", ["llama", "gemma2", "mixtral", "gpt_oss"])
def test_in_bfloat16_as_well(kind):
    assert why_documents_mix(made(kind, torch.bfloat16), length=LENGTH) is None


@pytest.mark.parametrize("kind", MIXED)
def test_recurrent_models_and_those_whose_positions_cannot_restart_are_refused(kind):
    layers = {"layer_types": ["conv", "full_attention"]} if kind == "lfm2" else {}
    model = made(kind, **layers)
    why = why_documents_mix(model, length=LENGTH)
    assert why is not None
    assert f"{type(model.base).__name__} mixes the documents of a row: " in why
    assert model.tells_documents_by == "positions"


def test_a_window_that_is_not_within_its_document_is_seen(monkeypatch):
    """By masks alone Gemma 2 is given one for all layers, as long as it does not say which kinds it has."""
    model = made("gemma2", sliding_window=6)
    assert why_documents_mix(model, length=LENGTH) is None
    monkeypatch.setattr("lmhead.inspection.isolation.mixed_documents.WAYS", ("masks",))
    monkeypatch.setattr("lmhead.models.transformers.told_documents._masks", lambda document, *_: whole_masks(document))
    why = why_documents_mix(model, length=LENGTH)
    assert why is not None
    assert "document 2 of a row has other outputs than alone" in why


def test_a_choice_of_the_tokens_of_a_row_is_seen_where_the_row_has_more():
    """Doge's attention keeps the best tokens of a long row, so that its documents compete."""
    model = made("doge", keep_window_size=16)
    assert why_documents_mix(model, length=16) is None
    assert "document 2 of a row has other outputs than alone" in str(why_documents_mix(model, length=LENGTH))


def test_a_mask_that_is_given_takes_the_place_of_sliding_windows():
    """What docs/data/packing.md says of PackedBatch.for_transformers."""
    model = made("gemma2", sliding_window=6).eval()
    batch = _drawn(model, LENGTH, window=6)
    within = batch.document[0] == 1
    with torch.no_grad():
        alone = model.base(input_ids=batch.ids[:1, within]).logits
        by_mask = model.base(**batch.for_transformers(dtype=torch.float32)).logits[:1, within]
        by_positions = model.base(input_ids=batch.ids, position_ids=batch.positions, use_cache=False).logits[:1, within]
    torch.testing.assert_close(by_positions, alone)
    torch.testing.assert_close(by_mask[:, :6], alone[:, :6])
    assert (by_mask[:, 6:] - alone[:, 6:]).abs().amax(-1).min() > 1e-3


def whole_masks(document):
    from lmhead.labels.packing.attention_mask import sdpa_mask

    return sdpa_mask(document, dtype=torch.float32)


def test_positions_that_do_not_restart_are_seen(monkeypatch):
    model = made("gpt2")
    monkeypatch.setattr(
        "lmhead.models.transformers.told_documents.restarting_positions",
        lambda document: torch.arange(document.shape[1]).expand_as(document),
    )
    why = why_documents_mix(model, length=LENGTH)
    assert why is not None


def test_positions_that_tell_of_documents_in_a_single_row_alone_do_not_do(monkeypatch):
    """As with FlashAttention in transformers, which takes documents out of positions where there is one row."""
    seen = masking_utils.find_packed_sequence_indices
    monkeypatch.setattr(
        masking_utils,
        "find_packed_sequence_indices",
        lambda positions: seen(positions) if len(positions) == 1 else None,
    )
    model = made("llama")
    assert why_documents_mix(model, length=LENGTH) is None
    assert model.tells_documents_by == "masks"


def test_our_decoder_is_proven_too():
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=50, embed_dim=32, num_heads=2, num_layers=2, max_seq_len=LENGTH, init_std=0.3)
    model = GPT.from_config(config)
    assert why_documents_mix(model, length=LENGTH) is None
    assert model.training


@pytest.mark.parametrize("length", [6, 7, 9, 12, 13, 40])
@pytest.mark.parametrize("window", [None, 5, 16])
def test_the_drawn_row_fits_and_is_longer_than_the_window_where_it_can_be(length, window):
    torch.manual_seed(0)
    model = GPT.from_config(GPTConfig(vocab_size=50, embed_dim=8, num_heads=2, num_layers=1, max_seq_len=LENGTH))
    batch = _drawn(model, length, window=window)
    assert batch.ids.shape[1] <= length
    sizes = torch.bincount(batch.document[0][batch.document[0] >= 0]).tolist()
    assert len(sizes) == 3
    if window == 5 and length >= 40:
        assert max(sizes) > window


def test_a_row_without_room_for_three_documents_is_refused():
    with pytest.raises(ArgumentError, match="length must be >= 6 tokens, for three documents, got 5"):
        why_documents_mix(made("llama"), length=5)


def test_check_isolation_knows_what_a_pretrained_model_is_given():
    model = made("gemma2").eval()
    batch = _drawn(model, LENGTH, window=None)
    report = check_isolation(model, batch)
    assert report.ok
    assert report.largest == 0
    assert not check_isolation(model, replace(batch, isolated=False)).ok
