"""Networks that take several tensors, names or lists of images, and what is compared of them."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from branched_net import IMAGE, images
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import tensorpress as tp
from tensorpress.compression.calibration import divergence, outputs
from tensorpress.rows import Samples, given_images, read_rows


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.wide = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(32)
        self.deep = nn.Conv2d(32, 32, 3, padding=1)
        self.head = nn.Linear(32, 5)

    def features(self, x: Tensor) -> Tensor:
        return torch.relu(self.deep(torch.relu(self.norm(self.wide(torch.relu(self.stem(x)))))))


class Two(Body):
    """Two images, and a flag that may be None."""

    def forward(self, x: Tensor, other: Tensor, flag: Any) -> Tensor:
        both = self.features(x) - self.features(other)
        assert flag is None
        return self.head(both.mean((2, 3)))


class Named(Body):
    """By keyword only, an integer beside the image, as Hugging Face's do."""

    def forward(self, *, kinds: Tensor, pixel_values: Tensor) -> dict[str, Any]:
        x = self.features(pixel_values).mean((2, 3)) * (1 + kinds[:, None])
        return {"logits": self.head(x), "loss": None}


class Detector(Body):
    """A list of images in; out comes a list with as many boxes as there happen to be."""

    def forward(self, given: list[Tensor]) -> list[dict[str, Tensor]]:
        assert isinstance(given, list)
        scores = self.head(self.features(torch.stack(given)).mean((2, 3)))
        return [{"boxes": row[row > row.median()]} for row in scores]


class Tokens(nn.Module):
    """Whole numbers alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(9, 16)
        self.wide = nn.Conv1d(16, 32, 3, padding=1)
        self.deep = nn.Conv1d(32, 32, 3, padding=1)
        self.head = nn.Linear(32, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        x = torch.relu(self.wide(self.embedding(tokens).mT))
        return self.head(torch.relu(self.deep(x)).mean(2))


def tokens(count: int) -> Tensor:
    return torch.randint(9, (count, 12), generator=torch.Generator().manual_seed(0))


Y = images(64, seed=3)
KINDS = torch.arange(64) % 2
NETS: dict[str, tuple[nn.Module, Any, Any]] = {
    "two tensors and None": (Two(), (IMAGE, IMAGE, None), (images(64), Y, None)),
    "two in batches": (
        Two(),
        (IMAGE, IMAGE, None),
        [(a, b, None) for a, b in zip(images(64).split(16), Y.split(16), strict=True)],
    ),
    "by name": (
        Named(),
        {"pixel_values": IMAGE, "kinds": KINDS[:1]},
        {"kinds": KINDS, "pixel_values": Y, "labels": KINDS},
    ),
    "tokens": (Tokens(), tokens(1), tokens(64)),
    "tokens in batches": (Tokens(), tokens(1), tokens(64).split(16)),
    "list of images": (Detector(), ([IMAGE[0]],), images(64)),
    "lists in batches": (Detector(), ([IMAGE[0]],), [(list(x),) for x in images(64).split(32)]),
}


@pytest.mark.parametrize("kind", NETS)
def test_they_are_compressed_with_all_steps(kind: str) -> None:
    net, example, calibration = NETS[kind]
    net = net.eval()
    asked = ("head",) if isinstance(net, Detector) else None
    found = tp.compress(
        net,
        example,
        budget=tp.Budget(macs=2),
        methods=("ttpwt", "channel-svd"),
        calibration=calibration,
        outputs=asked,
        recover=tp.Recovery(distil_epochs=2),
    )
    plain = tp.compress(net, example, method="ttpwt", budget=tp.Budget(macs=2))
    rows = read_rows(calibration, net, example, asked)
    wanted = outputs(net, [rows])
    closer, farther = (divergence(outputs(r.model, [rows]), wanted) for r in (found, plain))
    assert found.fcr >= 2
    assert closer < farther
    assert found.request["outputs"] == (["head"] if asked else None)


def test_rows_are_what_the_network_takes() -> None:
    net, example, calibration = NETS["by name"]
    rows = read_rows(calibration, net, example)
    assert isinstance(rows, Samples)
    some = rows[torch.tensor([3, 1])]
    assert len(some) == 2
    assert isinstance(some.inputs, dict)
    assert torch.equal(some.inputs["pixel_values"], Y[[3, 1]])
    assert torch.equal(some.inputs["kinds"], KINDS[[3, 1]])


class Masked(Body):
    """An image, a mask without channels, and a number that is the same for all."""

    def forward(self, image: Tensor, mask: Tensor, scale: Tensor) -> Tensor:
        return self.head(self.features(image).mean((2, 3)) + mask.mean((1, 2))[:, None]) * scale


MASKS, SCALE = torch.rand(64, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor(2.0)


class Pairs(Dataset[dict[str, Tensor]]):
    """Single samples, without the axis of a batch."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"image": Y[index], "mask": MASKS[index], "scale": SCALE}


