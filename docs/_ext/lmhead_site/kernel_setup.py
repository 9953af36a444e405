"""What the kernel of every page runs before the page: a figure is shown in both themes, with its description.

This file's text is the first cell. It leaves no name behind, and imports nothing of the site, of which a kernel knows
nothing.
"""


def _silence_other_packages() -> None:
    import logging
    import warnings

    warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm, which draws no bar here anyway
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # which of its kernels this machine has


def _show_figures_in_both_themes() -> None:
    from base64 import b64encode
    from io import BytesIO
    from typing import Any

    from IPython.core.formatters import JSONFormatter
    from IPython.core.getipython import get_ipython
    from traitlets import Unicode

    mime = "application/vnd.lmhead.figure+json"

    class FigureFormatter(JSONFormatter):
        format_type = Unicode(mime)

    def image(figure: Any) -> str:
        stream = BytesIO()
        figure.savefig(stream, format="png", dpi=150)
        return b64encode(stream.getvalue()).decode("ascii")

    def in_both_themes(figure: Any) -> dict[str, str]:
        redrawn = getattr(figure, "in_theme", None)
        light, dark = (figure, figure) if redrawn is None else (redrawn("light"), redrawn("dark"))
        return {"description": getattr(figure, "description", ""), "light": image(light), "dark": image(dark)}

    shell: Any = get_ipython()
    formatter: Any = FigureFormatter(parent=shell.display_formatter)
    formatter.for_type_by_name("matplotlib.figure", "Figure", in_both_themes)
    shell.display_formatter.formatters[mime] = formatter


_silence_other_packages()
_show_figures_in_both_themes()
del _silence_other_packages, _show_figures_in_both_themes
