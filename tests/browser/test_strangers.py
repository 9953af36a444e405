"""What somebody sees who opens a page for the first time: each fault is on the first screen, without a click.

A file of ids that lost a mask, conversations that are read the wrong way round, a corpus with one broken document, a
run that diverged.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.browser.run_logs import HEADER, write_run
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import lmhead
from lmhead.data.tokenizer.chatml import CHATML, with_chatml
from lmhead.report.run_report import draw_report

Open = Callable[..., Any]
WIDTH, HEIGHT = 1280, 900
WORDS = "the a of is to in and that it was for on as with his they be at one have this from".split()  # noqa: SIM905


@pytest.fixture
def tokenizer() -> Tokenizer:
    plain = Tokenizer(
        models.BPE(vocab={c: n for n, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    made: Tokenizer = with_chatml(plain)
    return made


@pytest.fixture
def tokenizer_file(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def conversations(count: int = 40) -> list[list[dict[str, str]]]:
    chance = random.Random(0)
    numbers = [(chance.randrange(90), chance.randrange(9)) for _ in range(count)]
    return [
        [{"role": "user", "content": f"{a} + {b}?"}, {"role": "assistant", "content": f"It is {a + b}."}]
        for a, b in numbers
    ]


def first_screen(page: Any) -> str:
    """The text that is in the window before anything is touched."""
    seen: str = page.evaluate(
        """() => { const found = []; const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          while (walk.nextNode()) { const range = document.createRange(); range.selectNodeContents(walk.currentNode);
            const box = range.getBoundingClientRect();
            if (box.width > 0 && box.height > 0 && box.top >= 0 && box.bottom <= innerHeight
                && box.left >= 0 && box.right <= innerWidth) found.push(walk.currentNode.textContent); }
          return found.join(" ").replace(/\\s+/g, " "); }"""
    )
    return seen


def opened(open_page: Open, seen: lmhead.Inspection, tmp_path: Path) -> Any:
    page = open_page(seen.save(tmp_path / "report.html"), width=WIDTH, height=HEIGHT).page
    page.wait_for_selector("#tokens-panel table")  # the summary comes a moment behind the text
    return page


def test_a_file_of_ids_that_lost_every_mask(open_page, tmp_path, tokenizer):
    label = lmhead.ChatLabeler(tokenizer, chat_template=CHATML)
    ids = [label(messages).ids.tolist() for messages in conversations()]
    (tmp_path / "ids.jsonl").write_text("".join(json.dumps({"input_ids": row, "labels": row}) + "\n" for row in ids))
    seen = lmhead.inspect(tmp_path / "ids.jsonl", tokenizer=tokenizer)
    text = first_screen(opened(open_page, seen, tmp_path))
    assert f"{seen.scored:,} are trained (97 %)" in text or f"{seen.scored:,} are trained (98 %)" in text
    assert "every token is trained" in text
    assert "-100 belongs on what the assistant does not write" in text


def test_one_conversation_of_forty_that_lost_its_mask(open_page, tmp_path, tokenizer):
    label = lmhead.ChatLabeler(tokenizer, chat_template=CHATML)
    examples = [label(messages) for messages in conversations()]
    rows = [(each.ids.tolist(), each.labels().tolist()) for each in examples]
    rows[23] = (rows[23][0], rows[23][0])
    file = tmp_path / "ids.jsonl"
    file.write_text("".join(json.dumps({"input_ids": ids, "labels": labels}) + "\n" for ids, labels in rows))
    page = opened(open_page, lmhead.inspect(file, tokenizer=tokenizer), tmp_path)
    text = first_screen(page)
    assert "documents that are trained whole: 1; the others are trained in part" in text
    page.get_by_role("link", name="ids.jsonl, line 24").first.click()
    page.wait_for_timeout(300)
    assert "ids.jsonl, line 24" in first_screen(page)


def test_conversations_whose_roles_were_swapped(open_page, tmp_path, tokenizer_file):
    other = {"user": "assistant", "assistant": "user"}
    rows = [[{**message, "role": other[message["role"]]} for message in messages] for messages in conversations()]
    file = tmp_path / "chat.jsonl"
    file.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in rows))
    config = lmhead.ChatConfig(on_error="skip")
    text = first_screen(opened(open_page, lmhead.inspect(file, tokenizer=tokenizer_file, config=config), tmp_path))
    assert "an assistant's turn comes before any question in 40 rows" in text
    assert "chat.jsonl, line 1" in text


def test_a_corpus_with_one_broken_document(open_page, tmp_path, tokenizer, tokenizer_file):
    chance = random.Random(0)
    texts = [" ".join(chance.choice(WORDS) for _ in range(40)) for _ in range(20)]
    texts[13] = "".join(chr(chance.randrange(33, 127)) for _ in range(200))
    file = tmp_path / "corpus.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    torch.manual_seed(0)
    model = lmhead.GPT(
        tokenizer.get_vocab_size(), embed_dim=32, num_heads=2, num_layers=1, max_seq_len=256, init="gpt2"
    )
    rows = [torch.tensor([tokenizer.encode(text).ids]) for n, text in enumerate(texts) if n != 13]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for row in rows * 4:
        loss = model.loss(row, lmhead.Targets.from_labels(row))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    page = opened(open_page, lmhead.inspect(file, model, tokenizer=tokenizer_file), tmp_path)
    text = first_screen(page)
    worst = text.partition("Documents, worst first")[2]
    assert worst, "the table of documents is on the first screen"
    assert worst.split("line", 1)[1].split()[0] == "14"


@pytest.mark.parametrize("turn", [0, 25])
def test_a_run_that_diverged(open_page, tmp_path, turn):
    losses = [6.0 - 0.1 * min(step, turn) + 0.02 * max(step - turn, 0) ** 2 for step in range(60)]
    steps = [
        {"step": step, "loss": loss, "grad_norm": 1.0, "rate": 0.02, "tokens": 4096, "seconds": step / 10}
        for step, loss in enumerate(losses, 1)
    ]
    page = open_page(draw_report([write_run(tmp_path / "run", [HEADER, *steps])])[0], width=WIDTH, height=HEIGHT).page
    assert f"The loss has climbed since step {turn + 1}" in first_screen(page)
    assert page.get_by_role("button", name=f"Show step {turn + 1}").count() == 1
