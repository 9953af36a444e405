"""What a run shows, at any width: a bar on a terminal, plain lines elsewhere."""

import dataclasses
import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from lmhead.cli import run_display as module
from lmhead.cli.run_display import make_reporter
from lmhead.evaluation.held_out.draft_scores import DepthScores
from lmhead.evaluation.held_out.evaluate import Evaluation
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.reporter import StepRecord

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def record(step: int = 123, steps: int | None = 4000, **changes: float) -> StepRecord:
    values = {"loss": 2.5, "grad_norm": 1.0, "rate": 0.5, "seconds": 9.0, "tokens_per_second": 12_345.0}
    values |= {"trained_per_second": 9_876.0}
    return StepRecord(step=step, steps=steps, tokens=512, read=512, **(values | changes))


def evaluation() -> Evaluation:
    return Evaluation(
        bits_per_byte=1.5,
        nll=3.0,
        perplexity=20.0,
        accuracy=0.3,
        tokens=300_000,
        bytes=1_000_000,
        window=256,
        stride=128,
        whole=True,
    )


def on_terminal(width: int, **environment: str) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, soft_wrap=True, _environ=environment)


def lines_of(console: Console) -> list[str]:
    """Everything that was ever on the screen, a drawing of the bar a line."""
    assert isinstance(console.file, io.StringIO)
    return [line for line in re.split(r"[\r\n]+", CODES.sub("", console.file.getvalue())) if line.strip()]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_step_is_seen_on_a_terminal_of_any_width(width: int) -> None:
    console = on_terminal(width)
    with make_reporter(console, TrainConfig()) as reporter:
        reporter.step(record())
    assert "step 123/4,000" in console.file.getvalue()  # type: ignore[attr-defined]


def bars(console: Console) -> list[str]:
    return [line for line in lines_of(console) if "%" in line and "accuracy" not in line]


def test_at_80_columns_the_bar_has_share_loss_speed_and_time_left() -> None:
    console = on_terminal(80)
    with make_reporter(console, TrainConfig()) as reporter:
        reporter.step(record())
    bar = bars(console)[-1].rstrip()
    # 3877 steps of 16 * 256 tokens at 12,345 a second
    assert re.fullmatch(r"step 123/4,000  ━+[╸╺]?━*    3%  loss 2\.5000  21:26 left  12\.3k tokens/s", bar)


def test_at_80_columns_the_bar_and_the_line_have_the_losses_of_four_further_tokens() -> None:
    console = on_terminal(80)
    with make_reporter(console, TrainConfig()) as reporter:
        reporter.step(dataclasses.replace(record(), depths=(3.25, 3.5, None, 4.125)))
    bar = bars(console)[-1].rstrip()
    assert re.fullmatch(r"step 123/4,000  ━+[╸╺]?━*    3%  loss 2\.5000  21:26 left  mtp 3\.25 3\.50 4\.12", bar)
    assert "step 123/4,000: loss 2.5000  mtp 3.25 3.50 4.12  12,345 tokens/s" in CODES.sub("", console.file.getvalue())  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 132])
@pytest.mark.parametrize(("step", "steps"), [(1, None), (9, 10), (1_234_567, 4_000_000)])
def test_nothing_is_cut_off_at_any_width(width: int, step: int, steps: int | None) -> None:
    console = on_terminal(width)
    with make_reporter(console, TrainConfig(minutes=1e5)) as reporter:
        reporter.step(record(step, steps, loss=12.3456, tokens_per_second=9.87e6, trained_per_second=1.25e3))
        reporter.evaluating(step, 123_456_789, 1_000_000_000)
    for line in lines_of(console):
        assert "…" not in line
        assert cell_len(line.rstrip()) < width or line.startswith("step")  # of a line that stays: its first part
    assert any("loss 12.3456" in line for line in lines_of(console))


def test_a_narrow_bar_keeps_what_matters_most() -> None:
    console = on_terminal(40)
    with make_reporter(console, TrainConfig()) as reporter:
        reporter.step(record())
    assert re.fullmatch(r"━+[╸╺]?━*    3%  loss 2\.5000  21:26 left", bars(console)[-1].strip())


def test_a_wide_bar_says_what_is_trained_beside_what_is_read() -> None:
    console = on_terminal(132)
    with make_reporter(console, TrainConfig()) as reporter:
        reporter.step(record())
    assert "12.3k tokens/s  (9.88k trained)" in bars(console)[-1]


