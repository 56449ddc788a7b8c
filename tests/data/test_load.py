import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tensorpress.data import load_data
from tensorpress.errors import TensorpressError

CLASSES = ("ant", "bee", "cow")


def records(count: int, label_bytes: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    made = rng.integers(0, 256, (count, label_bytes + 3072), dtype=np.uint8)
    made[:, :label_bytes] = rng.integers(0, 3, (count, label_bytes))
    return made


def write_cifar10(folder: Path, names: bool = True) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "data_batch_2.bin": records(4, 1, seed=2),
        "data_batch_10.bin": records(3, 1, seed=10),
        "data_batch_1.bin": records(5, 1, seed=1),
        "test_batch.bin": records(2, 1, seed=9),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content.tobytes())
    if names:
        (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n")
    return files


def write_cifar100(folder: Path) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    files = {"train.bin": records(4, 2, seed=2), "test.bin": records(2, 2, seed=9)}
    for name, content in files.items():
        (folder / name).write_bytes(content.tobytes())
    return files


def write_images(folder: Path, mode: str = "RGB", size: tuple[int, int] = (12, 9)) -> None:
    channels = len(mode)
    rng = np.random.default_rng(0)
    for part, count in (("train", 3), ("test", 1)):
        for name in CLASSES:
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                shape = (size[1], size[0], channels) if channels > 1 else (size[1], size[0])
                pixels = rng.integers(0, 256, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")


@pytest.mark.parametrize("nested", [".", "cifar-10-batches-bin"])
def test_cifar10_layout(nested: str, tmp_path: Path) -> None:
    files = write_cifar10(tmp_path / nested)
    data = load_data(str(tmp_path))
    in_order = [files[f"data_batch_{number}.bin"] for number in (1, 2, 10)]
    for read, wanted in (
        (data.train, np.concatenate(in_order)),
        (data.test, files["test_batch.bin"]),
    ):
        assert read.images.shape == (len(wanted), 3, 32, 32)
        assert read.images.dtype == torch.uint8
        assert read.labels.dtype == torch.int64
        for image, label, record in zip(read.images, read.labels, wanted, strict=True):
            assert label == record[0]
            for channel in range(3):
                plane = record[1 + 1024 * channel :][:1024]
                assert image[channel].flatten().tolist() == plane.tolist()
    assert data.name == tmp_path.name
    assert data.classes == CLASSES
    assert (data.crop_padding, data.flip) == (4, True)
    assert data.mean == (0.485, 0.456, 0.406)
    assert data.std == (0.229, 0.224, 0.225)


@pytest.mark.parametrize("nested", [".", "cifar-100-binary"])
def test_cifar100_layout_learns_the_fine_label(nested: str, tmp_path: Path) -> None:
    files = write_cifar100(tmp_path / nested)
    data = load_data(tmp_path)
    assert data.num_classes == 100
    assert data.train.labels.tolist() == files["train.bin"][:, 1].tolist()
    assert data.test.images[1, 2, 31, 31] == files["test.bin"][1, -1]


def test_classes_without_names_are_numbered(tmp_path: Path) -> None:
    write_cifar10(tmp_path, names=False)
    assert load_data(tmp_path).classes == tuple("0123456789")


def test_mean_and_std_are_taken(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    data = load_data(tmp_path, mean=[0.1, 0.2, 0.3], std=(1, 2, 3))
    assert data.mean == (0.1, 0.2, 0.3)
    assert data.std == (1, 2, 3)


def test_digits() -> None:
    from sklearn.datasets import load_digits

    data = load_data("digits")
    assert data.input_shape == (1, 8, 8)
    assert (len(data.train), len(data.test), data.num_classes) == (1437, 360, 10)
    assert not data.flip
    shares = torch.bincount(data.test.labels) / torch.bincount(data.train.labels)
    assert (shares - 360 / 1437).abs().max() < 0.02
    seen = torch.cat((data.train.images, data.test.images)).flatten(1)
    own = {tuple(row) for row in (load_digits().data * 255 / 16).round().astype(int).tolist()}
    assert {tuple(row) for row in seen.tolist()} == own
    pixels = data.train.images.double() / 255
    assert list(data.mean) == pytest.approx([pixels.mean().item()], abs=1e-4)
    assert list(data.std) == pytest.approx([pixels.std().item()], abs=1e-4)
    assert torch.equal(data.test.images, load_data("digits").test.images)


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1), ("RGBA", 3)])
def test_folder_of_images(mode: str, channels: int, tmp_path: Path) -> None:
    write_images(tmp_path, mode)
    (tmp_path / "train" / "ant" / "notes.txt").write_text("no image")
    (tmp_path / "train" / ".hidden").mkdir()
    data = load_data(tmp_path)
    assert data.input_shape == (channels, 9, 12)
    assert data.classes == CLASSES
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert data.test.labels.tolist() == [0, 1, 2]
    with Image.open(tmp_path / "train" / "bee" / "2.png") as opened:
        wanted = np.asarray(opened).reshape(9, 12, -1)[..., :channels]
    assert np.array_equal(data.train.images[5].numpy(), wanted.transpose(2, 0, 1))
    assert data.crop_padding == 1
    assert len(data.mean) == len(data.std) == channels


