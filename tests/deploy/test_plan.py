"""Plans give what the network gives, in every runtime, and say how."""

import copy
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from plan_nets import PLANNED, conv, norm
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves

import tensorpress as tp
from tensorpress.deploy import RUNTIMES, Plan, PlanRow, PlanTable
from tensorpress.deploy.execution import Execution, factorized_layers
from tensorpress.deploy.feed import read_feed
from tensorpress.deploy.latency import interleaved_times
from tensorpress.deploy.planning.clock import ChainClock
from tensorpress.deploy.planning.measure import fastest
from tensorpress.deploy.runtimes import Setting, torch_eager
from tensorpress.deploy.runtimes import runtime as runtime_module
from tensorpress.deploy.runtimes.processor import computes_in_bf16
from tensorpress.deploy.runtimes.torch_compiled import own_code
from tensorpress.deploy.runtimes.torch_eager import TorchRunner
from tensorpress.layers import Factorized, plain_chain

IMAGE = torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(0))
GRAPHS = ["onnxruntime", "openvino"]
ALL = ["torch", *GRAPHS]
ALIKE = [
    ("onnxruntime", "two_users"),
    *(("openvino", name) for name in ("two_users", "tied", "depends_on_the_batch", "dense")),
]
"""What need not be asked of every runtime: graphs without a node that others do not have."""


pytestmark = pytest.mark.usefixtures("measured_once")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache, so that the runtimes share the graphs of the same networks."""
    return tmp_path_factory.mktemp("graphs")


def needs(runtime: str) -> None:
    for package in {"onnxruntime": ["onnx"], "openvino": ["onnx", "openvino"]}.get(runtime, []):
        pytest.importorskip(package)
    if runtime == "onnxruntime":
        pytest.importorskip("onnxruntime")


def planned(net: nn.Module, inputs: Any, runtime: str = "torch", **options: Any) -> Plan:
    needs(runtime)
    return tp.plan(net, inputs, runtime=runtime, **{"threads": 1, "cache": False, **options})


def leaves(outputs: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]


def assert_equal(found: Any, expected: Any) -> None:
    for output, reference in zip(leaves(found), leaves(expected), strict=True):
        output, reference = output.detach(), reference.detach()
        assert output.shape == reference.shape
        assert float((output - reference).abs().max()) <= 1e-4 * float(reference.abs().max())


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(
    ("runtime", "name"),
    [(runtime, name) for runtime in ALL for name in PLANNED if (runtime, name) not in ALIKE],
)
def test_a_plan_gives_what_the_network_gives(runtime: str, name: str, graphs: Path) -> None:
    net, example = PLANNED[name]()
    net.train()
    before = copy.deepcopy(net.state_dict())
    plan = planned(net, example, runtime, precision="f32", cache=graphs / name)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    net.eval()
    chains = factorized_layers(net)
    assert [row.name for row in plan.table.rows] == list(chains)
    with torch.no_grad():
        expected = net(example)
        inputs = torch.randn(3, *example.shape[1:])
        assert_equal(plan(example), expected)
        assert_equal(plan(inputs), net(inputs))
    for choice in (plan.stored, {row.name: next(iter(row.seconds)) for row in plan.table.rows}):
        if choice != plan.choice:
            assert_equal(plan.executed(choice)(example), expected)
    for row in plan.table.rows:
        ways = list(row.seconds)
        assert ways[0].is_dense
        length = len(plain_chain(chains[row.name]))
        assert row.stored == plan.stored[row.name] == Execution((1,) * length)
        assert row.chosen in ways
        assert min(row.seconds.values()) > 0 or name == "linears"  # OpenVINO fuses small ones
    plan_is_dense = all(row.chosen.is_dense for row in plan.table.rows)
    plan_is_chain = all(row.chosen == row.stored for row in plan.table.rows)
    if not (plan_is_dense or plan_is_chain):
        for row in plan.table.rows:
            assert row.seconds[row.chosen] == min(row.seconds.values())
    # Where the processor has bfloat16, what OpenVINO does by itself may well be faster.
    in_f32 = [taken for way, taken in plan.table.whole.items() if not way.startswith("own ")]
    assert plan.table.whole["plan"] == min(in_f32)
    again = PlanTable.from_dict(json.loads(json.dumps(plan.table.to_dict())))
    assert (again, str(again)) == (plan.table, str(plan))


class Two(nn.Module):
    """Inputs by keyword, one of them optional and one of whole numbers; several outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = conv(3, 4, 3), conv(1, 4, 3)

    def forward(self, a: Tensor, b: Tensor, index: Tensor, c: Tensor | None = None) -> Any:
        both = self.left(input=a) + self.right(b)
        both = both if c is None else both * c
        return {"rows": both[:, index], "both": (both, a), "whole": index + 1}


