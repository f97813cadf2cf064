"""The page as one HTML file that needs no network: text, tables, figures and data.

Everything is escaped by the template. What the scripts read (figures, CSV, plotly.js) is packed
(gzip, base64), so no character of it can end its element; and the page's policy lets no script run
but ours and plotly's, by their digests, and nothing be loaded.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from rope_eval.errors import DataError
from rope_eval.report.page.model import Figure, Page, Table
from rope_eval.safe_text import shown, shown_lines

_ASSETS = Path(__file__).parent / "assets"


def html_of(page: Page, *, figures: bool = True) -> str:
    """Return the page as HTML.

    Args:
        page: the page.
        figures: whether to carry plotly.js (1.5 MB); without it there are no figures.

    Raises:
        DataError: plotly is not installed.
    """
    environment = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "shown": shown,
        "shown_lines": shown_lines,
        "breaking": _breaking,
        "sortable": _sortable,
    }
    has_figures = figures and any(isinstance(part, Figure) for part in page.parts())
    plotly = _plotly() if has_figures else ""
    script = _asset("page.js")
    digests = " ".join(f"'sha256-{_digest(text)}'" for text in (script, plotly) if text)
    text = environment.get_template("page.html").render(
        page=page,
        kind=lambda part: type(part).__name__,
        has_figures=has_figures,
        policy=(
            f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; "
            "img-src data: blob:; base-uri 'none'; form-action 'none'"
        ),
        style=_asset("page.css"),
        script=script,
        plotly=_packed(plotly) if plotly else "",
        data=_packed(json.dumps(_data(page, has_figures), allow_nan=False)),
    )
    return text + "\n"


def _data(page: Page, has_figures: bool) -> dict[str, Any]:
    """Return what the scripts read."""
    tables = [part for part in page.parts() if isinstance(part, Table | Figure)]
    figures = [part for part in tables if isinstance(part, Figure)] if has_figures else []
    return {
        "csv": page.downloads | {part.name: part.csv() for part in tables},
        "figures": {
            figure.name: [
                {"traces": _finite(panel.traces), "layout": _finite(panel.layout)}
                for panel in figure.panels
            ]
            for figure in figures
        },
    }


def _breaking(text: str) -> Markup:
    """Return a text, escaped, that may go on in another line after a comma."""
    return Markup(escape(shown(text)).replace(",", Markup(",<wbr>")))


def _sortable(number: float) -> str:
    """Return a number as scripts read it."""
    return repr(float(number)).replace("inf", "Infinity").replace("nan", "NaN")


def _finite(value: Any) -> Any:
    """Return plain values with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise DataError(
            "figures need plotly: pip install 'rope-eval[report]', or leave them out with "
            "--no-figures"
        ) from None
    script: str = get_plotlyjs()
    return script


def _packed(text: str) -> str:
    """Return a text for `unpacked` of page.js; the same text gives the same bytes."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")
