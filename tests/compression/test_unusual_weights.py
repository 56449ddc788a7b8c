"""Networks with weights that are no plain tensors of real numbers, and such that are damaged."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tensorpress as tp
from tensorpress.compression.selection import refuse_quantised


class Packed(Tensor):
    """A matrix that is held as whole numbers and a scale, as torchao's are; it can be applied."""

    def __new__(cls, numbers: Tensor, scale: float) -> "Packed":  # noqa: ARG004
        made: Packed = torch.Tensor._make_wrapper_subclass(cls, numbers.shape, dtype=torch.float32)
        return made

    def __init__(self, numbers: Tensor, scale: float) -> None:
        self.numbers, self.scale = numbers, scale

    def __repr__(self) -> str:  # type: ignore[override]
        return "Packed"

    def __deepcopy__(self, memo: Any) -> Tensor:
        return parameter(Packed(self.numbers.clone(), self.scale))

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear:
            x, weight, bias = args
            with torch._C.DisableTorchFunctionSubclass():
                return F.linear(x, weight.numbers.float() * weight.scale, bias)
        return super().__torch_function__(func, types, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten.detach.default:
            return Packed(args[0].numbers, args[0].scale)
        raise NotImplementedError(str(func))


class Cast(nn.Linear):
    """It takes what it holds in eight bits as numbers of 32."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.float(), self.bias)


class Squared(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.abs().square()


def parameter(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value, requires_grad=False)


def network(head: nn.Linear | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.Conv2d(16, 16, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 16) if head is None else head,
    ).eval()


def packed() -> nn.Linear:
    head = nn.Linear(16, 16)
    head.weight = parameter(Packed(torch.arange(256).reshape(16, 16).to(torch.int8), 0.05))
    return head


def cast(dtype: torch.dtype) -> nn.Linear:
    head = Cast(16, 16)
    head.weight = parameter((torch.randn(16, 16) * 3).to(dtype))
    return head


IMAGES = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (packed(), "its weight is a Packed, which holds its numbers in a way of its own"),
        (cast(torch.int8), "Cast is a subclass and may compute something else"),
        (cast(torch.float8_e4m3fn), "Cast is a subclass and may compute something else"),
    ],
)
def test_quantised_weights_stay_beside_layers_that_are_decomposed(
    head: nn.Linear, said: str
) -> None:
    net = network(head)
    result = tp.compress(net, IMAGES, rank=tp.Energy(0.5), linear=True, skip_output=False)
    assert [row.decision for row in result.layers][1:] == ["ttpwt", f"kept: {said}"]
    features = result.model[:4](IMAGES)
    assert torch.equal(result.model(IMAGES), head(features))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "verb",
    [
        lambda net: tp.compress(net, IMAGES, rank=tp.Energy(0.5)),
        lambda net: tp.prune(net, IMAGES, budget=tp.Budget(macs=2)),
    ],
)
@pytest.mark.parametrize("head", [nn.Linear(16, 10), nn.GRUCell(16, 10)])
def test_a_network_of_which_a_part_is_quantised_would_be_counted_wrong(
    head: nn.Module, verb: Any
) -> None:
    torch.backends.quantized.engine = torch.backends.quantized.supported_engines[-1]
    net: Any = network()
    net[4] = head
    part = torch.ao.quantization.quantize_dynamic(net, {type(head)})
    with pytest.raises(tp.TensorpressError, match=r"are quantised \(1, first '4'\).*made from"):
        verb(part)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_quantised_recurrent_layers_are_found(kind: Any) -> None:
    net = nn.Sequential(kind(16, 10))
    with pytest.raises(tp.TensorpressError, match=r"are quantised \(1, first '0'\)"):
        refuse_quantised(torch.ao.quantization.quantize_dynamic(net, {kind}))
    refuse_quantised(net)


@pytest.mark.filterwarnings("ignore")
def test_layers_of_quantised_kinds_are_told_from_none() -> None:
    quantised: Any = torch.ao.quantization.QuantStub()
    net: Any = nn.Sequential(quantised, nn.Conv2d(3, 16, 3), torch.ao.quantization.DeQuantStub())
    net.eval().qconfig = torch.ao.quantization.default_qconfig
    prepared = torch.ao.quantization.prepare(net)
    prepared(IMAGES)
    with pytest.raises(
        tp.TensorpressError, match=r"are quantised \(1, first .*: compress the network that it"
    ):
        tp.compress(torch.ao.quantization.convert(prepared), IMAGES, rank=tp.Energy(0.5))


def test_complex_layers_are_named_and_can_be_excluded() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, dtype=torch.complex64),
        nn.Conv2d(16, 16, 3, dtype=torch.complex64),
        Squared(),
        nn.Conv2d(16, 16, 3),
    )
    x = IMAGES.to(torch.complex64)
    with pytest.raises(tp.TensorpressError, match=r"layer '1' has torch.complex64 weights"):
        tp.compress(net, x, rank=tp.Energy(0.5), skip_output=False)
    result = tp.compress(net, x, rank=tp.Energy(0.5), exclude=["1"], skip_output=False)
    assert [row.method for row in result.layers] == [None, None, "ttpwt"]


@pytest.mark.filterwarnings("ignore:Complex modules are a new feature")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_damaged_weights_are_refused_in_any_dtype(dtype: torch.dtype, value: float) -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3)).to(dtype)
    with torch.no_grad():
        net[1].weight[3, 2, 1, 0] = value
    with pytest.raises(tp.TensorpressError, match=r"layer '1' holds NaN or inf in its weight"):
        tp.compress(net, IMAGES.to(dtype), rank=tp.Energy(0.5), skip_output=False)
