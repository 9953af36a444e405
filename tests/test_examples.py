"""The programs in examples/ run as they are, say what is true, and compute what plain torch does."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import lmhead

EXAMPLES = Path(__file__).parent.parent / "examples"
PROGRAMS = ("plain_loop", "trainer", "chat_fine_tuning", "distillation", "grpo_logprobs")
NUMBER = r"(-?\d+\.\d+)"
TEXT = "\n\n".join(f"The {n}th paragraph of a text{', which goes on' * (n % 4)}." for n in range(60))


def module(name: str) -> ModuleType:
    """examples/NAME.py as a module: examples/ is no package."""
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """run(program, *flags): what it prints."""

    def printed(program: ModuleType, *flags: object) -> str:
        monkeypatch.setattr(sys, "argv", [str(program.__file__), *map(str, flags)])
        capsys.readouterr()
        program.main()
        return capsys.readouterr().out

    return printed


def numbers(pattern: str, printed: str) -> list[float]:
    """The groups of the one place where `pattern` stands."""
    (found,) = re.finditer(pattern, printed)
    return [float(group) for group in found.groups()]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A file of some paragraphs."""
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    return file


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_short_says_how_to_run_it_and_is_told_of(name: str) -> None:
    source = (EXAMPLES / f"{name}.py").read_text()
    assert len(source.splitlines()) <= 105
    assert f"python examples/{name}.py" in source.split('"""')[1]
    assert f"[{name}.py]({name}.py)" in (EXAMPLES / "README.md").read_text()


def test_every_link_of_the_readme_leads_to_a_file() -> None:
    links = re.findall(r"\]\(([^)]+)\)", (EXAMPLES / "README.md").read_text())
    assert [link for link in links if not (EXAMPLES / link).is_file()] == []


