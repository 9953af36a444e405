"""The page of tokens in a browser: what it says, what pointer and keyboard do, filters, search, links."""

from html import escape
from pathlib import Path
from typing import Any

import pytest
from tests.browser import token_records

from lmhead.record.record import Record
from lmhead.record.token_row import TokenScores
from lmhead.report.token_page import token_page


@pytest.fixture
def show(open_page: Any, tmp_path: Path) -> Any:
    """show(record, **options of open_page) -> the browser's page."""

    def show_(record: Record, **options: Any) -> Any:
        file = tmp_path / "report.html"
        file.write_text(token_page(record), encoding="utf-8")
        return open_page(file, **options).page

    return show_


def details(page: Any) -> str:
    return str(page.inner_text("#tokens-token"))


def facts(page: Any) -> dict[str, str]:
    return dict(
        page.evaluate(
            "[...document.querySelectorAll('#tokens-token dt')].map(e => [e.textContent, e.nextSibling.textContent])"
        )
    )


def chip(page: Any, link: str) -> Any:
    """The token of a link "d0-t36", which is near the window."""
    number = page.evaluate("link => lmheadTokens.ofLink(lmheadTokens.model, link)", "#" + link)
    return page.locator(f"#tokens-flow [data-i='{number}']")


def choose(page: Any, **filters: str) -> None:
    for name, value in filters.items():
        field = page.locator(f"#tokens-{name}")
        if field.evaluate("e => e.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    page.wait_for_timeout(250)


def test_the_headline_says_how_much_is_trained_and_the_bar_why_the_rest_is_not(show: Any) -> None:
    record = token_records.chat_record()
    page = show(record)
    trained = sum(int((row.reason == 0).sum()) for row in record.rows)
    assert f"{trained} are trained" in page.inner_text("#tokens-headline")
    assert "12 tokens of padding" in page.inner_text("#tokens-headline")
    keys = page.inner_text("#tokens-share")
    for words in ("trained", "user", "system", "template", "tool schema", "reasoning", "earlier turn", "padding"):
        assert words in keys


def test_padding_is_one_token_and_a_small_mark_for_each_of_the_others(show: Any) -> None:
    page = show(token_records.chat_record())
    (padding,) = page.locator("#tokens-flow .doc", has_text="Padding of row").all()
    padding.scroll_into_view_if_needed()
    page.wait_for_timeout(250)
    assert padding.locator(".t").all_inner_texts() == ["<|pad|>", *["\u25ab"] * 11]


def test_pointing_at_a_token_shows_all_that_the_record_has_of_it(show: Any) -> None:
    record = token_records.chat_record()
    page = show(record)
    row, at = record.rows[0], 40
    chip(page, f"d0-t{at}").hover()
    found = facts(page)
    scores = row.scores
    assert scores is not None
    assert scores.rank is not None
    assert found["id"] == f"{row.ids[at - 1]} → {row.ids[at]}"
    assert found["bytes"].startswith("20 63 61 70 69 74 61 6c")  # " capital"
    assert found["weight"] == "1"
    assert found["role"] == "assistant"
    assert found["position"] == "40 in document 0; row 0, 40"
    assert found["from"] == "chat.jsonl, line 1"
    assert found["loss"] == f"{scores.nll[at - 1]:.4f} nats"
    assert found["rank"].startswith(str(scores.rank[at - 1]))
    assert "Trained" in details(page)
    assert page.locator("#tokens-token .odds tbody tr").count() >= 5
    assert page.locator("#tokens-token .odds .target").count() == 1


def test_a_token_that_is_not_trained_says_why(show: Any) -> None:
    page = show(token_records.chat_record())
    chip(page, "d0-t15").hover()
    assert "Not trained: user" in details(page)
    assert "not asked to write" in details(page)


def test_ignored_tokens_have_a_pattern_for_each_reason(show: Any) -> None:
    page = show(token_records.chat_record(scored=False))
    patterns = page.evaluate(
        "[...document.querySelectorAll('#tokens-share button')].map(e => [e.dataset.reason, (s =>"
        " s.backgroundImage + s.borderStyle + s.backgroundSize + s.backgroundColor)(getComputedStyle(e.firstChild))])"
    )
    looks = [look for _, look in patterns]
    assert len(set(looks)) == len(looks) == 17


def test_arrows_go_from_token_to_token_and_from_line_to_line(show: Any) -> None:
    page = show(token_records.chat_record())
    page.locator("#tokens-flow").focus()
    page.keyboard.press("ArrowRight")
    assert facts(page)["link"] == "#d0-t0"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert facts(page)["link"] == "#d0-t1"
    top = page.evaluate("document.activeElement.getBoundingClientRect().top")
    page.keyboard.press("ArrowDown")
    below = page.evaluate("document.activeElement.getBoundingClientRect().top")
    assert below > top
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") == top
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    assert facts(page)["link"] == "#p0-t0"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Home")
    assert facts(page)["link"] == "#d0-t0"
    assert page.url.endswith("#d0-t0")


def test_a_link_leads_to_its_token(show: Any) -> None:
    page = show(token_records.chat_record(), fragment="#d1-t30")
    page.wait_for_timeout(200)
    assert facts(page)["link"] == "#d1-t30"
    assert page.locator(".t.on").is_visible()
    page.evaluate("location.hash = '#row0-t5'")
    page.wait_for_timeout(200)
    assert facts(page)["link"] == "#d0-t5"
    page.evaluate("location.hash = '#d99-t1'")
    page.wait_for_timeout(100)
    assert facts(page)["link"] == "#d0-t5"


def test_filters_keep_what_they_name_and_the_summary_follows(show: Any) -> None:
    page = show(token_records.chat_record())
    choose(page, reason="17")
    assert "32 tokens in 2 documents" in page.inner_text("#tokens-matches")
    assert page.locator(".t.dim").count() > 100
    assert "of the tokens that the filters keep" in page.inner_text("#tokens-panel")
    choose(page, source="1")
    assert page.locator(".doc:visible").count() == 1
    page.click("#tokens-clear")
    assert page.locator(".t.dim").count() == 0
    choose(page, role=page.locator("#tokens-role option", has_text="assistant").get_attribute("value"), above="2")
    for number in page.evaluate("[...document.querySelectorAll('.t:not(.dim)')].map(e => Number(e.dataset.i))"):
        assert page.evaluate("i => lmheadTokens.model.nll[i]", number) > 2
    page.click("#tokens-clear")
    choose(page, document="line 7")
    assert page.inner_text(".doc:visible h3").startswith("more.jsonl, line 7")


def test_a_part_of_the_bar_filters_and_is_pressed(show: Any) -> None:
    page = show(token_records.chat_record())
    button = page.locator("#tokens-share button", has_text="reasoning")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert page.inner_text("#tokens-matches").startswith("4 tokens")
    button.click()
    assert page.inner_text("#tokens-matches") == ""


def test_search_finds_text_across_tokens_and_steps_through(show: Any) -> None:
    page = show(token_records.chat_record())
    page.keyboard.press("/")
    page.keyboard.type("of fr")
    page.wait_for_timeout(250)
    assert page.inner_text("#tokens-matches") == "2 matches in 1 document"
    page.keyboard.press("Enter")
    assert page.inner_text("#tokens-matches") == "1 of 2"
    first = facts(page)["link"]
    page.keyboard.press("Enter")
    assert page.inner_text("#tokens-matches") == "2 of 2"
    assert facts(page)["link"] != first
    page.locator(".t.on").focus()
    page.keyboard.press("n")
    assert facts(page)["link"] == first
    assert page.locator(".t.hit").count() == 4
    choose(page, search="nowhere at all")
    assert page.inner_text("#tokens-flow") == "No token matches."


def test_search_finds_an_id(show: Any) -> None:
    record = token_records.chat_record()
    page = show(record)
    number = int(record.rows[0].ids[40])
    choose(page, search=f"id:{number}")
    expected = sum(int((row.ids == number).sum()) for row in record.rows)
    assert page.inner_text("#tokens-matches").startswith(f"{expected} match")


def test_documents_can_be_sorted_by_their_loss(show: Any) -> None:
    page = show(token_records.scripts_record())
    choose(page, order="loss")
    means = [float(text.rsplit(" ", 1)[1]) for text in page.locator(".doc h3").all_inner_texts()]
    assert means == sorted(means, reverse=True)


def test_worst_tokens_are_listed_and_lead_to_the_text(show: Any) -> None:
    record = token_records.chat_record()
    page = show(record)
    page.wait_for_timeout(150)
    losses = [
        value for row in record.rows if row.scores is not None for value in row.scores.nll[row.reason == 0].tolist()
    ]
    told = page.locator("#tokens-panel .worst .nats").all_inner_texts()
    assert told[:3] == [f"{value:.2f}" for value in sorted(losses, reverse=True)[:3]]
    page.locator("#tokens-panel .worst a").first.click()
    assert facts(page)["loss"] == f"{max(losses):.4f} nats"


def test_characters_cut_into_bytes_are_grouped_and_named(show: Any) -> None:
    page = show(token_records.scripts_record(), height=1600)
    assert page.locator(".bytes").count() == 12
    assert page.locator(".bytes .char").all_inner_texts() == ["猫", "😀"] * 6
    assert page.locator(".bytes").first.locator(".t").all_inner_texts() == ["e7", "8c", "ab"]


def test_what_has_no_ink_is_shown_and_turns_nothing_around(show: Any) -> None:
    page = show(token_records.scripts_record(), height=1600)
    boxes = page.locator(".doc").last.locator(".box").all_inner_texts()
    for name in ("RLO", "PDF", "ZWSP", "NBSP", "LRI", "PDI", "CR", "NUL", "BEL", "ESC", "ZWJ", "BOM"):
        assert name in boxes
    text = page.evaluate("document.getElementById('tokens-flow').textContent")
    assert not set(text) & set("\u202e\u202c\u2066\u2069\u200b\x00\x07\x1b\ufeff")


def test_right_to_left_text_runs_from_the_right(show: Any) -> None:
    page = show(token_records.scripts_record())
    assert page.evaluate("getComputedStyle(document.querySelector('.run')).direction") == "rtl"
    left = [chip(page, f"d0-t{at}").bounding_box()["x"] for at in (0, 1, 2)]
    assert left == sorted(left, reverse=True)


def test_two_models_show_where_they_differ(show: Any) -> None:
    record = token_records.two_models_record()
    page = show(record)
    row = record.rows[0]
    assert row.scores is not None
    assert isinstance(row.against, TokenScores)
    chip(page, "d0-t9").hover()
    assert f"{row.scores.nll[8] - row.against.nll[8]:.4f}".lstrip("-") in details(page)
    assert "runs/large" in details(page)
    panel = page.inner_text("#tokens-panel")
    assert "Where runs/small is better" in panel
    assert "Where runs/large is better" in panel
    assert page.locator("#tokens-colour option").all_inner_texts() == [
        "loss of runs/small",
        "loss of runs/large",
        "difference",
        "trained, or why not",
    ]


def test_two_tokenizers_are_compared_by_bytes(show: Any) -> None:
    record = token_records.two_models_record(by_bytes=True)
    page = show(record)
    chip(page, "d0-t8").hover()
    row = record.rows[0]
    assert row.scores is not None
    assert isinstance(row.against, tuple)
    span = next(each for each in row.against if each.start <= 8 < each.stop)
    own = row.scores.nll[span.start - 1 : span.stop - 1].sum()
    assert f"{span.nll:.4f} nats" in details(page)
    assert f"{own:.4f} nats" in details(page)
    assert "bits per byte" in page.inner_text("#tokens-panel")


def test_dark_mode_is_dark_and_a_phone_has_no_sideways_scrolling(show: Any) -> None:
    page = show(token_records.chat_record(), dark=True, width=390, height=844)
    red = page.evaluate("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
    assert red < 40
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    chip(page, "d0-t3").click()
    assert page.locator("#tokens-details").is_visible()
    page.click("#tokens-close")
    assert not page.locator("#tokens-details").is_visible()


def test_a_batch_without_labels_is_said_to_train_nothing(show: Any) -> None:
    record = token_records.chat_record(scored=False)
    for row in record.rows:
        row.targets[:] = -100
        row.reason[:] = 1
    page = show(record)
    assert page.inner_text("#tokens-headline").startswith("Nothing is trained")


def test_findings_stand_above_and_mark_their_tokens(show: Any) -> None:
    record = token_records.chat_record()
    record.findings = [
        {
            "code": "boundary_scored",
            "severity": "error",
            "count": 1,
            "rows": [1],
            "message": "2 tokens are trained that should not be",
            "remedy": "Mask them.",
            "spots": [[1, 4], [1, 5]],
        },
        {"code": "odd", "severity": "warning", "count": 1, "places": ["chat.jsonl, line 1"], "message": "It is odd"},
    ]
    record.header["notes"] = ["The labels look shifted already."]
    page = show(record)
    told = page.inner_text("#tokens-findings")
    assert "Error: 2 tokens are trained that should not be" in told
    assert "Mask them." in told
    assert "The labels look shifted already." in told
    page.click("#tokens-findings .error a >> nth=0")
    assert facts(page)["link"] == "#d1-t4"
    assert page.locator(".t.found").count() == 2


def test_a_target_that_is_not_the_next_token_is_marked(show: Any) -> None:
    record = token_records.chat_record()
    record.rows[0].targets[40] = 107
    page = show(record)
    assert page.locator(".t.wrong").count() == 1
    chip(page, "d0-t41").hover()
    assert "not the token that follows" in details(page)


def test_an_empty_record_is_a_page(show: Any) -> None:
    page = show(Record())
    assert "There are no tokens" in page.inner_text("#tokens-headline")


def test_links_stay_inside_a_frame_of_a_notebook(open_page: Any, tmp_path: Path) -> None:
    file = tmp_path / "notebook.html"
    frame = escape(token_page(token_records.chat_record()))
    file.write_text(f'<!doctype html><iframe width=1200 height=800 srcdoc="{frame}"></iframe>', encoding="utf-8")
    page = open_page(file).page
    page.wait_for_timeout(300)
    inner = page.frames[1]
    inner.click(".t >> nth=40")
    inner.click("#tokens-token .facts a")
    inner.click("#tokens-panel .worst a >> nth=0")
    page.wait_for_timeout(100)
    assert inner.url == "about:srcdoc"
    assert len(page.frames) == 2
    assert inner.inner_text("#tokens-token .facts a").startswith("#d")
