"""Plans on a GPU; where there is none, that it is said so."""

import pytest
import torch

import tensorpress as tp
from tensorpress.deploy import benchmark

RUNTIMES = ("torch-cuda", "torch-cuda-graphs")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def pair():
    torch.manual_seed(0)
    net = tp.networks.resnet20().eval()
    return net, tp.compress(net, torch.zeros(1, 3, 32, 32), rank=tp.Energy(0.5)).model


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_without_a_gpu_it_is_said_so(runtime):
    with pytest.raises(tp.TensorpressError, match=f"^{runtime} needs an NVIDIA GPU"):
        tp.plan(torch.nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8), runtime=runtime)


@needs_gpu
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("place", ["cpu", "cuda"])
def test_a_plan_gives_what_the_network_gives(runtime, place, tmp_path):
    _, small = pair()
    images = torch.randn(4, 3, 32, 32)
    run = tp.plan(small, images, runtime=runtime, cache=tmp_path)
    for batch in (4, 2):
        found = run(images[:batch].to(place))
        assert found.device.type == place
        torch.testing.assert_close(found.cpu(), small(images[:batch]), rtol=1e-2, atol=1e-3)
    print(run.table.summary())


@needs_gpu
def test_recorded_outputs_are_not_written_over():
    _, small = pair()
    images = torch.randn(2, 1, 3, 32, 32, device="cuda")
    run = tp.plan(small, images[0], runtime="torch-cuda-graphs", cache=False)
    first = run(images[0])
    kept = first.clone()
    run(images[1])
    assert torch.equal(first, kept)


@needs_gpu
def test_the_bench_takes_gpus():
    dense, small = pair()
    found = benchmark(dense, small, (3, 32, 32), runtimes=RUNTIMES, batches=(1, 64), cache=False)
    print(found)
    assert {cell.runtime for cell in found.cells} == set(RUNTIMES)
