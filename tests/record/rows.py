"""Lines of records for tests."""

from typing import Any

ROW: dict[str, Any] = {
    "ids": [5, 6, 7, 8],
    "targets": [-100, 7, 8, -100],
    "reason": [17, 0, 0, 2],
    "weight": [0.0, 1.0, 0.5, 0.0],
    "document": [0, 0, 0, 0],
    "position": [0, 1, 2, 3],
    "spans": [[0, 2, "user"], [2, 4, "assistant"]],
    "names": ["chat.jsonl, line 4"],
    "sources": ["chat.jsonl"],
    "nll": [2.0, 0.25, 0.125, None],
    "rank": [9, 0, 0, -1],
    "entropy": [3.0, 0.5, 0.25, None],
    "top_ids": [[1, 6], [7, 2], [8, 3], [-1, -1]],
    "top_logprobs": [[-0.5, -2.0], [-0.25, -3.0], [-0.125, -4.0], [None, None]],
}
AGAINST: dict[str, Any] = {"nll": [1.0, 2.0, 3.0, None], "rank": [1, 2, 3, -1]}
OTHER: dict[str, Any] = {"spans": [[0, 1, 1.5, "a|b"], [1, 4, None, "c"]]}
FINDING = {"code": "boundary_scored", "severity": "error", "count": 1, "rows": [0], "places": [], "message": "m"}
LINES: list[dict[str, Any]] = [
    {"record": 1, "step": 0, "made_by": "lmhead 0.1.0", "title": "a run", "models": ["a"], "config": {"seed": 0}},
    {"step": 1, "loss": 2.5, "grad_norm": 0.5, "rate": 1.0, "tokens": 10, "seconds": 0.5},
    {"step": 1, "evaluation": "quick", "nll": 2.0, "bits_per_byte": None, "classes": {"part": {"prompt": [2.0, 5]}}},
    {"step": 1, "sample": "Once", "prompt": "O"},
    ROW,
    {"vocabulary": {"5": "The", "6": {"bytes": "e29c"}}},
    {"vocabulary": {"7": {"control": "<|im_end|>"}}},
    {"finding": FINDING},
    {"something": "else"},
]
