"""Silence of transformers while it loads: what its reports say is checked here, and told in one line."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars, nothing below an error, no word of what PEFT and it have deprecated; afterwards as before."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(ERROR)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys did not match")  # its own keys
            warnings.filterwarnings(
                "ignore", "target_parameters=.* were set but no parameter was matched"
            )  # its own too
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
