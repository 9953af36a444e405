"""SFTMixin: TRL's SFTTrainer with a patched model says and learns what it does with its own fused head."""

import pytest
import torch

import lmhead
from lmhead import ArgumentError, PackedCollator, SFTMixin, StatisticsCallback, trainer_dataset

trl = pytest.importorskip("trl", reason="TRL is not installed: pip install 'lmhead[test]'")
peft = pytest.importorskip("peft", reason="PEFT is not installed: pip install 'lmhead[test]'")

from datasets import Dataset  # noqa: E402
from tests.trainers.tiny import byte_level, examples, llama, mixtral, parameters, run_options  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated"),  # PEFT's call of transformers
    pytest.mark.filterwarnings("ignore:.gradient_checkpointing. is deprecated"),  # TRL's default
]
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'user' %}<user>{{ m.content }}<end>{% else %}<assistant>"
    "{% generation %}{{ m.content }}<end>{% endgeneration %}{% endif %}{% endfor %}"
)
FIGURES = ("loss", "entropy", "mean_token_accuracy", "num_tokens", "aux_loss", "grad_norm")


class PatchedSFTTrainer(SFTMixin, trl.SFTTrainer):
    pass


@pytest.fixture(autouse=True)
def no_telemetry(monkeypatch):
    monkeypatch.setenv("CI", "1")  # else TRL tells its makers of each trainer


@pytest.fixture(scope="module")
def tokenizer():
    made = byte_level()
    made.chat_template = TEMPLATE
    return made


def rows(count=14):
    """Without a labels column, so that TRL makes them."""
    return Dataset.from_list([{"input_ids": example.ids.tolist()} for example in examples(count)])