def test_grey_images_among_coloured_ones_become_coloured(tmp_path: Path) -> None:
    write_images(tmp_path)
    grey = np.arange(108, dtype=np.uint8).reshape(9, 12)
    Image.fromarray(grey).save(tmp_path / "train" / "ant" / "0.png")
    assert (load_data(tmp_path).train.images[0].numpy() == grey).all()


def test_folder_with_all_of_test_in_one_class(tmp_path: Path) -> None:
    write_images(tmp_path)
    for name in ("ant", "cow"):
        (tmp_path / "test" / name / "0.png").unlink()
        (tmp_path / "test" / name).rmdir()
    assert load_data(tmp_path).test.labels.tolist() == [1]


@pytest.mark.parametrize("place", ["", "test", "val"])
def test_images_to_test_on_alone(place: str, tmp_path: Path) -> None:
    """As people have ImageNet's validation images; who trains is not given them."""
    write_images(tmp_path)
    whole = load_data(tmp_path)
    (tmp_path / "alone" / place).mkdir(parents=True, exist_ok=True)
    for one in sorted((tmp_path / "test").iterdir()):
        one.rename(tmp_path / "alone" / place / one.name)
    with pytest.raises(TensorpressError, match="holds no data"):
        load_data(tmp_path / "alone")
    data = load_data(tmp_path / "alone", tests_alone=True)
    assert data.classes == whole.classes
    assert len(data.train) == 0
    assert torch.equal(data.test.images, whole.test.images)
    assert torch.equal(data.test.labels, whole.test.labels)


def test_folders_of_parts_may_be_written_in_capitals(tmp_path: Path) -> None:
    """Else evaluate takes them for two classes."""
    write_images(tmp_path)
    whole = load_data(tmp_path)
    for name in ("train", "test"):
        (tmp_path / name).rename(tmp_path / name.capitalize())
    for tests_alone in (False, True):
        data = load_data(tmp_path, tests_alone=tests_alone)
        assert data.classes == whole.classes
        assert torch.equal(data.test.images, whole.test.images)


@pytest.mark.parametrize("name", ["train", "Train"])
def test_images_to_train_on_are_no_class_to_test_on(name: str, tmp_path: Path) -> None:
    """One class would be right in all answers."""
    write_images(tmp_path)
    (tmp_path / "train").rename(tmp_path / name)
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(TensorpressError, match=f"{name} and no images to test on"):
        load_data(tmp_path, tests_alone=True)
    assert load_data(tmp_path / name, tests_alone=True).classes == CLASSES


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    write_images(tmp_path)
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(TensorpressError, match="cannot be read: Permission denied"):
        load_data(tmp_path)


def test_classes_without_images_to_test_on_keep_their_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path)
    part = tmp_path / "test"
    for file in (part / CLASSES[0]).iterdir():
        file.unlink()
    data = load_data(part, tests_alone=True)
    assert data.classes == CLASSES
    assert data.test.labels.tolist() == [1, 2]
    assert f"{part}: 1 of 3 classes have no images" in capsys.readouterr().err
    whole = load_data(tmp_path)
    assert (whole.classes, whole.test.labels.tolist()) == (CLASSES, [1, 2])
    assert f"{part}: 1 of 3 classes have no images" in capsys.readouterr().err
    for file in part.rglob("*.png"):
        file.unlink()
    with pytest.raises(TensorpressError, match="holds no images by class"):
        load_data(part, tests_alone=True)


def cut(file: str, size: int) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        write_cifar10(folder)
        (folder / file).write_bytes((folder / file).read_bytes()[:size])

    return act


