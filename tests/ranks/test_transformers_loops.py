"""PEFT's heads and models of transformers, patched, under FSDP2 and DDP: the gradients of one process, in float64."""

from typing import Any

import pytest
import torch
from tests.ranks.launched import on_ranks
from tests.ranks.loops import ACCUMULATE, ROWS, D, V, error, step, whole, window
from tests.ranks.test_other_loops import Own, assert_exact
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

import lmhead
from lmhead import Targets, WrappedHead, scored_weight
from lmhead.ranks.ranks import Ranks

pytest.importorskip("accelerate", reason="accelerate is not installed")
pytest.importorskip("peft", reason="peft is not installed: pip install 'lmhead[peft]'")
pytest.importorskip("transformers", reason="transformers is not installed: pip install 'lmhead[hf]'")


def with_peft(kind: str) -> Any:
    from peft import LoraConfig, get_peft_model

    saved = kind == "modules_to_save"
    options: dict[str, Any] = {"modules_to_save": ["head"]} if saved else {"use_dora": kind == "DoRA"}
    own = Own(nn.Linear(D, V))
    torch.manual_seed(5)
    targets = ["body"] if saved else ["body", "head"]
    config = LoraConfig(r=2, target_modules=targets, init_lora_weights=False, **options)
    return get_peft_model(own, config).base_model.model.double()


def peft_loss(model: Any, ids: Tensor, targets: Targets, divisor: Tensor) -> Tensor:
    loss: Tensor = WrappedHead(model.head).loss(model(ids), targets=targets, divisor=divisor)
    return loss


def heads_of_peft(ranks: Ranks) -> dict[str, float]:
    found = {}
    for kind in ("LoRA", "DoRA", "modules_to_save"):
        right = step(with_peft(kind), peft_loss)
        for alone in (False, True):
            model = with_peft(kind)
            if alone:
                fully_shard(model.head)
            fully_shard(model)
            found[f"{kind}, sharded by itself: {alone}"] = error(step(model, peft_loss, ranks), right)
    return found


def llama(*, tied: bool = False) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    sizes = {"hidden_size": D, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=V, tie_word_embeddings=tied, **sizes)).double().train()


def stock_loss(model: Any, ids: Tensor, targets: Targets, divisor: Tensor) -> Tensor:
    loss: Tensor = model(input_ids=ids, shift_labels=targets.ids, labels=targets.ids, num_items_in_batch=divisor).loss
    return loss


def pretrained_loss(model: Any, ids: Tensor, targets: Targets, divisor: Tensor) -> Tensor:
    loss: Tensor = model.loss(ids, targets, divisor=divisor, label_smoothing=0.1)
    return loss


def in_layers(model: Any) -> Any:
    for layer in model.model.layers:
        fully_shard(layer)
    return fully_shard(model)


def models_of_transformers(ranks: Ranks) -> dict[str, float]:
    found = {}
    for tied in (False, True):
        right = step(llama(tied=tied), stock_loss, weighted=False)  # stock, one process
        for name, wrap in (("FSDP2", in_layers), ("DDP", DistributedDataParallel)):
            model = wrap(llama(tied=tied))
            lmhead.patch(model)
            found[f"patched, tied={tied}, {name}"] = error(step(model, stock_loss, ranks, weighted=False), right)
        with torch.device("meta"):
            model = llama(tied=tied)
        in_layers(model).to_empty(device="cpu")
        model.init_weights()  # else its frequencies are garbage
        weights = llama(tied=tied).state_dict() if ranks.first else {}
        set_model_state_dict(model, weights, options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=True))
        lmhead.patch(model)
        found[f"patched, tied={tied}, meta"] = error(step(model, stock_loss, ranks, weighted=False), right)
        right = step(lmhead.PretrainedCausalLM(llama(tied=tied)), pretrained_loss)
        own = lmhead.PretrainedCausalLM(llama(tied=tied))
        for layer in own.base.model.layers:
            fully_shard(layer)
        fully_shard(own)
        register_fsdp_forward_method(own, "loss")
        found[f"PretrainedCausalLM, tied={tied}"] = error(step(own, pretrained_loss, ranks), right)
    return found


def a_loop_of_accelerate(ranks: Ranks) -> dict[str, float]:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATE)
    model = accelerator.prepare(llama())
    lmhead.patch(accelerator.unwrap_model(model))
    parts = window(*ranks.rows(0, ROWS), weighted=False)
    items = accelerator.reduce(scored_weight([targets for _, targets in parts]), "sum") / accelerator.num_processes
    total = 0.0
    for ids, targets in parts:
        with accelerator.accumulate(model):
            loss = stock_loss(model, ids, targets, items)
            accelerator.backward(loss * accelerator.gradient_accumulation_steps)
            total += loss.item()
    loss_of_all = accelerator.reduce(torch.tensor(total), "mean").item()
    gradients = {name: whole(each.grad) for name, each in accelerator.unwrap_model(model).named_parameters()}
    return {"patched, accelerate": error((loss_of_all, gradients), step(llama(), stock_loss, weighted=False))}


def heads_and_models(ranks: Ranks) -> dict[str, float]:
    return heads_of_peft(ranks) | models_of_transformers(ranks) | a_loop_of_accelerate(ranks)


def test_heads_of_peft_and_patched_models_have_the_gradients_of_one_process() -> None:
    """Logits of stock transformers are cast to float32."""
    found = on_ranks(2, heads_and_models, timeout=180.0)[0]  # each imports transformers
    rounded = {name: size for name, size in found.items() if name.startswith("patched")}
    assert_exact({name: size for name, size in found.items() if name not in rounded})
    assert {name: size for name, size in rounded.items() if not size < 1e-6} == {}
