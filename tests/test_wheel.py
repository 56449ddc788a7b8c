"""What is published: built without a network, compared with the source, and used from elsewhere."""

import email
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import hatchling.build
import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        hatchling.build.build_wheel(str(folder))
        hatchling.build.build_sdist(str(folder))
    return folder


def source_files() -> set[str]:
    found = (ROOT / "src").rglob("*")
    return {
        str(path.relative_to(ROOT / "src"))
        for path in found
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_package_and_nothing_else(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (said,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(said))
        assert f"{said.rpartition('/')[0]}/licenses/LICENSE" in archive.namelist()
    assert names == source_files()
    assert {"tensorpress/py.typed", "tensorpress/report/style.css"} <= names
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["License-Expression"] == "MIT"
    assert set(metadata.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])


def test_the_sdist_can_be_tested(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in source_files()} <= held
    assert {"Makefile", "constraints.txt", "scripts/make_venv.sh", "tests/test_wheel.py"} <= held


COMMANDS = """
import contextlib, sys, torch, tensorpress as tp
from tensorpress.cli import main
torch.save(tp.networks.resnet20().state_dict(), "w.pt")
print(tp.__file__)
for words in (
    "compress --net resnet20 --weights w.pt --energy 0.5 -o OUT", "report OUT --no-time",
):
    sys.argv[1:] = words.split()
    with contextlib.suppress(SystemExit):
        main()
"""


def test_the_wheel_works_from_where_it_is_unpacked(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    ran = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(str(tmp_path / "site"))
    assert (tmp_path / "OUT" / "report" / "index.html").stat().st_size > 10_000
