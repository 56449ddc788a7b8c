"""What every file format has."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import TensorArgument

from tensorpress.deploy.feed import Feed

Run = Callable[[Feed], list[Tensor]]
"""A file loaded into its runtime: called on inputs, it gives the network's outputs in order."""


@dataclass(frozen=True)
class Format:
    """How a network becomes a file, and how the file runs.

    Attributes:
        name: "onnx", ...; also pip's extra that installs what it needs.
        suffix: of the file, with the dot.
        float32_only: whether it holds float32 networks only.
        prepare: imports what it needs and gives the versions by package name.
        write: writes a program to a file of that suffix, and perhaps others beside it.
        read: loads a file as its users would, but for a precision below float32.
        read_by_itself: loads a file in whatever precision its runtime takes by itself.
        runtime: that a plan is made for which is to be such a file.
        int8: whether it can hold int8.
    """

    name: str
    suffix: str
    float32_only: bool
    prepare: Callable[[], dict[str, str]]
    write: Callable[[ExportedProgram, Path], None]
    read: Callable[[Path], Run]
    read_by_itself: Callable[[Path], Run]
    runtime: str
    int8: bool


def output_names(program: ExportedProgram) -> list[str]:
    """ "output", or "output_0", "output_1", ... for several; with "_" behind where one is taken."""
    signature = program.graph_signature
    count = sum(isinstance(spec.arg, TensorArgument) for spec in signature.output_specs)
    names = ["output"] if count == 1 else [f"output_{number}" for number in range(count)]
    held = (signature.parameters, signature.buffers, signature.lifted_tensor_constants)
    taken = {*map(str, signature.user_inputs), *chain.from_iterable(held)}
    while not taken.isdisjoint(names):
        names = [f"{name}_" for name in names]
    return names


def input_shapes(program: ExportedProgram) -> list[list[int | None]]:
    """The shape of each input, None where it is free."""
    found = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
    return [
        [size if isinstance(size, int) else None for size in found[name].shape]
        for name in map(str, program.graph_signature.user_inputs)
    ]
