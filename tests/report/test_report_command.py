import json
import shutil
from pathlib import Path

import pytest
import torch
from command import Answer, Command
from reporting import NET

import tensorpress as tp
from tensorpress import report as pages


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorpress.report.write.can_plot", lambda: False)


def refused(answer: Answer) -> str:
    """The one line of an error."""
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
    return answer.err


def test_help_names_every_option(tensorpress: Command) -> None:
    answer = tensorpress("report", "--help")
    assert (answer.code, answer.err) == (0, "")
    for option in ("--net", "--weights", "--layer", "--batch", "--no-time", "--output"):
        assert option in answer.out


def test_what_is_no_run_is_refused(tensorpress: Command, run: Path, tmp_path: Path) -> None:
    assert "there is no nowhere: give the folder of a run" in refused(
        tensorpress("report", "nowhere")
    )
    (tmp_path / "empty").mkdir()
    assert "empty holds neither a run" in refused(tensorpress("report", "empty"))
    (tmp_path / "text.tp").write_text("no tensors")
    assert "text.tp cannot be read as a tensorpress file" in refused(
        tensorpress("report", "text.tp")
    )
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for content, words in (
        ('{"kind": "website"}', "is of no run of tensorpress: its kind is 'website'"),
        ('{"kind": ["run"]}', "is of no run of tensorpress"),
        ("[1, 2]", "holds no JSON object"),
        ("{", "cannot be read"),
        ('"' + "[" * 100_000, "cannot be read"),
        ("\udcff", "cannot be read"),
    ):
        (foreign / "config.json").write_bytes(content.encode("utf-8", "surrogateescape"))
        assert words in refused(tensorpress("report", "foreign"))
    assert sorted(path.name for path in foreign.iterdir()) == ["config.json"]
    assert not (run / "report").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("params_before", "many"), ("kept_energy", -1), ("ranks", [0]), ("name", None)],
)
def test_a_damaged_account_is_refused(
    tensorpress: Command, compressed: Path, tmp_path: Path, key: str, value: object
) -> None:
    folder = shutil.copytree(compressed, tmp_path / "OUT")
    facts = json.loads((folder / "account.json").read_text())
    facts["layers"][3][key] = value
    (folder / "account.json").write_text(json.dumps(facts))
    model = tp.load(folder / "model.tp", into=tp.networks.resnet20())
    tp.save(model, folder / "model.tp", source={"network": "resnet20"})
    message = refused(tensorpress("report", "OUT"))
    assert "account.json is damaged" in message
    assert f"its {key} is {value!r}" in message


def test_wrong_options_are_refused(
    tensorpress: Command,
    compressed: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(9)
    other = tmp_path / "other.th"
    torch.save(tp.networks.resnet20().state_dict(), other)
    quick = ("report", compressed, "--no-time", "-o", "PAGE")
    assert "is not what was compressed: at these ranks layer 'layer1.0.conv1' keeps" in refused(
        tensorpress(*quick, "--weights", other)
    )
    assert "there is no weight file" in refused(tensorpress(*quick, "--weights", "none.th"))
    assert "there are no spectra of a layer 'conv1'; there are: layer1.0.conv1" in refused(
        tensorpress(*quick, "--weights", weights, "--layer", "conv1")
    )
    with monkeypatch.context() as patched:
        patched.setattr(pages, "examine", None)  # what takes long is not come to
        assert "there are no spectra of a layer 'nosuch'; there are: layer1" in refused(
            tensorpress(*quick, "--weights", weights, "--layer", "nosuch")
        )
        assert "--layer layer1.0.conv1: The spectra need the weights" in refused(
            tensorpress(*quick, "--layer", "layer1.0.conv1")
        )
    assert "no network called 'vgg'" in refused(tensorpress(*quick, "--net", "vgg"))
    assert "too large to try" in refused(
        tensorpress("report", compressed, "--input-shape", "3,99999,99999", "-o", "PAGE")
    )
    assert "smaller --batch" in refused(
        tensorpress("report", compressed, "--net", "resnet20", "--batch", 10**9, "-o", "PAGE")
    )
    assert not Path("PAGE").exists()


def test_files_that_are_no_report_are_not_taken_for_an_earlier_one(
    tensorpress: Command, compressed: Path
) -> None:
    """It would write over some of its names, and remove those that it has no use for."""
    Path("plots").mkdir()
    for name in ("curves.csv", "accuracy.png"):
        mine = Path("plots", name)
        mine.write_text("mine")
        answer = tensorpress("report", compressed, "--no-time", "-o", "plots")
        assert f"plots/{name} is of something else" in refused(answer)
        assert [path.name for path in Path("plots").iterdir()] == [name]
        mine.unlink()


def test_the_page_goes_only_where_it_harms_nothing(
    tensorpress: Command, run: Path, compressed: Path
) -> None:
    assert "is the folder of a training run" in refused(tensorpress("report", run, "-o", run))
    Path("site").mkdir()
    Path("site/index.html").write_text("<!doctype html><title>my home page</title>")
    assert "is a page of something else" in refused(
        tensorpress("report", compressed, "--no-time", "-o", "site")
    )
    assert "my home page" in Path("site/index.html").read_text()
    for _ in range(2):  # a report is written over an earlier one
        assert tensorpress("report", compressed, "--no-time", "-o", "PAGE").code == 0


def test_by_default_it_stands_beside_what_it_is_about(
    tensorpress: Command, compressed: Path, tmp_path: Path
) -> None:
    shutil.copytree(compressed, tmp_path / "OUT")
    assert "written to OUT/report/index.html" in tensorpress("report", "OUT", "--no-time").out
    answer = tensorpress("report", "OUT/model.tp", "--no-time")
    assert "written to OUT/model-report/index.html" in answer.out


def test_a_run_can_go_on_after_a_report(tensorpress: Command, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "RUN")
    before = {path: path.read_bytes() for path in Path("RUN").iterdir() if path.is_file()}
    assert tensorpress("report", "RUN", "--net", NET, "--no-time").code == 0
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    "asked",
    [("--energy", "0.6", "--calibrate", "digits"), ("--method", "cp", "--budget-macs", "2")],
    ids=["by another norm", "by a search"],
)
def test_the_weights_that_were_compressed_are_known_again(
    tensorpress: Command, tmp_path: Path, asked: tuple[str, ...]
) -> None:
    from report_nets import tiny

    torch.manual_seed(3)
    torch.save(tiny().state_dict(), tmp_path / "w.pth")
    own = ("--net", NET, "--weights", "w.pth")
    few = ("--calibration-images", "32", "--no-recover") if "--calibrate" in asked else ()
    answer = tensorpress("compress", *own, "--input-shape", "1,8,8", *asked, *few, "-o", "OUT")
    assert answer.code == 0, answer.err
    answer = tensorpress("report", "OUT", *own, "--no-time", "-o", "PAGE")
    assert answer.code == 0, answer.err
