"""The reference of this library by Sphinx: its docstrings, its signatures, and the flags of its commands."""

from sphinx.application import Sphinx

from lmhead_reference import command_line, docstring_form, parameter_lines, signatures


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    for part in (docstring_form, signatures, parameter_lines, command_line):
        part.connect(app)
    return {"parallel_read_safe": True, "version": "1"}
