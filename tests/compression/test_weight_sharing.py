"""Deep k-Means: clusters against sklearn's and by their properties, what is stored, and files."""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn.utils import parametrize

import tensorpress as tp
from tensorpress.compression import KMeansRegulariser
from tensorpress.layers.row_clusters import cluster_rows
from tensorpress.layers.shared_weight import SharedWeight, index_bits, share, shared_weight_of

IMAGE = torch.zeros(1, 3, 12, 12)


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 16, (3, 1), groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    ).eval()


def rows_of(layer: nn.Module) -> Tensor:
    weight = layer.weight.detach()  # type: ignore[union-attr, operator]
    return weight.reshape(-1, weight.shape[-1])  # type: ignore[union-attr, arg-type]


def means(rows: Tensor, indices: Tensor, clusters: int) -> Tensor:
    return torch.stack([rows[indices == k].mean(0) for k in range(clusters)])


@pytest.mark.parametrize("clusters", [1, 7, 40])
@pytest.mark.parametrize("size", [1, 3])
def test_clusters_are_those_that_lloyd_s_steps_do_not_better(clusters: int, size: int) -> None:
    """A step of Lloyd's gains next to nothing, and a start by greedy k-means++ is no closer."""
    rows = torch.randn(600, size, generator=torch.Generator().manual_seed(0))
    indices, number = cluster_rows(rows, clusters)
    assert (number, set(indices.tolist())) == (clusters, set(range(clusters)))
    centres = means(rows, indices, clusters)
    distances = torch.cdist(rows.double(), centres.double()).square()
    distortion = float(distances.gather(1, indices[:, None]).sum())
    stepped = distances.argmin(1)
    after = float((rows - means(rows, stepped, clusters)[stepped]).double().square().sum())
    assert after <= distortion * (1 + 1e-6) <= after * 1.01
    theirs = KMeans(clusters, n_init=1, max_iter=100, random_state=0).fit(rows.numpy())
    assert distortion <= theirs.inertia_ * 1.05


