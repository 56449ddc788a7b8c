"""What images in folders are to become, whatever size and colours they have."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tensorpress.data.framing import Framing, check_interpolation
from tensorpress.errors import TensorpressError

MOST_WORKERS = 256


@dataclass(frozen=True)
class Wanted:
    """What images in folders are to become.

    Attributes:
        shape: (C, H, W) that the network takes. Images of another size are then brought to it, as
            ImageNet's are for evaluation, and those of other colours too. None for what the images
            have, which is then to be one size.
        framing: resizes and crops all of them, whatever their size.
        usual: does so where neither ``shape`` nor ``framing`` is asked for.
        fallback: does so where their sizes differ, instead of an error.
        interpolation: where ``shape`` alone says what they become; by default "bilinear".
        workers: processes that read what is not held in memory; None for as many as there are
            processors, and none for few images.
    """

    shape: Sequence[int] | None = None
    framing: Framing | None = None
    usual: Framing | None = None
    fallback: Framing | None = None
    interpolation: str | None = None
    workers: int | None = None

    @classmethod
    def of(
        cls,
        shape: Sequence[int] | None = None,
        *,
        resize: int | None = None,
        crop: int | None = None,
        interpolation: str | None = None,
        workers: int | None = None,
        fallback: Framing | None = None,
        usual: Framing | None = None,
    ) -> "Wanted":
        """By single sizes.

        Args:
            shape: as the attribute.
            resize: pixels of the shorter side; by default 256 for each 224 of the crop.
            crop: pixels of a side of what is cut out of the centre; by default what ``shape`` or
                the framing that is usual says.
            interpolation: "bilinear" or "bicubic"; by default that of the framing that is usual.
            workers, fallback, usual: as the attributes.

        Raises:
            TensorpressError: sizes that no image can have, or that nothing says; an interpolation
                without them; processes below 0.
        """
        check_interpolation(interpolation)
        if workers is not None and not 0 <= workers <= MOST_WORKERS:
            raise TensorpressError(
                f"workers={workers} (--workers): give 0 to {MOST_WORKERS} processes."
            )
        known = usual or fallback
        if interpolation is None and known is not None:
            interpolation = known.interpolation
        elif interpolation is not None and (resize, crop, shape, known) == (None,) * 4:
            raise TensorpressError(
                f"interpolation={interpolation} (--interpolation) is of images that are resized: "
                "say to what, by resize= and crop= (--resize, --crop) or the network's shape "
                "(--input-shape)."
            )
        size = None
        if crop is not None:
            size = (crop, crop)
        elif shape is not None and len(shape) == 3:
            size = (shape[1], shape[2])
        elif shape is None and known is not None:
            size = known.crop
        asked = resize is not None or crop is not None
        framing = _framing(resize, size, interpolation) if asked else None
        if interpolation is not None:
            usual, fallback = (
                given and replace(given, interpolation=interpolation) for given in (usual, fallback)
            )
        return cls(shape, framing, usual, fallback, interpolation, workers)


def _framing(
    resize: int | None, size: tuple[int, int] | None, interpolation: str | None
) -> Framing:
    if size is None:
        raise TensorpressError(
            f"resize={resize} (--resize) leaves images of many shapes: say with crop= (--crop) "
            "what is cut out of their middle."
        )
    return Framing.to(size, interpolation, resize)
