import csv
import shutil
from pathlib import Path

import pytest
from command import Command
from reporting import NET

from tensorpress.artifacts import read_manifest
from tensorpress.report import known_without_networks, read_material, write_report

FIGURES = [
    *("accuracy.png", "curves.png", "forms.png", "loss.png", "macs.png", "params.png"),
    *("ranks.png", "spectra.png"),
]
TABLES = ["curves.csv", "layers.csv", "spectra.csv"]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_files_of_a_report(tensorpress: Command, run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "RUN")
    answer = tensorpress("report", folder, "--net", NET, "--no-time")
    assert (answer.code, answer.err) == (0, "")
    written = sorted(path.name for path in (folder / "report").iterdir() if path.name != ".lock")
    assert written == sorted([*FIGURES, *TABLES, "index.html"])
    for name in written:
        assert name in answer.out
    for name in FIGURES:
        content = (folder / "report" / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 5000


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorpress.report.write.can_plot", lambda: False)


@pytest.mark.usefixtures("no_figures")
def test_layers_csv_is_the_account(run: Path, tmp_path: Path) -> None:
    material = read_material(run)
    write_report(tmp_path / "PAGE", material, known_without_networks(material))
    account = read_manifest(run / "model.tp").account
    assert account is not None
    for row, layer in zip(read_csv(tmp_path / "PAGE/layers.csv"), account["layers"], strict=True):
        assert list(row) == [
            *("name", "kernel", "ranks", "kept_energy", "relative_error", "params_before"),
            *("params_after", "macs_before", "macs_after", "decision", "method"),
        ]
        for key, value in layer.items():
            if key == "ranks":
                assert row[key] == " ".join(map(str, value or ()))
            elif isinstance(value, str):
                assert row[key] == value
            else:
                assert (float(row[key]) if row[key] else None) == value


@pytest.mark.usefixtures("no_figures")
def test_curves_csv_is_the_metrics(run: Path, tmp_path: Path) -> None:
    material = read_material(run)
    write_report(tmp_path / "PAGE", material, known_without_networks(material))
    rows = read_csv(tmp_path / "PAGE/curves.csv")
    assert [(row["phase"], int(row["epoch"])) for row in rows] == [
        (phase, epoch)
        for phase, epochs in (("baseline", 2), ("finetune", 3), ("dense_control", 3))
        for epoch in range(1, epochs + 1)
    ]
    for row, epoch in zip(rows, material.epochs, strict=True):
        for key in ("lr", "loss", "train_acc", "test_acc", "seconds"):
            assert float(row[key]) == getattr(epoch, key)


@pytest.mark.usefixtures("no_figures")
def test_spectra_csv(tensorpress: Command, run: Path) -> None:
    tensorpress("report", run, "--net", NET, "--no-time", "-o", "PAGE")
    rows = read_csv(Path("PAGE/spectra.csv"))
    for name, entry in read_manifest(run / "model.tp").layers.items():
        for number, rank in enumerate(entry.ranks, 1):
            step = [r for r in rows if (r["layer"], r["step"]) == (name, str(number))]
            assert [int(row["rank"]) for row in step] == list(range(1, len(step) + 1))
            kept = [float(row["kept_energy"]) for row in step]
            assert kept == sorted(kept)
            assert kept[-1] == pytest.approx(1)
            assert [int(row["rank"]) for row in step if row["taken"] == "True"] == [rank]
            assert {row["threshold"] for row in step} == {"0.6"}


def test_without_matplotlib_the_page_is_written_all_the_same(
    tensorpress: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("report", run, "--net", NET, "--no-time", "-o", "PAGE")
    tensorpress(*arguments)
    assert sorted(path.name for path in Path("PAGE").glob("*.png")) == FIGURES
    for place in ("tensorpress.report.write.can_plot", "tensorpress.cli.work.report.can_plot"):
        monkeypatch.setattr(place, lambda: False)
    answer = tensorpress(*arguments)
    assert (answer.code, answer.err) == (0, "")
    assert "PNGs were left out: matplotlib is not installed" in answer.out
    # Those of the earlier report would stand beside a page of other numbers.
    assert not list(Path("PAGE").glob("*.png"))
    assert Path("PAGE/index.html").exists()


def test_the_same_report_has_the_same_bytes(run: Path, tmp_path: Path) -> None:
    material = read_material(run)
    for name in ("A", "B"):
        write_report(tmp_path / name, material, known_without_networks(material))
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "AB"
    )
    assert "index.html" in one
    assert one == two
