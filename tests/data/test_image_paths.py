from pathlib import Path

import pytest

from tensorpress.data.image_paths import PassedOver, image_paths


def found(root: Path, below: str, capsys: pytest.CaptureFixture[str]) -> tuple[list[str], str]:
    passed_over = PassedOver(root)
    files = image_paths(root, below, passed_over)
    passed_over.say()
    return files, capsys.readouterr().err


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_all_depths_and_endings_in_the_order_of_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["a-b/1.png", "a/1.JPG", "a/b/c/2.jfif", "a/b.webp", "c.jpeg"]
    touch(*(tmp_path / name for name in names))
    files, said = found(tmp_path, "", capsys)
    assert files == [
        str(path.relative_to(tmp_path)) for path in sorted(map(tmp_path.joinpath, names))
    ]
    assert said == ""


def test_what_is_passed_over_is_counted_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = [".ipynb_checkpoints", "@eaDir", ".thumbnails", "__MACOSX"]
    touch(tmp_path / "ant" / "1.png", *(tmp_path / "ant" / name / "1.png" for name in hidden))
    touch(tmp_path / "ant" / "._1.png", tmp_path / "ant" / "notes.txt", tmp_path / "ant" / "README")
    (tmp_path / "ant" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "ant" / "itself.png").symlink_to(tmp_path / "ant" / "itself.png")
    files, said = found(tmp_path, "ant", capsys)
    assert files == ["ant/1.png"]
    assert said.count("\n") == 1
    for part in (
        f"{tmp_path}: left out ",
        "4 hidden folders (first ant/.ipynb_checkpoints)",
        "1 hidden files (ant/._1.png)",
        "2 files that are no images by their names (first ant/README)",
        "2 links to nothing",
    ):
        assert part in said


def test_links_are_followed_but_not_in_circles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(tmp_path / "elsewhere" / "1.png", tmp_path / "elsewhere" / "deep" / "2.png")
    touch(tmp_path / "set" / "bee" / "3.png", tmp_path / "set" / "ant" / "5.png")
    ant = tmp_path / "set" / "ant"
    (ant / "linked").symlink_to(tmp_path / "elsewhere")
    (ant / "twice").symlink_to(tmp_path / "elsewhere")
    (ant / "round").symlink_to(ant)
    (ant / "up").symlink_to(tmp_path)
    (ant / "4.png").symlink_to(tmp_path / "set" / "bee" / "3.png")
    (tmp_path / "elsewhere" / "back").symlink_to(ant)
    files, said = found(tmp_path / "set", "ant", capsys)
    assert files == ["ant/4.png", "ant/5.png", "ant/linked/1.png", "ant/linked/deep/2.png"]
    assert "4 links to folders that were read already" in said
    (tmp_path / "set" / "cow").symlink_to(tmp_path / "elsewhere" / "deep")
    assert found(tmp_path / "set", "cow", capsys)[0] == ["cow/2.png"]
