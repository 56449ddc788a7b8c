import json
import re
import shutil
from importlib import resources
from pathlib import Path

import pytest
import torch
from command import Command
from html_check import Element, check_page
from reporting import NET

import tensorpress as tp
from tensorpress.artifacts import read_manifest
from tensorpress.data import load_data
from tensorpress.report import build_page, examine, known_without_networks, read_material
from tensorpress.report.quantity import DASH, MINUS, TIMES
from tensorpress.training import Network, Recipe, Settings, finetune, train

HOSTILE = "</script><script>alert(1)</script>\"'&<img src=x onerror=alert(2)>\x00\x1b\ud800"


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take a second a report, and test_write looks at them."""
    monkeypatch.setattr("tensorpress.report.write.can_plot", lambda: False)


def report_of(tensorpress: Command, path: Path, *options: object) -> Element:
    answer = tensorpress("report", path, *options, "-o", "PAGE")
    assert (answer.code, answer.err) == (0, "")
    return check_page(Path("PAGE/index.html").read_text(encoding="utf-8"))


def rows(page: Element, caption: str) -> list[list[str]]:
    table = next(t for t in page.all("table") if caption in t.children[0].words)
    return [[cell.words for cell in row.children] for row in table.all("tr")]


@pytest.mark.usefixtures("measured_once")
def test_the_numbers_of_a_run_are_on_its_page(tensorpress: Command, run: Path) -> None:
    page = report_of(tensorpress, run, "--net", NET, "--batch", "2")
    facts = json.loads((run / "summary.json").read_text())
    cards = {
        card.all("h3")[0].words.removesuffix(" worse"): card
        for card in page.all("li")
        if card.all("h3")
    }
    assert f"{facts['pcr']:.2f}{TIMES}" in cards["Parameters"].words
    assert f"{facts['params_baseline']:,}" in cards["Parameters"].words
    assert f"{facts['params']:,}" in cards["Parameters"].words
    assert f"PCR {facts['pcr']:.2f}" in cards["Parameters"].words
    assert f"{facts['macs_baseline']:,}" in cards["MACs"].words
    assert f"{facts['macs']:,}" in cards["MACs"].words
    assert f"FCR {facts['fcr']:.2f}" in cards["MACs"].words
    accuracy = cards["Accuracy"].words
    for key in ("acc_baseline", "acc_before_finetune", "acc", "acc_dense_control"):
        assert f"{facts[key]:.2f}" in accuracy
    assert f"{facts['acc']:.2f} ± {facts['stderr']:.2f} %" in accuracy
    assert f"On {facts['images']} test images" in accuracy
    time = cards["Time here"].words
    assert re.search(r"dense [\d.]+ ms stored [\d.]+ ms planned [\d.]+ ms", time)
    assert f"Batch of 2, 1 thread, torch {torch.__version__}, f32" in time
    assert re.search(r"Planned, a batch of 2 takes [\d.]+ ms here, the dense network", page.words)
    assert "--planned 2 -o planned.pt2" in page.words
    assert "int8 was not timed: it needs images" in page.words
    assert "threads, torch" in time
    assert re.search(rf"\d{TIMES} (slower|faster|as fast), planned", time)


def test_the_account_and_the_epochs_are_on_the_page(tensorpress: Command, run: Path) -> None:
    page = report_of(tensorpress, run, "--net", NET, "--no-time")
    account = read_manifest(run / "model.tp").account
    assert account is not None
    body = rows(page, "Every layer before and after")[1:]
    assert [row[0] for row in body[: len(account["layers"])]] == [
        layer["name"] for layer in account["layers"]
    ]
    for shown, layer in zip(body, account["layers"], strict=False):
        assert shown[2].split() == ([str(r) for r in layer["ranks"]] if layer["ranks"] else [DASH])
        assert shown[5] == f"{layer['params_before']:,}"
        assert shown[8] == f"{layer['macs_after']:,}"
        assert shown[9] == layer["decision"]
    assert body[-1][5:9] == [
        f"{account[key]:,}"
        for key in ("params_before", "params_after", "macs_before", "macs_after")
    ]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    epochs = rows(page, "Every epoch")[1:]
    assert [(row[0], row[1], row[5]) for row in epochs] == [
        (line["phase"], str(line["epoch"]), f"{line['test_acc']:.2f}") for line in lines
    ]


def test_the_charts_by_layer_are_drawn_where_the_layers_stand(compressed: Path) -> None:
    material = read_material(compressed)
    page = check_page(build_page(material, known_without_networks(material)))
    assert material.account is not None
    rows = material.account.layers
    decomposed = [n for n, row in enumerate(rows) if row.method]
    assert 0 < len(decomposed) < len(rows)
    sections = {section.attributes.get("id"): section for section in page.all("section")}

    def middles(anchor: str, kind: str) -> list[float]:
        rects = [r for r in sections[anchor].all("rect") if r.attributes.get("class") == kind]
        drawn = [r for r in rects if str(r.attributes["x"]).endswith("%")]
        ends = [[float(str(r.attributes[k]).rstrip("%")) for k in ("x", "width")] for r in drawn]
        return [x + width / 2 for x, width in ends]

    def columns(numbers: list[int]) -> list[float]:
        return [100 * (n + 0.5) / len(rows) for n in numbers]

    stay = [n for n in range(len(rows)) if n not in decomposed]
    assert middles("forms", "f1") == pytest.approx(columns(decomposed), abs=0.02)
    assert middles("forms", "before") == pytest.approx(columns(stay), abs=0.02)
    assert middles("loss", "f1") == pytest.approx(columns(decomposed), abs=0.02)
    assert "ttpwt, 18 layers" in sections["forms"].words
    assert "Why layers stay: 1 of 2: first convolution" in sections["forms"].words


def test_accuracies_have_whiskers(run: Path) -> None:
    material = read_material(run)
    page = check_page(build_page(material, known_without_networks(material)))
    (section,) = (s for s in page.all("section") if s.attributes.get("id") == "accuracy")
    whiskers = [e for e in section.all("line") if "whisker" in str(e.attributes.get("class"))]
    assert len(whiskers) == 4
    heights = [float(str(e.attributes["y1"])) - float(str(e.attributes["y2"])) for e in whiskers]
    assert all(height > 0 for height in heights)


@pytest.mark.parametrize("command", ["tensorpress run --net 'a <b>'", None, 3])
def test_the_command_of_a_run(
    command: object, tensorpress: Command, run: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(run, tmp_path / "RUN")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "command": command}))
    page = report_of(tensorpress, folder, "--net", NET, "--no-time")
    if isinstance(command, str):
        assert page.all("pre")[0].words == command
        assert "The command as it was given" in page.words
    else:
        assert "--energy 0.6" in page.all("pre")[0].words
        assert "The command line is not recorded" in page.words


def test_a_run_of_before_requests_had_a_version(
    tensorpress: Command, run: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(run, tmp_path / "RUN")
    config = json.loads((folder / "config.json").read_text())
    held: dict[str, object] = {
        "method": "ttpwt",
        "rank": "Energy(tau=0.6)",
        "budget": None,
        "include": None,
    }
    held |= {"exclude": [], "skip_first": True, "linear": False, "balance": False}
    (folder / "config.json").write_text(json.dumps({**config, "compression": held}))
    pages = [report_of(tensorpress, it, "--net", NET, "--no-time") for it in (run, folder)]
    asked, before = (page.all("pre")[0].words for page in pages)
    assert before == asked.replace("--energy 0.6", "--energy 0.6 --method ttpwt")
    folds = [f for f in pages[1].all("details") if f.attributes.get("name") == "spectra"]
    assert all("threshold 0.6" in fold.words for fold in folds)
    assert folds


@pytest.mark.parametrize("rank", ["Energy(tau=7)", "__import__('os').getcwd()", {"rule": []}, 3])
def test_a_request_that_makes_no_sense_sets_no_threshold(
    rank: object, tensorpress: Command, run: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(run, tmp_path / "RUN")
    config = json.loads((folder / "config.json").read_text())
    asked = config["compression"] | {"rank": rank}
    for compression in (asked, {key: asked[key] for key in ("method", "rank")}):
        altered = json.dumps({**config, "compression": compression})
        (folder / "config.json").write_text(altered)
        page = report_of(tensorpress, folder, "--net", NET, "--no-time")
        folds = [fold for fold in page.all("details") if fold.attributes.get("name")]
        assert folds
        assert not any("threshold 0" in fold.words for fold in folds)
        assert "No command line is recorded." in page.words


def test_spectra_of_every_decomposed_layer(tensorpress: Command, run: Path) -> None:
    page = report_of(tensorpress, run, "--net", NET, "--no-time", "--layer", "5")
    manifest = read_manifest(run / "model.tp")
    folds = [fold for fold in page.all("details") if fold.attributes.get("name") == "spectra"]
    assert [fold.all("b")[0].words for fold in folds] == list(manifest.layers)
    assert [fold.all("b")[0].words for fold in folds if "open" in fold.attributes] == ["5"]
    for fold, entry in zip(folds, manifest.layers.values(), strict=True):
        table = [[cell.words for cell in row.children] for row in fold.all("tr")][1:]
        assert [int(row[1]) for row in table] == list(entry.ranks)
        assert all(float(row[3]) > 0.6 for row in table)
        assert {row[4] for row in table} == {"0.600"}
        charts = [svg for svg in fold.all("svg") if svg.attributes.get("role") == "img"]
        assert len(charts) == len(entry.ranks)
        assert all("threshold 0.6" in chart.words for chart in charts)


def test_training_alone_and_fine_tuning_alone(
    tensorpress: Command, run: Path, tmp_path: Path
) -> None:
    from report_nets import tiny

    common = {"settings": Settings(device="cpu", quiet=True)}
    network, data = Network(NET, tiny, built_trained=True), load_data("digits")
    train(tmp_path / "T", network, data, Recipe(1, lr=0.1), **common)
    page = report_of(tensorpress, tmp_path / "T", "--net", NET, "--batch", "1")
    facts = json.loads((tmp_path / "T/summary.json").read_text())
    for text in (f"{facts['params']:,} parameters", f"{facts['acc']:.2f}", "Batch of 1"):
        assert text in page.words
    assert "Ranks" not in page.words
    assert "tensorpress train --net report_nets:tiny" in page.all("pre")[0].words

    finetune(
        tmp_path / "F",
        network,
        run / "model.tp",
        data,
        Recipe(1, lr=0.1),
        teacher=network,
        **common,
    )
    page = report_of(tensorpress, tmp_path / "F", "--net", NET, "--no-time")
    facts = json.loads((tmp_path / "F/summary.json").read_text())
    for text in (
        f"{facts['params']:,}",
        f"{facts['acc']:.2f}",
        f"{facts['acc_before_finetune']:.2f}",
        f"{facts['acc_baseline']:.2f}",
    ):
        assert text in page.words
    assert "Ranks along the network" in page.words
    assert "tensorpress finetune" in page.all("pre")[0].words


def test_compress_output_needs_weights_for_its_spectra(
    tensorpress: Command, compressed: Path, weights: Path
) -> None:
    page = report_of(tensorpress, compressed, "--no-time")
    assert "give them with --weights FILE" in page.words
    assert not [fold for fold in page.all("details") if fold.attributes.get("name")]
    given = json.loads((compressed / "account.json").read_text())["command"]
    assert str(weights) in given
    assert page.all("pre")[0].words == given
    assert "The command as it was given" in page.words
    page = report_of(tensorpress, compressed, "--no-time", "--weights", weights)
    assert "give them with --weights FILE" not in page.words
    assert [fold for fold in page.all("details") if fold.attributes.get("name")]


def test_accuracies_of_compress(tensorpress: Command, compressed: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(compressed, tmp_path / "OUT")
    facts = json.loads((folder / "account.json").read_text())
    facts |= {"acc_baseline": 93.43, "acc": 15.11, "stderr": 1.3, "images": 761}
    (folder / "account.json").write_text(json.dumps(facts))
    page = report_of(tensorpress, folder, "--no-time")
    assert "15.11 ± 1.30 %" in page.words
    assert f"{MINUS}78.32 points" in page.words
    assert "not fine-tuned" in page.words
    del facts["acc"]
    (folder / "account.json").write_text(json.dumps(facts))
    page = report_of(tensorpress, folder, "--no-time")
    assert "The dense network gets 93.43 % of the test images right." in page.words
    assert "It gets" not in page.words


def test_an_account_json_of_an_older_version(
    tensorpress: Command, compressed: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(compressed, tmp_path / "OUT")
    facts = json.loads((folder / "account.json").read_text())
    del facts["request"], facts["command"]
    (folder / "account.json").write_text(json.dumps(facts))
    model = tp.load(folder / "model.tp", into=tp.networks.resnet20())
    tp.save(model, folder / "model.tp", source={"network": "resnet20"})
    page = report_of(tensorpress, folder, "--no-time")
    assert len(rows(page, "Every layer")) == len(facts["layers"]) + 3
    assert f"PCR {facts['pcr']:.2f}" in page.words
    assert "No command line is recorded." in page.words


def test_a_file_alone(tensorpress: Command, compressed: Path) -> None:
    page = report_of(tensorpress, compressed / "model.tp", "--no-time")
    assert page.all("h1")[0].words == "resnet20"
    assert "The command line is not recorded" in page.words
    assert "tensorpress compress --net resnet20 --weights FILE" in page.all("pre")[0].words
    assert rows(page, "Every layer")


def test_a_file_without_an_account(tensorpress: Command, tmp_path: Path) -> None:
    from report_nets import tiny

    model = tp.compress(tiny(), torch.zeros(1, 1, 8, 8), rank=tp.Energy(0.6)).model
    source = {"network": NET, "input_shape": [1, 8, 8], "num_classes": 10}
    tp.save(model, tmp_path / "old.tp", source=source)
    page = report_of(tensorpress, tmp_path / "old.tp")
    assert "An account by layer is not recorded" in page.words
    assert "The network was not built" in page.words
    assert "name it with --net" in page.words
    assert [row[0] for row in rows(page, "The decomposed layers")[1:]] == ["2", "5"]
    page = report_of(tensorpress, tmp_path / "old.tp", "--net", NET, "--no-time")
    assert "counted for the report" in page.words
    assert [row[0] for row in rows(page, "Every layer")[1:-2]] == ["0", "2", "5", "9"]


def test_a_network_built_with_other_weights_shows_no_spectra(run: Path) -> None:
    def other() -> torch.nn.Module:
        from report_nets import tiny

        net = tiny()
        with torch.no_grad():
            net[2].weight[:, 0] *= 9
        return net

    network = Network(NET, other, built_trained=True)
    material = read_material(run)
    findings = examine(material, network, (1, 8, 8), batch=1, machine="", timed=False)
    assert not findings.spectra
    assert "the network as it is built is not what was compressed" in findings.notes[0]
    page = check_page(build_page(material, findings))
    assert "There are none on this page" in page.words


def test_an_unfinished_run_says_so(tensorpress: Command, run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "RUN")
    (folder / "summary.json").unlink()
    phases = json.loads((folder / "phases.json").read_text())
    assert list(phases) == ["baseline", "compress", "finetune", "dense_control"]
    stops = {
        "dense_control": "dense_control (3 of 3 epochs done).",
        "finetune": "finetune (3 of 3 epochs done), then dense_control.",
        "compress": "compress, then finetune and dense_control.",
        "baseline": "baseline (2 of 2 epochs done), then compress and finetune and dense_control.",
    }
    for phase, waiting in stops.items():
        del phases[phase]
        (folder / "phases.json").write_text(json.dumps(phases))
        if phase == "finetune":
            (folder / "model.tp").unlink()
        if phase == "compress":
            (folder / "compressed.tp").unlink()
        page = report_of(tensorpress, folder, "--no-time", "--net", NET)
        assert f"This run is not finished. Still to do: {waiting}" in page.words
    (folder / "metrics.jsonl").unlink()
    (folder / "phases.json").unlink()
    page = report_of(tensorpress, folder, "--no-time")
    assert "baseline (0 of 2 epochs done)" in page.words


def test_hostile_files_stay_text(tensorpress: Command, run: Path, tmp_path: Path) -> None:
    from report_nets import tiny

    folder = shutil.copytree(run, tmp_path / "RUN")

    def spoil(value: object) -> object:
        if isinstance(value, dict):
            return {
                key if key in KEYS else key + HOSTILE: spoil(inner) if key != "kind" else inner
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [spoil(inner) for inner in value]
        return value + HOSTILE if isinstance(value, str) else value

    for name in ("config.json", "phases.json", "summary.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(spoil(content)))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(spoil(x)) + "\n" for x in lines))
    (folder / "results.json").write_text(json.dumps([{"command": "tensorpress " + HOSTILE}]))
    model = tp.load(folder / "model.tp", into=tiny())
    account = spoil(read_manifest(folder / "model.tp").account)
    clean = json.loads(json.dumps(account).replace("\\ud800", ""))
    tp.save(model, folder / "model.tp", source={"network": HOSTILE[:-1]}, account=clean)

    page = report_of(tensorpress, folder)
    scripts = page.all("script")
    assert len(scripts) == 1
    assert "alert(1)" in page.words
    assert "alert(1)" in page.all("h1")[0].words
    assert not page.all("img")


KEYS = (
    *("kind", "train", "compression", "finetune", "distillation", "dense_control", "network"),
    *("name", "weights_sha256", "data", "seed", "epochs", "acc", "stderr", "images", "params"),
    *("macs", "pcr", "fcr", "phase", "epoch", "loss", "test_acc", "train_acc", "baseline"),
    *("compress", "versions", "request", "rank", "budget", "layers", "kernel", "ranks"),
    *("kept_energy", "relative_error", "decision", "params_before", "params_after"),
    *("macs_before", "macs_after", "lr", "seconds"),
)


def test_the_policy_of_the_page_lets_only_its_own_script_run(compressed: Path) -> None:
    material = read_material(compressed)
    text = build_page(material, known_without_networks(material))
    policy = next(
        meta.attributes["content"]
        for meta in check_page(text).all("meta")
        if meta.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_contrast_is_aa(mode: int) -> None:
    style = resources.files("tensorpress.report").joinpath("style.css").read_text()
    block = re.findall(r":root \{(.*?)\}", style, re.S)[mode]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", block))
    for ground in ("page", "sheet"):
        for text in ("ink", "soft", "accent", "bad"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for drawn in (*(f"s{n}" for n in range(1, 9)), "before", "stored", "after"):
            assert contrast(colours[drawn], colours[ground]) >= 3.0, (drawn, ground)
    assert contrast(colours["notice-ink"], colours["notice"]) >= 4.5
