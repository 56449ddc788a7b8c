"""The network that a command works on, and what it takes."""

import inspect
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress import artifacts
from tensorpress.cli.options import Trained
from tensorpress.cli.printer import Printer
from tensorpress.data import Dataset, Wanted
from tensorpress.errors import TensorpressError
from tensorpress.graphs import is_graph_file
from tensorpress.networks import NETWORKS, build
from tensorpress.networks.libraries import Usual, in_library
from tensorpress.networks.own_network import takes
from tensorpress.training import Network

AS_ASKED = "--mean and --std"
"""What says how images are normalised, where it is not the data, the network or a file of ours."""


@dataclass(frozen=True)
class Inputs:
    """A network's name and shapes, and the data.

    Attributes:
        net: its name, that in a library, package.module:function, or a file of ONNX.
        shape: of an input without the batch; () where a graph leaves sizes free, or takes several
            inputs, and calibration says them.
        classes: None for a network of one's own whose classes were not given.
        mean, std: by which its images are normalised, where that is known.
        normalised_by: what says so: an option, or a file.
        wanted: what images in folders are to become.
        dtype: of an input.
    """

    net: str
    shape: tuple[int, ...]
    classes: int | None
    data: Dataset | None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    normalised_by: str | None = None
    wanted: Wanted = field(default_factory=Wanted)
    dtype: torch.dtype = torch.float32

    @property
    def channels(self) -> int | None:
        """Of an input, where its shape is known; whole numbers have none."""
        return self.shape[0] if self.shape and self.dtype.is_floating_point else None

    def example(self, batch: int = 1, device: torch.device | None = None) -> Tensor:
        """A batch of the shape and dtype of its inputs: zeros, or of whole numbers 0 and 1."""
        example = torch.zeros(batch, *self.shape, dtype=self.dtype, device=device)
        if not self.dtype.is_floating_point:
            example.view(-1)[1::2] = 1
        return example

    def build(self) -> nn.Module:
        """The network with the weights that its constructor gives it.

        Raises:
            TensorpressError: none that can be built, or one of PyTorch that takes several inputs.
        """
        net = build(self.net, self.classes, self.channels)
        _refuse_several_inputs(self.net, net)
        return net

    def load(self, trained: Trained) -> nn.Module:
        """The network with trained weights, in eval mode."""
        if trained.weights is None and self.net in NETWORKS:
            raise TensorpressError(
                f"--weights is missing: {self.net} without trained weights is of no use. Give a "
                "state_dict file, or train one with: tensorpress train"
            )
        network = self.as_network(trained)
        return network.make(seed=0).eval()

    def as_network(self, trained: Trained) -> Network:
        """For a training run. Networks of libraries and of one's own may come with trained weights.

        Raises:
            TensorpressError: the file of a compressed network, or --ema without a file.
        """
        if trained.weights is not None:
            if is_graph_file(self.net):
                raise TensorpressError(f"{self.net} holds its weights: leave out --weights.")
            _refuse_compressed(trained.weights)
        refuse_without_weights(trained)
        usual = usual_of(self.net)
        has_own = usual is not None and usual.pretrained and trained.weights is None
        counts = (self.classes, self.channels)
        return Network(
            self.net,
            self.build,
            trained.weights,
            built_trained=self.net not in NETWORKS and usual is None,
            pretrained=partial(build, self.net, *counts, pretrained=True) if has_own else None,
            ema=trained.ema,
            allow_extra=trained.allow_extra,
        )

    def source(self, trained: Trained | None = None) -> dict[str, Any]:
        """What a saved file remembers of the network, and of how its weights were read."""
        source: dict[str, Any] = {"network": self.net, "input_shape": list(self.shape)}
        if trained is not None:
            source |= {"as_made": True} if trained.weights is None else {}
            source |= {"ema": True} if trained.ema else {}
            source |= {"allow_extra": True} if trained.allow_extra else {}
        if self.dtype is not torch.float32:
            source["input_dtype"] = str(self.dtype).removeprefix("torch.")
        if self.classes is not None:
            source["num_classes"] = self.classes
        if self.mean is not None and self.std is not None:
            source |= {"mean": list(self.mean), "std": list(self.std)}
        wanted = self.wanted.framing or self.wanted.usual
        framing = self.data.framing if self.data else wanted
        return source | (framing.to_dict() if framing else {})


def usual_of(net: str) -> Usual | None:
    """What a network of a library takes by itself; None of other networks."""
    found = in_library(net)
    return None if found is None else found[0].usual(found[1])


def warn_if_as_made(inputs: Inputs, trained: Trained, printer: Printer) -> None:
    """Say with the results where they are of the weights that a network is made with."""
    usual = usual_of(inputs.net)
    has_own = is_graph_file(inputs.net) or (usual is not None and usual.pretrained)
    if trained.weights is None and inputs.net not in NETWORKS and not has_own:
        printer.warning(
            f"NO WEIGHTS were given (--weights): {inputs.net} was taken as it is made, with random "
            "weights unless it loads trained ones itself."
        )


def required_net(net: str | None) -> str:
    """The name of the network, which every command but demo needs."""
    if net is None:
        raise TensorpressError(
            f"--net is missing: give one of {', '.join(NETWORKS)}, one of a library, such as "
            "timm:resnet50, package.module:function, or a file of ONNX."
        )
    return net


def refuse_unread_classes(net: str, classes: int) -> None:
    """Raise where --classes would say nothing to a network.

    Raises:
        TensorpressError: a file of ONNX, a library whose files hold them, or a function without a
            place for them.
    """
    library = in_library(net)
    if is_graph_file(net) or (library is not None and not library[0].takes_classes):
        raise TensorpressError(f"{net} holds its classes: leave out --classes {classes}.")
    is_own = net not in NETWORKS and library is None and ":" in net
    if is_own and not takes(net, "num_classes"):
        raise TensorpressError(
            f"--classes {classes}: {net} has no parameter num_classes that would take it: give it "
            "one, or leave --classes out."
        )


def refuse_without_weights(trained: Trained, option: str = "--weights") -> None:
    """Raise where it is said how the weights of ``option`` are read, and none are given."""
    if trained.weights is None and trained.how_read():
        raise TensorpressError(f"{trained.how_read()[0]} says how {option} is read: give that too.")


def _refuse_several_inputs(name: str, net: nn.Module) -> None:
    try:
        parameters = inspect.signature(net.forward).parameters.values()
    except (TypeError, ValueError):
        return
    listed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in listed]
    if len(needed) > 1:
        given = ", ".join(f'"{one}": ...' for one in needed)
        raise TensorpressError(
            f"{name} takes {len(needed)} inputs, {', '.join(needed)}, and the command line takes "
            f"networks with one: compress it in Python, tp.compress(net, {{{given}}}, "
            "calibration=...)."
        )


def _refuse_compressed(weights: Path) -> None:
    try:
        layers = artifacts.read_manifest(weights).layers
    except TensorpressError:
        return  # not a file of ours; what is wrong with it, if anything, is told on reading it
    if layers:
        raise TensorpressError(
            f"{weights} holds a compressed network, and the weights of a dense one are wanted: "
            "compress, evaluate, export and finetune take it as --compressed, report as RUN."
        )
