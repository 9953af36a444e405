"""The comparison of masks: what it says of each difference, and which renderer speaks for a template."""

import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from benchmarks.masks_compared import Masked, differences, prompts_of
from tests.labels.chat.chat_cases import CASES, tokenizer_for
from tests.labels.chat.chat_judge import SPECIAL

from benchmarks import masks, masks_of_renderers
from lmhead.data.tokenizer.chatml import CHATML
from lmhead.labels.chat.labeler import ChatLabeler
from lmhead.labels.targets import Reason
from lmhead.labels.template.chat_template import ChatTemplate

ANSWERS = r"(?<=assistant\n)[^<]*<\|im_end\|>"
THINKING = CHATML.replace("'<|im_start|>assistant\\n'", "'<|im_start|>assistant\\n<think>\\n'")
HEADLESS = (  # the next role ends a turn, as GLM's does
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def found(pattern, source=CHATML, case="multi", *, ours=None, stops=()):
    """What is said of each stretch where a mask that trains what a pattern finds differs from ours, or from `ours`."""
    backend = tokenizer_for(source, str(CASES[case]))
    example = ChatLabeler(backend, chat_template=source, special_tokens=SPECIAL)(CASES[case])
    text = backend.decode(example.ids.tolist(), skip_special_tokens=False)
    if ours is not None:
        own = trained(text, ours)
        ends = np.cumsum([len(backend.decode([number], skip_special_tokens=False)) for number in example.ids.tolist()])
        mask = np.asarray([own[end - 1] for end in ends])
        reason = np.where(mask, int(Reason.SCORED), int(Reason.SCAFFOLD)).astype(np.uint8)
        example = replace(example, trained=mask, reason=reason)
    theirs = Masked(text.encode(), trained(text, pattern))
    prompts = prompts_of(ChatTemplate(source, special_tokens=SPECIAL), CASES[case], None)
    names = {"template": "one", "case": case}
    every = differences(backend, example, theirs, prompts, stops=stops, names=names)
    return {(one.ours, one.kind, one.inference, one.speaks_against_us) for one in every}


def trained(text, pattern):
    spans = [match.span() for match in re.finditer(pattern, text)]
    return [any(start <= place < stop for start, stop in spans) for place in range(len(text))]


def test_equal_masks_do_not_differ():
    assert found(ANSWERS) == set()


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (ANSWERS + r"\n", (False, "white space behind the terminator", "has stopped before", False)),
        (r"assistant\n[^<]*<\|im_end\|>", (False, "the role's header", "gives it", False)),
        (r"(?<=assistant)\n[^<]*<\|im_end\|>", (False, "white space behind the role's header", "gives it", False)),
        (r"(?<=assistant\nR)[^<]*<\|im_end\|>", (True, "the first of the answer", "asks for it", False)),
    ],
)
def test_what_the_prompt_gives_does_not_speak_against_us(pattern, said):
    assert found(pattern) == {said}


def test_a_mask_of_ours_that_trains_what_the_prompt_gives_speaks_against_us():
    header = r"assistant\n[^<]*<\|im_end\|>"
    assert found(ANSWERS, ours=header) == {(True, "the role's header", "gives it", True)}


def test_a_mask_of_ours_that_leaves_out_what_the_model_writes_speaks_against_us():
    late = r"(?<=assistant\nReply)[^<]*<\|im_end\|>"
    assert found(ANSWERS, ours=late) == {(False, "the first of the answer", "asks for it", True)}


def test_a_mask_of_ours_that_leaves_out_the_token_that_stops_speaks_against_us():
    said = (False, "a control token behind the text", "stops with it", True)
    answers = r"(?<=<\|assistant\|>)[^<]*(?:<\|user\|>)?"
    assert found(answers, HEADLESS, ours=r"(?<=<\|assistant\|>)[^<]*", stops=("<|user|>",)) == {said}


