import io
import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tensorpress import networks
from tensorpress.errors import TensorpressError
from tensorpress.networks import NETWORKS, build


def macs(net: nn.Module, size: int = 32) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() / 2


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("name", "params", "millions"),
    [
        ("resnet20", 269_722, 40.55),
        ("resnet32", 464_154, 68.86),
        ("resnet44", 658_586, 97.17),
        ("resnet56", 853_018, 125.49),
        ("resnet110", 1_727_962, 252.89),
        ("resnet56-projection", 855_770, 125.75),
        ("vggnet", 20_035_018, 398.14),
        ("tt_conv_cnn", 557_898, 103.74),
    ],
)
def test_counts_of_table_1(name: str, params: int, millions: float) -> None:
    net = build(name)
    assert parameters(net) == params
    assert macs(net) / 1e6 == pytest.approx(millions, abs=0.005)


def test_tt_conv_cnn_is_within_the_papers_counts() -> None:
    net = networks.tt_conv_cnn()
    assert parameters(net) == pytest.approx(558e3, rel=0.015)
    assert macs(net) == pytest.approx(105e6, rel=0.015)


@pytest.mark.parametrize("name", NETWORKS)
def test_classes_and_channels_are_arguments(name: str) -> None:
    net = build(name, num_classes=7, in_channels=1).eval()
    assert net(torch.rand(2, 1, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("name", ["resnet20", "tt_conv_cnn"])
@pytest.mark.parametrize("size", [8, 9, 40])
def test_other_sizes(name: str, size: int) -> None:
    assert build(name).eval()(torch.rand(2, 3, size, size)).shape == (2, 10)


@pytest.mark.parametrize(("name", "least"), [("vggnet", 32), ("tt_conv_cnn", 7)])
def test_too_small_images_are_one_clear_error(name: str, least: int) -> None:
    net = build(name).eval()
    net(torch.rand(1, 3, least, least))
    with pytest.raises(
        TensorpressError, match=f"at least {least}x{least}, got {least}x{least - 1}"
    ):
        net(torch.rand(1, 3, least, least - 1))


@pytest.mark.parametrize("name", ["resnet20", "tt_conv_cnn", "vggnet"])
def test_a_new_network_neither_fades_nor_explodes(name: str) -> None:
    torch.manual_seed(0)
    logits = build(name)(torch.randn(4, 3, 32, 32))
    assert 1e-2 < logits.std() < 1e2


@pytest.mark.parametrize("name", ["resnet20", "tt_conv_cnn", "vggnet"])
def test_exports_with_a_free_batch_size(name: str) -> None:
    net = build(name).eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(
        net, (torch.rand(4, 3, 32, 32),), dynamic_shapes=({0: batch},), strict=False
    )
    images = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(program.module()(images), net(images))


@pytest.mark.parametrize("name", ["resnet20", "tt_conv_cnn", "vggnet"])
def test_compiles_as_one_graph(name: str) -> None:
    net = build(name).eval()
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(compiled(images), net(images))


@pytest.mark.parametrize("name", NETWORKS)
def test_pickles(name: str) -> None:
    file = io.BytesIO()
    torch.save(build(name), file)
    file.seek(0)
    assert type(torch.load(file, weights_only=False)) is type(build(name))


def test_option_a_shortcut_thins_and_pads_with_zeros() -> None:
    shortcut = networks.resnet20().layer2[0].shortcut
    maps = torch.rand(2, 16, 6, 5)
    out = shortcut(maps).numpy()
    assert out.shape == (2, 32, 3, 3)
    assert (out[:, 8:24] == maps.numpy()[:, :, ::2, ::2]).all()
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


def test_resnet_names_are_those_of_the_common_weight_files() -> None:
    names = set(networks.resnet20().state_dict())
    assert {"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer3.2.bn2.bias"} < names
    assert {"linear.weight", "linear.bias"} < names
    assert not any("shortcut" in name for name in names)


def test_he_initialisation() -> None:
    weight = networks.vggnet().features[3].weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet57",), "no network called 'resnet57': give one of tt_conv_cnn, vggnet, resnet20"),
        (("",), "no network called ''"),
        (("resnet20", 0), "num_classes must be at least 1, got 0"),
        (("resnet20", 10, -1), "in_channels must be at least 1, got -1"),
    ],
)
def test_build_errors(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(TensorpressError) as caught:
        build(*arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_projection_is_a_convolution_and_a_batch_norm_where_the_width_changes() -> None:
    net = networks.resnet20(shortcut="projection")
    projections = {
        name: (conv.in_channels, conv.out_channels, conv.stride)
        for name, conv in net.named_modules()
        if isinstance(conv, nn.Conv2d) and conv.kernel_size == (1, 1)
    }
    assert projections == {
        "layer2.0.shortcut.0": (16, 32, (2, 2)),
        "layer3.0.shortcut.0": (32, 64, (2, 2)),
    }
    block = net.layer2[0].eval()
    maps = torch.randn(2, 16, 8, 8)
    inner = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(maps)))))
    conv, norm = block.shortcut.children()
    torch.testing.assert_close(block(maps), torch.relu(inner + norm(conv(maps))))


def test_another_shortcut_is_refused() -> None:
    with pytest.raises(TensorpressError, match=r"^shortcut='B': give one of padded, projection$"):
        networks.resnet20(shortcut="B")
