"""`lmhead sample --chat` on a tiny run that the test trains."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.training.chat_runs import train_words, write_chat

from lmhead.cli.chat import converse, say
from lmhead.cli.main import main
from lmhead.data.formats.sample import CompletionSample
from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.rows.row import Place
from lmhead.data.tokenizer.tokenizer_files import read_tokenizer
from lmhead.generation.chat_prompt import ChatPrompt
from lmhead.generation.sampling import sample
from lmhead.models.transformers.formats.pretrained import load_pretrained
from lmhead.training.run.checkpoint_sums import write_sums
from lmhead.training.run.run_folder import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    assert main(train_words(write_chat(folder / "chat.jsonl"), folder / "run", "--steps", "20")) == 0
    return folder / "run"


def greedy(run: Path, *messages: tuple[str, str], tokens: int = 12) -> str:
    """The answer by the library alone."""
    checkpoint = RunFolder(run).latest()
    prompt = ChatPrompt.of(read_tokenizer(str(checkpoint)))
    ids = prompt.ids([{"role": role, "content": content} for role, content in messages])
    stop = [prompt.backend.token_to_id(token) for token in ("<|im_end|>", "<|endoftext|>")]
    made = sample(load_pretrained(checkpoint), ids, max_new_tokens=tokens, temperature=0, stop_ids=stop)
    return str(prompt.backend.decode(list(made)))


def answered(capsys: pytest.CaptureFixture[str], run: Path, *flags: str) -> tuple[str, str]:
    capsys.readouterr()
    assert main(["sample", *flags, str(run), "--tokens", "12", "--temperature", "0"]) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


def pipe(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))


def test_a_prompt_is_answered_once(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = answered(capsys, run, "--chat", "--prompt", "Add 1 and 2.")
    assert (out, err) == (greedy(run, ("user", "Add 1 and 2.")) + "\n", "")


def test_a_system_prompt_may_be_given(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = answered(capsys, run, "--chat", "--prompt", "Add 1 and 2.", "--system", "Be brief.")
    assert out == greedy(run, ("system", "Be brief."), ("user", "Add 1 and 2.")) + "\n"


def test_each_line_of_a_pipe_is_a_message_of_one_conversation(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(monkeypatch, "Add 1 and 2.\n\nna\u00efve?\r\n".encode())
    out, _ = answered(capsys, run, "--chat")
    first = greedy(run, ("user", "Add 1 and 2."))
    second = greedy(run, ("user", "Add 1 and 2."), ("assistant", first), ("user", "na\u00efve?"))
    assert out == f"{first}\n{second}\n"


def test_commands_are_obeyed_and_their_notes_are_apart(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(monkeypatch, b"Hi\n/reset\n/system Be brief.\nAdd 1 and 2.\n/what\n/quit\nnever\n")
    out, err = answered(capsys, run, "--chat")
    last = greedy(run, ("system", "Be brief."), ("user", "Add 1 and 2."))
    assert out == f"{greedy(run, ('user', 'Hi'))}\n{last}\n"
    assert err.startswith("(forgotten)\n(system prompt set)\n(unknown command /what: /reset forgets")


def test_bytes_that_are_not_utf8_are_refused_with_their_line(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(monkeypatch, b"Hi\ncaf\xe9\n")
    assert main(["sample", str(run), "--chat"]) == 2
    assert "line 2 of standard input is not UTF-8: byte 0xe9 at position 3" in capsys.readouterr().err


def test_a_message_that_is_too_long_for_a_pipe_is_one_line(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(monkeypatch, b"word " * 500)
    assert main(["sample", str(run), "--chat"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "must fit into the model's context of 160 tokens" in captured.err


def test_a_run_on_texts_is_refused_with_the_way_to_a_chat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.txt").write_text("".join(f"line {i}\n" for i in range(500)))
    words = train_words(tmp_path / "text.txt", tmp_path / "run", "--steps", "2", "--vocab-size", "260")
    assert main(words) == 0
    assert main(["sample", str(tmp_path / "run"), "--chat", "--prompt", "Hi"]) == 2
    assert "has no chat template" in capsys.readouterr().err


def test_without_chat_a_text_is_continued(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = answered(capsys, run, "--prompt", "The capital")
    assert out.startswith("The capital")


def test_a_system_prompt_without_a_chat_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", str(run), "--system", "x"]) == 2
    assert "system must be left out without --chat, got x" in capsys.readouterr().err


class Talk:
    """A chat whose answer is given, and interrupted where it says so."""

    context = 64

    def __init__(self, *pieces: str | type[BaseException], dropped: int = 0, cut_off: bool = False) -> None:
        self.pieces, self.dropped, self.cut_off = pieces, dropped, cut_off
        self.asked: list[str] = []

    def answer(self, question: str):
        self.asked.append(question)
        for piece in self.pieces:
            if not isinstance(piece, str):
                raise piece
            yield piece


def test_ctrl_c_stops_the_answer_and_not_the_conversation(capsys: pytest.CaptureFixture[str]) -> None:
    say(Talk("Hel", KeyboardInterrupt), "Hi", print)  # type: ignore[arg-type]
    assert capsys.readouterr().out == "Hel ...\n"


def test_what_was_dropped_and_cut_off_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    say(Talk("Hello", dropped=2, cut_off=True), "Hi", told.append)  # type: ignore[arg-type]
    assert "the oldest 2 messages were dropped: the context holds 64 tokens" in told[0]
    assert "cut off: the context of 64 tokens is full" in told[1]


def test_a_terminal_is_asked_until_its_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = iter(["Hi", "", "  there "])

    def typed(prompt: str) -> str:
        assert prompt == "you> "
        for line in lines:
            return line
        raise EOFError

    monkeypatch.setattr("builtins.input", typed)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    talk = Talk("Hello")
    converse(talk)  # type: ignore[arg-type]
    assert talk.asked == ["Hi", "  there "]
    assert capsys.readouterr().out == "Hello\nHello\n\n"


def given(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The ids that the model is given from now on; it says nothing."""
    seen: list[list[int]] = []
    monkeypatch.setattr("lmhead.cli.drawing.sample", lambda _, ids, **__: iter(seen.append(list(ids)) or ()))
    return seen


