"""Chains with layers that meet every block of channels, as plain layers and as one kernel."""

from typing import Any

import pytest
import torch
from convs import PROPERTY, Case, call, cases, relative
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

from tensorpress import Energy, Ranks, factorize
from tensorpress.layers import DECOMPOSITIONS, Factorized, can_merge, merge, plain_chain
from tensorpress.layers import chain as chain_module

EXAMPLES = settings(PROPERTY, max_examples=80)
"""Five or so of each method, all on layers of their own."""
METHOD = st.sampled_from(list(DECOMPOSITIONS))
SUMS = ("cp", "depthwise-separable")
"""They look long for a rank."""
METHOD_BUT_SUMS = st.sampled_from([name for name in DECOMPOSITIONS if name not in SUMS])


def gradients(chain: Factorized, inputs: Tensor) -> dict[str, Tensor]:
    chain.zero_grad(set_to_none=True)
    outputs = chain(inputs)
    generator = torch.Generator().manual_seed(0)
    (
        outputs * torch.randn(outputs.shape, dtype=outputs.dtype, generator=generator)
    ).sum().backward()
    return {name: p.grad.clone() for name, p in chain.named_parameters() if p.grad is not None}


@EXAMPLES
@given(METHOD, cases([torch.float64]), st.sampled_from([0.3, 0.8, 1.0]))
def test_a_chain_is_its_plain_layers_and_its_kernel(method: str, case: Case, tau: float) -> None:
    conv, inputs = case.build()
    rule = Ranks(3) if method in SUMS else Energy(tau)
    chain = factorize(conv, method=method, rank=rule).eval()
    expected = call(chain, inputs)
    plain = plain_chain(chain)
    assert {type(layer) for layer in plain} == {type(conv)}
    assert relative(expected, call(nn.Sequential(*plain), inputs)) < 1e-10
    assert can_merge(list(chain))
    one = merge(list(chain))
    assert isinstance(one.weight, Tensor)
    assert one.weight.shape == conv.weight.shape
    assert relative(expected, call(one, inputs)) < 1e-10


@EXAMPLES
@given(METHOD_BUT_SUMS, cases([torch.float64]), st.sampled_from([0.3, 0.9]))
def test_training_through_the_kernel_gives_the_chain_s_gradients(
    method: str, case: Case, tau: float
) -> None:
    """In evaluation mode a chain always runs layer by layer."""
    conv, inputs = case.build()
    inputs.requires_grad_()
    chain = factorize(conv, method=method, rank=Energy(tau)).requires_grad_()
    expected = gradients(chain.eval(), inputs)
    assert set(expected) == {name for name, _ in chain.named_parameters()}
    found = gradients(chain.train(), inputs)
    assert set(found) == set(expected)
    for name, gradient in found.items():
        assert relative(expected[name], gradient) < 1e-9, name


@pytest.mark.parametrize("method", ["kronecker", "hierarchical-tucker"])
def test_linear_blocks(method: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 8, dtype=torch.float64)
    chain = factorize(layer, method=method, rank=Energy(0.7)).eval()
    inputs = torch.randn(2, 5, 6, dtype=torch.float64)
    for made in (nn.Sequential(*plain_chain(chain)), merge(list(chain))):
        assert relative(call(chain, inputs), call(made, inputs)) < 1e-12


WIDE = nn.Conv2d(8, 12, 3, padding=1)
LIGHTER = {
    "ttpwt": (factorize(WIDE, rank=Ranks(3, 4, 3)), False),
    "tt": (factorize(WIDE, method="tt", rank=Ranks(4, 6, 3)), True),
    "1x1": (factorize(nn.Conv2d(8, 12, 1), method="kronecker", rank=Ranks(3, 4, 2)), False),
    "linear": (factorize(nn.Linear(8, 12), method="kronecker", rank=Ranks(3, 4, 2)), False),
}


@pytest.mark.parametrize("name", LIGHTER)
def test_what_trains_through_its_kernel(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chain, lighter = LIGHTER[name]
    inputs = torch.randn(2, 8) if name == "linear" else torch.randn(2, 8, 6, 6)
    ways: list[int] = []
    whole = chain_module.through_kernel  # type: ignore[attr-defined]

    def watched(layers: list[nn.Module], x: Tensor) -> Tensor:
        ways.append(len(layers))
        return whole(layers, x)

    monkeypatch.setattr(chain_module, "through_kernel", watched)
    chain.train()(inputs)
    assert len(ways) == lighter
    with torch.no_grad():
        chain(inputs)
    chain.eval()(inputs)
    assert len(ways) == lighter


def test_layers_that_someone_listens_to_or_changed_run_by_themselves() -> None:
    inputs = torch.randn(2, 8, 6, 6)
    chain = factorize(WIDE, method="tt", rank=Ranks(4, 6, 3)).train()
    called: list[str] = []
    hook = chain[0][0].register_forward_hook(lambda *_: called.append("hook"))  # type: ignore[index]
    chain(inputs)
    assert called == ["hook"]
    hook.remove()
    prune.l1_unstructured(chain[0][0], "weight", amount=0.5)  # type: ignore[index]
    for _ in range(2):
        chain(inputs).sum().backward()


@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_training_through_the_kernel_compiles_to_one_graph(mode: Any) -> None:
    conv = nn.Conv2d(8, 12, 3, padding=1, padding_mode=mode)
    chain = factorize(conv, method="tt", rank=Ranks(4, 6, 3)).train()
    inputs = torch.randn(2, 8, 6, 6)
    compiled = torch.compile(chain, backend="eager", fullgraph=True)
    assert relative(chain(inputs).detach(), compiled(inputs).detach()) < 1e-6
