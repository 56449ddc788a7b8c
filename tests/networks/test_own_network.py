import sys
from pathlib import Path

import pytest
from torch import nn

from tensorpress.errors import TensorpressError
from tensorpress.networks import build

SOURCE = """
from torch import nn

def plain():
    return nn.Linear(3, 2)

def counted(num_classes=1000, *, in_channels=3):
    return nn.Conv2d(in_channels, num_classes, 1)

def keywords(**options):
    assert not options
    return nn.Identity()

def needs(depth):
    return nn.Identity()

def fails():
    raise ValueError("two\\nlines")

def leaves():
    raise SystemExit(1)

def gives_a_list():
    return [nn.Identity()]

ready = nn.Linear(3, 2)
NUMBER = 3

class Holder:
    Net = nn.Identity
"""


@pytest.fixture(autouse=True)
def own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "__init__.py").touch()
    (tmp_path / "own" / "nets.py").write_text(SOURCE)
    (tmp_path / "own" / "needy.py").write_text("import a_module_that_is_not_there")
    (tmp_path / "own" / "broken.py").write_text("def net(:")
    (tmp_path / "own" / "script.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "own"]:
        monkeypatch.delitem(sys.modules, name)


def test_a_function_is_found_in_the_working_directory() -> None:
    path = list(sys.path)
    assert isinstance(build("own.nets:plain"), nn.Linear)
    assert sys.path == path


def test_named_arguments_are_passed_and_others_are_not() -> None:
    assert build("own.nets:counted").weight.shape == (1000, 3, 1, 1)
    assert build("own.nets:counted", 7, 2).weight.shape == (7, 2, 1, 1)
    assert isinstance(build("own.nets:plain", 7, 2), nn.Linear)
    assert isinstance(build("own.nets:keywords", 7, 2), nn.Identity)


def test_a_class_and_an_installed_package_work() -> None:
    assert isinstance(build("own.nets:Holder.Net"), nn.Identity)
    assert build("tensorpress.networks:resnet20", 5).linear.out_features == 5


@pytest.mark.parametrize("spec", ["own/nets.py:plain", "./own/nets.py:plain"])
def test_a_module_may_be_given_as_its_file(spec: str) -> None:
    assert type(build(spec)) is type(build("own.nets:plain"))


def test_a_network_object_is_copied() -> None:
    assert build("own.nets:ready") is not build("own.nets:ready")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("own.nets:", "not of the form package.module:function"),
        (":plain", "not of the form package.module:function"),
        (".nets:plain", "not of the form package.module:function"),
        ("absent.nets:plain", "there is no module 'absent.nets'"),
        ("own.absent:plain", "there is no module 'own.absent'"),
        ("own.nets.deeper:plain", "there is no module 'own.nets.deeper'"),
        ("own/absent.py:plain", "there is no module 'own.absent'"),
        ("/own/nets.py:plain", "as it lies in the working directory"),
        ("own.needy:net", "No module named 'a_module_that_is_not_there'"),
        ("own.broken:net", "importing own.broken failed: SyntaxError"),
        ("own.script:net", "importing own.script failed: SystemExit"),
        ("own.nets:absent", "own.nets has no attribute 'absent'"),
        ("own.nets:NUMBER", "must be a function that returns a torch.nn.Module"),
        ("own.nets:gives_a_list", "must return a torch.nn.Module, but it returned an object of "),
        ("own.nets:needs", "own.nets:needs failed: TypeError"),
        ("own.nets:fails", "own.nets:fails failed: ValueError: two"),
        ("own.nets:leaves", "own.nets:leaves failed: SystemExit"),
    ],
)
def test_errors(spec: str, message: str) -> None:
    with pytest.raises(TensorpressError) as caught:
        build(spec)
    assert message in str(caught.value)
    assert spec in str(caught.value)
    assert "\n" not in str(caught.value)
