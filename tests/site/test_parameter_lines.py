"""Signatures are lines, not lists of definitions without a term."""

import sys

import pytest
from tests.site.public_callables import ROOT

pytest.importorskip("sphinx")
sys.path.append(str(ROOT / "docs" / "_ext"))

from lmhead_reference.parameter_lines import as_lines


def test_a_list_in_a_signature_becomes_lines_and_any_other_stays():
    written = '<dl class="py"><dt class="sig sig-object py" id="f">f(<dl><dd>x,</dd></dl>)</dt><dd><p>It.</p></dd></dl>'
    assert as_lines(written) == (
        '<dl class="py"><dt class="sig sig-object py" id="f">f('
        '<span class="sig-parameters"><span class="sig-line">x,</span></span>)</dt><dd><p>It.</p></dd></dl>'
    )
