"""Outputs built anew keep their class, their order and what was set by key alone."""

import torch
from transformers.modeling_outputs import BaseModelOutputWithPast

from lmhead.models.transformers.patching.rebuilt_output import rebuilt


def test_a_key_that_is_no_field_is_kept_and_one_that_is_left_out_is_gone():
    output = BaseModelOutputWithPast(last_hidden_state=torch.ones(2), hidden_states=(torch.ones(1),))
    output["router_logits"] = torch.zeros(3)
    values = {name: each for name, each in output.items() if name != "hidden_states"}
    new = rebuilt(output, values)
    assert type(new) is BaseModelOutputWithPast
    assert tuple(new) == ("last_hidden_state", "router_logits")
    assert new.hidden_states is None
    assert new["router_logits"] is new.router_logits is output["router_logits"]


def test_a_plain_dict_stays_one():
    assert rebuilt({"loss": 1.0, "logits": 2.0}, {"loss": 1.0}) == {"loss": 1.0}
