"""Build a compressed network from its file."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, finfo, nn

from tensorpress.artifacts.digest import digest
from tensorpress.artifacts.manifest import Manifest, read_manifest
from tensorpress.artifacts.overflow import refuse_overflow
from tensorpress.artifacts.rebuild import known_methods, plan_layers, put_layers
from tensorpress.artifacts.recorded_account import story_of
from tensorpress.artifacts.sharing import place_in_memory
from tensorpress.errors import TensorpressError
from tensorpress.files import as_path, composed
from tensorpress.layers import Treatment
from tensorpress.surgery import refuse_unready, remember
from tensorpress.surgery.state import versioned
from tensorpress.surgery.wrappers import refuse_distributed, unwrapped


def load(path: Path | str, *, into: nn.Module, methods: Sequence[Treatment] = ()) -> nn.Module:
    """Give a freshly built network the structure and the weights of a file. Nothing is decomposed.

    Args:
        path: a file that :func:`save` wrote.
        into: the network as it was before compression or pruning, with any weights; or one that
            was pruned alike. It is changed, and keeps its dtype and device, and its wrappers.
        methods: treatments of one's own that the file's layers were made by. Chains of plain layers
            need none.

    Returns:
        the network (another module only if the network was itself one layer).

    Raises:
        TensorpressError: a missing, damaged or foreign file, one of another network or of numbers
            that the dtype of ``into`` cannot hold, or an ``into`` without weights (lazy, meta) or
            with hooks on a layer to be replaced. ``into`` is then as it was.
    """
    path = as_path(path)
    manifest = read_manifest(path)
    known = known_methods(methods)
    refuse_unready(into)
    refuse_distributed(into, "load into the network itself")
    with unwrapped(into) as net:
        model = _loaded(path, manifest, net, known)
    if model is not net and into is not net:
        raise TensorpressError(
            "the network is one layer in a wrapper: load into the layer, and wrap what that gives."
        )
    return into if model is net else model


def _loaded(
    path: Path, manifest: Manifest, into: nn.Module, known: Mapping[str, Treatment]
) -> nn.Module:
    for name, value in into.state_dict().items():
        if isinstance(value, Tensor) and value.is_meta:
            raise TensorpressError(
                f"'{name}' of the network is on the meta device, where no weights can be put: "
                "call to_empty(device=...) on it first."
            )
    planned = plan_layers(str(path), into, manifest.layers, manifest.widths, known)
    expected = _expected_state(into, {**planned.narrow, **planned.in_place(planned.built)})
    tensors = _read_tensors(path, manifest, expected)
    _compare_sharing(path, expected, tensors)
    _refuse_other_kinds(path, expected, tensors)
    model = put_layers(into, planned)
    model.load_state_dict(versioned(model, tensors))
    if manifest.account is not None:
        remember(model, story_of(manifest.account))
    return model


def _expected_state(net: nn.Module, plans: dict[str, nn.Module]) -> dict[str, Tensor]:
    """The state of ``net`` with what is planned in the places of its layers."""
    planned = {id(net.get_submodule(name)): plan for name, plan in plans.items()}
    state: dict[str, Tensor] = {}
    replaced: set[str] = set()
    for name, module in net.named_modules(remove_duplicate=False):
        if id(module) in planned:
            replaced.add(name)
            prefix = f"{name}." if name else ""
            for key, value in planned[id(module)].state_dict().items():
                state[prefix + key] = value
    for key, value in net.state_dict().items():
        if not isinstance(value, Tensor):
            raise TensorpressError(
                f"'{key}' in the network's state is a {type(value).__name__}, not a tensor, and "
                "no tensorpress file holds it."
            )
        if replaced.isdisjoint(_holders(key)):
            state[key] = value
    return state


def _holders(key: str) -> Iterator[str]:
    """The names of the modules that hold a tensor, from the network itself, "", inwards."""
    yield ""
    for position, letter in enumerate(key):
        if letter == ".":
            yield key[:position]


def _read_tensors(path: Path, manifest: Manifest, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
            if not names.issuperset(manifest.aliases.values()):
                raise TensorpressError(
                    f"the manifest of {path} is damaged: it names tensors that the file lacks."
                )
            own = {composed(name): name for name in expected}
            ours = {name: own.get(composed(name), name) for name in {*names, *manifest.aliases}}
            shapes |= {alias: shapes[stored] for alias, stored in manifest.aliases.items()}
            shapes = {ours[name]: shape for name, shape in shapes.items()}
            _compare(path, shapes, {name: tuple(t.shape) for name, t in expected.items()})
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise TensorpressError(f"{path} cannot be read ({error}): it is damaged.") from error
    if manifest.sha256 is not None and digest(manifest.to_dict(), tensors) != manifest.sha256:
        raise TensorpressError(
            f"{path} is damaged: its contents do not fit the digest that was written with them. "
            "Copy it again from where it was made."
        )
    tensors |= {alias: tensors[stored] for alias, stored in manifest.aliases.items()}
    return {ours[name]: tensor for name, tensor in tensors.items()}


def _compare_sharing(path: Path, state: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    """What is one tensor in the network must be equal in the file, or one would be lost."""
    first: dict[tuple[object, ...], str] = {}
    for name, value in state.items():
        if value.is_meta or not value.numel():
            continue
        twin = first.setdefault(place_in_memory(value), name)
        if tensors[twin] is not tensors[name] and not torch.equal(tensors[twin], tensors[name]):
            raise TensorpressError(
                f"{path} is of another network: '{twin}' and '{name}' are shared in this network, "
                "and differ in the file."
            )


def _refuse_other_kinds(
    path: Path, expected: dict[str, Tensor], tensors: dict[str, Tensor]
) -> None:
    """What is cast as it is put into the network must not become something else."""
    for name, own in expected.items():
        stored = tensors[name]
        if _kind(stored) != _kind(own):
            raise TensorpressError(
                f"{path} is of another network: '{name}' is {stored.dtype} there, and {own.dtype} "
                "here."
            )
        if own.is_floating_point() and finfo(own.dtype).max < finfo(stored.dtype).max:
            cast = stored.to(own.dtype)
            refuse_overflow(name, stored, cast, "load into a network in torch.float32")


def _kind(tensor: Tensor) -> tuple[bool, bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex(), tensor.dtype is torch.bool


def _compare(
    path: Path, found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]
) -> None:
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys())
    reshaped = sorted(n for n in expected.keys() & found.keys() if expected[n] != found[n])
    parts = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for names, what in (
            (missing, "missing"),
            (unexpected, "unexpected"),
            (reshaped, "of another shape"),
        )
        if names
    ]
    if parts:
        hint = ""
        if len(parts) == 1 and all(_lies_within(found[n], expected[n]) for n in reshaped):
            hint = (
                " Where a file does not say which layers were pruned, it is loaded into a network "
                "that was pruned alike."
            )
        raise TensorpressError(f"{path} is of another network: tensors {', '.join(parts)}.{hint}")


def _lies_within(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    return len(small) == len(large) and all(a <= b for a, b in zip(small, large, strict=True))
