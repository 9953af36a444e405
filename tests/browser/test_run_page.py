"""The report of a run in a real browser: what is seen, zoom, keyboard, several runs, dark mode, hostile text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.browser.hostile import HOSTILE
from tests.browser.run_logs import (
    HEADER,
    Line,
    diverged_lines,
    multi_token_lines,
    run_lines,
    token_lines,
    write_log,
    write_run,
)

from lmhead.report.run_report import draw_report

Open = Callable[..., Any]
NONE = "\u2013"  # what a table shows where there is no figure


@pytest.fixture
def healthy(tmp_path: Path) -> Path:
    return draw_report([write_run(tmp_path / "base", run_lines())])[0]


@pytest.fixture
def three(tmp_path: Path) -> Path:
    runs = [
        write_run(tmp_path / name, run_lines(seed=at, variant=at)) for at, name in enumerate(("base", "warm", "half"))
    ]
    return draw_report(runs, tmp_path / "report.html")[0]


def seen(page: Any) -> list[float]:
    """The part of the axis that the first chart shows; all charts that zoom show the same."""
    parts = page.evaluate("runReport.open().filter(c => c.zooms).map(c => [c.plot.scales.x.min, c.plot.scales.x.max])")
    assert all(part == parts[0] for part in parts)
    part: list[float] = parts[0]
    return part


def drawn(page: Any, name: str) -> int:
    """Pixels of a chart's canvas that are not empty."""
    return int(
        page.evaluate(
            """(name) => { const canvas = [...document.querySelectorAll(".figure")].find(
              (each) => each.querySelector("h3").textContent.startsWith(name)).querySelector("canvas");
              const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
              let count = 0; for (let i = 3; i < data.length; i += 4) count += data[i] > 0; return count; }""",
            name,
        )
    )


