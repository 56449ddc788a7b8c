"""Rank rules and budgets from the text that they print as, as files hold them."""

import ast
from typing import Any

from tensorpress.compression import Budget
from tensorpress.decompose import VBMF, Energy, RankRule, Ranks, RelativeError, SingularSum
from tensorpress.errors import TensorpressError

RULES = {rule.__name__: rule for rule in (Energy, SingularSum, RelativeError, VBMF, Ranks)}
LONGEST = 200


def read_rule(text: object) -> RankRule | None:
    """ "Energy(tau=0.7)" as the rule; None for any other text. Nothing is evaluated."""
    made = _made(text, RULES)
    return made if isinstance(made, RankRule) else None


def read_budget(text: object) -> Budget | None:
    """ "Budget(params=4.0, macs=None)" as the budget; None for any other text."""
    made = _made(text, {"Budget": Budget})
    return made if isinstance(made, Budget) else None


def _made(text: object, kinds: dict[str, Any]) -> object:
    if not isinstance(text, str) or len(text) > LONGEST:
        return None
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            return None
        values = [ast.literal_eval(value) for value in call.args]
        named = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
        return kinds[call.func.id](*values, **named)
    except (SyntaxError, ValueError, TypeError, KeyError, MemoryError, RecursionError):
        return None
    except TensorpressError:
        return None
