"""A .wandb file, which an offline run leaves: LevelDB's log of protobufs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK, _FILE_HEADER, _HEADER = 32_768, 7, 7  # bytes


def history(file: Path) -> list[dict[str, Any]]:
    """What was logged, call by call, without what wandb adds (_step, _runtime, ...)."""
    logged = [record.history.item for record in records(file) if record.WhichOneof("record_type") == "history"]
    lines = [{item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items} for items in logged]
    return [{name: value for name, value in line.items() if not name.startswith("_")} for line in lines]


def exit_codes(file: Path) -> list[int]:
    return [record.exit.exit_code for record in records(file) if record.WhichOneof("record_type") == "exit"]


def records(file: Path) -> Iterator[Any]:
    from wandb.proto import wandb_internal_pb2

    for data in _whole(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        yield record


def _whole(data: bytes) -> Iterator[bytes]:
    at, parts = _FILE_HEADER, b""
    while at + _HEADER <= len(data):
        if _BLOCK - at % _BLOCK < _HEADER:  # too little room for a header: zeros
            at += _BLOCK - at % _BLOCK
            continue
        length = int.from_bytes(data[at + 4 : at + 6], "little")
        parts += data[at + _HEADER : at + _HEADER + length]
        if data[at + 6] in (1, 4):  # whole, last
            yield parts
            parts = b""
        at += _HEADER + length
