"""Figures of matplotlib as SVG elements for a page; needs matplotlib (extra ``train``).

Text stays text, so that it can be searched and copied. The colours are those of Okabe and Ito (2008), which people with
colour-blindness can tell apart, on white; what matters differs in form or place as well.
"""

from __future__ import annotations

import hashlib
import html
import re
import warnings
from collections.abc import Callable
from functools import wraps
from io import StringIO
from typing import Any, ParamSpec, TypeAlias

from ..errors import MissingExtraError
from ..training.evaluation.plots import BLUE, GREEN, ORANGE

PALETTE = (BLUE, "#E69F00", GREEN, "#CC79A7", "#56B4E9", ORANGE, "#F0E442", "#999999", "#000000")
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "healdag",  # the same figures give the same bytes
    "text.parse_math": False,
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "legend.frameon": False,
    "date.converter": "concise",
    "legend.fontsize": 9,
}
_WIDTH = 9.2
"""Inches: 883 pixels of a page, its full column."""

Drawn: TypeAlias = tuple[Any, str]
"""A figure, and what it shows in words."""
P = ParamSpec("P")


def check_matplotlib() -> None:
    """Raises MissingExtraError where matplotlib is not installed, before any work is done in vain."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtraError("matplotlib", "train") from None


def picture(draw: Callable[P, Drawn]) -> Callable[P, str]:
    """Turns a function that draws a figure into one that gives its SVG element."""

    @wraps(draw)
    def drawn(*args: P.args, **options: P.kwargs) -> str:
        check_matplotlib()
        from matplotlib import rc_context

        with rc_context(_STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # the reader's fonts may have them
            return _svg(*draw(*args, **options))

    return drawn


def _svg(figure: Any, alt: str) -> str:
    """The figure as an element for a page: no XML header, no identifiers that two pictures could share, no links."""
    stream = StringIO()
    figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    content = stream.getvalue()
    content = content[content.index("<svg") :]
    content = re.sub(r'<g id="[^"]*">', "<g>", content)
    own = hashlib.sha256(content.encode()).hexdigest()[:10]
    content = re.sub(r'( id="|url\(#|href="#)', rf"\1s{own}", content)
    content = re.sub(r' xmlns(:xlink)?="[^"]*"', "", content).replace("xlink:href=", "href=")
    return content.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" ', 1).strip()


def new_figure(height: float) -> Any:
    """An empty figure of the page's width; the height is in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(_WIDTH, height), layout="constrained")


def short(label: str, longest: int = 26) -> str:
    """A label for a picture: cut where it is long."""
    cut = label if len(label) <= longest else label[: longest - 1] + "…"
    return f" {cut}" if cut.startswith("_") else cut  # matplotlib leaves those with an underscore out of legends


def percent(share: float) -> str:
    """A share as percents with one decimal.

    >>> percent(0.1234)
    '12.3 %'
    """
    return f"{100 * share:.1f} %"
