"""What a library of networks has to say of each of them."""

import difflib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from tensorpress.errors import TensorpressError, first_line


@dataclass(frozen=True)
class Usual:
    """What a network takes by itself.

    Attributes:
        input_shape: of one image, (C, H, W).
        mean, std: by which its images are normalised, one value a channel.
        pretrained: whether the library has trained weights for it.
    """

    input_shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pretrained: bool


class Library(ABC):
    """Networks of others, by the names that they have there.

    Attributes:
        name: of the library, as it is imported and as ``--net NAME:NETWORK`` has it.
        takes_classes: whether its networks can be made for a number of classes.
    """

    name: str
    takes_classes = True

    @abstractmethod
    def usual(self, network: str) -> Usual:
        """What the network takes, without building it.

        Raises:
            TensorpressError: the library is not there, or has no network of this name.
        """

    @abstractmethod
    def build(self, network: str, *, pretrained: bool, **counts: int) -> nn.Module:
        """The network, with the library's trained weights or as it makes it.

        Args:
            counts: ``num_classes`` and ``in_channels``, where they are known.

        Raises:
            TensorpressError: as :meth:`usual`, weights that cannot be had, or counts that the
                network cannot have.
        """

    def imported(self, module: str | None = None) -> Any:
        """The library, or a module of it.

        Raises:
            TensorpressError: it is not installed, or does not import beside this PyTorch.
        """
        try:
            library = importlib.import_module(self.name)
            return importlib.import_module(module) if module else library
        except ModuleNotFoundError as error:
            if error.name != self.name:
                raise self._does_not_import(error) from error
            raise TensorpressError(
                f"networks of {self.name} need {self.name}, which is not installed: "
                f"pip install {self.name}"
            ) from error
        except Exception as error:  # compiled parts that fit another PyTorch fail in any way
            raise self._does_not_import(error) from error

    def _does_not_import(self, error: Exception) -> TensorpressError:
        return TensorpressError(
            f"{self.name} is installed and cannot be imported "
            f"({type(error).__name__}: {first_line(error)}): install the version of it that fits "
            "this PyTorch."
        )

    def unknown(self, network: str, names: Iterable[str]) -> TensorpressError:
        """The error for a name that is none of ``names``."""
        near = difflib.get_close_matches(network, list(names))
        hint = f"; near it are {', '.join(near)}" if near else ""
        return TensorpressError(f"{self.name} has no network '{network}'{hint}.")

    def failed(self, network: str, error: Exception) -> TensorpressError:
        """The error for a network that the library did not give."""
        return TensorpressError(
            f"{self.name}:{network} cannot be had ({type(error).__name__}: {first_line(error)}): "
            "without a connection give its weights with --weights FILE."
        )
