"""What a compression is asked for, as it is recorded, read back and given again."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tensorpress.choices import AUTO, CRITERIA, FEWEST, METHODS, TTPWT
from tensorpress.errors import TensorpressError, shown
from tensorpress.ranks import RULES, RankRule, rule_from_json, rule_to_json
from tensorpress.ranks.rules import PANEL
from tensorpress.request.budget import Budget
from tensorpress.request.recovery import Recovery
from tensorpress.request.unversioned import without_texts
from tensorpress.settings import from_json, nested, one_of, option, to_json
from tensorpress.settings.json_values import (
    from_json_value,
    printable,
    refuse_unknown,
    wrong,
)

if TYPE_CHECKING:
    from tensorpress.rows import Outputs
    from tensorpress.surgery import Selector

M = TypeVar("M")
LAYERS = "Which layers"
PRUNED_BY = ("images", "labels")
"""Settings of pruning that are not asked for by themselves, but given."""


@dataclass(frozen=True)
class Calibration:
    """How many images calibrate a compression, and what is done with them."""

    images: int
    recovery: Recovery = field(default_factory=Recovery)

    def __post_init__(self) -> None:
        if self.images < FEWEST:
            raise TensorpressError(
                f"calibration takes at least {FEWEST} images, and {self.images} are asked for; a "
                "few hundred are better."
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: {"images": 512, "data_aware": true, ...}."""
        return {"images": self.images, **to_json(self.recovery)}

    @classmethod
    def from_dict(cls, content: Any, where: str = "") -> "Calibration":
        """What :meth:`to_dict` wrote.

        Raises:
            TensorpressError: an unknown key, or a value of another type or out of its range.
        """
        names = [f.name for f in dataclasses.fields(Recovery)]
        refuse_unknown(content, ["images", *names], where)
        if "images" not in content:
            raise TensorpressError(f"{where}images is missing: say how many.")
        images = from_json_value(int, content["images"], f"{where}images")
        steps = {name: value for name, value in content.items() if name != "images"}
        return cls(images, from_json(Recovery, steps, where))


