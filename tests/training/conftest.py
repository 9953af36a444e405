"""A small model of transformers and conversations, for the tests of runs that begin with it."""

from pathlib import Path

import pytest
from tests.training.chat_runs import write_chat
from tests.training.tiny_pretrained import write_gemma2


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gemma2(tmp_path_factory.mktemp("gemma") / "gemma")


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chat(tmp_path_factory.mktemp("chat") / "chat.jsonl", 30)
