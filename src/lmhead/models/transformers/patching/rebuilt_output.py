"""An output of transformers built anew: a key cannot be taken out of one."""

from typing import Any


def rebuilt(output: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Of the output's class, with these values.

    What is no field of its dataclass was set by key, as transformers 4 does with a router's logits, and is so again.
    """
    fields = getattr(type(output), "__dataclass_fields__", values)
    new: dict[str, Any] = type(output)(**{name: each for name, each in values.items() if name in fields})
    for name, each in values.items():
        if name not in fields:  # a ModelOutput takes no update
            new[name] = each  # noqa: PERF403
    return new
