"""Wrapped networks are saved, loaded, exported and compressed as what is in them."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

import tensorpress as tp
from tensorpress.surgery.wrappers import inside, plain_name, unwrapped

IMAGES = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _forgets_what_was_compiled() -> Iterator[None]:
    """Or a forward that was skipped here would be skipped in other tests."""
    yield
    torch._dynamo.reset()


def compiled(net: nn.Module) -> nn.Module:
    wrapped: Any = torch.compile(net, backend="eager")
    return cast(nn.Module, wrapped)


def compiled_inside(net: nn.Module) -> nn.Module:
    for name, child in net.named_children():
        setattr(net, name, compiled(nn.DataParallel(child)))
    return net


WRAPS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "data parallel": nn.DataParallel,
    "compiled": compiled,
    "averaged": AveragedModel,
    "several": lambda net: compiled(AveragedModel(nn.DataParallel(net))),
    "inside": compiled_inside,
}


def dense(seed: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    ).eval()


@pytest.fixture
def small() -> nn.Module:
    return tp.compress(dense(0), IMAGES[:1], rank=tp.Energy(0.8)).model


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_files_hold_plain_names(
    wrap: Callable[[nn.Module], nn.Module], small: nn.Module, tmp_path: Path
) -> None:
    tp.save(small, tmp_path / "plain.tp")
    wrapped = wrap(copy.deepcopy(small))
    names = list(wrapped.state_dict())
    tp.save(wrapped, tmp_path / "wrapped.tp")
    assert list(wrapped.state_dict()) == names
    assert (tmp_path / "wrapped.tp").read_bytes() == (tmp_path / "plain.tp").read_bytes()

    into = wrap(dense())
    assert tp.load(tmp_path / "plain.tp", into=into) is into
    assert torch.equal(into.eval()(IMAGES), small(IMAGES))
    assert list(into.state_dict()) == names


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_what_is_inside_is_exported(
    wrap: Callable[[nn.Module], nn.Module], small: nn.Module, tmp_path: Path
) -> None:
    report = tp.export(wrap(copy.deepcopy(small)), tmp_path / "net.pt2", IMAGES[:1])
    loaded = torch.export.load(report.path).module()
    torch.testing.assert_close(loaded(IMAGES), small(IMAGES), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_accounts_of_wrapped_networks_have_plain_names_in_files(
    wrap: Callable[[nn.Module], nn.Module], tmp_path: Path
) -> None:
    net = wrap(dense())
    result = tp.compress(net, IMAGES[:1], rank=tp.Energy(0.5))
    tp.save(result, tmp_path / "net.tp")
    account = tp.artifacts.read_manifest(tmp_path / "net.tp").account
    assert account is not None
    plain = dict(dense().named_modules())
    assert {row["name"] for row in account["layers"]} <= plain.keys()
    assert torch.equal(tp.load(tmp_path / "net.tp", into=dense())(IMAGES), result.model(IMAGES))
    assert [plain_name(net, row.name) for row in result.layers] == [
        row["name"] for row in account["layers"]
    ]
    # What was done is known of the network that was inside, too.
    again = tp.compress(inside(result.model), IMAGES[:1], rank=tp.Energy(0.4))
    assert len(again.history) == 1


def test_an_error_leaves_wrappers_where_they_were(small: nn.Module) -> None:
    net = compiled_inside(small)
    before = [(name, id(module)) for name, module in net.named_modules()]
    with contextlib.suppress(KeyError), unwrapped(net) as plain:
        assert not any("_orig_mod" in name for name, _ in plain.named_modules())
        raise KeyError
    assert [(name, id(module)) for name, module in net.named_modules()] == before


@pytest.fixture
def group(tmp_path: Path) -> object:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1
    )
    yield None
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_distributed_networks_are_saved_and_not_loaded_into(
    small: nn.Module, tmp_path: Path
) -> None:
    tp.save(small, tmp_path / "plain.tp")
    mesh = init_device_mesh("cpu", (1,))
    for wrap in (DistributedDataParallel, lambda net: fully_shard(net, mesh=mesh)):
        tp.save(wrap(copy.deepcopy(small)), tmp_path / "wrapped.tp")
        assert (tmp_path / "wrapped.tp").read_bytes() == (tmp_path / "plain.tp").read_bytes()
        with pytest.raises(tp.TensorpressError, match=r"is distributed .* and distribute it then"):
            tp.load(tmp_path / "plain.tp", into=wrap(dense()))


@pytest.mark.usefixtures("group")
def test_distributed_networks_are_compressed_before_they_are_distributed() -> None:
    mesh = init_device_mesh("cpu", (1,))
    followed = DistributedDataParallel(dense())
    told = r"is distributed \((DistributedDataParallel|fully_shard)\).* compress it first"
    for inplace in (False, True):
        sharded = fully_shard(dense(), mesh=mesh)
        with pytest.raises(tp.TensorpressError, match=told):
            tp.compress(sharded, IMAGES[:1], rank=tp.Energy(0.5), inplace=inplace)
    with pytest.raises(tp.TensorpressError, match=told):
        tp.compress(followed, IMAGES[:1], rank=tp.Energy(0.5), inplace=True)
    # A copy is followed as it is.
    small = tp.compress(followed, IMAGES[:1], rank=tp.Energy(0.5)).model
    small(IMAGES).sum().backward()
    assert all(p.grad is not None for p in small.parameters())


def test_one_layer_in_a_wrapper_is_refused(tmp_path: Path) -> None:
    layer = nn.Conv2d(24, 24, 3)
    tp.save(tp.factorize(layer, rank=tp.Energy(0.5)), tmp_path / "layer.tp")
    with pytest.raises(tp.TensorpressError, match="one layer in a wrapper"):
        tp.load(tmp_path / "layer.tp", into=nn.DataParallel(nn.Conv2d(24, 24, 3)))
