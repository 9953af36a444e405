"""interrupts_deferred: SIGINT has its effect behind the block."""

import signal
import threading

import pytest

from lmhead.data.labelling.interrupts import interrupts_deferred


def test_an_interrupt_is_raised_when_the_block_is_left():
    done = []

    def work():
        with interrupts_deferred():
            signal.raise_signal(signal.SIGINT)
            done.append("the rest of the block")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_ones_own_is_called_once():
    told = []
    before = signal.signal(signal.SIGINT, lambda number, frame: told.append(number))
    try:
        with interrupts_deferred():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            assert told == []
        assert told == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGQUIT"])
def test_every_request_to_stop_waits_where_it_has_a_handler(name: str) -> None:
    number, told = getattr(signal, name), []
    before = signal.signal(number, lambda number, frame: told.append(number))
    try:
        with interrupts_deferred():
            signal.raise_signal(number)
            assert told == []
        assert told == [number]
    finally:
        signal.signal(number, before)


def test_an_ignored_interrupt_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_deferred():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_are_left_alone():
    ran = []

    def work():
        with interrupts_deferred():
            ran.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ran == [signal.default_int_handler]
