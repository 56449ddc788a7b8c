"""Seconds as a person says them."""


def duration(seconds: float) -> str:
    """The two largest units that matter.

    >>> [duration(seconds) for seconds in (0.4, 80, 120, 7500)]
    ['1 s', '1 min 20 s', '2 min', '2 h 5 min']
    """
    whole = max(1, round(seconds))
    if whole < 3600:
        parts = ((whole // 60, "min"), (whole % 60, "s"))
    else:
        minutes = round(whole / 60)
        parts = ((minutes // 60, "h"), (minutes % 60, "min"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count)