def becomes_true(page: Any, expression: str) -> None:
    """Wait for it; wait_for_function would need the eval that the page forbids."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never true: {expression}")


def figures(page: Any) -> list[str]:
    found: list[str] = page.locator("#curves .figure h3 > span").all_inner_texts()
    return found


def test_a_run_is_told_in_figures_and_curves(healthy: Path, open_page: Open) -> None:
    page = open_page(healthy).page
    assert page.locator("h1").inner_text().split() == ["base", "finished"]
    tiles = dict(
        zip(page.locator(".tiles dt").all_inner_texts(), page.locator(".tiles b").all_inner_texts(), strict=True)
    )
    assert tiles["bits per byte"] == "0.870"
    assert (tiles["steps"], tiles["scored tokens"], tiles["accuracy"]) == ("600", "2.45 M", "41.5 %")
    assert figures(page) == ["Loss", "Held-out bits per byte", "Accuracy", "Gradient norm", "Speed", "Learning rate"]
    assert all(drawn(page, name) > 500 for name in figures(page))
    assert page.locator(".banner").count() == 0
    assert page.locator("#classes .figure").count() == 3
    assert page.locator("#classes tbody tr").first.inner_text().split("\t") == [
        "0-15",
        "5.5 %",
        "4.855",
        "2.890",
        "\N{MINUS SIGN}1.97",
    ]


def test_losses_of_further_tokens_are_lines_of_one_chart(tmp_path: Path, open_page: Open) -> None:
    run = write_run(tmp_path / "mtp", multi_token_lines(depth=3))
    page = open_page(draw_report([run])[0]).page
    assert figures(page)[:3] == ["Loss", "Held-out bits per byte", "Accuracy"]
    assert figures(page)[3:6] == ["Loss of further tokens", "Gradient norm", "Gradient norm of the modules"]
    assert figures(page)[6] == "Total loss"
    assert not any("mtp" in name for name in figures(page))
    assert drawn(page, "Loss of further tokens") > 500
    chart = page.locator("#curves .figure").nth(3)
    assert chart.locator(".entry bdi").all_inner_texts() == ["1 further", "2 further", "3 further"]
    colours = chart.locator(".entry .key").evaluate_all("each => each.map(one => one.style.color)")
    assert len(set(colours)) == 3


def test_of_several_runs_a_further_token_has_a_line_each(tmp_path: Path, open_page: Open) -> None:
    runs = [
        write_run(tmp_path / "one", multi_token_lines(depth=1)),
        write_run(tmp_path / "two", multi_token_lines(depth=2, seed=1, variant=1)),
        write_run(tmp_path / "none", run_lines(seed=2, variant=2)),
    ]
    page = open_page(draw_report(runs, tmp_path / "report.html")[0]).page
    chart = page.locator("#curves .figure").nth(figures(page).index("Loss of further tokens"))
    assert chart.locator(".entry bdi").all_inner_texts() == ["one, 1 further", "two, 1 further", "two, 2 further"]


def test_depths_of_multi_token_prediction_have_a_curve_and_a_table(tmp_path: Path, open_page: Open) -> None:
    page = open_page(draw_report([write_run(tmp_path / "ahead", with_depths(run_lines()))])[0]).page
    tiles = dict(
        zip(page.locator(".tiles dt").all_inner_texts(), page.locator(".tiles b").all_inner_texts(), strict=True)
    )
    assert tiles["tokens a forward"] == "1.900"
    assert "Tokens a forward" in figures(page)
    assert drawn(page, "Tokens a forward") > 500
    table = page.locator("#classes .figure").filter(has=page.locator("h3", has_text="By tokens ahead")).locator("table")
    rows = [row.split("\t") for row in table.locator("tr").all_inner_texts()]
    assert rows[0] == ["class", "accuracy", "acceptance", "first", "last", "change"]
    assert [row[:3] for row in rows[1:]] == [["1", "41.5 %", NONE], ["2", "38.0 %", "52.5 %"], ["3", NONE, "20.0 %"]]


def test_the_training_loss_of_each_source_has_a_curve_and_a_row_beside_held_out(
    tmp_path: Path, open_page: Open
) -> None:
    lines = run_lines()
    for line in lines:
        if "loss" in line:
            line["sources"] = {"web": [line["loss"], 300], "<b>books</b>": [line["loss"] + 1, 100]}
    page = open_page(draw_report([write_run(tmp_path / "mixed", lines)])[0]).page
    chart = page.locator("#classes .figure").filter(has=page.locator("h3", has_text="Training loss by source"))
    rows = [row.split("\t") for row in chart.locator("tr").all_inner_texts()]
    assert rows[0] == ["source", "share of tokens", "first tenth", "last tenth", "held out, last"]
    told = {row[0]: row[1:] for row in rows[1:] if row[1] != "0"}
    assert told["web"][0] == "75.0 %"
    assert told["<b>books</b>"][0] == "25.0 %"
    assert float(told["<b>books</b>"][2]) - float(told["web"][2]) == pytest.approx(1, abs=2e-3)
    assert "sources" not in figures(page)


def test_runs_with_drafts_are_compared_by_tokens_a_forward(tmp_path: Path, open_page: Open) -> None:
    plain = write_run(tmp_path / "plain", run_lines())
    ahead = write_run(tmp_path / "ahead", with_depths(run_lines(seed=1)))
    page = open_page(draw_report([plain, ahead], tmp_path / "report.html")[0]).page
    table = page.locator(".comparison")
    column = table.locator("thead th").all_inner_texts().index("tokens a forward")
    cells = [row.locator("th, td").nth(column).inner_text() for row in table.locator("tbody tr").all()]
    assert cells[0] == NONE
    assert cells[1].startswith("1.725")


def with_depths(lines: list[Line]) -> list[Line]:
    """The same run with two depths of multi-token prediction; of the second one accuracy is not known."""
    made = []
    for line in lines:
        if "evaluation" in line:
            ahead = {str(1 + k): [line["nll"] + 0.1 * k, 1000] for k in range(3)}
            depths = [{"accuracy": 0.38, "acceptance": 0.525, "tokens": 1000}, {"acceptance": 0.2, "tokens": 1000}]
            line = {**line, "classes": {**line["classes"], "depth": ahead}, "depths": depths, "accepted_length": 1.725}
            if line["evaluation"] == "full":
                line["decoded_length"] = 1.9
        made.append(line)
    return made


def test_the_same_prompts_stand_side_by_side(healthy: Path, open_page: Open) -> None:
    page = open_page(healthy).page
    strips = page.locator("#samples .strip")
    assert strips.count() == 2
    assert strips.first.locator("h4").all_inner_texts() == [
        f"step {step} held out {nll} nats"
        for step, nll in zip(range(100, 700, 100), ("2.965", "2.373", "2.255", "2.184", "2.117", "2.050"), strict=True)
    ]
    assert set(strips.first.locator(".given").all_text_contents()) == {"def read(self, size=-1):\n"}
    tops = strips.first.locator(".sample").evaluate_all("each => each.map(one => one.getBoundingClientRect().top)")
    assert len(set(tops)) == 1


def test_dragging_zooms_all_charts_and_a_double_click_shows_all_again(healthy: Path, open_page: Open) -> None:
    page = open_page(healthy).page
    assert seen(page) == [0, 600]
    over = page.locator("#curves .u-over").first
    box = over.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 60, steps=4)
    page.mouse.up()
    low, high = seen(page)
    assert low == pytest.approx(300, abs=3)
    assert high == pytest.approx(450, abs=3)
    over.dblclick()
    assert seen(page) == [0, 600]


def test_charts_are_read_and_zoomed_by_keyboard(healthy: Path, open_page: Open) -> None:
    page = open_page(healthy).page
    chart = page.locator("#curves .chart").first
    chart.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    reading = page.locator("#curves .reading").first.inner_text()
    assert reading.startswith("step ")
    assert "training" in reading
    page.keyboard.press("+")
    low, high = seen(page)
    assert high - low == pytest.approx(300)
    page.keyboard.press("-")
    assert seen(page) == [0, 600]
    page.keyboard.press("+")
    page.keyboard.press("0")
    assert seen(page) == [0, 600]


def test_values_under_the_pointer_are_those_of_the_log(tmp_path: Path, open_page: Open) -> None:
    lines = run_lines()
    page = open_page(draw_report([write_run(tmp_path / "base", lines)])[0]).page
    page.locator("#curves input[type=range]").fill("0")
    page.locator("#curves .u-over").first.hover(position={"x": 400, "y": 80})
    reading = page.locator("#curves .reading").first
    step = int(reading.locator(".at").inner_text().removeprefix("step ").replace(",", ""))
    (loss,) = [line["loss"] for line in lines if line["step"] == step and "loss" in line]
    assert float(reading.locator("b").first.inner_text()) == pytest.approx(loss, abs=5e-4)


def test_smoothing_scale_and_axis_can_be_changed(healthy: Path, open_page: Open) -> None:
    page = open_page(healthy).page
    smooth = drawn(page, "Loss")
    page.locator("#curves input[type=range]").fill("0")
    assert page.locator("#curves output").inner_text() == "off"
    assert drawn(page, "Loss") != smooth
    page.get_by_label("log scale").check()
    assert page.evaluate("runReport.open()[0].plot.scales.y.distr") == 3
    page.get_by_label("Over").select_option("seconds")
    assert seen(page)[1] == pytest.approx(233, abs=3)
    page.get_by_label("Over").select_option("tokens")
    assert seen(page) == [0, 600 * 4080]


def test_single_outliers_do_not_press_a_curve_flat_but_are_marked(tmp_path: Path, open_page: Open) -> None:
    lines = run_lines()
    next(line for line in lines if line["step"] == 300)["loss"] = 4000.0
    page = open_page(draw_report([write_run(tmp_path / "base", lines)])[0]).page
    assert page.evaluate("runReport.open()[0].plot.scales.y.max") < 50
    assert "The loss has 1 spike." in page.locator(".banner.warning").inner_text()
    page.get_by_label("outliers too").check()
    assert page.evaluate("runReport.open()[0].plot.scales.y.max") > 4000


def test_a_perplexity_that_is_infinite_is_that_of_the_last_evaluation(tmp_path: Path, open_page: Open) -> None:
    last = {"step": 200, "evaluation": "full", "nll": 900.0, "perplexity": float("inf"), "tokens": 10}
    page = open_page(draw_report([write_run(tmp_path / "hot", [*run_lines(steps=200), last])])[0]).page
    tiles = zip(page.locator(".tiles dt").all_inner_texts(), page.locator(".tiles b").all_inner_texts(), strict=True)
    assert dict(tiles)["perplexity"] == "Infinity"


def test_where_a_run_diverged_is_the_first_thing_that_is_seen(tmp_path: Path, open_page: Open) -> None:
    page = open_page(draw_report([write_run(tmp_path / "hot", diverged_lines(at=402))])[0]).page
    assert page.locator("h1 .badge").inner_text() == "diverged"
    jump, words = page.locator(".banner.error").all()
    assert "The loss jumped at step 402 and has not come back." in jump.inner_text()
    assert "Training stopped at step 442: the loss is nan" in words.inner_text()
    assert "asyncio/tasks.py" in words.inner_text()
    assert jump.bounding_box()["y"] < 300
    jump.get_by_role("button", name="Show step 402").click()
    low, high = seen(page)
    assert 380 < low < 402 < high < 430
    page.locator("#curves .chart").first.wait_for()
    assert page.locator("#curves .u-over").first.bounding_box()["y"] < 900


def test_losses_that_are_no_numbers_are_told(tmp_path: Path, open_page: Open) -> None:
    lines = [line | ({"loss": float("nan")} if line["step"] > 350 and "loss" in line else {}) for line in run_lines()]
    page = open_page(draw_report([write_run(tmp_path / "nan", lines)])[0]).page
    banner = page.locator(".banner.error").first.inner_text()
    assert "The loss is not a finite number in 250 steps from step 351 to 600." in banner
    assert "what was trained after that step is lost" in banner


def test_several_runs_share_the_axes_and_can_be_taken_out(three: Path, open_page: Open) -> None:
    page = open_page(three).page
    rows = page.locator(".comparison tbody tr").all_inner_texts()
    assert [row.split("\t")[0].strip() for row in rows] == ["base", "warm", "half"]
    assert page.locator(".comparison td.best").count() == 5
    everything = drawn(page, "Held-out bits per byte")
    box = page.get_by_role("checkbox", name="half")
    box.uncheck()
    assert box.evaluate("each => each === document.activeElement")
    assert drawn(page, "Held-out bits per byte") < everything
    assert "half" not in page.locator("#curves .reading").first.inner_text()
    box.check()
    assert drawn(page, "Held-out bits per byte") == everything
    shown = page.locator("#config tbody tr:not([hidden]) th").all_inner_texts()
    assert shown == ["rows", "seed", "optimizer.matrix_rate"]


def test_a_worst_token_leads_to_its_place_in_the_text(healthy: Path, open_page: Open) -> None:
    page = open_page(healthy).page
    row = page.locator("#worst tbody tr").first
    wanted = row.locator(".wanted").inner_text()
    row.get_by_role("link").press("Enter")  # the pointer stays away: what it rests upon would be told
    details = page.locator("#tokens-token")
    details.get_by_text(wanted.strip()).first.wait_for()
    assert row.locator("td").first.inner_text() in details.inner_text()
    assert page.evaluate("document.activeElement.classList.contains('on')")


@pytest.mark.parametrize("dark", [False, True])
def test_colours_follow_the_mode(healthy: Path, open_page: Open, dark: bool) -> None:
    page = open_page(healthy, dark=dark).page
    paper, line = page.evaluate("[runReport.colour.of('paper'), runReport.open()[0].plot.series[1].stroke()]")
    assert paper == ("#14161b" if dark else "#ffffff")
    page.emulate_media(color_scheme="light" if dark else "dark")
    becomes_true(page, f"runReport.open()[0].plot.series[1].stroke() !== '{line}'")


def test_a_phone_shows_all_without_scrolling_sideways(three: Path, open_page: Open) -> None:
    page = open_page(three, width=390, height=844).page
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    widths = page.locator("#curves .chart canvas").evaluate_all(
        "each => each.map(one => one.getBoundingClientRect().width)"
    )
    assert all(300 < width <= 390 for width in widths)


def test_charts_follow_the_width_of_the_window(healthy: Path, open_page: Open) -> None:
    page = open_page(healthy).page
    page.set_viewport_size({"width": 700, "height": 900})
    becomes_true(page, "document.querySelector('#curves canvas').getBoundingClientRect().width < 700")
    page.set_viewport_size({"width": 1200, "height": 900})
    becomes_true(page, "document.querySelector('#curves canvas').getBoundingClientRect().width > 900")


@pytest.mark.parametrize("kind", ["empty", "header alone", "steps alone", "evaluations alone", "one step"])
def test_a_log_of_little_makes_a_page(kind: str, tmp_path: Path, open_page: Open) -> None:
    lines = run_lines(steps=100, every=50)
    chosen = {
        "empty": [],
        "header alone": lines[:1],
        "steps alone": [line for line in lines if "loss" in line],
        "evaluations alone": [line for line in lines if "evaluation" in line],
        "one step": lines[:2],
    }[kind]
    page = open_page(draw_report([write_run(tmp_path / "run", chosen, tokens=False)])[0]).page
    assert page.locator("h1").inner_text().startswith("run")
    for section in page.locator("main > section:not([hidden])").all():
        assert len(section.inner_text().splitlines()) > 1
    hidden = page.locator("main > section[hidden]").evaluate_all("each => each.map(one => one.id)")
    links = page.locator("nav li[hidden] a").evaluate_all("each => each.map(one => one.getAttribute('href').slice(1))")
    assert hidden == links


def test_the_log_of_another_trainer_is_drawn_with_all_its_figures(tmp_path: Path, open_page: Open) -> None:
    lines = [{"step": at, "loss": 3 / at, "reward": at / 9, "entropy": 2.0} for at in range(1, 60)]
    page = open_page(draw_report([write_log(tmp_path / "mine.jsonl", lines)])[0]).page
    assert page.locator("h1").inner_text().split("\n")[0].startswith("mine")
    assert figures(page) == ["Loss", "Entropy", "reward"]


def hostile_lines() -> list[dict[str, Any]]:
    """A run in which every text that can be somebody's is hostile."""
    lines = run_lines(steps=len(HOSTILE) * 2, every=2)
    config = {text: text for text in HOSTILE}
    header = {**HEADER, "config": config, "environment": config, "notes": list(HOSTILE)}
    header["data_card"] = {**config, "sources": {text: {"tokens": at, text: text} for at, text in enumerate(HOSTILE)}}
    lines[0] = header
    for number, text in enumerate(HOSTILE):
        step = 2 * number + 2
        lines.append({"step": 2 * len(HOSTILE), "sample": text * 3, "prompt": text})
        lines.append({"step": step, "finding": {"code": text, "severity": text, "message": text, "remedy": text}})
        lines.append(
            {
                "step": 2 * len(HOSTILE),
                "evaluation": text,
                "set": text,
                "nll": 2.0,
                text: 3.0,
                "classes": {"source": {text: [2.0, 5]}, text: {text: [2.0, 5]}},
            }
        )
    return [*lines, {"step": 2 * len(HOSTILE) + 1, "loss": 2.0, **dict.fromkeys(HOSTILE, 1.0)}]