@pytest.mark.parametrize(
    "given",
    [
        {"image": Y.numpy(), "mask": MASKS.numpy(), "scale": SCALE},
        Pairs(),
        [Pairs()[index] for index in range(64)],
        DataLoader(Pairs(), batch_size=16),
    ],
    ids=["arrays", "data set", "single samples", "loader"],
)
def test_several_tensors_in_any_container(given: Any) -> None:
    example = {"image": IMAGE, "mask": MASKS[:1], "scale": SCALE}
    if isinstance(given, DataLoader):
        given = [batch | {"scale": SCALE} for batch in given]
    rows = read_rows(given, Masked(), example)
    assert isinstance(rows, Samples)
    order = rows.tensors[1].flatten(1)[:, 0].argsort()
    wanted = MASKS.flatten(1)[:, 0].argsort()
    assert torch.equal(rows.tensors[0][order], Y[wanted])
    assert isinstance(rows.inputs, dict)
    assert rows.inputs["scale"] is SCALE


def test_pixels_are_not_taken_for_values() -> None:
    net, example, _ = NETS["two tensors and None"]
    pixels = (Y * 9).to(torch.uint8)
    with pytest.raises(tp.TensorpressError, match=r"torch.uint8 where .* torch.float32"):
        read_rows((pixels, pixels, None), net, example)
    with pytest.raises(tp.TensorpressError, match="mean= and std= are of networks that take"):
        read_rows((Y, Y, None), net, example, mean=(0.5,) * 3, std=(0.5,) * 3)


def test_whole_numbers_are_for_networks_that_take_such() -> None:
    net, example, calibration = NETS["tokens"]
    assert torch.equal(read_rows(calibration.numpy(), net, example), calibration)
    with pytest.raises(tp.TensorpressError, match=r"torch.float32 where .* torch.int64"):
        read_rows(calibration.float(), net, example)
    pixels = calibration.to(torch.uint8)
    with pytest.raises(tp.TensorpressError, match=r"normalised pixels where .* torch.int64"):
        read_rows(pixels, net, example, mean=(0.5,) * 12, std=(0.5,) * 12)


def test_a_generator_of_batches_is_read_once() -> None:
    def given() -> Iterator[Any]:
        for x in images(48).split(16):
            yield {"x": x, "label": torch.zeros(16)}

    class ByName(Body):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.features(x).mean((2, 3)))

    rows = read_rows(given(), ByName(), {"x": IMAGE})
    assert isinstance(rows, Samples)
    assert torch.equal(rows.tensors[0], images(48))


def test_a_loader_of_several_tensors_that_never_ends_is_read_until_memory_is_full(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    net, example, _ = NETS["two tensors and None"]
    asked = 0

    def given() -> Iterator[Any]:
        nonlocal asked
        while asked < 99:  # without a limit the test fails, and ends
            asked += 1
            yield images(8), images(8), None

    monkeypatch.setattr(given_images, "MOST_BYTES", 4 * 2 * images(32).numel())
    rows = read_rows(given(), net, example)
    assert len(rows) == 32
    assert asked == 4
    assert "the first 32 rows are read" in capsys.readouterr().err


def test_a_function_says_what_is_compared() -> None:
    """What it leaves out counts for nothing: here the head that no convolution leads to."""

    class Noisy(Body):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"out": self.head(self.features(x).mean((2, 3))), "noise": torch.rand(len(x), 2)}

    net = Noisy().eval()
    found = [
        tp.explore(net, IMAGE, images(32), methods=("channel-svd",), ratios=(2,), outputs=chosen)
        for chosen in (lambda answer: answer["out"], ("head",))
    ]
    losses = [[option.loss for option in one.layers[0].options] for one in found]
    assert losses[0] == pytest.approx(losses[1])


@pytest.mark.parametrize(
    ("outputs_", "said"),
    [
        (("heed",), "no module 'heed'"),
        ("head", "tuple of strings"),
        ((), "outputs= is empty"),
        (lambda answer: answer.nothing, "outputs= fails on what the network answers, a Tensor"),
        (lambda answer: None, "NoneType"),  # noqa: ARG005
    ],
)
def test_outputs_that_are_not_there(outputs_: Any, said: str) -> None:
    net, _, calibration = NETS["two tensors and None"]
    with pytest.raises(tp.TensorpressError, match=said):
        tp.compress(
            net, (IMAGE, IMAGE, None), budget=tp.Budget(macs=2), calibration=calibration,
            outputs=outputs_,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("calibration", "said"),
    [
        (images(64), "the form of the example inputs, 2 tensors"),
        ([images(64)], "the form of the example inputs, 2 tensors"),
        ((images(64), Y[:32], None), "32, 3, 8, 8.* beside one of 64 rows"),
        ((images(8), Y[:8], None), "at least 16 rows, and 8"),
        ((images(64), Y * float("nan"), None), "NaN or inf"),
        (7, "calibration=int: give a tensor"),
        ([(Y, Y, None), (Y, Y[..., :4], None)], "differ in the sizes"),
    ],
)
def test_data_of_another_form(calibration: Any, said: str) -> None:
    net, example, _ = NETS["two tensors and None"]
    with pytest.raises(tp.TensorpressError, match=said) as raised:
        tp.compress(net, example, budget=tp.Budget(macs=2), calibration=calibration)
    assert "\n" not in str(raised.value)


def test_answers_whose_shapes_vary_need_outputs() -> None:
    net, example, calibration = NETS["list of images"]
    with pytest.raises(tp.TensorpressError, match="--outputs"):
        tp.compress(net, example, budget=tp.Budget(macs=2), calibration=calibration)


def test_outputs_without_images_are_refused() -> None:
    net, example, _ = NETS["list of images"]
    with pytest.raises(tp.TensorpressError, match="calibration="):
        tp.compress(net, example, budget=tp.Budget(macs=2), outputs=("head",))
