"""What is left as it is, and what is refused because its factors would lose something."""

import copy
from collections.abc import Callable
from types import MethodType

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from tensorpress import Energy, TensorpressError, factorize
from tensorpress.layers import is_convolution, refuse_unreadable, why_not


class Subclass(nn.Conv2d):
    pass


class Doubled(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return 2 * weight


def conv() -> nn.Conv2d:
    return nn.Conv2d(4, 6, 3)


def changed(change: Callable[[nn.Conv2d], object]) -> nn.Module:
    """A convolution to which something was done."""
    layer = conv()
    result = change(layer)
    return result if isinstance(result, nn.Module) else layer


def mangled(layer: nn.Conv2d) -> None:
    layer.forward = MethodType(lambda _, inputs: inputs, layer)  # type: ignore[method-assign]


def masked(layer: nn.Conv2d) -> None:
    layer.register_buffer("mask", torch.ones(6, 4, 3, 3))


def adapted(layer: nn.Conv2d) -> None:
    layer.adapter = nn.Conv2d(4, 6, 1)


def scaled(layer: nn.Conv2d) -> None:
    layer.register_parameter("gain", nn.Parameter(torch.ones(6)))


LEFT = {
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4), "depthwise"),
    "depthwise with a multiplier": (nn.Conv2d(4, 8, 3, groups=4), "depthwise"),
    "depthwise 1d": (nn.Conv1d(4, 4, 3, groups=4), "depthwise"),
    "depthwise transposed": (nn.ConvTranspose2d(4, 4, 3, groups=4), "depthwise"),
    "subclass": (Subclass(4, 6, 3), "Subclass is a subclass"),
    "subclass of the same name": (
        type("Conv2d", (nn.Conv2d,), {"__module__": "of.another"})(4, 6, 3),
        "of.another.Conv2d is a subclass",
    ),
    "linear of an attention": (nn.MultiheadAttention(4, 2).out_proj, "subclass"),
}

REFUSED = {
    "lazy conv": (nn.LazyConv2d(6, 3), "lazy"),
    "lazy linear": (nn.LazyLinear(6), "lazy"),
    "weight norm": (changed(parametrizations.weight_norm), "parametrised"),
    "spectral norm": (changed(parametrizations.spectral_norm), "parametrised"),
    "parametrised": (
        changed(lambda m: parametrize.register_parametrization(m, "weight", Doubled())),
        "parametrised",
    ),
    "parametrised bias": (
        changed(lambda m: parametrize.register_parametrization(m, "bias", Doubled())),
        "parametrised",
    ),
    "older weight norm": (changed(nn.utils.weight_norm), "hooks"),
    "older spectral norm": (changed(nn.utils.spectral_norm), "hooks"),
    "pruned": (changed(lambda m: prune.l1_unstructured(m, "weight", 0.5)), "hooks"),
    "forward hook": (changed(lambda m: m.register_forward_hook(lambda *_: None)), "forward_hooks"),
    "pre-hook": (
        changed(lambda m: m.register_forward_pre_hook(lambda *_: None)),
        "forward_pre_hooks",
    ),
    "backward hook": (
        changed(lambda m: m.register_full_backward_hook(lambda *_: None)),
        "backward_hooks",
    ),
    "backward pre-hook": (
        changed(lambda m: m.register_full_backward_pre_hook(lambda *_: None)),
        "backward_pre_hooks",
    ),
    "state dict hook": (
        changed(lambda m: m.register_state_dict_post_hook(lambda *_: None)),
        "state_dict_hooks",
    ),
    "loading hook": (
        changed(lambda m: m.register_load_state_dict_post_hook(lambda *_: None)),
        "load_state_dict_post_hooks",
    ),
    "hook on the weight": (
        changed(lambda m: m.weight.register_hook(lambda grad: 0 * grad)),
        "hooks on its weight",
    ),
    "accumulation hook on the bias": (
        changed(lambda m: m.bias.register_post_accumulate_grad_hook(lambda _: None)),
        "hooks on its bias",
    ),
    "a forward of its own": (changed(mangled), "forward of its own"),
    "a buffer": (changed(masked), "mask"),
    "a child": (changed(adapted), "adapter"),
    "a parameter more": (changed(scaled), "gain"),
    "meta": (nn.Conv2d(4, 6, 3, device="meta"), "meta"),
    "meta linear": (nn.Linear(4, 6, device="meta"), "meta"),
    "complex": (nn.Conv2d(4, 6, 3, dtype=torch.complex64), "complex64"),
}

OTHERS = {
    "ReLU": nn.ReLU(),
    "Sequential": nn.Sequential(nn.Conv2d(4, 6, 3)),
    "BatchNorm2d": nn.BatchNorm2d(4),
    "Factorized": factorize(nn.Conv2d(4, 6, 3), rank=Energy(0.9)),
    "Embedding": nn.Embedding(4, 6),
    "Bilinear": nn.Bilinear(4, 6, 3),
}

