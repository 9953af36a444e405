"""lmhead: everything between a causal language model's hidden states and its gradient."""

from lmhead.errors import IGNORE_INDEX
from lmhead.ops.dispatch import linear_cross_entropy
from lmhead.ops.problem import TokenStatistics
from lmhead.ops.workspace import release_workspace
from lmhead.version import __version__

__all__ = ["IGNORE_INDEX", "TokenStatistics", "__version__", "linear_cross_entropy", "release_workspace"]
