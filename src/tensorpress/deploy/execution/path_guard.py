"""A network that decides by sizes, kept from inputs that would take it another way."""

from torch import nn

from tensorpress.deploy.execution.fold import Folded, foldable_norms
from tensorpress.deploy.feed import Feed
from tensorpress.errors import TensorpressError


class PathGuard:
    """Checks inputs of new sizes: what was folded has to be foldable on their path too.

    Args:
        net: the network before folding, in eval mode, on the CPU.
        folded: what was made of it.
        feed: the inputs that it was folded for.
    """

    def __init__(self, net: nn.Module, folded: Folded, feed: Feed) -> None:
        self._net, self._norms = net, folded.norms
        self._known = {_shapes(feed)}

    def check(self, feed: Feed) -> None:
        """Let inputs pass.

        Raises:
            TensorpressError: of these sizes they take a path on which a folded batch norm counts.
        """
        shapes = _shapes(feed)
        if shapes in self._known:
            return
        feed = feed.with_tensors([tensor.cpu() for tensor in feed.tensors])
        if not self._norms <= foldable_norms(self._net, feed):
            shown = ", ".join(str(tuple(shape)) for shape in shapes)
            raise TensorpressError(
                f"the network decides by the sizes of its inputs, and takes another path for "
                f"{shown} than for those it was planned for: plan it for inputs of these sizes."
            )
        self._known.add(shapes)


def _shapes(feed: Feed) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(tensor.shape) for tensor in feed.tensors)
