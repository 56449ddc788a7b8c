"""How long a compression is said to take: its arithmetic, by hand."""

import dataclasses

import pytest
import torch
from torch import nn

import tensorpress as tp
from tensorpress.compression.estimate import (
    Work,
    estimate,
    image_seconds,
    macs_a_second,
    roughly,
    stage_seconds,
)

WORK = Work(
    images=1000,
    measured_on=256,
    fitted_on=512,
    patches=(100, 200, 4000),
    places=(1024, 1024, 1024),
    macs=10**9,
    recovery=tp.Recovery(distil_epochs=10),
    measures=True,
)


def test_each_stage_by_hand() -> None:
    # 16,384 patches are the fewest of a layer; 4000 values ask for 24,000, and half to compare.
    looked = 1.3 * (16384 * 100**2 + 16384 * 200**2 + 16384 * 4000**2) / 1e9
    products = 1.3 * (16384 * 100**2 + 16384 * 200**2 + 24000 * 4000**2) / 1e9
    compared = 2e3 * (100**2 + 200**2 + 4000**2) / 1e9
    fits = 8 * (100**3 + 200**3 + 4000**3) / 1e9
    assert stage_seconds(WORK, 0.01) == pytest.approx(
        {
            "looking at what layers are fed": 0.01 * (512 + looked),
            "measuring layers": 0.01 * (compared + 2 * 256 * 8),
            "reconstructing": 0.01 * (512 + 512 * 2 + products + fits),
            "batch-norm statistics": 0.01 * (2 * 1000 + 3 * 256),
            "distilling": 0.01 * 6 * 10 * 900,
        }
    )


def test_products_are_timed() -> None:
    """Of some machine: between a pocket calculator and a rack of GPUs."""
    assert 1e6 < macs_a_second() < 1e15


def test_a_choice_of_forms_by_hand() -> None:
    """The search for sums of terms is bounded, layer by layer."""
    one = stage_seconds(WORK, 1.0)["measuring layers"]
    many = stage_seconds(dataclasses.replace(WORK, forms=13), 1.0)["measuring layers"]
    compared = 2e3 * (100**2 + 200**2 + 4000**2) / 1e9
    searches = (1500 * (100**3 + 200**3) + 1e11) / 1e9
    assert many - one == pytest.approx(12 * compared + searches)


def test_patches_that_are_kept_count_as_what_they_are() -> None:
    """Of 65,536 values a thousand are compared and twice as many fitted; no matrix is made."""
    work = dataclasses.replace(WORK, patches=(65_536,), places=(1024,))
    found = stage_seconds(work, 1.0)
    assert found["looking at what layers are fed"] == 512
    compared, fits = 2e3 * 1024 * 65_536 / 1e9, 8 * 2048**2 * 65_536 / 1e9
    assert found["measuring layers"] == pytest.approx(compared + 2 * 256 * 4)
    assert found["reconstructing"] == pytest.approx(512 + 512 * 2 + fits)


def test_a_layer_has_no_more_patches_than_its_images_have() -> None:
    """Of 512 images with one place each 512 patches: fewer than a quarter of their 4,000 values."""
    found = stage_seconds(dataclasses.replace(WORK, patches=(4000,), places=(1,)), 1.0)
    assert found["looking at what layers are fed"] == 512
    fits = 8 * 512**2 * 4000 / 1e9
    assert found["reconstructing"] == pytest.approx(512 + 512 * 2 + fits)


def test_seconds_are_in_proportion_to_those_of_a_pass() -> None:
    slow, fast = stage_seconds(WORK, 0.3), stage_seconds(WORK, 0.1)
    assert slow == pytest.approx({stage: 3 * seconds for stage, seconds in fast.items()})


@pytest.mark.parametrize(
    ("switched_off", "gone"),
    [
        ({"reconstruct": False, "data_aware": False}, {"looking at what layers are fed"}),
        ({"reconstruct": False}, {"reconstructing"}),
        ({"statistics": False}, {"batch-norm statistics"}),
        ({"distil_epochs": 0}, {"distilling"}),
    ],
)
def test_what_is_switched_off_takes_no_time(
    switched_off: dict[str, bool | int], gone: set[str]
) -> None:
    recovery = dataclasses.replace(WORK.recovery, **switched_off)
    kept, whole = (
        stage_seconds(dataclasses.replace(WORK, recovery=r), 1.0) for r in (recovery, WORK.recovery)
    )
    assert gone <= whole.keys() - kept.keys()
    looked = "looking at what layers are fed"
    if not recovery.reconstruct and looked in kept:  # of all patches, as it is done once then
        assert kept.pop(looked) > whole.pop(looked)
    assert kept.items() <= whole.items()


def test_losses_are_measured_once_and_networks_are_made_often() -> None:
    one = stage_seconds(WORK, 1.0)
    explored = stage_seconds(dataclasses.replace(WORK, networks=8), 1.0)
    ratios = {stage: explored[stage] / one[stage] for stage in one}
    assert ratios == pytest.approx(
        {
            "looking at what layers are fed": 1,
            "measuring layers": 1,
            "reconstructing": 8,
            "batch-norm statistics": 8,
            "distilling": 8,
        }
    )
    by_rank = stage_seconds(dataclasses.replace(WORK, measures=False), 1.0)
    assert one.keys() - by_rank.keys() == {"measuring layers"}


def test_the_line_names_what_takes_long() -> None:
    assert estimate(WORK, 0.01) == (
        "about 11 min for 3 layers and 1,000 images: measuring layers 40 s, distilling 9 min"
    )


def test_nothing_is_said_of_less_than_a_minute() -> None:
    whole = sum(stage_seconds(WORK, 1.0).values())
    assert estimate(WORK, 59.9 / whole) is None
    assert estimate(WORK, 60.1 / whole) is not None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(2, "10 s"), (64, "1 min"), (66, "1 min 10 s"), (299, "5 min"), (8000, "2 h 13 min")],
)
def test_roughly(seconds: float, said: str) -> None:
    assert roughly(seconds) == said


def test_quick_passes_are_measured_three_times() -> None:
    calls: list[int] = []

    class Watched(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            calls.append(len(input))
            return super().forward(input)

    assert image_seconds(nn.Sequential(Watched(4, 4)), torch.randn(20, 4)) > 0
    assert calls == [20, 20, 20]


def test_long_work_is_announced_before_it_and_silenced(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As if a pass of an image took ten seconds."""
    monkeypatch.setattr(
        "tensorpress.compression.metrics.input_metric.image_seconds", lambda *_: 10.0
    )
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(2))
    given = {
        "calibration": torch.randn(16, 3, 8, 8),
        "rank": tp.Energy(0.5),
        "recover": tp.Recovery(distil_epochs=0, statistics=False),
    }
    tp.compress(net, torch.zeros(1, 3, 8, 8), **given)  # type: ignore[arg-type]
    assert "for 1 layer and 16 images" in capfd.readouterr().err
    tp.compress(net, torch.zeros(1, 3, 8, 8), **given, progress=False)  # type: ignore[arg-type]
    assert capfd.readouterr().err == ""