@pytest.mark.parametrize(
    ("runtime", "by_keyword"), [("torch", False), *((runtime, True) for runtime in ALL)]
)
def test_several_inputs_and_outputs(runtime: str, by_keyword: bool) -> None:
    net = Two()
    inputs = (IMAGE, torch.randn(2, 1, 8, 9), torch.tensor([0, 2, 3]))
    names = ("a", "b", "index")
    given = dict(zip(names, inputs, strict=True))
    plan = planned(net, given if by_keyword else inputs, runtime, precision="f32")
    expected = net(*inputs)
    assert_equal(plan(*inputs), expected)
    if by_keyword:
        assert_equal(plan(**given), expected)
        assert_equal(plan(inputs[0], index=inputs[2], b=inputs[1]), expected)
        with pytest.raises(TypeError, match="input 'b' is missing"):
            plan(inputs[0], index=inputs[2])
    with pytest.raises(TypeError, match="the plan takes 3 inputs"):
        plan(*inputs, inputs[0])


class Shuffled(nn.Module):
    """A chain with other modules between its convolutions, as some decompositions make."""

    def __init__(self) -> None:
        super().__init__()
        self.odd = Factorized(
            nn.Conv2d(3, 8, 1, bias=False), nn.ChannelShuffle(2), nn.Conv2d(8, 6, 3, padding=1)
        )
        self.odd.method, self.odd.ranks = "odd", (8,)
        self.bn, self.plain = norm(6), conv(6, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.plain(self.bn(self.odd(x)).relu())


@pytest.mark.parametrize("runtime", ALL[:2])
def test_a_chain_that_no_kernel_stands_for_stays_as_it_is(runtime: str) -> None:
    net = Shuffled().eval()
    plan = planned(net, IMAGE, runtime)
    assert_equal(plan(IMAGE), net(IMAGE))
    odd, plain = plan.table.rows
    assert list(odd.seconds) == [odd.chosen] == [odd.stored] == [Execution((1, 1, 1))]
    assert (odd.dense_seconds, odd.speedup, odd.kernel) == (None, None, "")
    assert next(iter(plain.seconds)).is_dense
    assert re.search(r"^odd +8 +1 2 3 +\S+ +- +\S+ +-$", str(plan), re.M)
    assert PlanTable.from_dict(plan.table.to_dict()) == plan.table


@pytest.mark.parametrize("runtime", ALL)
def test_random_numbers_go_on_as_if_nothing_was_measured(runtime: str) -> None:
    net, example = PLANNED["two_users"]()
    before = torch.get_rng_state()
    planned(net, example, runtime)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_table_reads_as_expected() -> None:
    dense, stored, between = Execution((4,)), Execution((1, 1, 1, 1)), Execution((1, 2, 1), 16)
    seconds = {dense: 2e-3, stored: 0.0, between: 1e-3}
    setting = {"runtime": "torch", "version": "2", "threads": 1, "precision": "f32", "batch": 8}
    rows = (
        PlanRow("layer1.conv", "3x3 4->8", (2, 3, 4), between, seconds),
        PlanRow("", "3x3", (2,), dense, seconds),
    )
    table = PlanTable(rows, {"plan": 1e-3, "dense": 2e-3, "chain": 4e-3}, setting)
    assert str(table).splitlines() == [
        "layer        kernel    ranks  executed as      ms  dense  chain  speedup",
        "------------------------------------------------------------------------",
        "layer1.conv  3x3 4->8  2 3 4  1 [23] 4 x16  1.000  2.000      -    2.00x",
        "(network)    3x3       2      dense         2.000  2.000      -    1.00x",
        "",
        "torch 2, 1 thread, f32, batch 8",
        "whole network: plan 1.00 ms, dense 2.00 ms, chain 4.00 ms; 2.00x the speed of dense "
        "kernels",
    ]


@pytest.mark.parametrize(("runtime", "batch"), [("torch", 2), *((runtime, 1) for runtime in ALL)])
def test_an_exported_plan_runs_without_us(runtime: str, batch: int, tmp_path: Path) -> None:
    needs(runtime)
    run_file = pytest.importorskip("runtimes").run_file
    net, example = PLANNED["residual"]()
    plan = planned(net.eval(), example[:batch], runtime, precision="f32")
    path = tmp_path / f"new/plan{RUNTIMES[runtime].suffix}"
    assert plan.export(path) == path
    for number in (1, 2, 5):
        inputs = torch.randn(number, *example.shape[1:])
        with torch.no_grad():
            assert_equal(run_file(path, inputs), net(inputs))
        assert_equal(plan(inputs), run_file(path, inputs))
    with pytest.raises(tp.TensorpressError, match=r"plan for \w+ is written to a file that ends"):
        plan.export(tmp_path / "plan.pth")
    (tmp_path / "file").touch()
    with pytest.raises(tp.TensorpressError, match="cannot write"):
        plan.export(tmp_path / "file" / path.name)


def test_memory_formats_are_tried_once_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def watched(calls: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
        tried.append(rounds)
        return interleaved_times(calls, rounds)

    monkeypatch.setattr(torch_eager, "interleaved_times", watched)
    net = nn.Sequential(tp.factorize(nn.Conv2d(3, 8, 3), rank=tp.Ranks(2, 3, 2)), nn.ReLU()).eval()
    feed = read_feed(torch.randn(2, 3, 6, 6), dynamic_batch=True)
    prepared = RUNTIMES["torch"].prepare(net, feed, Setting(1))
    for runs in ((4,), (1, 1, 1, 1), (4,)):
        output = prepared.build({"0": Execution(runs)}, feed)(*feed.tensors)[0]
        torch.testing.assert_close(output, net(*feed.tensors), rtol=1e-4, atol=1e-5)
    assert len(tried) == 2


def test_networks_of_a_class_are_compiled_each_for_itself() -> None:
    nets = [conv(3, 4, 3) for _ in range(10)]  # PyTorch compiles one code for at most eight
    example = torch.randn(1, 3, 6, 6)
    with torch._dynamo.config.patch(error_on_recompile=True), torch.no_grad():
        for net in nets:
            compiled = torch.compile(own_code(net), backend="eager", dynamic=False)
            torch.testing.assert_close(compiled(example), net(example))


def test_a_compiled_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_ = torch.compile

    def fast(net: nn.Module, **options: Any) -> Any:
        assert options == {"dynamic": False, "options": {"freezing": True}}
        return compile_(net, dynamic=False, backend="aot_eager")

    monkeypatch.setattr(torch, "compile", fast)
    net, example = PLANNED["two_users"]()
    plan = planned(net.eval(), example, "torch-compiled")
    assert_equal(plan(example), net(example))
    assert_equal(plan(example[:1]), net(example[:1]))
    assert str(plan).splitlines()[-2].startswith("torch-compiled 2")


@pytest.mark.skipif(not computes_in_bf16(), reason="no bfloat16 on this processor")
@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_bfloat16(runtime: str, tmp_path: Path) -> None:
    net, example = PLANNED["residual"]()
    plan = planned(net.eval(), example, runtime, precision="bf16")
    expected = net(example).detach()
    output = plan(example)
    assert output.dtype == torch.float32
    difference = float((output - expected).abs().max() / expected.abs().max())
    assert difference < 0.05
    if runtime == "torch":  # OpenVINO may well take a kernel of float32 for layers so small
        assert difference > 1e-6
    assert " bf16, " in str(plan)
    plan.export(tmp_path / f"plan{RUNTIMES[runtime].suffix}")


@pytest.fixture
def not_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_module, "computes_in_bf16", lambda: False)


def refused(message: str, net: nn.Module, inputs: Any = IMAGE, **options: Any) -> None:
    with pytest.raises(tp.TensorpressError, match=message) as error:
        tp.plan(net, inputs, **{"cache": False, **options})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "tensorrt"}, "no runtime 'tensorrt'; there is: torch, torch-compiled, onnxr"),
        ({"threads": 0}, "threads=0: give a whole number from 1 to 1,024"),
        ({"threads": 100_000}, "threads=100000: give a whole number from 1 to 1,024"),
        ({"threads": 1.5}, r"threads=1\.5: give a whole number"),
        ({"precision": "f16"}, "precision='f16': give 'auto', 'f32', 'bf16' or 'int8'"),
        ({"precision": "bf16"}, "this processor does not compute in bfloat16; leave it out"),
        ({"precision": "f32", "min_agreement": 0.9}, "of a network in int8: give precision='int8'"),
        ({"inputs": ()}, r"example_inputs: give a tensor"),
        ({"inputs": IMAGE[:, :2]}, "does not run on the example inputs"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("not_bf16")
def test_options(options: dict[str, Any], message: str) -> None:
    refused(message, conv(3, 4, 3), **options)


def test_onnx_runtime_has_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("onnxruntime")
    monkeypatch.setattr(runtime_module, "computes_in_bf16", lambda: True)
    message = "onnxruntime computes in f32, int8, not in bf16: .*another runtime .torch, torch-comp"
    refused(message, conv(3, 4, 3), runtime="onnxruntime", precision="bf16")


@pytest.mark.parametrize(
    ("runtime", "missing"),
    [
        *(("onnxruntime", package) for package in ("onnx", "onnxscript", "onnxruntime")),
        *(("openvino", package) for package in ("openvino", "onnx", "onnxscript")),
    ],
)
def test_a_runtime_that_is_not_installed(
    runtime: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    refused(rf"needs {missing}, .*pip install 'tensorpress\[", conv(3, 4, 3), runtime=runtime)


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise RuntimeError("none")

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", fail)
    refused(r"needs a C\+\+ compiler", conv(3, 4, 3), runtime="torch-compiled")


@pytest.mark.parametrize("runtime", ALL)
def test_a_network_of_another_precision(runtime: str) -> None:
    needs(runtime)
    net = conv(3, 4, 3).to(torch.float16)
    refused(r"the network is torch\.float16, .*net\.float\(\) first", net, runtime=runtime)


@pytest.mark.parametrize("runtime", GRAPHS)
def test_a_network_that_a_runtime_cannot_take(runtime: str) -> None:
    needs(runtime)

    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    refused("cannot be exported .*its path depends", Branching(), runtime=runtime)
    assert_equal(planned(Branching(), IMAGE)(IMAGE - 9), 9 - IMAGE)


def test_a_network_that_draws_random_numbers() -> None:
    class Noise(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.randn_like(x)

    refused("does not give what the network gives: .*random numbers", Noise())


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        (lambda output: output[..., :-1], r"torch gives outputs of shape .*, and the network of"),
        (lambda output: output + 1, "torch does not give what the network gives: .* they differ"),
    ],
)
def test_what_a_runtime_gets_wrong_is_not_passed_on(
    spoilt: Callable[[Tensor], Tensor], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = torch_eager.TorchRunner.__call__

    def wrong(self: torch_eager.TorchRunner, *tensors: Tensor) -> list[Tensor]:
        return [spoilt(output) for output in right(self, *tensors)]

    monkeypatch.setattr(torch_eager.TorchRunner, "__call__", wrong)
    refused(told, conv(3, 4, 3))


def test_what_could_not_be_measured_is_not_taken_for_the_fastest() -> None:
    dense, chain = Execution((2,)), Execution((1, 1))
    assert fastest({dense: 2.0, chain: 1.0}) == chain
    assert fastest({dense: 2.0, chain: 0.0}) == dense


def test_a_layer_that_is_never_called() -> None:
    net = nn.Sequential(conv(3, 4, 3), nn.ReLU())
    net[1].spare = conv(4, 4, 3)
    for runtime in ALL[:2]:
        plan = planned(net, IMAGE, runtime)
        assert_equal(plan(IMAGE), net(IMAGE))
        assert [row.name for row in plan.table.rows] == ["0", "1.spare"]
        assert "1.spare" in str(plan)


class Grows(nn.Module):
    """A transposed convolution that is told how large its output is to be."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 32, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(32, 32, 3, stride=2, padding=1)
        self.out = nn.Conv2d(32, 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.out(self.up(self.down(x), output_size=x.shape[2:]).relu())
        return maps


@pytest.mark.usefixtures("measured_once")
@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", "openvino"])
def test_transposed_chains_are_planned_also_for_a_size_and_some_of_them_alone(runtime: str) -> None:
    if runtime != "torch":
        pytest.importorskip(runtime)
    torch.manual_seed(0)
    net, inputs = Grows().eval(), torch.randn(2, 3, 8, 8)
    result = tp.compress(net, inputs[:1], rank=tp.Energy(0.5))
    assert {row.name for row in result.layers if row.method} == {"up", "out"}
    run = tp.plan(result.model, inputs, runtime=runtime, threads=1, cache=False)
    with torch.no_grad():
        torch.testing.assert_close(run(inputs), result.model(inputs), rtol=1e-3, atol=1e-3)
    clock = ChainClock(result.model, inputs, runtime=runtime, threads=1, batch=None)
    for name in ("up", "out"):
        chain: Any = result.model.get_submodule(name)
        seconds = clock.network_seconds({name: chain})
        assert all(taken > 0 for taken in seconds)


@pytest.mark.parametrize("alone", [False, True])
def test_shared_weights_are_written_out(alone: bool) -> None:
    torch.manual_seed(0)
    conv, inputs = nn.Conv2d(3, 8, 3), torch.randn(2, 3, 8, 8)
    net = (conv if alone else nn.Sequential(conv, nn.ReLU(), nn.Conv2d(8, 8, 3))).eval()
    asked: Any = {"method": "deep-k-means", "rank": tp.Ranks(4), "skip_first": False}
    small = tp.compress(net, inputs, **asked).model
    run = tp.plan(small, inputs, threads=1, cache=False)
    assert isinstance(run.runner, TorchRunner)
    layers = [module for module in run.runner.net.modules() if isinstance(module, nn.Conv2d)]
    assert {type(layer) for layer in layers} == {nn.Conv2d}
    assert any(parametrize.is_parametrized(module) for module in small.modules())
    with torch.no_grad():
        torch.testing.assert_close(run(inputs), small(inputs))
