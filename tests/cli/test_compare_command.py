import contextlib
import json
import re
from pathlib import Path

import pytest
from command import Command

from tensorpress.cli.work.compare import _table
from tensorpress.experiments.paper import tables_on
from tensorpress.files import locked


@pytest.mark.usefixtures("measured_once")
def test_rows_are_printed_kept_and_not_done_again(tensorpress: Command, cifar: Path) -> None:
    asked = [
        *("compare", "--net", "my_nets.own:make", "--data", cifar, "--budget-macs", "1.3,900"),
        *("--methods", "spatial-svd,ttpwt,fpgm", "-o", "OUT"),
    ]
    answer = tensorpress(*asked)
    assert (answer.code, answer.err) == (0, "")
    for method in ("spatial-svd", "ttpwt", "fpgm"):
        assert f"{method} at FCR 1.3: " in answer.out
        assert f"{method} at FCR 900: FCR 900 cannot be reached" in answer.out
    assert "fpgm at FCR 900: FCR 900 cannot be reached by pruning" in answer.out
    assert "Methods at equal MACs" in answer.out
    rows = json.loads(Path("OUT/compare.json").read_text())["rows"]
    assert [row["acc"] is None for row in rows] == [False] * 3 + [True] * 3
    assert all(row["command"].startswith("tensorpress compare ") for row in rows)
    assert Path("OUT/compare.png").exists()
    page = Path("OUT/compare.md").read_text()
    assert "| spatial-svd |" in page
    assert "- ttpwt at FCR 900: FCR 900 cannot be reached" in page
    again = tensorpress(*asked)
    assert again.out == answer.out


def test_a_comparison_without_a_network_is_no_success(tensorpress: Command, cifar: Path) -> None:
    answer = tensorpress(
        *("compare", "--net", "my_nets.own:make", "--data", cifar, "--budget-macs", "900"),
        *("--methods", "spatial-svd,fpgm", "-o", "OUT"),
    )
    assert answer.code == 2
    assert "spatial-svd at FCR 900: FCR 900 cannot be reached" in answer.out
    assert answer.err.startswith("error: nothing was compared: none of the 2 rows")
    assert Path("OUT/compare.md").exists()


def test_the_papers_rows_are_marked_as_printed() -> None:
    lines = _table([], tables_on("resnet110", "cifar100")).splitlines()
    cells = [re.split(r"  +", line) for line in lines]
    assert ["PKP, printed", "2.37", "2.42", "-", "-", "-0.61", "-", "-", "-"] in cells
    assert ["TAS, printed", "2.11", "-", "-", "-", "-1.90", "-", "-", "-"] in cells
    assert sum(cell[0].endswith(", printed") for cell in cells) == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--methods", "ttpwt,magic"), "there is no 'magic'; there is auto, ttpwt"),
        (("--methods", "ttpwt, all ,magic"), "there is no 'magic'; there is auto, ttpwt"),
        (("--methods", "all,int8"), "torch computes in f32, bf16, not in int8"),
        (("--budget-macs", "4,x"), "--budget-macs: 'x' is no number"),
        (("--budget-macs", "4,nan"), "--budget-macs 4,nan: a ratio must be at least 1"),
        (("--budget-macs", "inf"), "--budget-macs inf: a ratio must be at least 1"),
        (("--budget-macs", "0.5"), "--budget-macs 0.5: a ratio must be at least 1"),
        (("--lr", "-1", "--epochs", "1"), "lr"),
        (("--runtime", "onnxruntim"), "no runtime 'onnxruntim'; there is"),
        (("--threads", "100000"), "threads=100000: give a whole number from 1 to 1,024"),
        (("--calibration-images", "5"), "at least 16 images, and 5 are asked for"),
        (("--teacher",), "--teacher: without --epochs nothing is fine-tuned: give --epochs"),
        (("--lr", "1", "--epochs", "0"), "--lr: without --epochs nothing is fine-tuned"),
        (
            ("--schedule", "cosine", "--optimizer", "adamw"),
            "--schedule and --optimizer: without --epochs nothing is fine-tuned",
        ),
    ],
)
def test_wrong_arguments(
    tensorpress: Command, cifar: Path, options: tuple[str, ...], message: str
) -> None:
    answer = tensorpress(
        "compare", "--net", "my_nets.own:make", "--data", cifar, "-o", "OUT", *options
    )
    assert answer.code == 2
    assert message in answer.err
    assert answer.err.count("\n") == 1
    assert not Path("OUT").exists()


