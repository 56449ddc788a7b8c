"""Which layers can be replaced, and why the others cannot."""

from collections.abc import Iterator

from torch import nn
from torch.nn.utils import parametrize

from tensorpress.errors import TensorpressError
from tensorpress.layers.kinds import KINDS, is_depthwise, unreadable_setting

# Not _load_state_dict_pre_hooks: they are about checkpoints of the layer that is replaced, and
# removing a weight norm leaves one behind.
_HOOKS = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def why_not(module: nn.Module) -> str | None:
    """Why a convolution or linear layer stays as it is; None if it can be decomposed."""
    if is_depthwise(module):
        return "depthwise: one input channel a group"
    plain = parametrize.type_before_parametrizations(module)
    if plain not in KINDS and not is_lazy(module):
        return f"{_told(plain)} is a subclass and may compute something else"
    return None if is_lazy(module) else unreadable_setting(module)


def _told(kind: type[nn.Module]) -> str:
    """The name of a class, in full where it has that of one of the kinds."""
    same = any(kind.__name__ == other.__name__ for other in KINDS)
    return f"{kind.__module__}.{kind.__name__}" if same else kind.__name__


def is_lazy(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.lazy.LazyModuleMixin)


def refuse_unreadable(name: str, module: nn.Module, *, needs_values: bool = True) -> None:
    """Raise if replacing ``module`` would lose something that was attached to it.

    Args:
        needs_values: whether its weights are read, which cannot be done on the meta device.

    Raises:
        TensorpressError: naming the layer, for lazy, meta or complex weights, parametrisations
            (weight and spectral norm, say) and hooks (pruning, the older weight norm).
    """
    if is_lazy(module):
        raise TensorpressError(
            f"layer '{name}' is lazy and has no weights yet: "
            "run the network once on an input first."
        )
    if parametrize.is_parametrized(module):
        raise TensorpressError(
            f"layer '{name}' is parametrised, which its factors could not keep: call "
            "torch.nn.utils.parametrize.remove_parametrizations on it, exclude it, or let compress "
            "fold it (fold_parametrizations=True, --fold-parametrizations)."
        )
    _refuse(name, list(_attached(module)))
    weight = module.weight
    if weight.is_meta and needs_values:
        raise TensorpressError(
            f"layer '{name}' is on the meta device and has no weights to decompose."
        )
    if weight.dtype.is_complex or not weight.dtype.is_floating_point:
        raise TensorpressError(
            f"layer '{name}' has {weight.dtype} weights, and only real floating point ones can be "
            "decomposed: exclude it."
        )


def is_hooked(*modules: nn.Module) -> bool:
    """Whether something else is done when one of them is called, such as an older weight norm."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in modules)


def listens(module: nn.Module) -> bool:
    """Whether hooks of any kind are on a module or in it."""
    return any(True for part in module.modules() for _ in _hooks(part))


def refuse_hooked(name: str, module: nn.Module) -> None:
    """Raise if anything listens to a module that was made by a treatment, or to what is in it.

    Raises:
        TensorpressError: naming the layer.
    """
    _refuse(name, [hook for part in module.modules() for hook in _hooks(part)])


def _refuse(name: str, found: list[str]) -> None:
    if found:
        raise TensorpressError(
            f"layer '{name}' carries {', '.join(found)}, which its factors could not keep: "
            "remove them (prune.remove, remove_weight_norm, handle.remove()), or exclude the layer."
        )


def _hooks(module: nn.Module) -> Iterator[str]:
    yield from (hook.strip("_") for hook in _HOOKS if getattr(module, hook, None))


def _attached(module: nn.Module) -> Iterator[str]:
    """What a plain layer does not have and its factors would not take over."""
    yield from _hooks(module)
    if "forward" in vars(module):
        yield "a forward of its own"
    held = (*module._parameters, *module._buffers, *module._modules)
    yield from (name for name in held if name not in ("weight", "bias"))
    for name, parameter in module.named_parameters(recurse=False):
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            yield f"hooks on its {name}"
