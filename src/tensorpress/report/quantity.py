"""How numbers are written."""

MINUS, DASH, TIMES = "\u2212", "\u2013", "\u00d7"


def count(value: float) -> str:
    """ "853,018"."""
    return f"{value:,.0f}"


def short(value: float) -> str:
    """ "853 K", "125.5 M"."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e4, " K")):
        if value >= size:
            scaled = value / (1e3 if unit == " K" else size)
            text = f"{scaled:.{0 if scaled >= 200 else 1}f}".removesuffix(".0")
            return text + unit
    return f"{value:,.0f}"


def times_of(before: float, after: float, less: str, more: str) -> str:
    """ "4.06 times fewer", or "1.20 times more" where it grew."""
    if before == after or not before or not after:
        return "unchanged" if before == after else "gone" if before else "new"
    ratio, word = (before / after, less) if after < before else (after / before, more)
    return f"{ratio:.2f} times {word}"


def points(difference: float) -> str:
    """ "−2.51 points", with a true minus sign."""
    sign = MINUS if difference < 0 else "+" if difference > 0 else "±"
    return f"{sign}{abs(difference):.2f} points"


def layer_name(name: str) -> str:
    """The name of a layer; the network itself has none."""
    return name or "(network)"


def share(value: float | None) -> str:
    """ "0.570"; a dash where there is none."""
    return DASH if value is None else f"{value:.3f}"


def percent(part: float, whole: float) -> str:
    """ "76 %"."""
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def scored(value: float, error: float | None) -> str:
    """ "93.39 ± 0.25 %"."""
    return f"{value:.2f} %" if error is None else f"{value:.2f} ± {error:.2f} %"


def milliseconds(seconds: float) -> str:
    """ "8.70 ms"."""
    value = seconds * 1e3
    return f"{value:.{2 if value < 100 else 0}f} ms"
