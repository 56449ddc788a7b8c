"""Chains with layers that meet every block of channels, as plain layers and as one kernel."""

from typing import Any

import pytest
import torch
from convs import PROPERTY, Case, call, cases, relative
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tensorpress import Energy, Ranks, factorize
from tensorpress.layers import METHODS, Blocks, Factorized, can_merge, merge, plain_chain

FEWER = settings(PROPERTY, max_examples=25)
METHODS_BUT_CP = [name for name in METHODS if name != "cp"]


def gradients(chain: Factorized, inputs: Tensor) -> dict[str, Tensor]:
    chain.zero_grad(set_to_none=True)
    outputs = chain(inputs)
    generator = torch.Generator().manual_seed(0)
    (
        outputs * torch.randn(outputs.shape, dtype=outputs.dtype, generator=generator)
    ).sum().backward()
    return {name: p.grad.clone() for name, p in chain.named_parameters() if p.grad is not None}


@FEWER
@given(cases([torch.float64]), st.sampled_from([0.3, 0.8, 1.0]))
def test_a_chain_is_its_plain_layers_and_its_kernel(case: Case, tau: float) -> None:
    conv, inputs = case.build()
    for method in METHODS:
        rule = Ranks(3) if method == "cp" else Energy(tau)
        chain = factorize(conv, method=method, rank=rule).eval()
        expected = call(chain, inputs)
        plain = plain_chain(chain)
        assert {type(layer) for layer in plain} == {type(conv)}
        assert relative(expected, call(nn.Sequential(*plain), inputs)) < 1e-10, method
        assert can_merge(list(chain))
        one = merge(list(chain))
        assert isinstance(one.weight, Tensor)
        assert one.weight.shape == conv.weight.shape, method
        assert relative(expected, call(one, inputs)) < 1e-10, method


@FEWER
@given(cases([torch.float64]), st.sampled_from([0.3, 0.9]))
def test_training_through_the_kernel_gives_the_chain_s_gradients(case: Case, tau: float) -> None:
    """In evaluation mode a chain always runs layer by layer."""
    conv, inputs = case.build()
    inputs.requires_grad_()
    for method in METHODS_BUT_CP:
        chain = factorize(conv, method=method, rank=Energy(tau)).requires_grad_()
        expected = gradients(chain.eval(), inputs)
        assert set(expected) == {name for name, _ in chain.named_parameters()}
        for name, found in gradients(chain.train(), inputs).items():
            assert relative(expected[name], found) < 1e-9, (method, name)


@pytest.mark.parametrize("method", ["kronecker", "hierarchical-tucker"])
def test_linear_blocks(method: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 8, dtype=torch.float64)
    chain = factorize(layer, method=method, rank=Energy(0.7)).eval()
    inputs = torch.randn(2, 5, 6, dtype=torch.float64)
    for made in (nn.Sequential(*plain_chain(chain)), merge(list(chain))):
        assert relative(call(chain, inputs), call(made, inputs)) < 1e-12
    expected = gradients(chain, inputs)
    for name, found in gradients(chain.train(), inputs).items():
        assert relative(expected[name], found) < 1e-12


def test_only_chains_with_blocks_train_through_their_kernel() -> None:
    conv, inputs = nn.Conv2d(8, 12, 3, padding=1), torch.randn(2, 8, 6, 6)
    called: list[str] = []
    for method, ranks in {"ttpwt": (3, 4, 3), "tt": (4, 6, 3)}.items():
        chain = factorize(conv, method=method, rank=Ranks(*ranks)).train()
        assert any(isinstance(child, Blocks) for child in chain) == (method == "tt")
        chain[-1].register_forward_hook(lambda *_, method=method: called.append(method))
        chain(inputs)
        with torch.no_grad():
            chain(inputs)
        chain.eval()(inputs)
    assert called == ["ttpwt", "ttpwt", "ttpwt", "tt", "tt"]


@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_training_through_the_kernel_compiles_to_one_graph(mode: Any) -> None:
    conv = nn.Conv2d(8, 12, 3, padding=1, padding_mode=mode)
    chain = factorize(conv, method="tt", rank=Ranks(4, 6, 3)).train()
    inputs = torch.randn(2, 8, 6, 6)
    compiled = torch.compile(chain, backend="eager", fullgraph=True)
    assert relative(chain(inputs).detach(), compiled(inputs).detach()) < 1e-6