def hostile_tokens() -> list[dict[str, Any]]:
    header, vocabulary, *rows = token_lines()
    texts = vocabulary["vocabulary"]
    for at, number in enumerate(texts):
        texts[number] = ({"control": HOSTILE[at]} if at % 3 == 0 else {"bytes": HOSTILE[at]}) if at % 2 else HOSTILE[at]
    for row in rows:
        row |= {"names": [HOSTILE[0]], "sources": [HOSTILE[1]], "spans": [[0, 3, HOSTILE[2]]]}
    return [header, vocabulary, *rows]


@pytest.mark.parametrize("count", [1, 2])
def test_hostile_text_does_nothing(count: int, tmp_path: Path, open_page: Open) -> None:
    runs = [write_run(tmp_path / f"<img src=x onerror=alert({at})>", hostile_lines()) for at in range(count)]
    for run in runs:
        write_log(run / "tokens.jsonl", hostile_tokens())
    opened = open_page(draw_report(runs, tmp_path / "report.html")[0])
    page = opened.page
    page.wait_for_timeout(300)
    assert (
        page.locator(
            "main script, main img, main iframe, main object, main embed, main style, main svg[onload]"
        ).count()
        == 0
    )
    assert page.evaluate(
        "[...document.querySelectorAll('*')].every(each => [...each.attributes].every(one => !/^on/i.test(one.name)))"
    )
    text = page.locator("main").text_content()
    missing = [each for each in HOSTILE if each.isascii() and each.isprintable() and each not in text]
    assert missing == []
    for link in page.locator("a").all():
        assert (link.get_attribute("href") or "").startswith("#")
    opened.assert_clean()