def test_as_many_clusters_as_distinct_rows_change_nothing() -> None:
    original = net()
    with torch.no_grad():
        rows = rows_of(original[2])
        rows.copy_(rows[:10][torch.arange(len(rows)) % 10])
    before = {name: value.clone() for name, value in original.state_dict().items()}
    result = tp.share_weights(original, IMAGE, clusters=10, include=["2"])
    images = torch.randn(4, 3, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(result.model(images), original(images))
    row = next(row for row in result.layers if row.name == "2")
    assert row.ranks == (10,)
    assert row.relative_error < 1e-6
    more = tp.share_weights(original, IMAGE, clusters=500, include=["2"])
    assert next(row.ranks for row in more.layers if row.name == "2") == (10,)
    for name, value in original.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_account_by_hand() -> None:
    original = net()
    result = tp.share_weights(original, IMAGE, clusters={"2": 20, "5": 8})
    rows = {row.name: row for row in result.layers}
    assert rows["2"].params_after == 20 * 3 + math.ceil(16 * 32 * 3 * 5 / 32)
    # Rows of a (3, 1) kernel are single numbers.
    assert rows["5"].params_after == 8 * 1 + math.ceil(16 * 16 * 3 * 3 / 32) + 16
    assert rows["2"].decision == "deep-k-means (saves no MACs)"
    assert rows["0"].decision == "kept: first convolution (skip_first)"
    assert result.fcr == 1
    saved = sum(row.params_before - row.params_after for row in result.layers)
    assert result.params_before - result.params_after == saved
    counted = tp.count(result.model, IMAGE)
    assert (counted.params, counted.macs) == (result.params_after, result.macs_before)
    for name in ("2", "5"):
        layer, dense = result.model.get_submodule(name), original.get_submodule(name)
        error = (layer.weight - dense.weight).norm() / dense.weight.norm()  # type: ignore[operator]
        assert rows[name].relative_error == pytest.approx(float(error.detach()), rel=1e-5)
        kept = layer.weight.norm() ** 2 / dense.weight.norm() ** 2  # type: ignore[operator]
        assert rows[name].kept_energy == pytest.approx(float(kept.detach()), abs=1e-5)
        assert len(rows_of(layer).unique(dim=0)) == rows[name].ranks[0]  # type: ignore[index]


@pytest.mark.parametrize("pcr", [1.5, 2.5])
def test_a_budget_is_met_and_hardly_more(pcr: float) -> None:
    result = tp.share_weights(net(), IMAGE, budget=tp.Budget(params=pcr))
    assert pcr <= result.pcr < 1.1 * pcr
    again = tp.share_weights(net(), IMAGE, budget=tp.Budget(params=pcr))
    for one, two in zip(*(r.model.state_dict().values() for r in (result, again)), strict=True):
        assert torch.equal(one, two)


def test_gradients_add_up_in_the_codebook_and_the_assignment_stays() -> None:
    model = tp.share_weights(net(), IMAGE, clusters=6).model.train()
    layer = model[2]
    shared = shared_weight_of(layer)
    assert shared is not None
    (codebook,) = layer.parameters()
    assert codebook.shape == (6, 3)
    weight = layer.weight.detach().clone().requires_grad_()
    nn.functional.conv2d(torch.ones(1, 16, 5, 5), weight, stride=2).square().sum().backward()
    layer(torch.ones(1, 16, 5, 5)).square().sum().backward()
    rows = weight.grad.reshape(-1, 3)
    sums = torch.stack([rows[shared.indices == k].sum(0) for k in range(6)])
    torch.testing.assert_close(codebook.grad, sums)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    images, labels, losses = torch.randn(16, 3, 12, 12), torch.arange(16) % 5, []
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert len(rows_of(layer).unique(dim=0)) == 6


@pytest.mark.parametrize("clusters", [6, 300])
def test_a_file_gives_the_same_network_back(clusters: int, tmp_path: Path) -> None:
    result = tp.share_weights(net(), IMAGE, clusters=clusters, include=["2"])
    tp.save(result, tmp_path / "net.tp")
    loaded = tp.load(tmp_path / "net.tp", into=net(1)).eval()
    assert str(loaded) == str(result.model)
    images = torch.randn(3, 3, 12, 12)
    with torch.no_grad():
        assert torch.equal(loaded(images), result.model(images))
    assert tp.count(loaded, IMAGE).params == result.params_after
    plain = parametrize.remove_parametrizations(loaded[2], "weight")
    assert torch.equal(plain.weight, result.model[2].weight)


def test_it_is_exported_and_what_it_stands_for_is_treated_by_others() -> None:
    model = tp.share_weights(net(), IMAGE, clusters=6, include=["2"]).model.eval()
    images = torch.randn(2, 3, 12, 12)
    program = torch.export.export(model, (images,)).module()
    with torch.no_grad():
        torch.testing.assert_close(program(images), model(images))
    rank = tp.Ranks(2, 3, 2)
    result = tp.compress(model, IMAGE, rank=rank, include=["2"])
    assert result.layers[1].decision == "ttpwt, was deep-k-means"
    plain = parametrize.remove_parametrizations(copy.deepcopy(model)[2], "weight")
    wanted = tp.factorize(plain, rank=rank)
    with torch.no_grad():
        inputs = torch.randn(1, 16, 5, 5)
        torch.testing.assert_close(result.model[2](inputs), wanted(inputs))


@pytest.mark.parametrize(("clusters", "bits"), [(1, 0), (2, 1), (3, 2), (256, 8), (257, 9)])
def test_bits_of_an_index(clusters: int, bits: int) -> None:
    assert index_bits(clusters) == bits == math.ceil(math.log2(clusters))


def test_a_weight_that_is_set_becomes_the_means() -> None:
    conv = nn.Conv2d(2, 4, 3)
    indices = torch.arange(24) % 5
    share(conv, indices, 5)
    assert isinstance(shared_weight_of(conv), SharedWeight)
    weight = torch.randn(4, 2, 3, 3)
    conv.weight = weight
    expected = means(weight.reshape(-1, 3), indices, 5)[indices].reshape(weight.shape)
    torch.testing.assert_close(conv.weight.detach(), expected)


def test_the_regulariser_by_its_definition() -> None:
    """tr(W^T W) less the K leading eigenvalues, right after an update; 0 from K = s on."""
    model = net()
    for clusters in (1, 2, 3, 50):
        term = KMeansRegulariser(model, {"2": clusters})
        columns = rows_of(model[2]).T.double().numpy()
        leading = np.linalg.eigvalsh(columns.T @ columns)[::-1][:clusters]
        expected = np.trace(columns.T @ columns) - leading.sum()
        assert float(term().detach()) == pytest.approx(float(expected), abs=1e-3)
    term = KMeansRegulariser(model, {"2": 2})
    before = term()
    before.backward()
    with torch.no_grad():
        model[2].weight -= 0.1 * model[2].weight.grad
    between = term().detach()
    assert between < before.detach()
    term.update()
    assert term().detach() <= between + 1e-4
    with pytest.raises(tp.TensorpressError, match="no layer '9'"):
        KMeansRegulariser(model, {"9": 2})
    with pytest.raises(tp.TensorpressError, match="clusters=5: give a mapping from layer names"):
        KMeansRegulariser(model, 5)
    counts: list[Any] = ["a", 0, True, 2.5]
    for count in counts:
        with pytest.raises(
            tp.TensorpressError, match=r"clusters\['2'\] is .*: give a whole number"
        ):
            KMeansRegulariser(model, {"2": count})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either clusters=.* or budget="),
        ({"clusters": 4, "budget": tp.Budget(params=2)}, "either clusters=.* or budget="),
        ({"clusters": 0}, "clusters=0: give a whole number from 1 on"),
        ({"clusters": 2.5}, "clusters=2.5: give a whole number"),
        ({"budget": 2}, "budget=2: give a Budget"),
        ({"budget": tp.Budget(params=2, macs=2)}, "PCR 2 and FCR 2: deep-k-means saves no MACs"),
        ({"budget": tp.Budget(params=99)}, "PCR 99 cannot be reached: with a single cluster"),
        ({"clusters": {"8": 3}}, "rank pattern '8' fits only layers that stay"),
        ({"clusters": 4, "exclude": ["nope"]}, "exclude 'nope' fits no layer"),
    ],
)
def test_mistakes_are_told_in_one_line(options: dict[str, object], words: str) -> None:
    with pytest.raises(tp.TensorpressError, match=words) as caught:
        tp.share_weights(net(), IMAGE, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_layer_that_would_not_get_smaller_stays() -> None:
    rows = tp.share_weights(net(), IMAGE, clusters=1400).layers
    assert all(row.ranks is None or row.params_after < row.params_before for row in rows)
    told = "kept: would not get smaller (4,728 params, 115,200 MACs at ranks 1400)"
    assert told in [row.decision for row in rows]