PLAIN = {
    "Conv1d": nn.Conv1d(4, 6, 3),
    "Conv2d": nn.Conv2d(4, 6, 3),
    "Conv3d": nn.Conv3d(4, 6, 3),
    "ConvTranspose1d": nn.ConvTranspose1d(4, 6, 3),
    "ConvTranspose2d": nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1),
    "ConvTranspose3d": nn.ConvTranspose3d(4, 6, 3),
    "Linear": nn.Linear(4, 6),
    "grouped": nn.Conv2d(4, 6, 3, groups=2),
    "one output channel a group": nn.Conv2d(4, 2, 3, groups=2),
    "one channel in": nn.Conv2d(1, 6, 3),
    "one channel in and out": nn.Conv2d(1, 1, 3),
    "frozen": nn.Conv2d(4, 6, 3).requires_grad_(False),
    "half": nn.Conv2d(4, 6, 3, dtype=torch.float16),
}


def refusal(layer: nn.Module) -> str:
    before = {name: id(value) for name, value in layer.named_parameters()}
    with pytest.raises(TensorpressError) as caught:
        factorize(layer, rank=Energy(0.9))
    assert {name: id(value) for name, value in layer.named_parameters()} == before
    message = str(caught.value)
    assert "\n" not in message
    assert type(layer).__name__ in message
    return message


@pytest.mark.parametrize("kind", list(LEFT))
def test_layers_that_stay_have_a_reason(kind: str) -> None:
    layer, words = LEFT[kind]
    reason = why_not(layer)
    assert reason is not None
    assert words in reason
    assert words in refusal(layer)


@pytest.mark.parametrize("kind", list(REFUSED))
def test_layers_whose_factors_would_lose_something(kind: str) -> None:
    layer, words = REFUSED[kind]
    assert words in refusal(layer)
    assert why_not(layer) is None
    with pytest.raises(TensorpressError, match=r"'block\.conv'"):
        refuse_unreadable("block.conv", layer)


@pytest.mark.parametrize("kind", list(OTHERS))
def test_modules_of_other_kinds(kind: str) -> None:
    message = refusal(OTHERS[kind])
    assert (
        "Conv1d to Conv3d, ConvTranspose1d to ConvTranspose3d and Linear can be decomposed"
        in message
    )


@pytest.mark.parametrize("kind", list(PLAIN))
def test_plain_layers_are_decomposed(kind: str) -> None:
    layer = PLAIN[kind]
    assert why_not(layer) is None
    refuse_unreadable("layer", layer)
    assert len(factorize(layer, rank=Energy(0.9))) >= 2


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv1d(4, 6, 3), True),
        (nn.ConvTranspose2d(4, 6, 3), True),
        (Subclass(4, 6, 3), True),
        (nn.LazyConv2d(6, 3), True),
        (changed(parametrizations.weight_norm), True),
        (nn.Linear(4, 6), False),
        (nn.Sequential(nn.Conv2d(4, 6, 3)), False),
        (nn.ReLU(), False),
    ],
)
def test_what_a_convolution_is(layer: nn.Module, expected: bool) -> None:
    assert is_convolution(layer) is expected


def undone(do: Callable[[nn.Conv2d], object], undo: Callable[[nn.Module], object]) -> nn.Module:
    layer = conv()
    do(layer)
    undo(layer)
    return layer


@pytest.mark.parametrize(
    "layer",
    [
        undone(
            parametrizations.weight_norm,
            lambda m: parametrize.remove_parametrizations(m, "weight"),
        ),
        undone(
            lambda m: prune.l1_unstructured(m, "weight", 0.5), lambda m: prune.remove(m, "weight")
        ),
        undone(nn.utils.weight_norm, nn.utils.remove_weight_norm),
        undone(lambda m: m.register_forward_hook(lambda *_: None).remove(), lambda _: None),
        undone(lambda m: m.weight.register_hook(lambda g: g).remove(), lambda _: None),
    ],
    ids=["weight norm", "pruning", "older weight norm", "hook", "hook on the weight"],
)
def test_what_the_message_advises_works(layer: nn.Conv2d) -> None:
    inputs = torch.randn(1, 4, 6, 6)
    chain = factorize(layer, rank=Energy(1.0))
    assert torch.allclose(chain(inputs), layer(inputs), atol=1e-5)


def test_a_lazy_layer_that_has_run_is_plain() -> None:
    layer = nn.LazyConv2d(6, 3)
    inputs = torch.randn(1, 4, 6, 6)
    layer(inputs)
    assert torch.allclose(factorize(layer, rank=Energy(1.0))(inputs), layer(inputs), atol=1e-5)


def test_a_copy_is_as_eligible_as_its_original() -> None:
    for layer, words in LEFT.values():
        assert words in str(why_not(copy.deepcopy(layer)))
