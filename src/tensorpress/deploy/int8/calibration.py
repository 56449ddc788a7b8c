"""The images that a network in int8 reads its ranges off."""

import torch
from torch import Tensor, nn

from tensorpress.deploy.feed import Feed
from tensorpress.errors import TensorpressError, shown
from tensorpress.rows import CalibrationImages, Rows, read_rows
from tensorpress.surgery import ExampleInputs, refuse_damaged

MOST = 512
"""Rows that are used; of more, so many are taken at even distances."""


def read_calibration(
    given: CalibrationImages | None, net: nn.Module, example_inputs: ExampleInputs, feed: Feed
) -> Feed:
    """Rows for a network in int8, as a feed of at most 512.

    Args:
        feed: the example inputs as they are read for the network.

    Raises:
        TensorpressError: as :func:`rows_to_quantise`, or other shapes.
    """
    return as_feed(rows_to_quantise(given, net, example_inputs), feed)


def rows_to_quantise(
    given: CalibrationImages | None, net: nn.Module, example_inputs: ExampleInputs
) -> Rows:
    """Rows for a network in int8.

    Args:
        given: as ``compress`` takes its calibration: images in whichever form.

    Raises:
        TensorpressError: there are none, too few, they cannot be read or are not what the network
            takes; or the network holds weights that no range can be given to.
    """
    if given is None:
        raise TensorpressError(
            "precision='int8' needs images to read the ranges of values off: give a few hundred "
            "without labels as calibration= (--calibrate DIR)."
        )
    refuse_damaged(net)
    try:
        return read_rows(given, net, example_inputs)
    except OSError as error:  # of a data set that reads files
        raise TensorpressError(f"the calibration images cannot be read ({error}).") from error


def as_feed(rows: Rows, feed: Feed) -> Feed:
    """Rows that are read already, in the same way."""
    tensors = (rows,) if isinstance(rows, Tensor) else rows.tensors
    if any(feed.batched) and not all(feed.batched):
        place = feed.batched.index(False)
        which = place if feed.names is None else feed.names[place]
        raise TensorpressError(
            f"input {shown(which)} of the example inputs has no row for each image, and "
            "calibration in int8 takes rows of every input: give it rows, or make it a buffer of "
            "the network."
        )
    sizes = [tuple(tensor.shape[1:]) for tensor in feed.tensors]
    found = [tuple(tensor.shape[1:]) for tensor in tensors]
    if found != sizes:
        raise TensorpressError(
            f"the calibration images are of shape {_listed(found)}, and the example inputs of "
            f"{_listed(sizes)}: give images as the network takes them."
        )
    chosen = torch.linspace(0, len(tensors[0]) - 1, min(MOST, len(tensors[0]))).long()
    taken = (t[chosen].cpu() for t in tensors)
    return feed.with_tensors([t.to(e.dtype) for t, e in zip(taken, feed.tensors, strict=True)])


def in_batches(calibration: Feed, size: int) -> list[Feed]:
    """The rows in batches of at most ``size``, one by one where the network takes one alone."""
    size = size if any(calibration.batched) else 1
    starts = range(0, len(calibration.tensors[0]), size)
    parts = [[t[start : start + size] for start in starts] for t in calibration.tensors]
    return [calibration.with_tensors(tensors) for tensors in zip(*parts, strict=True)]


def few(calibration: Feed, count: int) -> Feed:
    """The first of the rows."""
    return calibration.with_tensors([tensor[:count] for tensor in calibration.tensors])


def _listed(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join("x".join(map(str, shape)) for shape in shapes)