@dataclass(frozen=True, kw_only=True)
class Request:
    """The settings of a compression, without network and images.

    It goes to JSON and back, and each field that has an option is one of the command line.

    Attributes:
        version: of this form.
        rank: a rule, or a mapping from names or patterns of layers to rules.
        budget: instead of ``rank``.
        include, exclude: names and patterns; a module is kept as its kind, "<Conv2d>".
        method: its name; None for "auto" where there are a budget and images, else "ttpwt".
        methods: what "auto" chooses from; None for all forms.
        outputs: modules whose outputs calibration compares; a function is kept as its name, in <>.
        seed: of all randomness; that of a calibration is in its ``recovery``.
        calibration: None without images.
        settings: what the method alone is asked for, as JSON values.
    """

    VERSION: ClassVar[int] = 2

    version: int = VERSION
    rank: RankRule | Mapping[str, RankRule] | None = field(default=None, metadata=one_of(RULES))
    budget: Budget | None = field(default=None, metadata=nested(Budget))
    round_to: int = field(
        default=1,
        metadata=option(
            "--round-to",
            help="Ranks are the nearest multiples of this: 8 or 16 suits vector units.",
            panel=PANEL,
            least=1,
        ),
    )
    include: tuple[str, ...] | None = field(
        default=None,
        metadata=option(
            "--include",
            help="Decompose these layers only: a name or pattern, such as 'layer1.*'; may be "
            "repeated.",
            panel=LAYERS,
        ),
    )
    exclude: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "--exclude",
            help="Leave these layers as they are: a name or pattern, such as 'layer1.*'; may be "
            "repeated.",
            panel=LAYERS,
        ),
    )
    skip_first: bool = field(
        default=True,
        metadata=option(
            "--skip-first/--no-skip-first",
            help="Leave the first convolution as it is, as the paper does.",
            panel=LAYERS,
        ),
    )
    skip_output: bool = field(
        default=True,
        metadata=option(
            "--skip-output/--no-skip-output",
            help="Leave convolutions to few channels as they are that give the network's outputs.",
            panel=LAYERS,
        ),
    )
    linear: bool = field(
        default=False, metadata=option("--linear", help="Split linear layers too.", panel=LAYERS)
    )
    fold_parametrizations: bool = field(
        default=False,
        metadata=option(
            "--fold-parametrizations",
            help="Decompose the weights that weight norm, spectral norm and pruning masks come to; "
            "else such layers stay.",
            panel=LAYERS,
        ),
    )
    balance: bool = field(
        default=False,
        metadata=option(
            "--balance/--no-balance",
            help="Spread each layer's scale over its factors; the function stays the same.",
            panel=LAYERS,
        ),
    )
    method: str | None = field(
        default=None,
        metadata=option(
            "--method",
            help=f"How layers are treated: {AUTO} takes the best form for each layer under a "
            "budget, and is the default where there are a budget and images; or "
            f"{', '.join(METHODS)}; or the criterion by which "
            f"filters are pruned to a budget: {', '.join(CRITERIA)}.",
            panel=PANEL,
        ),
    )
    methods: tuple[str, ...] | None = field(
        default=None,
        metadata=option(
            "--methods",
            help=f"What --method {AUTO} chooses from, in place of all; may be repeated.",
            panel=PANEL,
        ),
    )
    outputs: tuple[str, ...] | None = field(
        default=None,
        metadata=option(
            "--outputs",
            help="Modules whose outputs calibration compares in place of the network's answers, "
            "as for detectors whose boxes vary in number; may be repeated.",
            panel="Accuracy from unlabelled images",
        ),
    )
    seed: int | None = None
    calibration: Calibration | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.rank, Mapping):
            object.__setattr__(self, "rank", dict(self.rank))
        object.__setattr__(self, "settings", to_json(self.settings))

    @property
    def treated_by(self) -> str:
        """The method that it comes to, by name: "auto" or one."""
        by_loss = self.budget is not None and self.calibration is not None
        return method_meant(
            self.method, self.methods, ranked=self.rank is not None, by_loss=by_loss
        )

    @classmethod
    def of(
        cls,
        *,
        include: "Iterable[Selector] | None",
        exclude: "Iterable[Selector]",
        outputs: "Outputs | None" = None,
        **given: Any,
    ) -> "Request":
        """As a request is made, with modules among the selectors, and outputs by a function."""
        from tensorpress.surgery import show_selectors

        shown = None if include is None else tuple(show_selectors(include))
        if callable(outputs):
            outputs = (f"<{getattr(outputs, '__name__', type(outputs).__name__)}>",)
        return cls(
            include=shown,
            exclude=tuple(show_selectors(exclude)),
            outputs=None if outputs is None else tuple(outputs),
            **given,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        rank = self.rank
        return {f.name: to_json(getattr(self, f.name)) for f in dataclasses.fields(self)} | {
            "rank": {str(name): rule_to_json(rule) for name, rule in rank.items()}
            if isinstance(rank, Mapping)
            else rank and rule_to_json(rank),
            "calibration": self.calibration and self.calibration.to_dict(),
        }

    @classmethod
    def from_dict(cls, content: Any) -> "Request":
        """What :meth:`to_dict` wrote, or an earlier version; what is left out is as by default.

        Raises:
            TensorpressError: a later version, an unknown key, or a value of another type or out
                of its range. The message names the key.
        """
        if not isinstance(content, Mapping):
            raise wrong("the request", content, "an object")
        version = content.get("version", cls.VERSION)
        if type(version) is not int or not 1 <= version <= cls.VERSION:
            raise TensorpressError(
                f"version is {shown(version)}: this tensorpress reads requests up to version "
                f"{cls.VERSION}."
            )
        if "version" not in content:
            content = without_texts(content)
        if version == 1:
            content = {"method": TTPWT, **content, "version": cls.VERSION}
        read = {"rank": _rank, "budget": _budget, "calibration": _calibration}
        refuse_unknown(content, [f.name for f in dataclasses.fields(cls)])
        values: dict[str, Any] = {}
        for f in dataclasses.fields(cls):
            if f.name not in content:
                continue
            value = content[f.name]
            if f.name in read:
                values[f.name] = None if value is None else read[f.name](value)
            elif f.name == "settings":
                if not isinstance(value, Mapping):
                    raise wrong("settings", value, "an object")
                values[f.name] = value
            else:
                values[f.name] = from_json_value(f.type, value, f.name)
        return cls(**values)

    def arguments(self) -> dict[str, Any]:
        """What :func:`tensorpress.compress` takes, but for what it calibrates.

        Raises:
            TensorpressError: a setting that it does not take.
        """
        of_data = PRUNED_BY if self.method in CRITERIA else ()
        others = {k: v for k, v in self.settings.items() if k not in of_data}
        for name, value in {"settings": others, "seed": self.seed or None}.items():
            if value:
                raise TensorpressError(
                    f"{name} is {shown(value)}: compress takes none, other functions do."
                )
        own = ("version", "seed", "calibration", "settings")
        return {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in own
        }


def method_meant(method: M | None, methods: Any, *, ranked: bool, by_loss: bool) -> M | str:
    """The method where none may have been given, and "auto" as what it is by a rule for ranks.

    Args:
        methods: what "auto" is to choose from; None for all forms.
        ranked: whether there is a rule for ranks, which means TTPWT.
        by_loss: whether a budget is spread by what layers lose of the answers.
    """
    if methods is not None:
        return AUTO if method is None else method
    if method is None:
        return AUTO if by_loss else TTPWT
    by_itself = ranked and isinstance(method, str) and method == AUTO
    return TTPWT if by_itself else method


def _rank(value: Any) -> RankRule | dict[str, RankRule]:
    if not isinstance(value, Mapping) or not value:
        raise wrong("rank", value, 'a rule, such as {"rule": "Energy", "tau": 0.8}')
    if isinstance(value.get("rule"), str):
        return rule_from_json(value)
    rules = {}
    for pattern, rule in value.items():
        if not isinstance(rule, Mapping):
            raise wrong(f"rank.{pattern}", rule, 'a rule: {"rule": "Energy", "tau": 0.8}')
        rules[pattern] = rule_from_json(rule, f"rank.{printable(pattern)}")
    return rules


def _budget(value: Any) -> Budget:
    return from_json(Budget, value, "budget.")


def _calibration(value: Any) -> Calibration:
    return Calibration.from_dict(value, "calibration.")
