"""The memory of one process beside `accelerate estimate-memory`'s: what both count is equal."""

import pytest
import torch

from lmhead.models.config import GPTConfig
from lmhead.ranks.mesh import MeshPlan
from lmhead.scaling.scaling_plan import PlannedDecoder, ScalingPlan

pytest.importorskip("accelerate")
pytest.importorskip("transformers")


@pytest.mark.parametrize("tied", [False, True])
def test_weights_gradients_and_adams_states_are_accelerates_four_sizes(tied):
    from accelerate.commands.estimate import estimate_training_usage
    from accelerate.utils import calculate_maximum_sizes
    from transformers import LlamaConfig, LlamaForCausalLM

    config = GPTConfig(
        vocab_size=1000, embed_dim=64, num_heads=4, num_kv_heads=2, num_layers=3, mlp_dim=160, tie_weights=tied
    )
    llama = LlamaConfig(
        vocab_size=1000,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(llama)
    model.tie_weights()
    size, _ = calculate_maximum_sizes(model)
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())  # which it counts as weights
    usage = estimate_training_usage(size - buffers, "float32")
    plan = ScalingPlan(model=PlannedDecoder.of(config, compute_bytes=4), mesh=MeshPlan(), rows=1, accumulate=1)
    end = plan.memory.end
    assert (usage["model"], usage["gradients"], usage["optimizer"]) == (end.weights, end.gradients, end.optimizer)
    assert max(usage.values()) == plan.memory.lasting
    narrow = estimate_training_usage(size - buffers, "bfloat16")
    assert max(narrow.values()) == plan.memory.lasting / 2  # the largest of what is there together, not the sum
