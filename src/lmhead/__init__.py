"""lmhead: everything between a causal language model's hidden states and its gradient.

Names are imported when they are first used, so that the command line's help does not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from lmhead.errors import IGNORE_INDEX
from lmhead.version import __version__

if TYPE_CHECKING:
    from lmhead.ops.dispatch import linear_cross_entropy
    from lmhead.ops.problem import TokenStatistics
    from lmhead.ops.workspace import release_workspace

_MODULES = {
    "TokenStatistics": "lmhead.ops.problem",
    "linear_cross_entropy": "lmhead.ops.dispatch",
    "release_workspace": "lmhead.ops.workspace",
}

__all__ = ["IGNORE_INDEX", "TokenStatistics", "__version__", "linear_cross_entropy", "release_workspace"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'lmhead' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