@pytest.mark.parametrize("options", [(), ("--runtime", "onnxruntim")])
def test_mistakes_are_told_before_images_are_read(
    tensorpress: Command, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    read: list[object] = []
    monkeypatch.setattr("tensorpress.cli.work.compare.read_inputs", lambda *_, **__: read.append(1))
    with contextlib.suppress(AttributeError):  # nothing was read
        tensorpress("compare", "--net", "a.b:c", "--data", "digits", "-o", "OUT", *options)
    assert bool(read) == (not options)


def test_a_folder_in_use_is_refused(tensorpress: Command, cifar: Path) -> None:
    with locked(Path("OUT")):
        answer = tensorpress(
            *("compare", "--net", "my_nets.own:make", "--data", cifar, "-o", "OUT"),
        )
    assert answer.code == 2
    assert "OUT is in use by a live process" in answer.err
    assert not Path("OUT/compare.json").exists()


@pytest.mark.usefixtures("measured_once")
def test_a_budget_of_time_and_rounded_ranks_on_the_command_line(tensorpress: Command) -> None:
    answer = tensorpress(
        *("compress", "--net", "my_nets.own:make", "--budget-macs", 1.2, "--budget-ms", 100000),
        *("--threads", 1, "--batch", 2, "--round-to", 2, "-o", "out"),
    )
    assert (answer.code, answer.err) == (0, "")
    account = json.loads(Path("out/account.json").read_text())
    assert account["fcr"] >= 1.2
    assert [account["time"][key] for key in ("runtime", "threads", "batch")] == ["torch", 1, 2]
    ranks = [rank for layer in account["layers"] for rank in layer["ranks"] or ()]
    assert ranks
    assert all(rank % 2 == 0 for rank in ranks)
    refused = tensorpress("compress", "--net", "my_nets.own:make", "--budget-speedup", "-1")
    assert refused.code == 2
    assert "above 0" in refused.err


@pytest.mark.usefixtures("measured_once")
def test_a_time_that_is_kept_already_gives_no_advice_on_training(tensorpress: Command) -> None:
    ours = ("compress", "--net", "my_nets.own:make", "--budget-ms", 100000, "--threads", 1)
    unwritten = tensorpress(*ours).out
    assert "already within the budget: " in unwritten
    assert "not needed for the budget" in unwritten
    assert "fine-tuned" not in unwritten
    assert "--calibrate" not in unwritten
    written = tensorpress(*ours, "-o", "out").out
    assert "Its time: tensorpress bench" in written
    assert "finetune" not in written


@pytest.mark.usefixtures("measured_once")
def test_a_network_with_parametrisations(tensorpress: Command, cifar: Path) -> None:
    Path("normed.py").write_text(
        "from torch.nn.utils.parametrizations import weight_norm\n"
        "from my_nets.own import make as plain\n"
        "def make():\n"
        "    net = plain()\n"
        "    for module in list(net.modules()):\n"
        "        if type(module).__name__ == 'Conv2d':\n"
        "            weight_norm(module)\n"
        "    return net\n"
    )
    asked = ["compare", "--net", "normed:make", "--data", cifar, "--budget-macs", "1.3"]
    asked += ["--methods", "spatial-svd,fpgm"]
    answer = tensorpress(*asked, "-o", "OUT")
    assert answer.code == 2
    answer = tensorpress(*asked, "--fold-parametrizations", "-o", "FOLDED")
    assert (answer.code, answer.err) == (0, "")
    for method in ("spatial-svd", "fpgm"):
        assert f"{method} at FCR 1.3: " in answer.out