def test_a_tag_in_whose_place_the_prompt_gives_another_speaks_for_nobody():
    source = HEADLESS.replace("|>{{ m.content }}", "|>{{ '<|/think|>' if m.role == 'assistant' }}{{ m.content }}")
    source = source.replace("<|assistant|>{% endif", "<|assistant|><|think|>{% endif")
    assert found(r"(?<=/think\|>)[^<]*", source) == {(True, "a tag of reasoning", "gives other text", False)}


def test_text_that_nothing_explains_speaks_against_us():
    assert found(ANSWERS + "|Ask alpha one") == {(False, "other text", "gives it", True)}


def voice(name, source, prompt_source=None):
    template, prompting = (ChatTemplate(text, special_tokens=SPECIAL) for text in (source, prompt_source or source))
    return masks_of_renderers.Voice(
        renderer=name,
        options=(),
        special=SPECIAL,
        stops=(),
        texts={"single": template.render(CASES["single"])},
        prompts={"single": prompting.render(CASES["single"][:-1], add_generation_prompt=True)},
    )


def test_the_renderer_that_writes_a_templates_texts_and_prompts_speaks_for_it():
    other, thinking, same = voice("other", HEADLESS), voice("thinking", CHATML, THINKING), voice("same", CHATML)
    assert masks_of_renderers.best(CHATML, [other, thinking, same]) is same
    assert masks_of_renderers.best(THINKING, [other, same, thinking]) is thinking
    assert masks_of_renderers.best(HEADLESS, [thinking, same]) is None


def test_a_renderers_mask_is_compared_where_it_writes_the_same_text(monkeypatch):
    class Renderer:
        """ChatML that samples the answers and the line break behind them; it refuses tools, and forgets thoughts."""

        def __init__(self, tokens):
            self.tokens = tokens

        def render(self, messages, *, tools=None):
            if tools:
                raise NotImplementedError("tools")
            ids, sampled, owners = [], [], []
            for index, message in enumerate(messages):
                own = message["role"] == "assistant"
                pieces = [(f"<|im_start|>{message['role']}\n", False)]
                pieces += [(message["content"].split("</think>")[-1], own), ("<|im_end|>\n", True)]
                for text, learnt in pieces:
                    piece = self.tokens.encode(text, add_special_tokens=False)
                    ids += piece
                    sampled += [learnt] * len(piece)
                    owners += [index] * len(piece)
            return SimpleNamespace(token_ids=ids, sampled_mask=sampled, message_indices=owners)

    def renderer(tokens, _name, _options):
        tokens.convert_tokens_to_ids("<|im_end|>")
        tokens.asked = False
        return Renderer(tokens)

    monkeypatch.setattr(masks_of_renderers, "_renderer", renderer)
    results = dict(masks_of_renderers.compared("one", CHATML, voice("chatml", CHATML)))
    assert results["tools"] == "the renderer refuses it"
    assert results["inline"] == "the texts differ"
    assert {one.kind for one in results["multi"]} == {"white space behind the terminator"}, "questions are not sampled"
    assert len(results["multi"]) == 3
    lines = list(masks.report("renderers", {("one", case): result for case, result in results.items()}, every=True))
    assert "     2 the texts differ" in lines
    assert any(line.startswith("| renderers | white space behind the terminator | has stopped") for line in lines)


def test_a_package_that_is_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "renderers", None)
    monkeypatch.setitem(sys.modules, "renderers.base", None)
    heading, results = masks.of_renderers(())
    assert results == {}
    assert heading.startswith("renderers: left out")
    assert "pip install" in heading
    monkeypatch.setattr(sys, "argv", ["masks", "--oracle", "renderers"])
    with pytest.raises(SystemExit, match="masks: renderers: left out"):
        masks.main()


def test_renderers_speak_nowhere_against_our_mask():
    pytest.importorskip("renderers", reason="renderers is not installed; benchmarks/masks.py says how to get it")
    _, results = masks.of_renderers(())
    assert results
    against = [
        one for result in results.values() if isinstance(result, list) for one in result if one.speaks_against_us
    ]
    assert against == []
