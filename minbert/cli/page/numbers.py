"""Numbers as pages, Markdown and LaTeX show them: few digits, a real minus sign, never -0.000."""

MINUS = "\N{MINUS SIGN}"


def number(value: float) -> str:
    """Formats a number with three significant digits, from 100 on a whole one: 0.0123, 1.5, 12,346, 1e−05."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return text.replace("-", MINUS)


def score(value: float) -> str:
    """Formats a score, a share or a correlation, with three digits after the point."""
    return f"{round(value, 3) + 0.0:.3f}".replace("-", MINUS)


def difference(value: float) -> str:
    """Formats a difference of two scores as `score` does, with its sign; 0.000 has none."""
    sign = "+" if round(value, 3) > 0 else ""
    return f"{sign}{score(value)}"


def duration(seconds: float) -> str:
    """Formats a time: 0.4 s, 12 s, 3.5 minutes, 2.1 hours."""
    for size, name in ((3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
