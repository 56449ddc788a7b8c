"""``tensorpress evaluate``, as it is asked for."""

from tensorpress.cli import options
from tensorpress.cli.declared import declared
from tensorpress.cli.grouped import grouped


@grouped
@declared
def evaluate(
    *,
    net: options.Net = None,
    trained: options.Trained,
    compressed: options.Compressed = None,
    images: options.DataOptions,
    device: options.Device = None,
) -> None:
    """Accuracy of a network on the test images of --data, with its parameters and MACs.

    A folder needs no training images here: test/CLASS/, val/CLASS/ or CLASS/ is enough.

    tensorpress evaluate --compressed OUT/model.tp --data DIR

    tensorpress evaluate --net resnet56 --weights resnet56.th --data DIR
    """
