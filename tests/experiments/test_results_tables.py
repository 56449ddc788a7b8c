"""Measured rows for people: seeds gathered, controls found, printed rows beside ours."""

import dataclasses

import pytest

from tensorpress.experiments import Result, markdown
from tensorpress.experiments.results_page import gathered, plot_results, plots

ROW = Result(
    network="resnet56",
    data="cifar10",
    method="auto at PCR 4 and FCR 4, calibrated on 2,000 images, distilled",
    recipe="Muon",
    pcr=4.0,
    fcr=4.2,
    acc_baseline=93.0,
    acc=92.0,
    dacc=-1.0,
    dacc_vs_control=None,
    images=10_000,
    stderr=0.31,
    epochs=8,
    seed=0,
    command="tensorpress finetune",
    machine="a machine",
    baseline="net.th (sha256 01234567)",
)
CONTROL = dataclasses.replace(ROW, method="dense, trained on", pcr=1.0, fcr=1.0, acc=93.5, dacc=0.5)


def seeds(*accuracies: float) -> list[Result]:
    return [
        dataclasses.replace(ROW, seed=seed, acc=acc, dacc=acc - 93.0)
        for seed, acc in enumerate(accuracies)
    ]


def test_seeds_are_gathered_to_their_mean_and_its_standard_error() -> None:
    (runs,) = gathered(seeds(91.0, 92.0, 93.0))
    assert (runs.accuracy, runs.dacc) == (92.0, -1.0)
    assert runs.stderr == pytest.approx(1.0 / 3**0.5)
    assert runs.numbers == (1, 2, 3)
    assert gathered([ROW])[0].stderr == ROW.stderr


def test_controls_are_those_of_the_same_baseline_and_epochs() -> None:
    second = dataclasses.replace(CONTROL, seed=1, acc=94.5, dacc=1.5)
    longer = dataclasses.replace(CONTROL, epochs=20, acc=99.0)
    other = dataclasses.replace(CONTROL, baseline="another", acc=10.0)
    runs, control, *_ = gathered([ROW, CONTROL, second, longer, other])
    assert runs.dacc_vs_control == pytest.approx(92.0 - 94.0)
    assert runs.worse_dacc == runs.dacc_vs_control
    assert (control.dacc_vs_control, control.worse_dacc) == (None, 1.0)
    assert gathered([ROW])[0].worse_dacc == -1.0


def test_controls_are_those_of_the_same_recipe() -> None:
    slower = [
        dataclasses.replace(row, recipe="Muon at 0.0005", acc=row.acc + 1, dacc=0.0)
        for row in (ROW, CONTROL)
    ]
    sgd = dataclasses.replace(CONTROL, recipe="SGD at 0.1, in steps", acc=10.0)
    found = {runs.any.name: runs for runs in gathered([ROW, CONTROL, *slower, sgd])}
    assert found[ROW.name].dacc_vs_control == 92.0 - 93.5
    assert found[slower[0].name].dacc_vs_control == 93.0 - 94.5
    by_sgd = dataclasses.replace(
        ROW, method="TTPWT at PCR 4", recipe=sgd.recipe, is_int8=True, acc=12.0
    )
    assert gathered([by_sgd, CONTROL, sgd])[0].dacc_vs_control == 2.0


def test_a_row_that_brings_its_own_difference_to_a_control_keeps_it() -> None:
    rows = [dataclasses.replace(row, dacc_vs_control=-1.5 - row.seed) for row in seeds(91.0, 93.0)]
    (runs,) = gathered(rows)
    assert runs.dacc_vs_control == runs.worse_dacc == -2.0
    assert "| -2.00 |" in markdown(rows)
    rows[0] = dataclasses.replace(rows[0], dacc_vs_control=None)
    assert gathered(rows)[0].dacc_vs_control is None
    assert gathered([*rows, CONTROL])[0].dacc_vs_control == 92.0 - 93.5


