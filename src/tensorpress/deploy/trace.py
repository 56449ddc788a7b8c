"""A network as an exported program with a free batch dimension."""

import copy
from types import TracebackType

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import ConstantArgument

from tensorpress.deploy.answer import refuse_others
from tensorpress.deploy.cause import first_cause
from tensorpress.deploy.feed import Feed
from tensorpress.errors import TensorpressError
from tensorpress.surgery import refuse_unready
from tensorpress.surgery.wrappers import unwrapped


def copy_for_export(model: nn.Module) -> nn.Module:
    """A copy on the CPU in eval mode, out of its wrappers.

    Raises:
        TensorpressError: no network, a scripted or lazy one, or one that cannot be copied.
    """
    refuse_unready(model)
    try:
        with unwrapped(model) as net:
            return copy.deepcopy(net).cpu().eval()
    except Exception as error:
        raise TensorpressError(
            f"the network cannot be copied to the CPU for its export ({first_cause(error)})."
        ) from error


def trace(net: nn.Module, feed: Feed) -> ExportedProgram:
    """``torch.export`` of a network, without example inputs and the paths of source files.

    Args:
        net: in eval mode.
        feed: its inputs. Batch sizes of 1 would be taken for fixed.

    Raises:
        TensorpressError: a layer cannot be exported; it is named, with the reason. Or the network
            answers with something else than tensors.
    """
    batch = Dim("batch")
    free = tuple({0: batch} if batched else None for batched in feed.batched)
    shapes = free if feed.names is None else dict(zip(feed.names, free, strict=True))
    try:
        with torch.no_grad():
            program = torch.export.export(net, feed.args, feed.kwargs, dynamic_shapes=shapes)
    except Exception as error:
        if "Constraints violated (batch)" in str(error):
            raise TensorpressError(
                "the network fixes its batch size, so it cannot be exported with a free one: give "
                "dynamic_batch=False, and example inputs of the batch size that it will serve "
                "(--batch)."
            ) from error
        raise TensorpressError(
            f"{_culprit(net, error.__traceback__)} cannot be exported ({first_cause(error)})"
            f"{_explanation(error)}."
        ) from error
    _refuse_constants(program)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    program.example_inputs = None
    return program


def _refuse_constants(program: ExportedProgram) -> None:
    """Raise for an answer that holds what a file has no place for, such as a number.

    None is nothing, and is left out.
    """
    given = (spec.arg for spec in program.graph_signature.output_specs)
    values = [arg.value for arg in given if isinstance(arg, ConstantArgument)]
    refuse_others({type(value).__name__ for value in values if value is not None})


def _culprit(net: nn.Module, traceback: TracebackType | None) -> str:
    """The innermost layer whose forward an error came through."""
    names = {id(module): name for name, module in net.named_modules()}
    culprit = net
    while traceback is not None:
        module = traceback.tb_frame.f_locals.get("self")
        if isinstance(module, nn.Module) and id(module) in names:
            culprit = module
        traceback = traceback.tb_next
    name = names[id(culprit)]
    return f"layer '{name}' ({type(culprit).__name__})" if name else "the network"


def _explanation(error: BaseException) -> str:
    if "data-dependent" not in str(error):
        return ""
    return ": its path depends on the values of a tensor, and a file holds one path only"
