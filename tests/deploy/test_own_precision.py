"""What runtimes compute in by themselves, and what is said where a plan asks for another."""

import dataclasses
from pathlib import Path

import pytest
import torch
from plan_nets import PLANNED, conv
from torch import nn

import tensorpress as tp
from tensorpress.deploy import FORMATS, RUNTIMES, PlanTable, export
from tensorpress.deploy import check as check_module
from tensorpress.deploy.formats import Run
from tensorpress.deploy.planning import plan as plan_module
from tensorpress.deploy.planning.clock import ChainClock
from tensorpress.deploy.planning.setting import tolerance_of
from tensorpress.deploy.runtimes import Setting
from tensorpress.deploy.runtimes.graph_runtime import GraphRuntime
from tensorpress.layers import Factorized

pytestmark = pytest.mark.usefixtures("measured_once")


@pytest.fixture
def half_by_itself(monkeypatch: pytest.MonkeyPatch) -> list[Setting]:
    """An OpenVINO that says it computes in bfloat16 by itself; what it is asked for is noted."""
    pytest.importorskip("openvino")
    kind = RUNTIMES["openvino"]
    assert isinstance(kind, GraphRuntime)
    monkeypatch.setattr(type(kind), "own_precision", lambda _: "bf16")
    asked: list[Setting] = []
    load = kind.load

    def note(model, feed, setting, *, profiled=False):  # type: ignore[no-untyped-def]
        asked.append(setting)
        return load(model, feed, Setting(setting.threads, "f32"), profiled=profiled)

    monkeypatch.setattr(kind, "load", note)
    return asked


def net_and_input() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    net, example = PLANNED["residual"]()
    return net.eval(), example


def test_a_plan_takes_the_precision_that_the_runtime_takes(half_by_itself: list[Setting]) -> None:
    net, example = net_and_input()
    plan = tp.plan(net, example, runtime="openvino", threads=1, cache=False)
    assert plan.setting.precision == "bf16"
    assert {setting.precision for setting in half_by_itself} == {"bf16"}
    assert "1 thread, bf16, batch 2" in str(plan)
    assert "own dense" not in plan.table.whole
    assert plan.difference is not None
    assert plan.difference <= tolerance_of("bf16")
    last = str(plan).splitlines()[-1]
    assert last.startswith("bf16: differs from float32 by ")
    assert last.endswith(" of the largest output, where 0.2 is let pass")


def test_another_precision_is_compared_with_it(half_by_itself: list[Setting]) -> None:
    net, example = net_and_input()
    plan = tp.plan(net, example, runtime="openvino", threads=1, precision="f32", cache=False)
    assert {setting.precision for setting in half_by_itself} == {"f32", "bf16"}
    assert plan.table.whole.keys() == {"plan", "dense", "chain", "own dense", "own chain"}
    assert plan.table.setting["own"] == "bf16"
    assert "in bf16, as openvino runs it by itself: dense " in str(plan)
    again = PlanTable.from_dict(plan.table.to_dict())
    assert (again, str(again)) == (plan.table, str(plan.table))


def test_a_budget_of_time_is_measured_in_it(half_by_itself: list[Setting]) -> None:
    chain = conv(3, 6, 3)
    assert isinstance(chain, Factorized)
    clock = ChainClock(chain, torch.randn(2, 3, 8, 9), runtime="openvino", threads=1, batch=None)
    clock.network_seconds({"": chain})
    assert {setting.precision for setting in half_by_itself} == {"bf16"}


@pytest.mark.usefixtures("half_by_itself")
def test_a_file_is_run_in_it_too(tmp_path: Path) -> None:
    net, example = net_and_input()
    report = export(net, tmp_path / "net.xml", example)
    assert [check.precision for check in report.checks] == ["f32"] * 3 + ["bf16"]
    assert str(report).count(" in bf16") == 1


@pytest.mark.usefixtures("half_by_itself")
@pytest.mark.parametrize("planned", [False, True])
def test_a_file_is_held_to_float32_in_float32_alone(
    planned: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the runtime does by itself may be off by a hundredth, also of a planned file."""
    kind = FORMATS["openvino"]

    def roughly(path: Path) -> Run:
        run = kind.read(path)
        return lambda feed: [1.01 * output for output in run(feed)]

    monkeypatch.setitem(FORMATS, "openvino", dataclasses.replace(kind, read_by_itself=roughly))
    net, example = net_and_input()
    report = export(net, tmp_path / "net.xml", example, planned=planned, progress=False)
    exact = [check.difference for check in report.checks if check.precision == "f32"]
    rough = [check.difference for check in report.checks if check.precision == "bf16"]
    assert exact
    assert max(exact) < 1e-4
    assert rough == [pytest.approx(0.01, rel=0.1)]


@pytest.mark.usefixtures("half_by_itself")
def test_what_is_too_far_off_in_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    net, example = net_and_input()
    exact = check_module.relative_difference
    monkeypatch.setattr(check_module, "relative_difference", lambda *_: 0.3)
    with pytest.raises(tp.TensorpressError, match=r"they differ by 3\.0e-01"):
        export(net, tmp_path / "net.xml", example)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(check_module, "relative_difference", exact)
    monkeypatch.setattr(plan_module, "relative_difference", lambda *_: 0.3)
    with pytest.raises(tp.TensorpressError, match=r"more than 0\.2"):
        tp.plan(net, example, runtime="openvino", threads=1, cache=False)


def test_openvino_is_asked_for_it() -> None:
    openvino = pytest.importorskip("openvino")
    wanted = openvino.Core().get_property("CPU", "INFERENCE_PRECISION_HINT").get_type_name()
    assert RUNTIMES["openvino"].own_precision() == wanted
    assert {kind.own_precision() for n, kind in RUNTIMES.items() if n != "openvino"} == {"f32"}