def test_the_page_has_printed_rows_ours_and_every_command() -> None:
    text = markdown([*seeds(91.0, 93.0), CONTROL])
    lines = text.splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert "| HT-2, printed | 3.98 |  |  | +0.06 |  |  |  |  |" in table
    ours = next(line for line in table if line.startswith("| auto"))
    assert "| 4.00 | 4.20 | 92.00 ± 1.00 | -1.00 | -1.50 | 8 | 2 | 1, 2 |" in ours
    assert "Baseline: 93.00 %, net.th (sha256 01234567)." in lines
    assert text.count("`tensorpress finetune`") == 3
    assert "not run" not in text
    assert "not run" in markdown([ROW])


def test_a_baseline_that_is_rounded_elsewhere_is_told_once() -> None:
    other = dataclasses.replace(ROW, acc_baseline=93.02, dacc=ROW.acc - 93.02, epochs=3)
    lines = markdown([ROW, other]).splitlines()
    told = "Baseline: 93.00 to 93.02 % by the machine, net.th (sha256 01234567)."
    assert [line for line in lines if line.startswith("Baseline")] == [told]


def test_networks_and_data_have_tables_and_plots_of_their_own(tmp_path) -> None:
    other = dataclasses.replace(ROW, network="resnet56-projection", data="cifar100")
    rows = [*seeds(91.0, 93.0), CONTROL, other]
    rows += [
        dataclasses.replace(ROW, is_int8=True),
        dataclasses.replace(
            ROW, method="TTPWT at PCR 4 and FCR 4", recipe="", epochs=0, acc=10.0, dacc=-83.0
        ),
    ]
    assert [line for line in markdown(rows).splitlines() if line.startswith("###")] == [
        "### resnet56, cifar10",
        "### resnet56-projection, cifar100",
        "### Commands and machines, row by row",
    ]
    found = plots(rows)
    assert list(found) == [
        "results-resnet56-cifar10.png",
        "results-resnet56-projection-cifar100.png",
    ]
    pcr, fcr = found["results-resnet56-cifar10.png"]
    assert [line.name for line in pcr.lines] == [
        "auto, calibrated, 8 epochs",
        "HT-2, printed",
    ]
    assert list(pcr.lines[0].points) == [(4.0, -1.5)]  # to the control, which is the worse one
    assert [line.name for line in fcr.lines] == [pcr.lines[0].name]  # no FCR is printed
    printed = [line.name for line in found["results-resnet56-projection-cifar100.png"][0].lines]
    assert "TTPWT (0.55), printed" in printed
    assert "epochs.png" not in markdown(rows)
    plot_results(rows, tmp_path)
    for name in found:
        assert (tmp_path / name).stat().st_size > 1000
        assert f"]({name})" in markdown(rows)


def test_the_course_of_training_is_drawn_as_the_mean_of_its_seeds(tmp_path) -> None:
    first, second = seeds(91.0, 93.0)
    rows = [
        dataclasses.replace(first, curve=(80.0, 90.0, 91.0)),
        dataclasses.replace(second, curve=(80.0, 91.0, 93.0)),
        dataclasses.replace(ROW, seed=2),
        dataclasses.replace(ROW, seed=3, curve=(80.0, 1.0)),  # of a run whose metrics were damaged
        dataclasses.replace(CONTROL, curve=(93.0, 92.0, 93.5)),
    ]
    name = "results-resnet56-cifar10-epochs.png"
    (chart,) = plots(rows)[name]
    assert [(line.name, [*line.points]) for line in chart.lines] == [
        ("auto at PCR 4 and FCR 4, 8 epochs", [(0, 80.0), (1, 90.5), (2, 92.0)]),
        ("dense, trained on, 8 epochs", [(0, 93.0), (1, 92.0), (2, 93.5)]),
    ]
    assert [level.value for level in chart.levels] == [93.0]
    plot_results(rows, tmp_path)
    assert (tmp_path / name).stat().st_size > 1000
    assert f"]({name})" in markdown(rows)


