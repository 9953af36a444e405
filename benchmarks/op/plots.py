"""Pictures of the grid and of growth, drawn from the JSON that measuring left: op_grid.svg, op_growth_DTYPE.svg.

Reproducible to the byte: no dates, no random identifiers, text as text.
"""

import importlib
import json
from pathlib import Path
from typing import Any

from benchmarks.op.problem import DTYPES
from benchmarks.op.programs import AS_THEY_COME, COMPILED, OURS, UPCAST

_MARKS = {  # colour, marker: told apart without colour too
    OURS: ("#d1495b", "o"),
    UPCAST: ("#30638e", "s"),
    AS_THEY_COME: ("#00798c", "^"),
    COMPILED: ("#edae49", "D"),
}
_GREY = "#666666"
_LINES = (  # of growth: panel (0 time, 1 memory), key of a point, factor to the unit, style, colour, label
    (0, "ours", 1e3, "o-", "#d1495b", "lmhead"),
    (0, "products", 1e3, "s--", _GREY, "the three bare products"),
    (1, "peak", 2**-20, "o-", "#d1495b", "lmhead"),
    (1, "gradients", 2**-20, "s--", _GREY, "the gradients alone"),
    (1, "logits", 2**-20, ":", "#30638e", "float32 logits of all rows, which are never held (computed)"),
)


def require_matplotlib() -> Any:
    """matplotlib.pyplot, set up for reproducible SVG."""
    try:
        matplotlib = importlib.import_module("matplotlib")
    except ImportError:
        raise SystemExit('plots need matplotlib: pip install "lmhead[plots]", or leave them out with --only') from None
    matplotlib.use("svg")
    matplotlib.rcParams.update(
        {
            "svg.hashsalt": "lmhead",
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 10,
            "legend.frameon": False,
        }
    )
    return importlib.import_module("matplotlib.pyplot")


def draw(folder: Path) -> list[Path]:
    """The pictures of what is in the folder."""
    pyplot = require_matplotlib()
    drawn = []
    grids = _measured(folder, "grid")
    if grids:
        drawn.append(_save(_grid(pyplot, grids), folder / "op_grid.svg"))
    for dtype, measured in _measured(folder, "growth").items():
        drawn.append(_save(_growth(pyplot, measured, dtype), folder / f"op_growth_{dtype}.svg"))
    pyplot.close("all")
    return drawn


def _measured(folder: Path, part: str) -> dict[str, Any]:
    paths = {dtype: folder / f"op_{part}_{dtype}.json" for dtype in DTYPES}
    return {dtype: json.loads(path.read_text())["measured"] for dtype, path in paths.items() if path.exists()}


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    return path


def _grid(pyplot: Any, grids: dict[str, Any]) -> Any:
    """A line for each shape, a mark for each program, a panel for each dtype."""
    figure, panels = pyplot.subplots(
        1, len(grids), figsize=(1.2 + 4.2 * len(grids), 4.0), sharey=True, squeeze=False, layout="constrained"
    )
    for panel, (dtype, measured) in zip(panels[0], grids.items(), strict=True):
        shapes = measured["shapes"]
        for name, (colour, marker) in _MARKS.items():
            points = [(s["times_the_products"].get(name), row) for row, s in enumerate(shapes)]
            taken = [(ratio, row) for ratio, row in points if ratio is not None]
            if taken:
                size = 7 if name == OURS else 5
                panel.plot(*zip(*taken, strict=True), marker, color=colour, markersize=size, label=name, clip_on=False)
        panel.axvline(1, color=_GREY, linewidth=1)
        panel.set_yticks(range(len(shapes)), [f"V {s['V']}   D {s['D']}   N {s['N']}" for s in shapes])
        panel.grid(axis="y", color="#e5e5e5", linewidth=0.8)
        panel.set_axisbelow(True)
        panel.set_title(dtype)
        panel.set_xlabel("time, in units of the three bare products")
    fullest = max(panels[0], key=lambda panel: len(panel.get_legend_handles_labels()[0]))
    handles, labels = fullest.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def _growth(pyplot: Any, measured: dict[str, Any], dtype: str) -> Any:
    """Time above, memory below; a column for each size."""
    figure, panels = pyplot.subplots(2, 3, figsize=(9.6, 5.8), sharey="row", sharex="col", layout="constrained")
    for (size, points), time, memory in zip(measured["points"].items(), *panels, strict=True):
        sizes = [point["size"] for point in points]
        for panel, key, unit, style, colour, label in _LINES:
            (time, memory)[panel].loglog(
                sizes, [point[key] * unit for point in points], style, color=colour, markersize=4, label=label
            )
        time.set_title(f"{size} varied; {', '.join(f'{n} {v}' for n, v in measured['fixed'].items() if n != size)}")
        memory.set_xlabel(size)
        for panel in (time, memory):
            panel.grid(color="#e5e5e5", linewidth=0.8)
            panel.tick_params(which="minor", bottom=False, left=False)
    panels[0][0].set_ylabel(f"milliseconds,\nforward and backward, {dtype}")
    panels[1][0].set_ylabel("MiB at the peak,\ngradients included")
    for row, place in ((0, "outside upper center"), (1, "outside lower center")):
        handles, labels = panels[row][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc=place, ncols=len(labels))
    return figure