def bad_label(folder: Path) -> None:
    write_cifar10(folder)
    content = records(3, 1)
    content[1, 0] = 77
    (folder / "data_batch_2.bin").write_bytes(content.tobytes())


def without(file: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        for name in write_cifar10(folder):
            if Path(name).match(file):
                (folder / name).unlink()

    return act


def both_sets(folder: Path) -> None:
    write_cifar10(folder / "cifar-10-batches-bin")
    write_cifar100(folder / "cifar-100-binary")


def no_class_names(folder: Path) -> None:
    write_cifar10(folder)
    (folder / "batches.meta.txt").write_text("\n")


def python_version(folder: Path) -> None:
    (folder / "cifar-10-batches-py").mkdir()
    (folder / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"\x80\x02")


def images_then(change: Callable[[Path], object]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        write_images(folder)
        change(folder)

    return act


def another_size(folder: Path) -> None:
    Image.new("RGB", (5, 4)).save(folder / "test" / "cow" / "0.png")


def class_of_test_alone(folder: Path) -> None:
    (folder / "test" / "dog").mkdir()


def class_without_images(folder: Path) -> None:
    (folder / "train" / "dog").mkdir()


def nothing_to_test_on(folder: Path) -> None:
    for name in CLASSES:
        (folder / "test" / name / "0.png").unlink()


def cut_image(folder: Path) -> None:
    file = folder / "train" / "ant" / "1.png"
    file.write_bytes(file.read_bytes()[:60])


def no_classes(folder: Path) -> None:
    (folder / "train").mkdir()
    (folder / "test").mkdir()


@pytest.mark.parametrize(
    ("write", "messages"),
    [
        (lambda _: None, ["holds no data; looked for data_batch_*.bin", "train/CLASS/"]),
        (python_version, ["Python version", "take the binary version"]),
        (cut("data_batch_2.bin", 9000), ["data_batch_2.bin", "9,000 bytes", "3,073 bytes"]),
        (cut("test_batch.bin", 0), ["test_batch.bin is empty"]),
        (bad_label, ["data_batch_2.bin has label 77 in record 1", "3 classes (0 to 2)"]),
        (without("test_batch.bin"), ["has data_batch_1.bin, but no test_batch.bin"]),
        (without("data_batch_*.bin"), ["has test_batch.bin, but no file to train on"]),
        (both_sets, ["more than one set"]),
        (no_class_names, ["batches.meta.txt is empty"]),
        (images_then(another_size), ["cow/0.png is 5x4, but", "ant/0.png is 12x9", "--crop 224"]),
        (images_then(class_of_test_alone), ["test/dog is a class that", "does not have"]),
        (images_then(class_without_images), ["train/dog holds no images"]),
        (images_then(nothing_to_test_on), ["test holds no images by class"]),
        (images_then(cut_image), ["ant/1.png cannot be read as an image"]),
        (no_classes, ["train has no folders"]),
    ],
)
def test_errors_in_a_folder(
    write: Callable[[Path], None], messages: list[str], tmp_path: Path
) -> None:
    write(tmp_path)
    with pytest.raises(TensorpressError) as caught:
        load_data(tmp_path)
    text = str(caught.value)
    for message in messages:
        assert message in text
    assert "\n" not in text


def test_missing_folder_and_file(tmp_path: Path) -> None:
    with pytest.raises(TensorpressError, match=r"no folder .*give digits, digits16, cifar10"):
        load_data(tmp_path / "absent")
    (tmp_path / "cifar.tar.gz").touch()
    with pytest.raises(TensorpressError, match="is a file, not a folder"):
        load_data(tmp_path / "cifar.tar.gz")


def test_mean_of_another_network() -> None:
    with pytest.raises(TensorpressError, match="mean has 3 values, but the images of digits have"):
        load_data("digits", mean=(0.1, 0.2, 0.3))


@pytest.mark.parametrize(
    ("module", "source", "message"),
    [
        ("sklearn", "digits", "need scikit-learn: pip install 'tensorpress"),
        ("pooch", "cifar10", "needs pooch: pip install 'tensorpress"),
        ("PIL", ".", "needs Pillow: pip install 'tensorpress"),
    ],
)
def test_missing_dependencies(
    module: str, source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TensorpressError) as caught:
        load_data(source)
    assert message in str(caught.value)