def test_lines_that_differ_have_names_and_series_that_differ() -> None:
    at = " at PCR {0:g} and FCR {0:g}, "
    told = {
        "auto" + at + "calibrated on 2,000 images, distilled": "auto, calibrated, distilled",
        "TTPWT" + at + "distilled": "TTPWT, distilled",
        "TTPWT" + at + "calibrated on 2,000 images, distilled": "TTPWT, calibrated, distilled",
        "TTPWT" + at + "calibrated on 2,000 images": "TTPWT, calibrated",
        "TTPWT with Ranks(3, 5, 4), distilled": "TTPWT with Ranks(3, 5, 4), distilled",
    }
    rows = [
        dataclasses.replace(
            ROW,
            network="tt_conv_cnn",
            method=method.format(ratio),
            pcr=ratio,
            fcr=ratio,
            curve=(80.0, 92.0),
        )
        for method in told
        for ratio in ((3.0, 5.0) if "{0" in method else (2.0,))
    ]
    untrained = [  # whose recipe, which they have not, does not make the others' names longer
        dataclasses.replace(ROW, network="tt_conv_cnn", method=method, recipe="", epochs=0)
        for method in ("TTPWT at PCR 4, balanced", "TTPWT at PCR 4")
    ]
    found = plots([*rows, *untrained])
    pcr, fcr = found["results-tt_conv_cnn-cifar10.png"]
    ours = [f"{name}, 8 epochs" for name in told.values()]
    assert [line.name for line in pcr.lines[: len(told)]] == ours
    assert [len(line.points) for line in pcr.lines[: len(told)]] == [2, 2, 2, 2, 1]
    two = [line.name for line in pcr.lines[len(told) :][:2]]
    assert two == ["TTPWT, balanced, 0 epochs", "TTPWT, 0 epochs"]
    series = {line.name: line.series for line in pcr.lines}
    assert len(series) == len(set(series.values())) == len(pcr.lines)
    assert {line.name: line.series for line in fcr.lines}.items() <= series.items()
    (course,) = found["results-tt_conv_cnn-cifar10-epochs.png"]
    assert len({line.name for line in course.lines}) == len(rows)
    assert max(len(line.name or "") for chart in (pcr, fcr, course) for line in chart.lines) <= 60


def test_controls_of_several_recipes_are_told_apart_in_the_plot() -> None:
    rows = [
        dataclasses.replace(CONTROL, recipe=recipe, curve=(93.0, 93.5))
        for recipe in ("SGD at 0.1", "Muon", "AdamW at 0.002")
    ]
    (course,) = plots(rows)["results-resnet56-cifar10-epochs.png"]
    assert len({line.name for line in course.lines}) == 3


def test_what_gains_is_drawn_above_the_dense_network() -> None:
    gained = dataclasses.replace(
        ROW,
        network="own",
        method="auto at FCR 2",
        recipe="",
        pcr=0.9,
        fcr=2.0,
        dacc=2.0,
        curve=(95.0, 95.5),
    )
    found = plots([gained])
    for chart in (*found["results-own-cifar10.png"], *found["results-own-cifar10-epochs.png"]):
        assert chart.y.low <= chart.levels[0].value <= chart.y.high
        assert all(chart.x.low <= x <= chart.x.high for line in chart.lines for x, _ in line.points)


def test_baselines_of_a_network_have_tables_and_plots_of_their_own() -> None:
    other = {"baseline": "another.th (sha256 76543210)", "acc_baseline": 80.0, "acc": 79.0}
    rows = [dataclasses.replace(row, curve=(85.0, row.acc)) for row in (ROW, CONTROL)]
    rows += [dataclasses.replace(row, **other, dacc=-1.0) for row in rows]
    text = markdown(rows)
    assert [line for line in text.splitlines() if line.startswith(("### r", "Baseline"))] == [
        "### resnet56, cifar10",
        "Baseline: 93.00 %, net.th (sha256 01234567).",
        "### resnet56, cifar10, baseline 2",
        "Baseline: 80.00 %, another.th (sha256 76543210).",
    ]
    stems = ["results-resnet56-cifar10", "results-resnet56-cifar10-2"]
    found = plots(rows)
    assert list(found) == [f"{stem}{what}.png" for stem in stems for what in ("", "-epochs")]
    assert all(f"]({name})" in text for name in found)
    levels = [found[f"{stem}-epochs.png"][0].levels[0].value for stem in stems]
    assert levels == [93.0, 80.0]
    assert len(found[f"{stems[1]}.png"][0].lines[0].points) == 1
