"""Trackio: a run of the project lmhead in its local database, or where its own variables say.

A resumed run goes on under its name; steps that are taken again are logged again.
"""

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any, Final, final

from lmhead.errors import InputError
from lmhead.options import option
from lmhead.packages import require_package
from lmhead.tracking.tracker import TrackedRun, Tracker

_PROJECT: Final = "lmhead"


def require_trackio() -> None:
    """Refuse where it cannot be used.

    Raises:
        InputError: it is not installed.
    """
    require_package("trackio", option("track", "trackio"))


@final
class TrackioTracker(Tracker):
    """One sitting of a run there. Faults after its beginning are warnings of trackio's own, and stop nothing."""

    where = f"trackio show --project {_PROJECT}"

    def __init__(self, run: TrackedRun) -> None:
        import trackio

        try:
            with redirect_stdout(io.StringIO()):  # the words around a bar are ours
                trackio.init(project=_PROJECT, name=run.id, resume="allow", config=run.config, embed=False)
        except (ValueError, OSError) as error:
            raise InputError(f"{option('track', 'trackio')}: {' '.join(str(error).split())}") from None
        self._trackio: Any = trackio  # of which a process has one run at a time

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Hand them to its thread."""
        self._trackio.log(dict(scalars), step=step)

    def flush(self) -> None:
        """Nothing: its thread writes every half second."""

    def close(self, *, failed: bool) -> None:
        """Wait until everything is written."""
        with redirect_stdout(io.StringIO()):
            self._trackio.finish()