def chats(tokenizer):
    words = ["hello", "you", "how are you", "fine", "so", "why not", "yes", "because"]
    pairs = zip(words, reversed(words), strict=True)
    return Dataset.from_list(
        [{"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]} for a, b in pairs]
    )


def trained(folder, cls, model, tokenizer, data, *, evaluate=False, **options):
    made = {name: options.pop(name) for name in ("peft_config", "data_collator", "callbacks") if name in options}
    args = trl.SFTConfig(**run_options(folder) | {"max_steps": 2, "max_length": 64, "loss_type": "nll"} | options)
    trainer = cls(model=model, args=args, train_dataset=data, processing_class=tokenizer, **made)
    trainer.train()
    return trainer, [
        {name: logs[name] for name in FIGURES if name in logs} for logs in trainer.state.log_history if "loss" in logs
    ]


def wide(make):
    model = make()
    model.resize_token_embeddings(300)
    with torch.no_grad():
        model.lm_head.weight *= 30  # logits as far apart as a trained model's
    return model


@pytest.mark.parametrize(
    ("make", "data", "options"),
    [
        (llama, chats, {"assistant_only_loss": True}),
        (llama, rows, {"packing": True, "packing_strategy": "bfd"}),
        (mixtral, rows, {"router_aux_loss_coef": 0.3}),
        (llama, rows, {"padding_free": True, "max_length": None}),
        (llama, rows, {"peft_config": peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"])}),
    ],
    ids=["assistant_only_loss", "packing", "aux_loss", "padding_free", "lora"],
)
def test_it_logs_and_learns_as_trl_does(tmp_path, tokenizer, make, data, options):
    given = data(tokenizer) if data is chats else data()
    found = []
    for cls in (trl.SFTTrainer, PatchedSFTTrainer):
        torch.manual_seed(0)
        model = wide(make)
        if cls is PatchedSFTTrainer:
            lmhead.patch(model)
        trainer, logs = trained(tmp_path, cls, model, tokenizer, given, **options)
        found.append((logs, parameters(trainer.model)))
    (stock, theirs), (ours, mine) = found
    for one, other in zip(ours, stock, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    assert ("aux_loss" in stock[0]) == (make is mixtral)


def test_an_evaluation_is_trls_and_exact(tmp_path, tokenizer):
    found = []
    for cls in (trl.SFTTrainer, PatchedSFTTrainer):
        model = wide(llama)
        if cls is PatchedSFTTrainer:
            lmhead.patch(model)
        args = trl.SFTConfig(**run_options(tmp_path), max_length=None, loss_type="nll")
        found.append(cls(model=model, args=args, train_dataset=rows(), processing_class=tokenizer).evaluate(rows()))
    stock, ours = found
    names = ("eval_entropy", "eval_mean_token_accuracy", "eval_num_tokens")
    assert {name: ours[name] for name in names if name in stock} == pytest.approx(
        {name: stock[name] for name in names if name in stock}, rel=1e-4
    )
    assert ours["eval_loss"] == ours["eval_nll"] != pytest.approx(stock["eval_loss"], rel=1e-3)  # a mean over batches
    assert ours["eval_tokens"] == sum(len(example) - 1 for example in examples(14))
    assert ours["eval_bits_per_byte"] > 0


class SourcedSFTTrainer(PatchedSFTTrainer):
    source_key = "source"


@pytest.mark.parametrize("size", [1, 5])
def test_an_evaluations_loss_is_of_all_tokens_and_of_each_source(tmp_path, tokenizer, size):
    model = wide(llama)
    lmhead.patch(model)
    made = examples(14)
    data = trainer_dataset(made).add_column("source", [("web", "code")[index % 2] for index in range(14)])
    args = trl.SFTConfig(
        **run_options(tmp_path) | {"per_device_eval_batch_size": size}, max_length=None, loss_type="nll"
    )
    trainer = SourcedSFTTrainer(
        model=model, args=args, train_dataset=data, eval_dataset=data, processing_class=tokenizer
    )
    found, plain = trainer.evaluate(), wide(llama)
    sums = {"web": [0.0, 0], "code": [0.0, 0]}
    for index, example in enumerate(made):
        with torch.no_grad():
            logits = plain(torch.from_numpy(example.ids).long()[None]).logits[0].double()
        targets = example.targets().ids
        scored = targets != -100
        nll = torch.nn.functional.cross_entropy(logits[scored], targets[scored], reduction="sum")
        of = sums[("web", "code")[index % 2]]
        of[0], of[1] = of[0] + float(nll), of[1] + int(scored.sum())
    for name, (nll, tokens) in sums.items():
        assert found[f"eval_tokens/{name}"] == tokens
        assert found[f"eval_nll/{name}"] == pytest.approx(nll / tokens, rel=1e-5)
    (web, of_web), (code, of_code) = sums.values()
    assert found["eval_loss"] == pytest.approx((web + code) / (of_web + of_code), rel=1e-5)


def test_packed_examples_train_by_both_collators(tmp_path, tokenizer):
    """This library's masks, and TRL's padding_free."""
    data = trainer_dataset(lmhead.pack(examples(14), length=40, overflow="drop"))
    losses = []
    for options in ({"data_collator": PackedCollator()}, {"padding_free": True}):
        model = wide(llama)
        lmhead.patch(model)
        callback = StatisticsCallback()
        _, logs = trained(
            tmp_path, PatchedSFTTrainer, model, tokenizer, data, max_length=None, callbacks=[callback], **options
        )
        losses.append([each["loss"] for each in logs])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_trls_own_trainer_is_told_to_go_past_the_patch(tmp_path, tokenizer):
    model = wide(llama)
    lmhead.patch(model)
    with pytest.warns(UserWarning, match="forward must call its output layer, .* SFTTrainer"):
        trained(tmp_path, trl.SFTTrainer, model, tokenizer, rows(), max_steps=1)
    lmhead.unpatch(model)
    lmhead.patch(model)
    with (
        pytest.warns(UserWarning, match="forward must call its output layer"),
        pytest.raises(ArgumentError, match=r"SFTTrainer needs lmhead\.SFTMixin"),
    ):
        trained(tmp_path, trl.SFTTrainer, model, tokenizer, rows(), callbacks=[StatisticsCallback()])


def test_a_model_that_is_not_patched_is_refused(tmp_path, tokenizer):
    with pytest.raises(ArgumentError, match="model must be patched"):
        trained(tmp_path, PatchedSFTTrainer, wide(llama), tokenizer, rows())


def test_a_loss_of_another_kind_is_refused(tmp_path, tokenizer):
    with pytest.raises(ArgumentError, match="loss_type must be 'nll', got 'dft'"):
        trained(tmp_path, PatchedSFTTrainer, wide(llama), tokenizer, rows(), loss_type="dft")