def test_a_program_runs_alone_and_says_what_it_takes() -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "grpo_logprobs.py", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "--steps" in done.stdout
    assert "clipped" in done.stdout


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_steps_are_refused(name: str, run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(module(name), "--steps", 0)
    assert "--steps must be >= 1, got 0" in capsys.readouterr().err


# plain_loop.py


def test_the_plain_loops_loss_is_that_of_full_logits_and_falls(run: Any) -> None:
    printed = run(module("plain_loop"), "--steps", 40)
    ours, theirs, log_v = numbers(rf"step 1: loss {NUMBER} nats, by full logits {NUMBER}; log V is {NUMBER}", printed)
    assert ours == pytest.approx(theirs, abs=1.1e-4)
    assert ours == pytest.approx(log_v, abs=0.1)
    (bits,) = numbers(rf"held out: {NUMBER} bits per byte", printed)
    assert bits < 5.5  # the untrained model has 8


def test_the_plain_loops_gradients_and_bits_are_those_of_full_logits() -> None:
    program = module("plain_loop")
    torch.manual_seed(0)
    model = program.Model().double()
    rows = torch.randint(256, (3, program.LENGTH))
    ours = torch.autograd.grad(model.head.loss(model.hidden(rows), labels=rows), list(model.parameters()))
    theirs = torch.autograd.grad(program.full_logits_loss(model, rows), list(model.parameters()))
    torch.testing.assert_close(ours, theirs)
    ids = torch.cat([rows.flatten(), torch.zeros(5, dtype=torch.long)])  # the last five fill no row
    bits = program.full_logits_loss(model, rows) / torch.log(torch.tensor(2.0))
    assert program.bits_per_byte(model, ids) == pytest.approx(bits.item())


def test_the_plain_loop_reads_a_file_of_ones_own_and_repeats_by_its_seed(run: Any, text: Path) -> None:
    program = module("plain_loop")
    one, same, other = (run(program, "--file", text, "--steps", 2, "--seed", seed) for seed in (0, 0, 1))
    assert one == same != other
    assert f"over {len(TEXT) // 10:,} bytes" in one


# trainer.py


@pytest.fixture
def trainer() -> ModuleType:
    """examples/trainer.py."""
    for name in ("transformers", "accelerate", "datasets"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install 'lmhead[test]'")
    return module("trainer")


def test_the_trainers_eval_loss_is_the_mean_over_all_tokens_by_plain_torch(
    run: Any, trainer: ModuleType, text: Path
) -> None:
    printed = run(trainer, "--file", text, "--steps", 12)
    before, tokens = numbers(rf"before: eval_loss {NUMBER} nats over (\d+) tokens", printed)
    (after,) = numbers(rf"after 12 steps: eval_loss {NUMBER} nats", printed)
    torch.manual_seed(0)
    model, encode = trainer.model_and_encoder(None)
    held_out = [torch.tensor(encode(paragraph)) for paragraph in trainer.paragraphs(text)[:6]]
    assert len({len(ids) for ids in held_out}) > 2  # a mean over batches would be another
    with torch.no_grad():
        logits = [model(ids[None]).logits[0, :-1] for ids in held_out]
    nats = [F.cross_entropy(*pair, reduction="sum") for pair in zip(logits, (ids[1:] for ids in held_out), strict=True)]
    assert tokens == sum(len(ids) - 1 for ids in held_out)
    assert before == pytest.approx(torch.stack(nats).sum().item() / tokens, abs=1.1e-4)
    assert after < before - 1


def stored_in_16_bits(chat: ModuleType, folder: Path) -> str:
    """A folder with a small model as most are stored: in bfloat16."""
    from transformers import AutoModelForCausalLM

    source: str = chat.make_model(str(folder), chat.conversations(None))
    AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16).save_pretrained(source)
    return source


def test_a_stored_model_of_16_bits_is_trained_in_float32(
    run: Any, trainer: ModuleType, chat: ModuleType, text: Path, tmp_path: Path
) -> None:
    source = stored_in_16_bits(chat, tmp_path / "model")
    model, encode = trainer.model_and_encoder(source)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert encode("text")
    printed = run(trainer, "--model", source, "--file", text, "--steps", 4)
    (before, _), (after,) = (
        numbers(rf"before: eval_loss {NUMBER} nats over (\d+) tokens", printed),
        numbers(rf"after 4 steps: eval_loss {NUMBER} nats", printed),
    )
    assert after < before - 0.001  # in bfloat16 most of these steps are rounded away


# chat_fine_tuning.py


@pytest.fixture
def chat() -> ModuleType:
    """examples/chat_fine_tuning.py."""
    for name in ("transformers", "peft"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install 'lmhead[test]'")
    from transformers.utils import logging

    logging.disable_progress_bar()
    return module("chat_fine_tuning")


def test_the_chats_answers_alone_are_learnt_and_then_known(run: Any, chat: ModuleType, tmp_path: Path) -> None:
    printed = run(chat, "--steps", 80)
    learnt = re.findall(r"^ +\d+ +'(.*)' +\d+ +\d+  learns$", printed, re.MULTILINE)
    assert [token.strip("' ") for token in learnt] == ["Paris", ".", "<|im_end|>"]
    assert printed.endswith("The capital of France? -> Paris.\n")
    (first,) = numbers(rf"step 1: loss {NUMBER} nats", printed)
    assert first == pytest.approx(loss_by_hand(chat, tmp_path), abs=1.1e-4)


def loss_by_hand(chat: ModuleType, folder: Path) -> float:
    """The mean over the learnt tokens of all conversations, each read alone by the same stock model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    chats = chat.conversations(None)
    model = AutoModelForCausalLM.from_pretrained(chat.make_model(str(folder), chats))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    nats: list[Tensor] = []
    for question, answer in chats:
        prompt = tokenizer.apply_chat_template([question], add_generation_prompt=True, tokenize=False)
        said = tokenizer.encode(f"{answer['content']}<|im_end|>", add_special_tokens=False)
        ids = torch.tensor(tokenizer.encode(prompt, add_special_tokens=False) + said)
        with torch.no_grad():
            logits = model(ids[None]).logits[0]
        nats.append(F.cross_entropy(logits[-1 - len(said) : -1], ids[-len(said) :], reduction="none"))
    return torch.cat(nats).mean().item()


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")  # PEFT's call of transformers
@pytest.mark.filterwarnings("ignore:.gradient_checkpointing. is deprecated")
def test_the_chats_lora_trains_adapters_alone_on_a_model_and_data_of_ones_own(
    run: Any, chat: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, folder = tmp_path / "chat.jsonl", tmp_path / "model"
    chats = chat.conversations(None)[:2]
    data.write_text("\n".join(json.dumps({"messages": messages}) for messages in chats) + "\n")
    source = chat.make_model(str(folder), chats)
    load, loaded = lmhead.PretrainedCausalLM.load, []

    def kept(*given: Any, **options: Any) -> lmhead.PretrainedCausalLM:
        loaded.append(load(*given, **options))
        return loaded[-1]

    monkeypatch.setattr(lmhead.PretrainedCausalLM, "load", kept)
    printed = run(chat, "--model", source, "--data", data, "--lora", "--steps", 3)
    (first,), (last,) = (numbers(rf"step {step}: loss {NUMBER}", printed) for step in (1, 3))
    assert last < first
    (model,) = loaded
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)


def test_conversations_are_lines_and_nothing_else_ends_one(chat: ModuleType, tmp_path: Path) -> None:
    data = tmp_path / "chat.jsonl"
    said = [{"role": "user", "content": "one\u2028two"}, {"role": "assistant", "content": "three"}]
    data.write_text(json.dumps({"messages": said}, ensure_ascii=False) + "\n\n", encoding="utf-8")
    assert chat.conversations(data) == [said]


def test_all_weights_of_a_stored_model_of_16_bits_are_trained_in_float32(
    run: Any, chat: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, loaded = lmhead.PretrainedCausalLM.load, []

    def kept(*given: Any, **options: Any) -> lmhead.PretrainedCausalLM:
        loaded.append(load(*given, **options))
        return loaded[-1]

    monkeypatch.setattr(lmhead.PretrainedCausalLM, "load", kept)
    run(chat, "--model", stored_in_16_bits(chat, tmp_path / "model"), "--steps", 1)
    assert {parameter.dtype for parameter in loaded[0].parameters()} == {torch.float32}


# distillation.py


@pytest.mark.parametrize("kind", ["forward_kl", "jensen_shannon"])
def test_the_students_divergence_falls(run: Any, kind: str) -> None:
    printed = run(module("distillation"), "--steps", 40, "--kind", kind)
    before, after = numbers(rf"{kind} from the teacher {NUMBER} -> {NUMBER} nats", printed)
    assert 0 < after < before / 2


def test_the_divergence_is_that_of_full_logits_and_leaves_the_teacher_alone() -> None:
    program = module("distillation")
    torch.manual_seed(0)
    teacher, student = program.new_model(width=32, layers=1), program.new_model(width=16, layers=1)
    rows = torch.randint(256, (2, 12))
    ours = program.divergence(student, teacher, rows)
    log_p, log_q = (model(rows)[0].log_softmax(-1) for model in (student, teacher))
    theirs = (log_q.exp() * (log_q - log_p)).sum(-1).mean()
    torch.testing.assert_close(ours, theirs)
    mine = torch.autograd.grad(ours, [*student.parameters(), *teacher.parameters()], allow_unused=True)
    expected = torch.autograd.grad(theirs, list(student.parameters()))
    torch.testing.assert_close(list(mine[: len(expected)]), list(expected), atol=1e-6, rtol=1e-4)
    assert set(mine[len(expected) :]) == {None}


# grpo_logprobs.py


def test_the_policys_reward_rises_from_chance_to_nearly_all(run: Any) -> None:
    program = module("grpo_logprobs")
    torch.manual_seed(0)
    policy = lmhead.GPT(program.V, 32, 2, 1, max_seq_len=1 + program.ANSWER, init="gpt2")
    history = program.train(policy, 45)
    assert history[0] < 0.2
    assert history[-1] > 0.6
    assert "step 1: mean reward 0." in run(program, "--steps", 1)


def test_the_policys_logprobs_and_entropies_are_those_of_full_logits() -> None:
    program = module("grpo_logprobs")
    torch.manual_seed(0)
    policy = lmhead.GPT(program.V, 32, 2, 1, max_seq_len=1 + program.ANSWER)
    ids = program.draw_answers(policy, torch.arange(10)[:, None])
    assert ids.shape == (10, 1 + program.ANSWER)
    assert ids[:, 0].tolist() == list(range(10))
    ours = program.logprobs(policy, ids)
    log_p = policy(ids)[0][:, :-1].log_softmax(-1)
    torch.testing.assert_close(ours.logprobs, log_p.gather(-1, ids[:, 1:, None])[..., 0])
    torch.testing.assert_close(ours.entropy, -(log_p.exp() * log_p).sum(-1))


def test_rewards_count_on_and_advantages_are_beside_their_group() -> None:
    program = module("grpo_logprobs")
    assert program.rewards(torch.tensor([[7, 8, 9, 0], [7, 8, 0, 0], [0, 0, 0, 0]])).tolist() == pytest.approx(
        [1, 2 / 3, 0]
    )
    reward = torch.rand(3 * program.GROUP)
    groups = program.advantages(reward).view(3, -1)
    torch.testing.assert_close(groups.mean(1), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(groups.std(1), torch.ones(3), atol=1e-2, rtol=0)
    assert program.advantages(torch.ones(program.GROUP)).tolist() == [0] * program.GROUP  # nothing to learn from


@pytest.mark.parametrize(
    ("ratio", "advantage", "moves"),
    [(1.3, 1, False), (1.3, -1, True), (0.7, 1, True), (0.7, -1, False), (1.1, 1, True)],
)
def test_a_ratio_beyond_the_clip_gains_nothing_more(ratio: float, advantage: float, moves: bool) -> None:
    new = torch.tensor([[ratio]]).log().requires_grad_()
    objective = module("grpo_logprobs").clipped_objective(new, torch.zeros(1, 1), torch.tensor([float(advantage)]))
    (gradient,) = torch.autograd.grad(objective.sum(), new)
    assert (gradient.item() != 0) == moves


# make_chat.py


def made(file: Path, *flags: str) -> list[str]:
    subprocess.run([sys.executable, str(EXAMPLES / "make_chat.py"), str(file), *flags], check=True)
    return file.read_text(encoding="utf-8").splitlines()


def test_make_chat_writes_as_many_different_conversations_the_same_for_a_seed(tmp_path: Path) -> None:
    one, same, other = (made(tmp_path / "chat.jsonl", "--count", "300", "--seed", seed) for seed in "001")
    assert one == same != other
    assert len(set(one)) == 300
    for line in one:
        roles = [message["role"] for message in json.loads(line)["messages"]]
        assert roles[roles[0] == "system" :] in (["user", "assistant"], ["user", "assistant"] * 2)
