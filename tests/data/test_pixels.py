import pytest
import torch

from tensorpress.data import load_data
from tensorpress.errors import TensorpressError
from tensorpress.pixels import check_normalisation, normalise


def test_pixels_are_scaled_before_they_are_normalised() -> None:
    images = torch.randint(256, (3, 2, 4, 5), dtype=torch.uint8)
    mean, std = torch.tensor([0.2, 0.7]), torch.tensor([0.3, 1.0])
    wanted = (images / 255 - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(normalise(images, mean.tolist(), std.tolist()), wanted)


@pytest.mark.parametrize("std", [(0.0039, 0.0039, 0.0039), (0.5, 0.5, 0.5), (1.0, 2.0, 3.0)])
def test_scales_of_other_recipes_are_taken(std: tuple[float, ...]) -> None:
    check_normalisation((0.0, 0.5, 1.0), std, 3)


def test_what_cannot_be_is_refused_before_anything_is_read() -> None:
    with pytest.raises(TensorpressError, match=r"of pixels in 0 \.\. 255, give 0\.5, 0\.5"):
        load_data("/nowhere", mean=(127.5, 127.5))
