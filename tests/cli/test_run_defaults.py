"""What `run` and `finetune` ask for by themselves, and with --paper."""

from typing import Any

import pytest
from command import Command

from tensorpress import training
from tensorpress.errors import TensorpressError
from tensorpress.training import PAPER, Distillation

RUN = ("run", "--net", "resnet20", "--data", "digits", "--energy", "0.5", "-o", "RUN")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the last command asked `run_scheme` for; nothing is run."""
    kept: dict[str, Any] = {}

    def catch(_folder: Any, _network: Any, _data: Any, request: Any, **given: Any) -> None:
        kept.update(given, request=request)
        raise TensorpressError("caught")

    monkeypatch.setattr(training, "run_scheme", catch)
    return kept


def test_what_helps_is_the_default(tensorpress: Command, asked: dict[str, Any]) -> None:
    assert "caught" in tensorpress(*RUN).err
    assert asked["request"].calibration.images == 1437  # all of digits
    assert asked["distillation"] == Distillation()
    assert (asked["finetune"].optimizer, asked["finetune"].schedule) == ("muon", "cosine")
    assert asked["train"] == PAPER["resnet20"].train


@pytest.mark.parametrize(("held_back", "images"), [(437, 1000), (1400, 37), (1430, 0)])
def test_only_images_that_train_calibrate(
    tensorpress: Command, asked: dict[str, Any], held_back: int, images: int
) -> None:
    told = tensorpress(*RUN, "--hold-back", held_back).out
    calibration = asked["request"].calibration
    assert (calibration.images if calibration else 0) == images
    assert ("NOT CALIBRATED: 7 training images are left" in told) == (images == 0)


def test_the_papers_scheme(tensorpress: Command, asked: dict[str, Any]) -> None:
    assert "caught" in tensorpress(*RUN, "--paper").err
    assert asked["request"].calibration is None
    assert asked["distillation"] is None
    assert (asked["train"], asked["finetune"]) == (
        PAPER["resnet20"].train,
        PAPER["resnet20"].finetune,
    )


@pytest.mark.parametrize("scheme", [(), ("--paper",)])
def test_options_win(tensorpress: Command, asked: dict[str, Any], scheme: tuple[str, ...]) -> None:
    options = ("--calibration-images", "64", "--teacher", "--finetune-lr", "0.5")
    tensorpress(*RUN, *scheme, *options)
    assert asked["request"].calibration.images == 64
    assert asked["distillation"] == Distillation()
    assert asked["finetune"].lr == 0.5
    tensorpress(*RUN, *scheme, "--calibration-images", "0", "--no-teacher")
    assert asked["request"].calibration is None
    assert asked["distillation"] is None
