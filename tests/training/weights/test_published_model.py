"""A run's published checkpoint holds its model's modules, and gives them back."""

import json
from pathlib import Path

import pytest
import torch
from tests.models.transformers.formats.multi_token_models import make, states

from lmhead.data.tokenizer.run_tokenizer import RunTokenizer
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles
from lmhead.data.tokenizer.train_tokenizer import train_tokenizer
from lmhead.errors import InputError
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.training.weights.published_model import read_model, write_model
from lmhead.training.weights.trained_model import read_trained_model

BACKEND = train_tokenizer(["some text"], 262)
TOKENIZER = RunTokenizer.of_text(TokenizerFiles(json=BACKEND.to_str()), max_seq_len=48)
IDS = torch.arange(20).view(2, 10)


@pytest.mark.parametrize("kind", ["sequential", "recurrent", "parallel"])
def test_a_models_modules_come_back_bit_for_bit(kind: str, tmp_path: Path) -> None:
    model = make("recipe", kind, 2, vocab_size=300)
    write_model(tmp_path, model, TOKENIZER)
    loaded = read_model(tmp_path, device=torch.device("cpu"))
    assert isinstance(loaded, MultiTokenModel)
    assert (loaded.kind, loaded.depth, loaded.training) == (kind, 2, False)
    with torch.no_grad():
        assert torch.equal(loaded(IDS)[0], model(IDS)[0])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(states(loaded, IDS), states(model, IDS), strict=True))


def test_a_modules_weight_that_is_no_number_is_found(tmp_path: Path) -> None:
    model = make("recipe", vocab_size=300)
    with torch.no_grad():
        model.mtp.module(1).eh_proj.weight[0, 0] = float("nan")
    write_model(tmp_path, model, TOKENIZER)
    with pytest.raises(RuntimeError, match=r"must be finite, got NaN or infinity in mtp.layers.0.eh_proj.weight"):
        read_trained_model(tmp_path, "cpu")


def test_modules_that_are_declared_and_missing_are_not_loaded_by_transformers_instead(tmp_path: Path) -> None:
    write_model(tmp_path, make("recipe", vocab_size=300).main, TOKENIZER)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_nextn_predict_layers": 1}))
    with pytest.raises(InputError, match="got none of module 1 of 1: take the folder that lmhead wrote"):
        read_model(tmp_path, device=torch.device("cpu"))


def test_transformers_finds_the_tokenizer_beside_a_familys_config(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    write_model(tmp_path, make("recipe", vocab_size=300), TOKENIZER)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs("some text")["input_ids"] == [TOKENIZER.bos_id, *BACKEND.encode("some text").ids]
