"""A template that does not end costs its time once; what is refused does not depend on who renders it."""

import pytest
from tests.data.labelling.recipes import recipe, same
from tests.labels.chat.chat_cases import assistant, user

from lmhead.data.formats.sample import ChatSample
from lmhead.data.labelling.label_files import label_samples
from lmhead.data.rows.row import Place
from lmhead.labels.template import sandbox_budget
from lmhead.labels.template.sandbox_budget import Budget, PatienceError, briefly

LOOPS = "{% for a in range(N) %}{% for b in range(N) %}{% endfor %}{% endfor %}"
TEMPLATE = (
    "{% for m in messages %}"
    "{% if 'FOREVER' in m.content %}" + LOOPS.replace("N", "99999") + "{% endif %}"
    "{% if 'LONG' in m.content %}" + LOOPS.replace("N", "250") + "{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def slow(tmp_path):
    """A recipe whose template takes long, or for ever, where a question asks for it."""
    file = tmp_path / "slow.jinja"
    file.write_text(TEMPLATE)
    return recipe(template=str(file))


def asked(*questions):
    for number, question in enumerate(questions, start=1):
        place = Place(source="chat.jsonl", number=number, unit="line")
        yield ChatSample(place=place, messages=[user(question), assistant("Yes")])


def test_the_second_row_that_runs_into_a_limit_is_refused_at_once(slow, monkeypatch):
    steps = []
    begin = Budget.begin

    def counted(budget, characters):
        steps.append(budget.steps if hasattr(budget, "steps") else 0)
        begin(budget, characters)

    monkeypatch.setattr(Budget, "begin", counted)
    monkeypatch.setattr(sandbox_budget, "MAX_STEPS", 300_000)
    rows = list(label_samples(asked("Hi", "LONG", "FOREVER", "Hi", *["FOREVER again"] * 40, "LONG"), slow))
    assert [row.refusal is None for row in rows[:4]] == [True, True, False, True]
    assert "loops took more than" in rows[2].refusal.message
    for number, row in enumerate(rows[4:], start=5):
        assert row.refusal.kind == "template"
        assert row.refusal.message.startswith(f"chat.jsonl, line {number}: messages must render in as little time")
        assert "a limit at chat.jsonl, line 3, and is not given that much time again" in row.refusal.message
    assert sum(count > 100_000 for count in steps) <= 8  # at length: the row that takes long, and the first of those


@pytest.mark.usefixtures("quick_processes")
def test_processes_refuse_what_one_refuses(slow):
    samples = list(asked(*["Hi"] * 40, "LONG", *["Hi"] * 30, "FOREVER", *["Hi"] * 30, *["FOREVER", "LONG"] * 2))
    one, many = (list(label_samples(samples, slow, workers=workers)) for workers in (1, 2))
    assert all(same(a, b) for a, b in zip(one, many, strict=True))
    assert sum(row.refusal is not None for row in one) == 5


def test_what_is_brief_is_a_part_of_what_is_allowed_and_only_inside():
    budget = Budget()
    whole = (budget.most_steps, budget.most_made, budget.seconds)
    with briefly():
        with briefly():
            budget.begin(0)
        budget.begin(0)
        assert [
            most / part for most, part in zip(whole, (budget.most_steps, budget.most_made, budget.seconds), strict=True)
        ] == [pytest.approx(30)] * 3
        with pytest.raises(PatienceError):
            budget.step(budget.most_steps + 1)
    budget.begin(0)
    assert (budget.most_steps, budget.most_made, budget.seconds) == whole
