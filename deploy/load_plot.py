"""load_plot: draws the load of CPUs over time as an SVG file, with what was delivered above it.

Used by deploy/demo. Written by hand because two kinds of panel need less code than a plotting package
needs disk: no package is asked for.
"""

import html

WIDTH, LEFT, RIGHT = 860, 70, 20   # pixels
PANEL, GAP, TOP = 120, 34, 74
WORKERS, OTHER, LINE, GREY = "#2b6cb0", "#cbd5e0", "#2f855a", "#4a5568"


def write(path, title, delivered, loads, marks):
    """delivered: [(from s, to s, frames/s)]; loads: {cpu: [(s, workers %, other %)]}, s counted from
    one moment on; marks: [(s, text)]."""
    panels = [_delivered(delivered)] + [_load(cpu, loads[cpu]) for cpu in sorted(loads)]
    ends = [end for _, end, _ in delivered] + [rows[-1][0] for rows in loads.values()]
    last = max(ends, default=0) or 1

    def x(seconds):
        return LEFT + (WIDTH - LEFT - RIGHT) * seconds / last

    height = TOP + len(panels) * (PANEL + GAP) - GAP + 30
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
           'font-family="sans-serif" font-size="12">',
           '<rect width="100%" height="100%" fill="white"/>',
           _text(LEFT, 22, title, size=15)]
    for index, (caption, top, shapes) in enumerate(panels):
        base = TOP + index * (PANEL + GAP) + PANEL

        def y(value, base=base, top=top):
            return base - PANEL * min(value, top) / top

        out += [shape(x, y) for shape in shapes]
        out += [f'<rect x="{LEFT}" y="{base - PANEL}" width="{WIDTH - LEFT - RIGHT}" '
                f'height="{PANEL}" fill="none" stroke="{GREY}"/>',
                _text(LEFT, base - PANEL - 6, caption),
                _text(LEFT - 6, base, "0", "end"), _text(LEFT - 6, y(top) + 10, f"{top:,.0f}", "end")]
    base = height - 30
    out += [_text(x(second), base + 16, f"{second} s", "middle")
            for second in range(0, int(last) + 1, max(1, round(last / 10)))]
    out += [_mark(x(at), base, 46 - 12 * (index % 2), text) for index, (at, text) in enumerate(marks)]
    path.write_text("\n".join(out + ["</svg>\n"]))


def _delivered(windows):
    top = max((rate for _, _, rate in windows), default=0) * 1.1 or 1

    def line(x, y):
        points = " ".join(f"{x(at):.1f},{y(rate):.1f}" for start, end, rate in windows
                          for at in (start, end))
        return f'<polyline points="{points}" fill="none" stroke="{LINE}" stroke-width="2"/>'

    return "frames per second delivered", top, [line]


def _load(cpu, rows):
    def area(upper, lower, colour):
        def shape(x, y):
            there = [f"{x(row[0]):.1f},{y(upper(row)):.1f}" for row in rows]
            back = [f"{x(row[0]):.1f},{y(lower(row)):.1f}" for row in reversed(rows)]
            return f'<polygon points="{" ".join(there + back)}" fill="{colour}"/>'
        return shape

    return (f"CPU {cpu}, % busy (dark: workers)", 100,
            [area(lambda row: row[1] + row[2], lambda row: row[1], OTHER),
             area(lambda row: row[1], lambda row: 0, WORKERS)])


def _mark(x, base, y, text):
    return (f'<line x1="{x:.1f}" y1="{y + 2}" x2="{x:.1f}" y2="{base}" stroke="#c53030" '
            f'stroke-dasharray="4 3"/>' + _text(x + 3, y, text))


def _text(x, y, text, anchor="start", size=12):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{GREY}">'
            f'{html.escape(text)}</text>')
