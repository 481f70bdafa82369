"""A line chart in SVG: a share or a count on the horizontal axis, time on a logarithmic vertical axis. Pure."""

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 760, 420
_LEFT, _TOP, _RIGHT, _BOTTOM = 84, 44, 220, 56
_COLOURS = ("#d1495b", "#edae49", "#66a182", "#7b5ea7", "#8d6a4a", "#2e86ab", "#9a9a9a", "#c77dba", "#5b8c5a")
_OWN_COLOUR = "#0b3c8c"

Points = Sequence[tuple[float, float]]


def chart(title: str, across: str, up: str, lines: Mapping[str, Points], *, own: str, tick: str = "g") -> str:
    """A chart as an SVG image.

    Args:
        title: Title of the chart.
        across: Title of the horizontal axis; its ticks are the points' values, evenly spaced.
        up: Title of the vertical axis.
        lines: Points by the line's name, (horizontal value, milliseconds); points that are not finite or not positive
            are left out.
        own: Name of the line that is drawn thicker.
        tick: Format specification of the horizontal ticks.

    Raises:
        ValueError: No line has a point to draw.
    """
    shown = {name: [(x, y) for x, y in points if 0 < y < float("inf")] for name, points in lines.items()}
    places = sorted({x for points in shown.values() for x, _ in points})
    heights = [y for points in shown.values() for _, y in points]
    if not heights:
        raise ValueError(f"nothing to draw in {title!r}: no line has a finite point")
    low, high = floor(log10(min(heights))), max(ceil(log10(max(heights))), floor(log10(min(heights))) + 1)
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT

    def at_x(x: float) -> float:
        return _LEFT + (right - _LEFT) * (places.index(x) + 0.5) / len(places)

    def at_y(y: float) -> float:
        return bottom - (bottom - _TOP) * (log10(y) - low) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(_LEFT, 24, title, size=15),
        _text((_LEFT + right) / 2, HEIGHT - 14, across, anchor="middle"),
        f'<g transform="translate(18 {(bottom + _TOP) / 2}) rotate(-90)">{_text(0, 0, up, anchor="middle")}</g>',
    ]
    for power in range(low, high + 1):
        y = at_y(10.0**power)
        parts += [_line(_LEFT, y, right, y, "#dddddd"), _text(_LEFT - 8, y + 4, _seconds(10.0**power), anchor="end")]
    parts += [_text(at_x(x), bottom + 18, f"{x:{tick}}", anchor="middle") for x in places]
    parts.append(_line(_LEFT, bottom, right, bottom, "#555555"))
    for number, (name, points) in enumerate(shown.items()):
        is_own = name == own
        colour, width = (_OWN_COLOUR, 3.5) if is_own else (_COLOURS[number % len(_COLOURS)], 1.8)
        corners = [(at_x(x), at_y(y)) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{width + 1}" fill="{colour}"/>' for x, y in corners]
        y = _TOP + 10 + 20 * number
        parts += [_line(right + 18, y, right + 42, y, colour, width), _text(right + 50, y + 4, name.replace("_", " "))]
    return "\n".join([*parts, "</svg>\n"])


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:g} s" if milliseconds >= 1000 else f"{milliseconds:g} ms"


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#333">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'
