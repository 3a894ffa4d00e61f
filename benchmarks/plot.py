"""A plot of the ratios as SVG, drawn without any library.

Belongs here: bars. Does not: figures (results.py).
"""

from collections.abc import Sequence
from html import escape

WIDTH, ROW, LEFT, RIGHT, TOP = 860, 26, 190, 150, 40
INK, BAR, FLOOR = "#333", "#4878a8", "#b04a3a"


def draw_bars(title: str, rows: Sequence[tuple[str, float, str]], unit: float = 1.0) -> str:
    """Draw a bar per row, and a line where the floor is.

    Args:
        title: Above the plot.
        rows: Name, length, and the words behind the bar.
        unit: Length at which the line stands.
    """
    height = TOP + ROW * len(rows) + 20
    scale = (WIDTH - LEFT - RIGHT) / max([unit, *(length for _, length, _ in rows)])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="10" y="20" font-size="14">{escape(title)}</text>',
    ]
    for place, (name, length, words) in enumerate(rows):
        y = TOP + ROW * place
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{y + 4}" width="{length * scale:.1f}" height="{ROW - 10}" fill="{BAR}"/>',
            f'<text x="{LEFT + length * scale + 6:.1f}" y="{y + 15}">{escape(words)}</text>',
        ]
    x = LEFT + unit * scale
    parts.append(f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{height - 14}" stroke="{FLOOR}" stroke-dasharray="4 3"/>')
    return "\n".join([*parts, "</svg>", ""])