def test_a_terminal_that_is_resized_gets_a_bar_of_its_new_width() -> None:
    console = on_terminal(100)
    with make_reporter(console, TrainConfig()) as reporter:
        reporter.step(record())
        console.width = 50
        reporter.step(record(124))
    assert cell_len(bars(console)[-1].rstrip()) < 50


def test_a_twentieth_of_the_steps_leaves_a_line_and_so_does_the_last() -> None:
    console = on_terminal(80)
    with make_reporter(console, TrainConfig()) as reporter:
        for step in range(1, 201):
            reporter.step(record(step, 200))
    stayed = [line for line in lines_of(console) if re.match(r"step \d+/200: loss", line)]
    assert [int(re.findall(r"\d+", line)[0]) for line in stayed] == [1, *range(11, 200, 10), 200]
    assert stayed[1].startswith("step 11/200: loss 2.5000  12,345 tokens/s (9,876 trained)  1:03 left")


def test_before_the_length_is_known_a_line_stays_every_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    console = on_terminal(80)
    with make_reporter(console, TrainConfig()) as reporter:
        for step in range(1, 13):
            now[0] = 10.0 * step
            reporter.step(record(step, None))
    stayed = [line for line in lines_of(console) if re.match(r"step \d+: loss", line)]
    assert [int(re.findall(r"\d+", line)[0]) for line in stayed] == [1, 4, 7, 10]


def test_an_evaluation_has_the_bar_and_leaves_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    console = on_terminal(80)
    with make_reporter(console, TrainConfig()) as reporter:
        reporter.step(record(10, 10))
        reporter.evaluating(10, 0, 300_000)
        now[0] = 60.0
        reporter.evaluating(10, 75_000, 300_000)
        reporter.evaluation(10, evaluation())
    shown = lines_of(console)
    assert any(
        re.fullmatch(r"evaluating  ━+[╸╺]━+   25%  0:30 left  75,000/300,000 tokens", line.rstrip()) for line in shown
    )
    assert "step 10: held out 1.5000 bits per byte, perplexity 20.00 and accuracy 30.0% over 300,000 tokens" in shown


def test_no_terminal_gets_plain_lines_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    with make_reporter(Console(file=out, width=10_000, soft_wrap=True), TrainConfig(log_every=5)) as reporter:
        for step in range(1, 12):
            reporter.step(record(step, 11))
        for done in (0, 100_000, 200_000, 300_000):
            reporter.evaluating(11, done, 300_000)
            now[0] += 11
        reporter.sample(11, "a\r\nb\x0cc\u2028d\n")
        reporter.evaluation(11, evaluation())
    assert out.getvalue().splitlines() == [
        *(
            f"step {step}/11: loss 2.5000  12,345 tokens/s (9,876 trained)  0:0{left} left  "
            "grad norm 1.000  rate 0.50  0:09 gone"
            for step, left in ((1, 3), (5, 2), (10, 0), (11, 0))
        ),
        "step 11: evaluating, 100,000 of 300,000 tokens (33%)",
        "step 11: evaluating, 200,000 of 300,000 tokens (67%)",
        "step 11: sample",
        "  | a\\r",
        "  | b\\x0cc\\u2028d",
        "step 11: held out 1.5000 bits per byte, perplexity 20.00 and accuracy 30.0% over 300,000 tokens",
    ]


def test_where_nothing_is_read_or_trained_there_is_no_division_by_zero() -> None:
    for console in (on_terminal(80), Console(file=io.StringIO(), width=200)):
        with make_reporter(console, TrainConfig()) as reporter:
            reporter.step(record(4000, tokens_per_second=0.0, trained_per_second=0.0))
        assert "loss 2.5000" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("depth", [1, 4])
def test_an_evaluation_tells_of_drafts_in_a_line_of_80_columns(depth: int) -> None:
    scores = DepthScores(nll=3.0, accuracy=0.3, acceptance=0.512, tokens=300_000)
    result = dataclasses.replace(evaluation(), depths=(scores,) * depth, accepted_length=1.512)
    console = Console(file=io.StringIO(), width=80)
    with make_reporter(console, TrainConfig()) as reporter:
        reporter.evaluation(123_456, result)
    (line,) = [line for line in lines_of(console) if "drafts" in line]
    accepted = ", ".join(["51.2%"] * depth)
    assert line.endswith(f"drafts accepted {accepted}: 1.51 tokens a forward")
    assert cell_len(line) <= 80


def test_an_evaluation_without_drafts_tells_of_none() -> None:
    console = Console(file=io.StringIO(), width=80)
    with make_reporter(console, TrainConfig()) as reporter:
        reporter.evaluation(500, evaluation())
    assert "drafts" not in console.file.getvalue()  # type: ignore[attr-defined]
