"""transformers' Trainer with a patched model trains as stock, step by step; what of it goes past the patch is told."""

import re

import pytest
import torch
from torch import nn

import lmhead
from lmhead import ArgumentError, PackedCollator, PaddedCollator, StatisticsCallback, trainer_dataset

transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install 'lmhead[test]'")
pytest.importorskip("accelerate", reason="accelerate is not installed: pip install 'lmhead[test]'")
pytest.importorskip("datasets", reason="datasets is not installed: pip install 'lmhead[test]'")

from tests.trainers.tiny import arguments, examples, llama, mixtral, parameters  # noqa: E402
from transformers import Trainer  # noqa: E402


def trained(model, folder, *, patched, data=None, collator=None, callbacks=(), **options):
    """(the trainer, losses as logged, parameters)."""
    data = trainer_dataset(examples()) if data is None else data
    if patched:
        lmhead.patch(model)
    trainer = Trainer(
        model=model,
        args=arguments(folder, **options),
        train_dataset=data,
        data_collator=collator or PaddedCollator(),
        callbacks=list(callbacks),
    )
    trainer.train()
    losses = [logs["loss"] for logs in trainer.state.log_history if "loss" in logs]
    return trainer, losses, parameters(model)


def packed():
    return trainer_dataset(lmhead.pack(examples(), length=40, overflow="drop"))


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (llama, {}),  # 11 batches: the last window of an epoch has two micro-batches for three
        (mixtral, {"max_steps": 1}),
    ],
)
def test_a_patched_model_trains_as_stock(tmp_path, make, options):
    stock = trained(make(), tmp_path, patched=False, **options)
    ours = trained(make(), tmp_path, patched=True, **options)
    assert ours[1] == pytest.approx(stock[1], rel=1e-5)
    torch.testing.assert_close(ours[2], stock[2], rtol=1e-5, atol=1e-6)
    assert not torch.equal(ours[2], parameters(make()))


@pytest.mark.parametrize("mask", [True, False])
def test_packed_rows_train_as_stock(tmp_path, mask):
    options = {"data": packed(), "collator": PackedCollator(mask=mask), "max_steps": 1}
    stock = trained(llama(), tmp_path, patched=False, **options)
    ours = trained(llama(), tmp_path, patched=True, **options)
    assert ours[1] == pytest.approx(stock[1], rel=1e-5)
    torch.testing.assert_close(ours[2], stock[2], rtol=1e-5, atol=1e-6)


def test_the_loss_of_an_uneven_window_is_the_mean_over_its_tokens(tmp_path):
    data = trainer_dataset(examples())
    first = trained(llama(), tmp_path, patched=True, max_steps=1)[1]
    sampled = Trainer(model=llama(), args=arguments(tmp_path), train_dataset=data, data_collator=PaddedCollator())
    batches = [batch for batch, _ in zip(sampled.get_train_dataloader(), range(3), strict=False)]
    model, nll, count = llama(), 0.0, 0
    for batch in batches:
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits.double()
        targets = lmhead.shift_labels(batch["labels"])
        nll += float(nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").detach())
        count += int((targets != -100).sum())
    assert first[0] == pytest.approx(nll / count, rel=1e-5)  # older versions log four places


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")  # PEFT's call of transformers
def test_lora_on_the_head_trains_as_stock(tmp_path):
    peft = pytest.importorskip("peft")
    losses = []
    for patched in (False, True):
        torch.manual_seed(0)
        model = peft.get_peft_model(llama(), peft.LoraConfig(r=4, target_modules=["q_proj", "lm_head"]))
        losses.append(trained(model, tmp_path, patched=patched, max_steps=2, learning_rate=10.0)[1])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert abs(losses[0][1] - losses[0][0]) > 1e-3


def test_a_callback_without_a_patch_is_told(tmp_path):
    with pytest.raises(ArgumentError, match="model must be patched, got a LlamaForCausalLM that is not"):
        trained(llama(), tmp_path, patched=False, callbacks=[StatisticsCallback()])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor must be 0, got 0.1"),
        ({"use_liger_kernel": True}, "use_liger_kernel must be without its fused loss"),
    ],
)
def test_arguments_that_go_past_the_patch_are_refused(tmp_path, options, said, monkeypatch):
    if hasattr(transformers.trainer, "apply_liger_kernel"):
        monkeypatch.setattr(transformers.trainer, "apply_liger_kernel", lambda model, config: None)  # needs a GPU
    with pytest.raises(ArgumentError, match=re.escape(said)):
        trained(llama(), tmp_path, patched=True, callbacks=[StatisticsCallback()], **options)


def test_labels_that_a_trainer_keeps_are_told_and_the_run_is_stocks(tmp_path):
    options = {"label_smoothing_factor": 0.1, "max_steps": 1}
    stock = trained(llama(), tmp_path, patched=False, **options)
    with pytest.warns(UserWarning, match="got a trainer that keeps them for itself: .* leave label_smoothing_factor"):
        ours = trained(llama(), tmp_path, patched=True, **options)
    assert ours[1] == stock[1]


def test_a_replaced_forward_is_told(tmp_path):
    """As Liger and TRL replace it: the loss out of the head's weight."""

    def forward(model, input_ids, labels=None, **_):
        hidden = model.model(input_ids).last_hidden_state
        loss = lmhead.linear_cross_entropy(hidden, model.lm_head.weight, lmhead.shift_labels(labels))
        return transformers.modeling_outputs.CausalLMOutput(loss=loss)

    model = llama()
    lmhead.patch(model)
    model.forward = forward.__get__(model)
    batch = PaddedCollator()(examples(2))
    with pytest.warns(UserWarning, match="forward must call its output layer, got a loss without it"):
        model.train()(**batch)
    with pytest.raises(ArgumentError, match="a trainer must take its loss by the patched model's forward"):
        StatisticsCallback(tmp_path).on_substep_end(None, None, None, model=model)


def bart():
    torch.manual_seed(0)
    config = transformers.BartConfig(
        vocab_size=100, d_model=32, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=32, dropout=0.0
    )
    config.is_encoder_decoder, config.is_decoder = False, True
    return transformers.BartForCausalLM(config)


def test_a_loss_that_accumulation_multiplies_is_told_and_stays_stocks(tmp_path):
    stock = trained(bart(), tmp_path, patched=False, max_steps=1)
    if stock[1][0] < 6:
        pytest.skip("this version of Trainer divides by the steps")
    with pytest.warns(UserWarning, match="BartForCausalLM must be trained without accumulation"):
        ours = trained(bart(), tmp_path, patched=True, max_steps=1)
    assert ours[1] == pytest.approx(stock[1], rel=1e-5)
    model = bart()
    model.accepts_loss_kwargs = False  # what the warning says to do; and it is not said again
    _, (mended,), _ = trained(model, tmp_path, patched=True, max_steps=1)
    assert 3 * mended == pytest.approx(ours[1][0], rel=0.02)


def test_without_accumulation_nothing_is_told(tmp_path):
    trained(bart(), tmp_path, patched=True, max_steps=1, gradient_accumulation_steps=1)
