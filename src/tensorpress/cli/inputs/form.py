"""The shape and dtype of what a network takes, where no images say it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from tensorpress.choices import INPUT_DTYPES
from tensorpress.data.arrays import holds_arrays, load_arrays
from tensorpress.errors import TensorpressError
from tensorpress.graphs import is_graph_file, read_sizes
from tensorpress.networks.libraries import Usual

CHANNELS = (1, 3)
"""Of pictures."""


def row_of(net: str, calibrate: str | None) -> Tensor | None:
    """The first row that --calibrate has for the one input of a network of PyTorch; else None.

    Of a picture with its channels last they come first.
    """
    if calibrate is None or is_graph_file(net) or not holds_arrays(calibrate):
        return None
    rows = load_arrays(calibrate, most=1)
    if not isinstance(rows, Tensor) or not len(rows):
        return None
    row = rows[0]
    is_moved = row.dim() == 3 and row.shape[2] in CHANNELS and row.shape[0] not in CHANNELS
    return row.movedim(2, 0) if is_moved else row


def dtype_of(
    net: str, asked: str | None, remembered: str | None, data: str | None, row: Tensor | None
) -> torch.dtype:
    """Of what the network takes: as asked, as a file remembers it, or as it is calibrated on.

    Rows of whole numbers in one size are those of words; those of more sizes may be pixels.
    """
    if asked is not None and asked not in INPUT_DTYPES:
        raise TensorpressError(f"--input-dtype {asked}: give {' or '.join(INPUT_DTYPES)}.")
    if is_graph_file(net):
        if asked is not None:
            raise TensorpressError(f"{net} says itself what it takes: leave out --input-dtype.")
        return torch.float32
    if data is not None and asked not in (None, INPUT_DTYPES[0]):
        raise TensorpressError(
            f"--input-dtype {asked}: --data gives images, which are float32: leave one of them out."
        )
    found = asked or remembered
    if found is None and row is not None and row.dim() == 1:
        found = str(row.dtype).removeprefix("torch.")
    return getattr(torch, found) if found in INPUT_DTYPES else torch.float32


def shape_of_its_own(net: str, usual: Usual | None, layout: str | None) -> tuple[int, ...]:
    """The shape that a library's network or a graph says of itself; () where it says none."""
    if usual is not None:
        return usual.input_shape
    return _fixed(read_sizes(net, layout)) if is_graph_file(net) else ()


def shape_of_graph(
    net: str, calibrate: str | None, layout: str | None, *, several: bool
) -> tuple[int, ...]:
    """The shape that a graph takes; () of several inputs, or where calibration will say it."""
    sizes = read_sizes(net, layout)
    if fixed := _fixed(sizes):
        return fixed
    free = [name for name, shape in sizes.items() if None in shape]
    if len(sizes) > 1 and not several:
        raise TensorpressError(
            f"{net} takes {len(sizes)} inputs, {', '.join(sizes)}, and this command gives one: "
            "only compress takes such a file, with --calibrate FILE.npz for arrays by name."
        )
    if free and calibrate is None:
        if len(sizes) > 1:
            what = "--calibrate FILE.npz, with an array for each of the inputs by its name"
        else:
            (shape,) = sizes.values()
            usual = 224 if len(shape) == 3 else 20
            what = f"--input-shape, such as {','.join(str(size or usual) for size in shape)}"
            what += ", or --calibrate" if several else ""
        raise TensorpressError(
            f"{net} leaves the sizes of its input '{free[0]}' free: give {what}."
        )
    return ()


def _fixed(sizes: Mapping[str, tuple[int | None, ...]]) -> tuple[int, ...]:
    """The shape of a graph's one input; () of several, or where it leaves a size free."""
    shapes = [tuple(size for size in shape if size is not None) for shape in sizes.values()]
    return shapes[0] if shapes == [*sizes.values()] and len(shapes) == 1 else ()
