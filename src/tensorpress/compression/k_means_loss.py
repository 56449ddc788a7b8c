"""The spectrally relaxed k-means loss of Deep k-Means, as a term of the training loss."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tensorpress.errors import TensorpressError, shown


class KMeansRegulariser:
    """``sum_l tr(W_l^T W_l) - tr(F_l^T W_l^T W_l F_l)``, for training before weights are shared.

    After Wu et al. (2018). W_l has the rows of a kernel as its columns, (s, N); F_l, (N, K) with
    orthonormal columns, stands for the assignment to K clusters. The best F_l are the leading K
    eigenvectors of ``W_l^T W_l``: :meth:`update` takes them, and between updates, a few epochs
    apart, they stay. Call it for the scalar, to be weighed and added to the loss.

    W_l has rank s at most, such as 3. With K of s or more, as in practice, the term is 0 right
    after an update, and then holds W_l to the row space that it had: it measures no distance to
    cluster means. Nothing in tensorpress turns it on by itself.

    Args:
        net: the network, before its weights are shared.
        clusters: K by layer name.

    Raises:
        TensorpressError: no such layer, or no number of clusters.
    """

    def __init__(self, net: nn.Module, clusters: Mapping[str, int]) -> None:
        if not isinstance(clusters, Mapping):
            raise TensorpressError(
                f"clusters={shown(clusters)}: give a mapping from layer names to K, such as "
                "{'conv2': 64}."
            )
        modules = dict(net.named_modules())
        for name, count in clusters.items():
            if type(count) is not int or count < 1:
                raise TensorpressError(
                    f"clusters[{shown(name)}] is {shown(count)}: give a whole number from 1 on."
                )
            if not isinstance(getattr(modules.get(name), "weight", None), Tensor):
                raise TensorpressError(f"the network has no layer '{name}' with a weight.")
        self.layers = {name: modules[name] for name in clusters}
        self.clusters = dict(clusters)
        self.bases: dict[str, Tensor] = {}
        self.update()

    @torch.no_grad()
    def update(self) -> None:
        """Take the F_l that are best for the weights as they are."""
        for name, layer in self.layers.items():
            right = torch.linalg.svd(_columns(layer).double(), full_matrices=False).Vh
            self.bases[name] = right[: self.clusters[name]].T.to(_columns(layer).dtype)

    def __call__(self) -> Tensor:
        """The term for the weights as they are, a scalar with gradients."""
        terms = []
        for name, layer in self.layers.items():
            columns = _columns(layer)
            terms.append(columns.square().sum() - (columns @ self.bases[name]).square().sum())
        return torch.stack(terms).sum()


def _columns(layer: nn.Module) -> Tensor:
    """The rows of a kernel as columns, (s, N)."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.reshape(-1, weight.shape[-1]).T
