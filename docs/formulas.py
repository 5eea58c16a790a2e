"""Typeset the formulas of docstrings: `$$ … $$` becomes MathML as the site is built.

Browsers draw MathML themselves, so that a page needs no script and no request to another host.  The notation
is LaTeX's, with Greek letters and signs as characters; a word of two letters or more is an operator, such as
mean, log and cos, but for indices such as ij, and several blanks are a gap: docstrings stay readable in an
editor.
"""

import html
import re
from typing import Any

from latex2mathml import converter

_BLOCK = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)
_WORD = re.compile(r"(\\text\{[^}]*\}|_\{\w{1,3}\})|(?<![\\A-Za-z])([A-Za-z]{2,})(?![A-Za-z])")


def on_page_content(content: str, **_: Any) -> str:
    """Return a page whose formulas are MathML."""
    return _BLOCK.sub(lambda block: f'<div class="formula">{_mathml(block[1])}</div>', content)


def _mathml(source: str) -> str:
    latex = _WORD.sub(lambda one: one[1] or rf"\operatorname{{{one[2]}}}", html.unescape(source).strip())
    latex = re.sub(r"  +", r" \\quad ", latex).replace("Σ", r"\sum ")
    return converter.convert(latex, display="block")
