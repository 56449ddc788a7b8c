import numpy as np
import pytest
from PIL import Image

from tensorpress.data.framing import Framing, random_part


def noise(width: int, height: int) -> Image.Image:
    shape = (height, width, 3)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


# (width, height) of the image, resize, crop; (width, height) of it resized, left and top of the
# crop: by hand from torchvision's int(resize * long / short) and round((side - crop) / 2).
CASES = [
    ((500, 375), 256, (224, 224), (341, 256), (58, 16)),
    ((375, 500), 256, (224, 224), (256, 341), (16, 58)),
    ((100, 100), 32, (31, 31), (32, 32), (0, 0)),
    ((41, 40), 20, (19, 15), (20, 20), (2, 0)),
    ((30, 90), 60, (10, 60), (60, 180), (0, 85)),
]


@pytest.mark.parametrize(("size", "resize", "crop", "resized", "corner"), CASES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_shorter_side_is_resized_and_the_centre_cut_out(
    size: tuple[int, int],
    resize: int,
    crop: tuple[int, int],
    resized: tuple[int, int],
    corner: tuple[int, int],
    interpolation: str,
) -> None:
    image = noise(*size)
    whole = image.resize(resized, Image.Resampling[interpolation.upper()])
    left, top = corner
    wanted = np.asarray(whole)[top : top + crop[0], left : left + crop[1]]
    assert np.array_equal(np.asarray(Framing(resize, crop, interpolation).apply(image)), wanted)


@pytest.mark.parametrize("size", [(224, 224), (128, 64), (64, 128), (1, 1)])
def test_to_a_size_the_crop_always_lies_inside(size: tuple[int, int]) -> None:
    framing = Framing.to(size)
    assert framing.crop == size
    assert np.asarray(framing.apply(noise(3, 500))).shape == (*size, 3)
    assert framing.resize == round(max(size) * 256 / 224)


@pytest.mark.parametrize("size", [(64, 48), (400, 10), (3, 90), (1, 1)])
def test_a_random_part_has_the_size_and_follows_from_its_seed(size: tuple[int, int]) -> None:
    image = noise(*size)
    parts = [random_part(image, (8, 12), "bilinear", f"1 {n}") for n in range(40)]
    assert all(part.size == (12, 8) for part in parts)
    again = random_part(image, (8, 12), "bilinear", "1 7")
    assert np.array_equal(np.asarray(again), np.asarray(parts[7]))


def test_random_parts_are_of_a_tenth_to_all_of_the_area_and_half_of_them_mirrored() -> None:
    # Red tells the column and green the row, so that a part tells where it was.
    rows, columns = np.mgrid[0:200, 0:200]
    image = Image.fromarray(np.stack([columns, rows, rows], -1).astype(np.uint8))
    areas, mirrored = [], 0
    for number in range(300):
        part = np.asarray(random_part(image, (64, 64), "bilinear", f"0 {number}")).astype(int)
        width = part[32, -1, 0] - part[32, 0, 0]
        height = part[-1, 32, 1] - part[0, 32, 1]
        mirrored += width < 0
        areas.append(abs(width * height) / 200**2)
        assert 0.7 < abs(width) / height < 1.4
    assert 110 < mirrored < 190
    assert min(areas) < 0.15
    assert 0.8 < max(areas) <= 1.0
    assert 0.4 < np.mean(areas) < 0.6
