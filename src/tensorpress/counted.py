"""How many of something there are, in words."""


def counted(count: int, what: str) -> str:
    """As "1 node" and "1,200 nodes" of ``what`` "nodes"."""
    return f"{count:,} {what.removesuffix('s') if count == 1 else what}"
