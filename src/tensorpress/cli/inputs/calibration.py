"""What is calibrated on, as --calibrate names it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tensorpress.choices import FEWEST
from tensorpress.cli.inputs.network import AS_ASKED, Inputs
from tensorpress.cli.printer import Printer
from tensorpress.data import load_unlabelled
from tensorpress.data.arrays import holds_arrays, load_arrays
from tensorpress.errors import TensorpressError
from tensorpress.graphs import is_graph_file, read_sizes
from tensorpress.pixels import check_normalisation, normalise
from tensorpress.progress import announce
from tensorpress.rows import channels_first, image_in


def images_left(most: int, there_are: int, printer: Printer) -> int:
    """How many of the training images that are left are calibrated on: ``most``, if there are.

    It is said where there are too few.
    """
    if most and there_are < FEWEST:
        printer.warning(
            f"NOT CALIBRATED: {max(there_are, 0)} training images are left, and calibration takes "
            f"{FEWEST} or more."
        )
    return min(most, there_are) if there_are >= FEWEST else 0


def refuse_unread(given: Sequence[str], source: str | None) -> None:
    """Raise for options of how images are read from files where ``source`` reads none.

    Raises:
        TensorpressError: it names them.
    """
    if not given or (source is not None and not holds_arrays(source)):
        return
    of = "and there are none" if source is None else f"and {source} holds values as they are"
    raise TensorpressError(
        f"{', '.join(given)}: said of images that are read from files, {of}: leave that out, or "
        "give --data."
    )


def read_calibration(
    source: str | None, most: int, inputs: Inputs
) -> Tensor | dict[str, Tensor] | None:
    """Images to calibrate on, None without --calibrate; of a file of NumPy what it holds.

    Pixels in such a file, uint8, are normalised where it is known how.

    Raises:
        TensorpressError: as `load_unlabelled`, or images of another shape than the network takes.
    """
    if source is None:
        return None
    by = "" if inputs.normalised_by == AS_ASKED else inputs.normalised_by or ""
    if holds_arrays(source):
        arrays = _asked_for(load_arrays(source, most=most), source, inputs)
        if not isinstance(arrays, Tensor) or arrays.dtype != torch.uint8:
            if inputs.normalised_by == AS_ASKED and inputs.data is None:
                holds = f"{arrays.dtype}" if isinstance(arrays, Tensor) else "arrays by name"
                raise TensorpressError(
                    f"{AS_ASKED} are of pixels in 0 .. 255 (uint8), and {source} holds {holds}, "
                    "which are taken as they are: leave them out."
                )
            return arrays
        arrays = channels_first(arrays, inputs.shape or None)
        if arrays.dim() != 4 or inputs.mean is None or inputs.std is None:
            return arrays
        check_normalisation(inputs.mean, inputs.std, arrays.shape[1], source, by)
        return normalise(arrays, inputs.mean, inputs.std)
    images = load_unlabelled(
        source,
        most=most,
        mean=inputs.mean,
        std=inputs.std,
        wanted=inputs.wanted,
        normalised_by=by,
    )
    if inputs.shape and tuple(images.shape[1:]) != inputs.shape:
        raise TensorpressError(
            f"--calibrate {source} has images of shape {','.join(map(str, images.shape[1:]))}, and "
            f"the network takes {','.join(map(str, inputs.shape))}: give --input-shape, or images "
            "of that size."
        )
    return images


def _asked_for(
    arrays: Tensor | dict[str, Tensor], source: str, inputs: Inputs
) -> Tensor | dict[str, Tensor]:
    """Those that are for an input of the network, alone where it has one; of others it is said."""
    if isinstance(arrays, Tensor):
        return arrays
    if is_graph_file(inputs.net):
        names = list(read_sizes(inputs.net))
        if any(name not in arrays for name in names):
            return arrays  # which is refused in the words of the graph
    else:
        images = image_in(arrays, inputs.shape)
        names = [name for name, array in arrays.items() if array is images]
    left = [name for name in arrays if name not in names]
    if left:
        announce(f"{source}: no input of the network asks for {', '.join(left)}: left out")
    return arrays[names[0]] if len(names) == 1 else {name: arrays[name] for name in names}
