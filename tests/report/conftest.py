import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from command import Command, caller
from reporting import NET, NETS

import tensorpress as tp
from tensorpress.cli import main
from tensorpress.compression import Request
from tensorpress.data import load_data
from tensorpress.training import Network, Recipe, Settings, run_scheme


@pytest.fixture(scope="session")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on Python's path that holds report_nets.py."""
    folder = tmp_path_factory.mktemp("nets")
    (folder / "report_nets.py").write_text(NETS)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop("report_nets", None)


@pytest.fixture
def tensorpress(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], nets: Path, tmp_path: Path
) -> Command:
    """``tensorpress ARGUMENTS`` in this process, in an empty folder."""
    assert nets
    monkeypatch.chdir(tmp_path)
    return caller(monkeypatch, capfd)


@pytest.fixture(scope="session")
def run(nets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three phases on digits. Not to be changed: copy it."""
    from report_nets import tiny

    assert nets
    folder = tmp_path_factory.mktemp("runs") / "RUN"
    run_scheme(
        folder,
        Network(NET, tiny, built_trained=True),
        load_data("digits"),
        Request(rank=tp.Energy(0.6)),
        train=Recipe(2, lr=0.05),
        finetune=Recipe(3, lr=0.02, schedule="cosine"),
        dense_control=True,
        settings=Settings(seed=1, device="cpu", quiet=True),
    )
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a ResNet-20 that was never trained."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "resnet20.th"
    torch.save(tp.networks.resnet20().state_dict(), file)
    return file


@pytest.fixture(scope="session")
def compressed(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``tensorpress compress --net resnet20 --energy 0.6 -o OUT`` writes: copy it."""
    folder = tmp_path_factory.mktemp("compressed") / "OUT"
    arguments = f"compress --net resnet20 --weights {weights} --energy 0.6 -o {folder}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tensorpress", *arguments.split()])
        with pytest.raises(SystemExit) as stopped:
            main()
    assert not stopped.value.code
    return folder
