"""Models of transformers with a vocabulary of 100 and a width of 32, without dropout, in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("transformers", reason="transformers is not installed: pip install 'lmhead[hf]'")

from transformers import (
    BartConfig,
    BartForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.modeling_outputs import CausalLMOutput

V, D = 100, 32
IDS_OF_SPECIAL_TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def llama(**options: Any) -> LlamaForCausalLM:
    return _of(LlamaForCausalLM, LlamaConfig(**_SIZES, **options))


def gemma2(**options: Any) -> Gemma2ForCausalLM:
    """It caps its logits, and its head is its embedding."""
    return _of(Gemma2ForCausalLM, Gemma2Config(**_SIZES, head_dim=8, **options))


def cohere(**options: Any) -> CohereForCausalLM:
    """It scales its logits."""
    return _of(CohereForCausalLM, CohereConfig(**_SIZES, **options))


def phi(**options: Any) -> PhiForCausalLM:
    """Its head has a bias."""
    return _of(PhiForCausalLM, PhiConfig(**_SIZES, **options))


def gpt2(**options: Any) -> GPT2LMHeadModel:
    sizes = {"vocab_size": V, "n_embd": D, "n_layer": 1, "n_head": 4, "n_positions": 32}
    off = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
    model = _of(GPT2LMHeadModel, GPT2Config(**sizes, **off, **IDS_OF_SPECIAL_TOKENS, **options))
    model.loss_type = "ForCausalLM"  # without a name it logs, which torch.compile does not follow
    return model


def bart(**options: Any) -> BartForCausalLM:
    """Its loss is its own: not shifted, and not divided by num_items_in_batch."""
    return _of(
        BartForCausalLM,
        BartConfig(
            vocab_size=V,
            d_model=D,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=48,
            decoder_ffn_dim=48,
            max_position_embeddings=32,
            dropout=0.0,
            **{**IDS_OF_SPECIAL_TOKENS, "decoder_start_token_id": 2, "forced_eos_token_id": 2},
            is_decoder=True,
            **options,
        ),
    )


class Toy(nn.Module):
    """The least that is a causal LM to the patch, for what is slow with a whole one: torch.compile."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, D)
        self.trunk = nn.Linear(D, D)
        self.lm_head = nn.Linear(D, V, bias=False)

    device = torch.device("cpu")

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def forward(self, input_ids: Tensor, labels: Tensor | None = None, **options: Any) -> CausalLMOutput:
        logits = self.lm_head(torch.tanh(self.trunk(self.embedding(input_ids))))
        loss = None if labels is None else ForCausalLMLoss(logits, labels, V, **options)
        return CausalLMOutput(loss=loss, logits=logits)


def toy() -> Toy:
    torch.manual_seed(0)
    return Toy().double()


_SIZES: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": D,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    **IDS_OF_SPECIAL_TOKENS,
}


def _of(kind: type[nn.Module], config: Any) -> Any:
    torch.manual_seed(0)
    return kind(config).double().train()


def drawn(*, rows: int = 2, length: int = 12, seed: int = 1) -> dict[str, Tensor]:
    """A batch whose labels are not its ids, some of them ignored."""
    generator = torch.Generator().manual_seed(seed)
    ids, labels = (torch.randint(3, V, (rows, length), generator=generator) for _ in range(2))
    labels[:, :2] = labels[-1, 7:] = -100
    return {"input_ids": ids, "labels": labels}


def step(model: nn.Module, **batch: Any) -> tuple[Any, dict[str, Tensor]]:
    """(output, gradients of all parameters by name) of a forward and a backward."""
    model.zero_grad(set_to_none=True)
    output = model(**(batch or drawn()))
    loss = output[0] if isinstance(output, tuple) else output["loss"]
    loss.backward()
    found = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    model.zero_grad(set_to_none=True)
    return output, found


def loss_of(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output["loss"]


def assert_same_step(found: tuple[Any, dict[str, Tensor]], right: tuple[Any, dict[str, Tensor]], **bars: float) -> None:
    """Loss and every gradient, as far as float32 tells."""
    bars = bars or {"rtol": 2e-6, "atol": 2e-7}  # stock casts its logits to float32
    torch.testing.assert_close(loss_of(found[0]).double(), loss_of(right[0]).double(), **bars)
    assert found[1].keys() == right[1].keys()
    for name, gradient in right[1].items():
        torch.testing.assert_close(
            found[1][name].double(), gradient.double(), **bars, msg=lambda text, at=name: f"{at}: {text}"
        )
