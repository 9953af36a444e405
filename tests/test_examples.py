"""The scripts in examples/ do what the pages say of them."""

import json
import subprocess
import sys
from pathlib import Path

MAKE_CHAT = Path(__file__).parent.parent / "examples" / "make_chat.py"


def made(file: Path, *flags: str) -> list[str]:
    subprocess.run([sys.executable, str(MAKE_CHAT), str(file), *flags], check=True)
    return file.read_text(encoding="utf-8").splitlines()


def test_make_chat_writes_as_many_different_conversations_the_same_for_a_seed(tmp_path: Path) -> None:
    one, same, other = (made(tmp_path / "chat.jsonl", "--count", "300", "--seed", seed) for seed in "001")
    assert one == same != other
    assert len(set(one)) == 300
    for line in one:
        roles = [message["role"] for message in json.loads(line)["messages"]]
        assert roles[roles[0] == "system" :] in (["user", "assistant"], ["user", "assistant"] * 2)
