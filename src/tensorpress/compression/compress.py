"""`tensorpress.compress`: a network surveyed, its layers prepared, chosen, fitted and replaced."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from tensorpress.choices import AUTO
from tensorpress.compression.accounting import account_of, tell_option
from tensorpress.compression.checks import check_asked, refuse_unfounded
from tensorpress.compression.metrics.input_metric import InputMetric
from tensorpress.compression.metrics.metric import NetworkMetric
from tensorpress.compression.prepared import left_out, metric_of, prepare
from tensorpress.compression.pruning import Criterion
from tensorpress.compression.pruning.prune import prune
from tensorpress.compression.selection import Selection
from tensorpress.compression.targets.by_precision import ByPrecision
from tensorpress.compression.targets.judge import Score
from tensorpress.decompose import RankRule
from tensorpress.errors import TensorpressError
from tensorpress.layers import Treatment
from tensorpress.pixels import check_normalisation
from tensorpress.request import Recovery
from tensorpress.request.budget import Budget, Unreachable
from tensorpress.request.request import Request
from tensorpress.rows import CalibrationImages, Outputs, Rows, read_rows
from tensorpress.surgery import (
    Account,
    ExampleInputs,
    Selector,
    copy_with,
    refuse_unready,
    remember,
    replace_layers,
)
from tensorpress.surgery.plainly import plainly
from tensorpress.surgery.wrappers import refuse_distributed


@plainly
def compress(
    net: nn.Module | Account,
    example_inputs: ExampleInputs,
    *,
    method: str | Treatment | Criterion | None = None,
    methods: Sequence[str | Treatment] | None = None,
    rank: RankRule | Mapping[str, RankRule] | None = None,
    budget: Budget | None = None,
    round_to: int = 1,
    include: Iterable[Selector] | None = None,
    exclude: Iterable[Selector] = (),
    skip_first: bool = True,
    skip_output: bool = True,
    linear: bool = False,
    fold_parametrizations: bool = False,
    balance: bool = False,
    inplace: bool = False,
    calibration: CalibrationImages | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    recover: bool | Recovery = True,
    outputs: Outputs | None = None,
    score: Score | None = None,
    progress: bool | None = None,
) -> Account:
    """Compress a trained network: its layers become chains of small ones, made from their kernels.

    Every convolution but the first in order of execution is decomposed (section 4 of the paper).
    Depthwise convolutions stay, and so does a layer that would not get smaller in parameters and
    MACs; the account says which and why. dtype, device, train/eval mode and ``requires_grad`` are
    kept, and so is everything else of the network.

    What was compressed or loaded before can be compressed again: a layer that was replaced is taken
    as the plain one that it stands for, ratios and budgets are those of the network as given (but a
    speedup is over those plain layers), and the account tells of the earlier compressions too.

    With ``calibration`` images, a few hundred without labels, most of the accuracy is kept before
    any fine-tuning: kernels are decomposed under the metric of what their layers are fed, a budget
    is spread by what each layer does to the network's answers, each layer is fitted to the original
    with those before it compressed, batch norms take their statistics again, and the network is
    distilled on the images. The errors in the account are then those of the layers' outputs.

    Args:
        net: any module, or the account of an earlier compression. It is not changed, unless
            ``inplace``.
        example_inputs: what it takes: a tensor, arguments as a tuple, or keyword arguments as a
            mapping. Their values do not matter, their shapes do: one image gives MACs per image.
        method: "auto", which under a budget takes the best form for each layer and is the default
            where there are a budget and images; "ttpwt", the default elsewhere; the name of
            another, such as "spatial-svd" or "depthwise-separable" (docs/method.md says what each
            is); "deep-k-means", "tt-conv" or "tt-conv-naive"; a criterion of :func:`prune`; or an
            object, such as ``tp.methods.Tucker2()`` or one's own (docs/own-method.md).
        methods: what "auto" chooses from, such as ("ttpwt", "spatial-svd").
        rank: a rule for every layer, such as ``Energy(0.6)``, or a mapping from layer names or
            patterns to rules, of which the first that fits is taken.
        budget: instead of ``rank``: ratios to reach, by one method with one threshold for the whole
            network; or a time; or with ``calibration`` a quality, for which the network is made as
            small as keeps it. For a time or a quality, and by "auto", layers are measured at many
            ranks and the lost energy is made least.
        round_to: take the nearest multiples of the ranks that a rule or a budget gives.
        include: decompose these only: names, patterns such as "layer1.*", or modules.
        exclude: leave these as they are.
        skip_first: leave the first convolution as it is.
        skip_output: leave convolutions as they are that give an output of the network, with nothing
            learnt behind them, and have few channels: at most 4, or less than half of those that
            they take. ``include`` that names nothing else wins.
        linear: also split linear layers, by SVD under the same rule.
        fold_parametrizations: decompose the weights that weight norm, spectral norm, pruning masks
            and other parametrisations come to in eval mode; they are then gone. Without it such
            layers stay.
        balance: spread the scale over the factors of a layer. TT-SVD leaves it all in the last.
        inplace: change ``net`` itself. An error leaves it as it was. Not with ``calibration``.
        calibration: inputs as the network takes them, (N, ...), or pixels in 0 .. 255 (uint8): a
            tensor, an array, or an iterable of these or of Pillow's pictures, in batches or one by
            one, alone or in tuples or mappings, such as a DataLoader gives. Of a data set that can
            be indexed 2,000 are drawn. Labels are not looked at. A network that takes several
            tensors, or takes them by name, is given what its example inputs are, with N rows in
            each tensor, or batches of that; one that takes a list of images is given (N, C, H, W).
        mean, std: by which calibration images of uint8 are normalised, one value a channel, for
            pixels in 0 .. 1.
        recover: False for the steps of calibration in closed form alone, without distillation; a
            :class:`Recovery` says which.
        outputs: what calibration compares of the network's answers, where that is not all their
            tensors: names of modules whose outputs stand for them, such as ("head",), or a function
            of the answer, such as ``lambda answer: answer["out"]``. For answers whose shapes depend
            on the images, as of detectors, it has to be said.
        score: for ``Budget(max_drop=)`` alone: scores a network in percent, such as its accuracy on
            images that are neither calibrated nor tested on.
        progress: False for none; else whatever takes over two seconds shows a bar on a terminal,
            and lines on standard error where there is none.

    Returns:
        the account: ``.model``, ``.pcr``, ``.fcr``, ``.layers``; it prints as a table.

    Raises:
        TensorpressError: a rank rule that the method does not understand, a network without
            convolutions, one that does not run on the example
            inputs, NaN or inf in a kernel, hooks that would be lost, a
            selector that fits nothing, a budget that cannot be reached.

    >>> import torch
    >>> from tensorpress import Energy, compress
    >>> net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3))
    >>> result = compress(net, torch.zeros(1, 3, 16, 16), rank=Energy(0.5))
    >>> [type(layer).__name__ for layer in result.model]
    ['Conv2d', 'ReLU', 'Factorized']
    """
    net = net.model if isinstance(net, Account) else net
    treatments = check_asked(
        method,
        methods=methods,
        rank=rank,
        budget=budget,
        round_to=round_to,
        balance=balance,
        inplace=inplace,
        calibrated=calibration is not None,
        recover=recover,
        skip_first=skip_first,
        skip_output=skip_output,
        linear=linear,
        fold_parametrizations=fold_parametrizations,
    )
    refuse_unfounded(
        treatments,
        budget,
        outputs,
        recover,
        calibrated=calibration is not None,
        scored=score is not None,
    )
    selection = Selection.of(
        include, exclude, skip_first=skip_first, skip_output=skip_output, linear=linear
    )
    if calibration is None and (mean is not None or std is not None):
        raise TensorpressError(
            "mean= and std= say how calibration images are normalised: give calibration= too."
        )
    check_normalisation(mean, std)
    refuse_unready(net)
    refuse_distributed(net, "compress it", copied=not inplace)

    def read() -> Rows | None:
        if calibration is None:
            return None
        return read_rows(calibration, net, example_inputs, outputs, mean=mean, std=std)

    if isinstance(treatments, Criterion):
        metric = metric_of(net, read(), recover, progress=progress)
        return _pruned(net, example_inputs, treatments, budget, selection, metric)

    prepared = prepare(
        net,
        example_inputs,
        treatments,
        rank=rank,
        budget=budget,
        round_to=round_to,
        selection=selection,
        fold_parametrizations=fold_parametrizations,
        read=read,
        recover=recover,
        score=score,
        progress=progress,
    )
    surveyed, tasks, kept = prepared.surveyed, prepared.tasks, prepared.kept
    target, metric = prepared.target, prepared.metric
    if calibration is not None:
        prepared.refuse_beyond(budget)  # what takes long comes next
    prepared.announce()
    try:
        picks = target.choose(tasks, metric)
    except Unreachable as error:
        raise Unreachable(f"{error}{left_out(surveyed, kept)}") from error
    options = {option.task.name: option for option in metric.fit(picks)}
    kept = {task.surveyed.name: target.left for task in tasks} | kept

    replacements = {
        option.task.surveyed.name: option.to_module(balanced=balance)
        for option in options.values()
        if option.is_smaller
    }
    request = Request.of(
        method=treatments[0].name if len(treatments) == 1 else AUTO,
        methods=tuple(t.name for t in treatments) if methods and len(treatments) > 1 else None,
        rank=rank,
        budget=budget,
        include=selection.include,
        exclude=selection.exclude,
        skip_first=skip_first,
        skip_output=skip_output,
        linear=linear,
        fold_parametrizations=fold_parametrizations,
        balance=balance,
        round_to=round_to,
        outputs=outputs,
        calibration=metric.as_request(),
        settings=treatments[0].settings if len(treatments) == 1 else {},
    )
    with replaced(net, replacements, inplace=inplace) as model:
        account = account_of(
            model,
            example_inputs,
            surveyed,
            lambda layer: tell_option(layer, options, kept),
            request.to_dict(),
            net,
        )
    quality = target.finish(model, metric)
    precision = target.precision if isinstance(target, ByPrecision) else None
    return dataclasses.replace(account, quality=quality, precision=precision, time=target.time)


@contextlib.contextmanager
def replaced(
    net: nn.Module, replacements: Mapping[str, nn.Module], *, inplace: bool
) -> Iterator[nn.Module]:
    """A copy of ``net`` with layers replaced, or itself, in which an error puts them back."""
    if not inplace:
        yield copy_with(net, replacements)
        return
    if "" in replacements:
        raise TensorpressError(
            "the network is one layer, which cannot replace itself: "
            "use inplace=False, or factorize."
        )
    originals = {name: net.get_submodule(name) for name in replacements}
    try:
        yield replace_layers(net, replacements)
    except BaseException:
        replace_layers(net, originals)
        raise


def _pruned(
    net: nn.Module,
    example_inputs: ExampleInputs,
    method: Criterion,
    budget: Any,
    selection: Selection,
    metric: NetworkMetric,
) -> Account:
    """Pruning asked for by name; with images the network is then finished as any other is."""
    images = metric.images if isinstance(metric, InputMetric) else None
    account = prune(
        net,
        example_inputs,
        method=method,
        budget=budget,
        images=None if method.by_images is False else images,
        include=selection.include,
        exclude=selection.exclude,
        skip_first=selection.skip_first,
        linear=selection.linear,
    )
    metric.finish(account.model)
    asked = metric.as_request()
    if asked is not None:
        request = {**account.request, "calibration": asked.to_dict(), "settings": {}}
        account = dataclasses.replace(account, request=request)
        remember(account.model, account.story)
    return account