@pytest.mark.parametrize("kind", ["one", "three", "diverged"])
@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_axe_finds_nothing_of_level_a_or_aa(kind: str, look: str, tmp_path: Path, open_page: Open) -> None:
    from axe_playwright_python.sync_playwright import Axe

    made = {
        "one": [run_lines()],
        "three": [run_lines(seed=at, variant=at) for at in range(3)],
        "diverged": [diverged_lines()],
    }[kind]
    runs = [write_run(tmp_path / f"run-{at}", lines) for at, lines in enumerate(made)]
    file = draw_report(runs, tmp_path / "report.html")[0]
    width = 390 if look == "phone" else 1280
    page = open_page(file, dark=look == "dark", width=width).page
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    results = Axe().run(page, options={"runOnly": {"type": "tag", "values": tags}})
    assert results.violations_count == 0, results.generate_report()


def test_everything_that_acts_is_reached_by_keyboard(healthy: Path, open_page: Open) -> None:
    page = open_page(healthy).page
    wanted = page.evaluate(
        "[...document.querySelectorAll('main button:not(:disabled), main select, main input, main summary, a,"
        " .chart, .strip, .scrolled')].filter(each => each.offsetParent && !each.closest('#tokens')).length"
    )
    reached = set()
    for _ in range(wanted + 200):
        page.keyboard.press("Tab")
        mark = page.evaluate(
            "(() => { const at = document.activeElement; if (at.closest('#tokens')) return 'tokens';"
            " return (at.dataset.reached ??= String(Math.random())); })()"
        )
        if mark == "tokens":
            break
        reached.add(mark)
    assert len(reached) == wanted
