"""Calibration data as they are given, brought into the form of a network's inputs."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from tensorpress.choices import FEWEST
from tensorpress.errors import TensorpressError, shown
from tensorpress.rows.given_images import (
    CalibrationImages,
    batched,
    batches_in,
    read_images,
    until_full,
)
from tensorpress.rows.samples import Form, Outputs, Rows, Samples
from tensorpress.surgery import ExampleInputs, refuse_without_values


def read_rows(
    given: CalibrationImages,
    net: nn.Module,
    example_inputs: ExampleInputs,
    compared: Outputs | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Rows:
    """The rows to calibrate ``net`` on, in the form of its example inputs.

    Args:
        given: of a network that takes one tensor, as for :func:`read_images`, also where it takes
            it by name or as a list of images. Of others, what the example inputs are, with N rows
            in each tensor, or batches of that.
        compared: what of its answer is compared.
        mean, std: of images, as for :func:`read_images`.

    Raises:
        TensorpressError: data of another form, or as :func:`read_images`; ``compared`` names no
            module; a network on the meta device.
    """
    _refuse_other_outputs(compared, net)
    refuse_without_values(net)
    form = Form.of(example_inputs)
    examples = form.tensors_of(example_inputs) or ()
    if len(form.places) == 1:
        alone = given if form.is_plain else _named(given, form)
        images = read_images(alone, example=examples, mean=mean, std=std)
        return images if form.is_plain and compared is None else Samples((images,), form, compared)
    if mean is not None or std is not None:
        raise TensorpressError(
            "mean= and std= are of networks that take images alone, and this one takes "
            f"{len(form.places)} tensors: give them as the network takes them."
        )
    tensors = form.tensors_of(given) or _joined(given, form, examples)
    for tensor, example in zip(tensors, examples, strict=True):
        _check(tensor, len(tensors[0]), example)
    return Samples(tuple(tensor.detach() for tensor in tensors), form, compared)


def _named(given: CalibrationImages, form: Form) -> CalibrationImages:
    """Images, out of mappings by the name that the network has for them, alone or in batches."""
    whole = form.tensors_of(given)
    if whole or isinstance(given, Tensor):
        return whole[0] if whole else given
    return ((form.tensors_of(batch) or (batch,))[0] for batch in batches_in(given))


def _joined(
    given: CalibrationImages, form: Form, examples: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    wrong = TensorpressError(
        f"calibration does not have the form of the example inputs, {len(form.places)} tensors: "
        "give those with N rows in each, or batches of them."
    )
    if isinstance(given, Tensor):
        raise wrong

    def read() -> Iterator[tuple[Tensor, ...]]:
        for batch in batches_in(given):
            tensors = form.tensors_of(batch)
            if tensors is None:
                raise wrong
            pairs = zip(tensors, examples, strict=True)
            yield tuple(batched(x, tuple(e.shape[1:])) for x, e in pairs)

    parts = list(until_full(read(), "rows"))
    if not parts:
        raise wrong
    if len({tuple(tensor.shape[1:] for tensor in tensors) for tensors in parts}) > 1:
        raise TensorpressError("calibration batches differ in the sizes of their tensors.")
    return tuple(map(torch.cat, zip(*parts, strict=True)))


def _check(tensor: Tensor, rows: int, example: Tensor) -> None:
    if tensor.is_floating_point() != example.is_floating_point():
        raise TensorpressError(
            f"calibration has a tensor of {tensor.dtype} where the example inputs have "
            f"{example.dtype}: give it as the network takes it."
        )
    if tensor.dim() == 0 or len(tensor) != rows:
        raise TensorpressError(
            f"calibration has a tensor of shape {tuple(tensor.shape)} beside one of {rows} rows: "
            "give as many rows in each."
        )
    if rows < FEWEST:
        raise TensorpressError(
            f"calibration takes at least {FEWEST} rows, and {rows} were given; a few hundred are "
            "better."
        )
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise TensorpressError("the calibration data hold NaN or inf.")


def _refuse_other_outputs(compared: Outputs | None, net: nn.Module) -> None:
    """
    Raises:
        TensorpressError: neither a function nor names of modules.
    """
    if compared is None or callable(compared):
        return
    names = dict(net.named_modules())
    if isinstance(compared, Sequence) and not compared:
        raise TensorpressError("outputs= is empty: give the names of modules, or leave it out.")
    is_names = isinstance(compared, Sequence) and all(isinstance(name, str) for name in compared)
    if isinstance(compared, str) or not is_names:
        raise TensorpressError(
            f"outputs={shown(compared)}: give the names of modules as a tuple of strings, or a "
            "function of the network's answer."
        )
    unknown = [name for name in compared if name not in names]
    if unknown:
        raise TensorpressError(
            f"outputs={shown(tuple(compared))}: the network has no module '{unknown[0]}'; it has "
            f"{', '.join(list(names)[1:9])}, ..."
        )
