"""Write docs/api.md: every public name, from the docstrings. Run by `make docs`."""

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorpress as tp
from tensorpress.artifacts import Manifest, read_manifest
from tensorpress.compression import KMeansRegulariser
from tensorpress.compression.explore import Exploration, Point
from tensorpress.compression.options.least_loss import Option
from tensorpress.compression.options.measured import MeasuredLayer
from tensorpress.decompose.second_moments import (
    PlainMoments,
    SampledMoments,
    SecondMoments,
    WholeMoments,
)
from tensorpress.deploy import (
    Benchmark,
    Cell,
    ExportReport,
    PlanRow,
    PlanTable,
    benchmark,
    interleaved_seconds,
)
from tensorpress.deploy.check import Check
from tensorpress.deploy.execution import Execution
from tensorpress.layers import Factorized
from tensorpress.surgery import Account, Cost, LayerRow

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
HEAD = """\
# Public names

Made from the docstrings by `make docs`: change them there. In the examples all these names are
imported, and `torch` and `torch.nn` as `nn`.
"""
SECTIONS: dict[str, list[str]] = {
    "Compress": ["compress", "factorize", "prune", "count", "Budget"],
    "Calibrate": ["Recovery", "explore"],
    "Rank rules": ["Energy", "SingularSum", "RelativeError", "Ranks", "VBMF"],
    "Tensors": ["tt_svd", "TensorTrain"],
    "Tensorized layers": ["tensorize", "TTConv2d"],
    "Shared weights": ["share_weights"],
    "Speed": ["plan", "Plan"],
    "Files and exports": ["save", "load", "load_weights", "export"],
}
"""Where names of `tensorpress.__all__` stand; the others come last."""
GIVEN = (
    *(Account, LayerRow, Factorized, Cost),
    *(Exploration, Point, MeasuredLayer, Option),
    *(ExportReport, Check, Manifest),
    *(PlanTable, PlanRow, Execution, Benchmark, Cell),
    *(SecondMoments, PlainMoments, WholeMoments, SampledMoments),
    KMeansRegulariser,
)
BESIDE = (read_manifest, interleaved_seconds, benchmark)
ARGUMENTS = ("Args", "Parameters", "Attributes")
QUOTES = "'"


def main() -> None:
    PAGE.write_text(make_page(), encoding="utf-8")


def make_page() -> str:
    """The page, of which docs/api.md is a copy."""
    placed = {name for names in SECTIONS.values() for name in names}
    others = [name for name in tp.__all__ if name not in placed and not inspect.ismodule(_of(name))]
    parts = [HEAD]
    for title, names in [*SECTIONS.items(), ("More", others)]:
        parts += [f"## {title}\n", *(_entry(name, _of(name)) for name in names)]
    for module in (tp.networks, tp.methods):
        parts.append(f"## tensorpress.{module.__name__.rpartition('.')[2]}\n")
        parts += [
            _entry(name, getattr(module, name)) for name in module.__all__ if name not in tp.__all__
        ]
    parts.append("## What they give\n")
    parts += [_entry(kind.__name__, kind) for kind in GIVEN]
    parts.append("## Beside them\n")
    parts += [_entry(f"{_home(item)}.{item.__name__}", item) for item in BESIDE]
    return "\n".join(parts)


def _of(name: str) -> Any:
    return getattr(tp, name)


def _home(item: Any) -> str:
    """The package that gives it out: the module's parent."""
    return str(item.__module__).rpartition(".")[0]


def _entry(name: str, item: Any) -> str:
    lines = [f"### {name}", ""]
    if inspect.isclass(item) or inspect.isfunction(item):
        lines += [f"`{_signature(item)}`", "", *_markdown(inspect.getdoc(item) or "")]
    elif isinstance(item, dict):
        lines += [f"By name: {', '.join(f'`{key}`' for key in item)}.", ""]
    else:
        lines += [f"`{item!r}`", ""]
    if inspect.isclass(item):
        lines += _members(item)
    return "\n".join(lines)


def _signature(item: Any) -> str:
    """As in the source, with the types as they are written there."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(item))).body[0]
    if isinstance(tree, ast.FunctionDef):
        given = ast.unparse(tree.returns) if tree.returns else "None"
        return f"{tree.name}({ast.unparse(tree.args)}) -> {given.strip(QUOTES)}"
    assert isinstance(tree, ast.ClassDef)
    made = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    written = next((node.args for node in made if node.name == "__init__"), None)
    if written is not None:
        written.args = written.args[1:]
        return f"{tree.name}({ast.unparse(written)})"
    if not dataclasses.is_dataclass(item):
        return tree.name
    fields = [
        node
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation)
    ]
    return f"{tree.name}({', '.join(_field(node) for node in fields)})"


def _field(node: ast.AnnAssign) -> str:
    value = node.value
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        given = {keyword.arg: keyword.value for keyword in value.keywords}
        value = ast.parse("{}", mode="eval").body if "default_factory" in given else None
        value = given.get("default", value)
    default = "" if value is None else f" = {ast.unparse(value)}"
    return f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)}{default}"


def _members(item: type) -> list[str]:
    """A line for each public method and property that the class itself documents."""
    lines = []
    for name, member in vars(item).items():
        function = member.fget if isinstance(member, property) else member
        if name.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
            continue
        label = name if isinstance(member, property) else f"{name}()"
        lines.append(f"- `.{label}`: {_inline(function.__doc__.strip().splitlines()[0])}")
    return ["Also:", "", *lines, ""] if lines else []


def _markdown(text: str) -> Iterator[str]:
    """A docstring's paragraphs, sections and examples."""
    for paragraph in text.split("\n\n"):
        head, *rest = paragraph.splitlines() or [""]
        section = head.rstrip(":")
        if head.startswith(">>>"):
            yield from ("```pycon", *paragraph.splitlines(), "```")
        elif head == f"{section}:" and section in ARGUMENTS:
            yield from (f"{section}:", "", *_items(rest))
        elif head == f"{section}:" and section in ("Returns", "Raises"):
            yield f"{section}: {_inline(' '.join(line.strip() for line in rest))}"
        else:
            yield _inline("\n".join([head, *rest]))
        yield ""


def _items(lines: list[str]) -> Iterator[str]:
    """``name: meaning``, indented, over one line or several, as list items."""
    for item in re.split(r"\n(?=\S)", textwrap.dedent("\n".join(lines))):
        name, _, meaning = item.partition(":")
        yield f"- `{name}`: {_inline(' '.join(meaning.split()))}"


def _inline(text: str) -> str:
    """Code as Markdown has it, from double backticks and roles."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")


if __name__ == "__main__":
    main()
