import pytest
import torch
from torch import nn

from tensorpress.errors import TensorpressError
from tensorpress.surgery import copy_with, describe_kernel, match_patterns, replace_layers, survey


def nested() -> nn.Sequential:
    shared = nn.Conv2d(3, 3, 1)
    return nn.Sequential(shared, nn.Sequential(nn.ReLU(), shared), nn.Conv2d(3, 3, 1))


def test_copy_with_leaves_the_original_and_does_not_copy_the_replacement() -> None:
    net, new = nested(), nn.Identity()
    copied = copy_with(net, {"0": new})
    assert isinstance(copied, nn.Sequential)
    assert copied[0] is copied[1][1] is new
    assert net[0] is net[1][1]
    assert isinstance(net[0], nn.Conv2d)
    assert copied[2] is not net[2]
    assert torch.equal(copied[2].weight, net[2].weight)


def test_replace_layers_in_every_place() -> None:
    net, new = nested(), nn.Identity()
    kept = net[2]
    assert replace_layers(net, {"0": new}) is net
    assert net[0] is net[1][1] is new
    assert net[2] is kept


def test_replacing_the_network_itself_gives_the_replacement() -> None:
    new = nn.Identity()
    assert copy_with(nn.Conv2d(3, 3, 1), {"": new}) is new
    assert replace_layers(nn.Conv2d(3, 3, 1), {"": new}) is new


def test_first_pattern_wins_and_every_pattern_must_fit() -> None:
    net = nested()
    assert match_patterns(net, ["0", "2"], {"2": "a", "*": "b"}, "rank") == {"0": "b", "2": "a"}
    assert match_patterns(net, ["0", "2"], {"*": "b", "2": "a"}, "rank") == {"0": "b", "2": "b"}
    assert match_patterns(net, ["0", "2"], {"1.1": "a"}, "rank") == {"0": "a"}
    with pytest.raises(TensorpressError, match=r"rank '9' fits no layer\. The layers are: 0, 2$"):
        match_patterns(net, ["0", "2"], {"0": "a", "9": "b"}, "rank")
    with pytest.raises(TensorpressError, match=r"rank '0' fits only layers that stay.*'0'.*first"):
        match_patterns(net, ["2"], {"*": "a", "0": "b"}, "rank", {"0": "the first"})
    assert match_patterns(net, ["2"], {"*": "a"}, "rank", {"0": "the first"}) == {"2": "a"}


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Conv2d(3, 8, 3), "Conv2d 8x3x3x3"),
        (nn.Conv2d(4, 8, 3, stride=2, groups=2), "Conv2d 8x2x3x3 /2 g2"),
        (nn.Conv2d(4, 8, 3, stride=(2, 1), dilation=(1, 3)), "Conv2d 8x4x3x3 /2x1 d1x3"),
        (nn.Conv1d(4, 8, 5, dilation=2), "Conv1d 8x4x5 d2"),
        (nn.Linear(4, 8), "Linear 8x4"),
    ],
)
def test_kernels_in_words(layer: nn.Module, text: str) -> None:
    assert describe_kernel(layer) == text


def test_survey_says_what_stands_in_the_way() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Conv2d(3, 3, 3)
            self.depthwise = nn.Conv2d(3, 3, 3, groups=3)
            self.up = nn.ConvTranspose2d(3, 4, 2)
            self.plain = nn.Conv2d(4, 4, 3)
            self.outside = nn.ParameterList([self.plain.bias])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.plain(self.up(self.depthwise(x)))
            return out

    surveyed = survey(Net(), torch.zeros(1, 3, 8, 8))
    assert {layer.name: layer.obstacle for layer in surveyed.layers} == {
        "depthwise": "depthwise: one input channel a group",
        "up": None,
        "plain": "shares its parameters with another module",
        "unused": "not called on the example inputs",
    }
    assert [layer.name for layer in surveyed.layers] == ["depthwise", "up", "plain", "unused"]
    assert surveyed.first_convolution is surveyed.layers[0]


def test_no_convolution_that_runs_has_no_first() -> None:
    assert survey(nn.Sequential(nn.Linear(3, 3)), torch.zeros(1, 3)).first_convolution is None


def test_copies_of_scripted_modules_can_be_trained() -> None:
    """torch.jit gives copies of its modules parameters that are no leaves."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), torch.jit.script(nn.Sequential(nn.Conv2d(4, 2, 1))))
    net[1][0].bias.requires_grad_(False)
    copied = copy_with(net, {"0": nn.Conv2d(3, 4, 3)})
    assert torch.optim.SGD(copied.parameters(), lr=0.1)
    wanted = [p.requires_grad for p in net.parameters()]
    assert [p.requires_grad for p in copied.parameters()] == wanted
