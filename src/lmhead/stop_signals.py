"""The signals that ask a process to stop. Imports nothing of the package."""

import signal
from typing import Final

# The usual request, Ctrl-C, a terminal that went away, Ctrl-\; not every system has all of them.
STOP_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT") if hasattr(signal, name)
)
