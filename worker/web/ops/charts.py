"""Charts as SVG within the page. What they show is told beside them, or in them, in words."""

from __future__ import annotations

from collections.abc import Mapping

from worker.web.ops.html import Html, html, tag

_STEP, _COLUMN, _HEIGHT = 12.0, 8.0, 40.0


def bar(value: float, most: float) -> Html:
    """How much of `most` a value is. It stands beside the number, so that nobody needs to be told it twice."""
    width = 0.0 if most <= 0 else min(100.0, 100 * value / most)
    rest, shown = (tag("rect", width=f"{each:.4g}", height=8, class_=name) for name, each in _parts(width))
    return tag(
        "svg", rest, shown, viewBox="0 0 100 8", preserveAspectRatio="none", aria_hidden="true", focusable="false"
    )


def _parts(width: float) -> tuple[tuple[str, float], tuple[str, float]]:
    return ("rest", 100.0), ("bar", max(width, 1.0) if width else 0.0)


def columns(title: str, counts: Mapping[str, int]) -> Html:
    """A column for each, with its number above and its name below in a table that says the same."""
    most = max(counts.values(), default=0)
    rects = []
    for place, count in enumerate(counts.values()):
        height = _HEIGHT * count / most if most else 0.0
        x = f"{place * _STEP + (_STEP - _COLUMN) / 2:g}"
        rects.append(tag("rect", x=x, y=0, width=_COLUMN, height=_HEIGHT, class_="rest"))
        rects.append(tag("rect", x=x, y=f"{_HEIGHT - height:.4g}", width=_COLUMN, height=f"{height:.4g}", class_="bar"))
    said = "; ".join(f"{name}: {count:,}" for name, count in counts.items())
    drawn = tag(
        "svg", tag("title", f"{title}. {said}"), rects, class_="columns", role="img", preserveAspectRatio="none",
        viewBox=f"0 0 {_STEP * len(counts):g} {_HEIGHT:g}",
    )  # fmt: skip
    heads = tag("tr", [tag("th", name, scope="col") for name in counts])
    numbers = tag("tr", [tag("td", f"{count:,}") for count in counts.values()])
    return html(drawn, tag("table", tag("thead", heads), tag("tbody", numbers), class_="days"))
