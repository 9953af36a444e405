"""A run whose tokenizer or template was damaged or edited does not go on with another one in silence."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from lmhead.errors import InputError
from lmhead.training.run.tokenizer_copies import require_same_tokenizer

TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    run, checkpoint = tmp_path / "a run", tmp_path / "a run/checkpoints/step-3"
    checkpoint.mkdir(parents=True)
    for folder, indent in ((run, None), (checkpoint, 2)):
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).write_text(json.dumps({"a": [1, 2], "name": name}, indent=indent))
        (folder / "chat_template.jinja").write_text(TEMPLATE)
    return run, checkpoint


def test_the_same_written_otherwise_is_the_same(folders: tuple[Path, Path]) -> None:
    require_same_tokenizer(*folders)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\x00", b'{"a": [1, 3]}', TEMPLATE[:-3].encode()])
def test_any_other_content_is_named_and_put_back_by_the_command(
    name: str, content: bytes | None, folders: tuple[Path, Path]
) -> None:
    run, _ = folders
    if content is None:
        (run / name).unlink()
        if name == "tokenizer_config.json":  # of a run on texts the checkpoint alone has one
            return require_same_tokenizer(*folders)
    else:
        (run / name).write_bytes(content)
    with pytest.raises(InputError) as refused:
        require_same_tokenizer(*folders)
    message = str(refused.value)
    assert str(run / name) in message
    command = message[message.index("cp ") :]
    subprocess.run(shlex.split(command), check=True)
    require_same_tokenizer(*folders)
    return None
