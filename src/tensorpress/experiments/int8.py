"""What a network is worth in int8, the ordinary way to make it smaller."""

import torch
from torch import Tensor, nn

from tensorpress.choices import INT8
from tensorpress.data import Dataset, unlabelled_of
from tensorpress.deploy import Plan, plan
from tensorpress.deploy.planning.quantised_network import Executed
from tensorpress.deploy.planning.setting import usable
from tensorpress.training import Accuracy, Place, evaluate

RUNTIME = "onnxruntime"
IMAGES_FOR_RANGES = 512
"""Training images, without their labels, that ranges of values in int8 are read off."""
CPU = Place(torch.device("cpu"))
"""Where networks in int8 are executed."""


def refuse_without_int8() -> None:
    """Raise where nothing here computes in int8, before long work.

    Raises:
        TensorpressError: the runtime or what quantises for it is not installed.
    """
    usable(RUNTIME, INT8)


def in_int8(
    net: nn.Module,
    data: Dataset,
    images: Tensor | None = None,
    *,
    runtime: str = RUNTIME,
    threads: int | None = None,
    seed: int = 0,
) -> Plan:
    """``net`` as a runtime executes it in int8, planned for ``images``, by default for one.

    Ranges of values are read off training images without labels, which ``seed`` draws.
    """
    return plan(
        net.to("cpu").eval(),
        torch.zeros(1, *data.input_shape) if images is None else images,
        runtime=runtime,
        threads=threads,
        precision=INT8,
        calibration=unlabelled_of(data, most=IMAGES_FOR_RANGES, seed=seed),
        min_agreement=0.0,
    )


def accuracy_as_planned(planned: Plan, data: Dataset) -> Accuracy:
    """Accuracy on the test images of what a plan executes."""
    return evaluate(Executed(planned.runner, None), data, place=CPU)


def accuracy_in_int8(net: nn.Module, data: Dataset) -> Accuracy:
    """Accuracy on the test images of ``net`` as ONNX Runtime executes it in int8."""
    return accuracy_as_planned(in_int8(net, data), data)
