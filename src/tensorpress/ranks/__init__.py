"""How many singular values are kept: the rules, and the spectra that they look at."""

from tensorpress.ranks.rules import (
    RULES,
    VBMF,
    Energy,
    RankRule,
    Ranks,
    RankShare,
    RelativeError,
    SingularSum,
    rule_from_json,
    rule_to_json,
)

__all__ = [
    "RULES",
    "VBMF",
    "Energy",
    "RankRule",
    "RankShare",
    "Ranks",
    "RelativeError",
    "SingularSum",
    "rule_from_json",
    "rule_to_json",
]
