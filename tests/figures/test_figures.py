"""Every figure: light and dark, with text as hostile as text is, and without leaving a trace in matplotlib."""

import builtins
import subprocess
import sys
from io import BytesIO

import matplotlib
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from lmhead import figures
from lmhead.errors import ArgumentError, ArgumentTypeError, InputError
from lmhead.figures.canvas import families
from lmhead.figures.described_figure import _figure_class
from lmhead.figures.description import LONGEST
from lmhead.figures.theme import THEMES
from lmhead.labels.example import Example
from lmhead.models.gpt import GPT

WIDE = "日本" if len(families(mono=True)) > 1 else "ab"  # where this machine has a font for it
HOSTILE = ["$x^2", "$", "\\frac{", "\x1b[2J", "\u202eabc", " ", "\n\n", "", WIDE, "e\u0301"]
V = len(HOSTILE)


def model():
    torch.manual_seed(0)
    return GPT(V, embed_dim=8, num_heads=2, num_layers=1).eval()


DRAWN = {
    "nll_curve": lambda theme: figures.nll_curve(dict.fromkeys(HOSTILE, 0.3), theme=theme),
    "causal_mask": lambda theme: figures.causal_mask(HOSTILE, document=[0] * 4 + [1] * 6, theme=theme),
    "perturbation": lambda theme: figures.perturbation(model(), torch.arange(V), tokens=HOSTILE, theme=theme),
    "next_token_pairs": lambda theme: figures.next_token_pairs(HOSTILE, theme=theme),
    "shifted_targets": lambda theme: figures.shifted_targets(HOSTILE, ids=range(V), theme=theme),
    "token_losses": lambda theme: figures.token_losses(
        {text: [(token, None if n == 2 else n) for n, token in enumerate(HOSTILE)] for text in HOSTILE[:4]}, theme=theme
    ),
    "mtp_offsets": lambda theme: figures.mtp_offsets(HOSTILE, document=[0] * 4 + [1] * 6, theme=theme),
    "assistant_mask": lambda theme: figures.assistant_mask(
        Example.of(list(range(V)), trained=[n % 3 == 0 for n in range(V)]), lambda ids: HOSTILE[ids[0]], theme=theme
    ),
    "learning_loop": lambda theme: figures.learning_loop(model(), torch.arange(8), tokens=HOSTILE, theme=theme),
    "curves": lambda theme: figures.curves(
        {text: [n + 1.0, 2.0] for n, text in enumerate(HOSTILE[:6])},
        x=HOSTILE[0],
        y=HOSTILE[3],
        levels=dict.fromkeys(HOSTILE[6:], 5.0),
        theme=theme,
    ),
    "curves, long names": lambda theme: figures.curves(
        {text * 30: [n + 1.0, 2.0] for n, text in enumerate(HOSTILE[:6])},
        x=HOSTILE[0] * 99,
        y=HOSTILE[3] * 99,
        log_x=True,
        log_y=True,
        theme=theme,
    ),
    "bars": lambda theme: figures.bars(
        {title: {text: float(n - 4) for n, text in enumerate(HOSTILE)} for title in HOSTILE[:2]},
        y=HOSTILE[0],
        x=HOSTILE[3],
        highlight=HOSTILE[:3],
        theme=theme,
    ),
    "bars, long names": lambda theme: figures.bars(
        {title * 50: {text * 30: 10.0**n for n, text in enumerate(HOSTILE[:6])} for title in HOSTILE[:4]},
        y=HOSTILE[0] * 99,
        x=HOSTILE[3] * 99,
        theme=theme,
    ),
}
FUNCTIONS = {name.partition(",")[0] for name in DRAWN}


def test_these_are_the_figures():
    assert set(figures.__all__) == {*FUNCTIONS, "perturbation_effects", "ThemeName", "DescribedFigure"}


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_drawn_of_any_text_in_its_theme(name, theme):
    """Warnings are errors here: no glyph is missing, no formula is parsed."""
    before = dict(matplotlib.rcParams)
    figure = DRAWN[name](theme)
    assert isinstance(figure, Figure)
    assert matplotlib.colors.to_hex(figure.get_facecolor()) == THEMES[theme].background
    stream = BytesIO()
    figure.savefig(stream, format="svg")
    assert len(stream.getvalue()) > 1000
    assert dict(matplotlib.rcParams) == before


def seen_texts(figure):
    """Its texts without the labels of ticks that lie beyond the axes."""
    yield from figure.texts
    for axes in figure.axes:
        yield from axes.texts
        yield axes.title
        yield axes._left_title
        for axis in (axes.xaxis, axes.yaxis):
            low, high = axis.get_view_interval()
            yield axis.label
            yield from (tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)