@pytest.mark.parametrize("by", ["run", "checkpoint"])
def test_the_template_is_told_what_it_was_told_in_training(
    by: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    checkpoint = RunFolder(other).latest()
    template = checkpoint / "chat_template.jinja"
    template.write_text(template.read_text() + "{% if brief %}So:{% endif %}")
    write_sums(checkpoint)
    config = RunFolder(other).config()
    told = replace(config.chat, template_arguments='{"brief": true}')
    RunFolder(other).write_config(replace(config, chat=told))
    seen = given(monkeypatch)
    answered(capsys, other if by == "run" else checkpoint, "--chat", "--prompt", "Add 1 and 2.")
    prompt = ChatPrompt.of(read_tokenizer(str(checkpoint)), template_arguments={"brief": True})
    assert seen == [prompt.ids([{"role": "user", "content": "Add 1 and 2."}])]
    assert prompt.backend.decode(seen[0]).endswith("So:")


def test_a_prompt_that_is_continued_begins_as_prompts_did_in_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": f"Ask number {n}:", "completion": f" it is {n}."} for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = tmp_path / "run"
    assert main([*train_words(tmp_path / "rows.jsonl", run, "--steps", "1"), "--vocab-size", "270"]) == 0
    files = read_tokenizer(str(RunFolder(run).latest()))
    sample = CompletionSample(place=Place(source="rows", number=1), prompt="Ask number 3:", completion=" it is 3.")
    example = Recipe.of(files, ChatConfig()).labeler()(sample)
    seen = given(monkeypatch)
    answered(capsys, run, "--prompt", "Ask number 3:")
    assert seen == [example.ids[~example.trained].tolist()]


def test_a_closed_standard_input_is_told(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert main(["sample", str(run), "--chat"]) == 2
    assert "standard input must be open where there is no --prompt" in capsys.readouterr().err
    assert main(["sample", str(run), "--prompt", "-"]) == 2


def test_a_system_prompt_that_fills_the_context_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", str(run), "--chat", "--prompt", "Hi", "--system", "word " * 400]) == 2
    assert "with the system prompt and what the template adds: shorten one of them" in capsys.readouterr().err