@pytest.mark.parametrize("name", DRAWN)
def test_all_that_is_written_is_in_the_figure(name):
    figure = DRAWN[name]("light")
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    outside = [
        (text.get_text(), box)
        for text in seen_texts(figure)
        if text.get_text()
        if (box := Text.get_window_extent(text).extents).min() < 0 or box[2] > width or box[3] > height
    ]
    assert outside == []


@pytest.mark.parametrize("name", DRAWN)
def test_another_theme_is_refused(name):
    with pytest.raises(ArgumentError, match="theme must be light or dark, got 'sepia'"):
        DRAWN[name]("sepia")


def test_a_figure_shows_itself_in_a_notebook_with_its_alternative_text():
    figure = figures.nll_curve()
    assert figure._repr_png_().startswith(b"\x89PNG")
    shown, metadata = figure._repr_mimebundle_()
    assert shown["image/png"].startswith(b"\x89PNG")
    assert shown["text/plain"] == figure.description
    assert metadata == {"image/png": {"alt": figure.description}}


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_says_in_bounded_safe_words_what_it_shows(name):
    said = DRAWN[name]("light").description
    assert 40 <= len(said) <= LONGEST
    assert said == DRAWN[name]("dark").description
    assert not any(character in said for character in "\x1b\u202e\n")


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_drawn_again_in_another_theme(name):
    figure, dark = DRAWN[name]("light"), DRAWN[name]("dark")
    again = figure.in_theme("dark")
    assert pixels(again) == pixels(dark) != pixels(figure)
    assert pixels(again.in_theme("light")) == pixels(figure)
    assert isinstance(again, figures.DescribedFigure)
    assert again.description == figure.description


def pixels(figure):
    """Its image in small; the metadata, the same for both, are none of it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(40)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return bytes(canvas.buffer_rgba())


def test_another_theme_needs_no_model():
    """Neither is the model trained or called again, nor does its later state show."""
    for draw in (figures.perturbation, figures.learning_loop):
        calls, learner = [], model()
        learner.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        figure = draw(learner, torch.arange(8), tokens=HOSTILE if draw is figures.learning_loop else HOSTILE[:8])
        before, first = len(calls), pixels(figure)
        with torch.no_grad():
            for parameter in learner.parameters():
                parameter.add_(torch.randn_like(parameter))
        assert pixels(figure.in_theme("dark").in_theme("light")) == first
        assert len(calls) == before


def test_another_theme_than_these_is_refused_later_too():
    with pytest.raises(ArgumentError, match="theme must be light or dark, got 'sepia'"):
        figures.nll_curve().in_theme("sepia")


@pytest.mark.parametrize(("ending", "key"), [("png", "Description"), ("svg", None)])
def test_a_file_has_the_description(ending, key, tmp_path):
    figure = figures.nll_curve({"é → <&": 0.5})
    stream = BytesIO()
    for target, options in ((tmp_path / f"it.{ending}", {}), (str(tmp_path / "it"), {"format": ending})):
        figure.savefig(target, **options)
    figure.savefig(stream, format=ending)
    for content in (stream.getvalue(), (tmp_path / f"it.{ending}").read_bytes()):
        if key is None:
            assert "-log p in nats" in content.decode()
        else:
            assert Image.open(BytesIO(content)).text[key] == figure.description
    figure.savefig(stream, format="png", metadata={"Description": "mine"})  # whose own words come first
    assert b"mine" in stream.getvalue()


def test_control_characters_are_shown_and_white_space_is_seen(words):
    said = words(figures.next_token_pairs(HOSTILE))
    assert {"\\x1b[2J", "\\u202eabc", "·", "↵↵", "$x^2", WIDE} <= set(said)
    assert not any("\x1b" in text or "\u202e" in text for text in said)


def test_no_window_is_opened_and_pyplot_is_not_imported():
    program = (
        "import sys; from lmhead import figures; assert 'matplotlib' not in sys.modules; figures.nll_curve(); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode == 0


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    _figure_class.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    for draw in DRAWN.values():
        with pytest.raises(InputError, match=r'needs matplotlib, .* pip install "lmhead\[plots\]"'):
            draw("light")


@pytest.mark.parametrize("tokens", ["a text", None, [1, 2], 3])
@pytest.mark.parametrize(
    "draw", [figures.causal_mask, figures.next_token_pairs, figures.shifted_targets, figures.mtp_offsets]
)
def test_tokens_are_a_list_of_texts(draw, tokens):
    with pytest.raises(ArgumentTypeError, match="tokens must be a list of the tokens' texts, got"):
        draw(tokens)


@pytest.mark.parametrize(
    "draw", [figures.causal_mask, figures.next_token_pairs, figures.shifted_targets, figures.mtp_offsets]
)
@pytest.mark.parametrize("count", [0, 100])
def test_what_cannot_be_read_is_refused(draw, count):
    with pytest.raises(ArgumentError, match=f"tokens must be 1 to .*, to be read at the width of a page, got {count}"):
        draw(["x"] * count)
