"""--config: what a file asks for, with options besides; and the command that is recorded."""

import html
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from command import Command
from hypothesis import given, settings
from requests_made import sayable
from test_bad_input import assert_one_message

import tensorpress as tp
from tensorpress import training
from tensorpress.cli.grouped import grouped
from tensorpress.cli.request_options import Asked
from tensorpress.compression import Request
from tensorpress.errors import TensorpressError
from tensorpress.request.request import Calibration
from tensorpress.settings import words_of

OWN = ("compress", "--net", "my_nets.own:make", "--input-shape", "3,16,16")


def asked_by(words: list[str]) -> Request:
    """What the options of ``compress`` ask for."""
    caught: list[Request] = []

    @grouped
    def command(*, asked: Asked) -> None:
        caught.append(asked)

    app = typer.Typer()
    app.command()(command)
    typer.main.get_command(app).main(words, standalone_mode=False)
    return caught[0]


@settings(deadline=None)
@given(sayable)
def test_the_words_of_a_request_ask_for_it(request: Request) -> None:
    words, unsaid = words_of(request)
    assert not unsaid
    assert asked_by(words) == request


@pytest.mark.parametrize("opposite", [(), ("--skip-first", "--no-balance")])
def test_no_word_is_needed_for_a_default(opposite: tuple[str, ...]) -> None:
    assert asked_by(list(opposite)) == Request()


def request_of(folder: Path) -> Request:
    return Request.from_dict(json.loads((folder / "account.json").read_text())["request"])


def test_an_account_asks_for_the_same_again(tensorpress: Command, tmp_path: Path) -> None:
    options = ("--energy", "0.5", "--exclude", "4", "--linear", "--balance", "--no-skip-first")
    assert tensorpress(*OWN, *options, "-o", "OUT").code == 0
    assert tensorpress(*OWN, "--config", "OUT/account.json", "-o", "AGAIN").code == 0
    made = [(tmp_path / name / "model.tp").read_bytes() for name in ("OUT", "AGAIN")]
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ("", {}),
        ("--energy 0.3", {"rank": tp.Energy(0.3)}),
        ("--budget-params 1.5", {"rank": None, "budget": tp.Budget(params=1.5)}),
        ("--exclude 2 --exclude 7", {"exclude": ("2", "7")}),
        ("--include 4", {"include": ("4",)}),
        ("--skip-first --no-balance", {"skip_first": True, "balance": False}),
        ("--method tucker2 --ranks 3,4", {"method": "tucker2", "rank": tp.Ranks(3, 4)}),
        ("--round-to 2", {"round_to": 2}),
    ],
)
@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_options_win_over_the_file(
    options: str, changes: dict[str, Any], suffix: str, tensorpress: Command, tmp_path: Path
) -> None:
    asked = Request(
        method="ttpwt",
        rank={"4": tp.Energy(0.4), "*": tp.Ranks(4, 5, 4)},
        exclude=("7",),
        skip_first=False,
        balance=True,
    )
    (tmp_path / "request.json").write_text(json.dumps(asked.to_dict()))
    (tmp_path / "request.toml").write_text(
        'method = "ttpwt"\nexclude = ["7"]\nskip_first = false\nbalance = true\n'
        '[rank."4"]\nrule = "Energy"\ntau = 0.4\n'
        '[rank."*"]\nrule = "Ranks"\nvalues = [4, 5, 4]\n'
    )
    answer = tensorpress(*OWN, "--config", f"request.{suffix}", *options.split(), "-o", "OUT")
    assert (answer.code, answer.err) == (0, "")
    assert request_of(tmp_path / "OUT") == replace(asked, **changes)


def test_one_option_of_a_budget_leaves_the_others(tensorpress: Command, tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text("budget = {params = 4, macs = 1.5}")
    assert tensorpress(*OWN, "--config", "b.toml", "--budget-params", "2", "-o", "OUT").code == 0
    assert request_of(tmp_path / "OUT") == Request(
        method="ttpwt", budget=tp.Budget(params=2.0, macs=1.5)
    )
    assert tensorpress(*OWN, "--config", "b.toml", "--energy", "0.5", "-o", "OUT").code == 0
    assert request_of(tmp_path / "OUT") == Request(method="ttpwt", rank=tp.Energy(0.5))


def test_calibration_of_a_file(tensorpress: Command, tmp_path: Path) -> None:
    recovery = tp.Recovery(distil_epochs=1, sweeps=1)
    asked = Request(budget=tp.Budget(params=1.5), calibration=Calibration(20, recovery))
    (tmp_path / "c.json").write_text(json.dumps(asked.to_dict()))
    own = ("compress", "--net", "my_nets.own:grey", "--config", "c.json")
    (tmp_path / "my_nets" / "own.py").write_text(
        (tmp_path / "my_nets" / "own.py").read_text()
        + "\ndef grey():\n    torch.manual_seed(1)\n    return nn.Sequential(nn.Conv2d(1, 8, 3), "
        "nn.Conv2d(8, 8, 3),\n        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))\n"
    )
    shape = ("--input-shape", "1,8,8")
    assert_one_message(
        tensorpress(*own, *shape), "--config c.json asks for calibration on 20 images: give .*--cal"
    )
    assert tensorpress(*own, *shape, "--calibrate", "digits", "-o", "OUT").code == 0
    assert request_of(tmp_path / "OUT") == replace(asked, method="auto")
    options = ("--calibration-images", "24", "--no-recover")
    assert tensorpress(*own, *shape, "--calibrate", "digits", *options, "-o", "OUT").code == 0
    closed = Calibration(24, replace(recovery, distil_epochs=0))
    assert request_of(tmp_path / "OUT") == replace(asked, method="auto", calibration=closed)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '\ufeff{"rank": {"rule": "Energy", "tau": 0.5}}'),
        ("a.toml", "\ufeff[rank]\nrule = 'Energy'\ntau = 0.5\n"),
        ("A.TOML", "[rank]\nrule = 'Energy'\ntau = 0.5\n"),
    ],
)
def test_files_as_editors_on_windows_write_them(
    name: str, content: str, tensorpress: Command, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    answer = tensorpress(*OWN, "--config", name, "--dry-run")
    assert (answer.code, answer.err) == (0, "")


WRONG: dict[str, tuple[str, str, str]] = {
    "missing": ("gone.json", "", "--config gone.json: there is no such file"),
    "a folder": ("my_nets", "", "--config my_nets is a folder: give the account.json"),
    "no JSON": ("a.json", "rank = 3", "--config a.json cannot be read as JSON, as all that does"),
    "no TOML": ("a.toml", "{}", "--config a.toml cannot be read as TOML: "),
    "a key twice": (
        "a.json",
        '{"balance": true, "budget": {"macs": 2, "macs": 3}}',
        "--config a.json cannot be read as JSON.*: 'macs' stands there 2 times",
    ),
    "a list": ("a.json", "[]", "--config a.json: the request is .*an object"),
    "key": ("a.toml", "ranks = [1]", "--config a.toml: 'ranks' is no key"),
    "inner key": ("a.toml", "[rank]\nrule='Energy'\nta=1", "a.toml: 'rank.ta' is no key"),
    "value": ("a.toml", "balance = 'yes'", "--config a.toml: balance is 'yes': give true or false"),
    "later": ("a.json", '{"version": 9}', "--config a.json: version is 9"),
    "range": ("a.toml", "rank = {rule = 'Energy', tau = 0}", r"a.toml: Energy\(0\)"),
    "in an account": (
        "account.json",
        '{"layers": [], "request": {"methd": 1}}',
        "--config account.json: 'methd' is no key",
    ),
    "training": ("config.json", '{"kind": "train", "network": {}}', "compresses nothing"),
    "two amounts": (
        "a.toml",
        "budget = {macs = 2}\n[rank]\nrule = 'Energy'\ntau = 0.5",
        "several of --energy",
    ),
    "no amount": ("a.toml", "balance = true", "none of --energy"),
    "another treatment": (
        "a.toml",
        "seed = 3\n[rank]\nrule = 'Energy'\ntau = 0.5",
        "seed is 3: compress takes none",
    ),
    "another method": (
        "a.toml",
        "method = 'magic'\n[rank]\nrule = 'Energy'\ntau = 0.5",
        "no method 'magic'",
    ),
}


@pytest.mark.parametrize(("name", "content", "message"), WRONG.values(), ids=WRONG)
def test_wrong_files(
    name: str, content: str, message: str, tensorpress: Command, tmp_path: Path
) -> None:
    if content:
        (tmp_path / name).write_text(content)
    assert_one_message(tensorpress(*OWN, "--config", name, "-o", "OUT"), message)
    assert not (tmp_path / "OUT").exists()


@pytest.mark.parametrize(
    ("options", "idle"),
    [
        (["--energy", "0.5", "--threads", "2"], "--threads"),
        (
            ["--budget-params", "2", "--runtime", "openvino", "--batch", "4"],
            "--runtime and --batch",
        ),
        (["--budget-macs", "2", "--precisions", "auto"], "--precisions"),
    ],
)
def test_options_of_a_time_that_is_not_measured_are_refused(
    options: list[str], idle: str, tensorpress: Command
) -> None:
    assert_one_message(tensorpress(*OWN, *options, "-o", "OUT"), f"{idle}: no time is measured")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The requests of the runs that were asked for; nothing is run."""
    kept: list[Request] = []

    def catch(_folder: Any, _network: Any, _data: Any, request: Request, **_given: Any) -> None:
        kept.append(request)
        raise TensorpressError("caught")

    monkeypatch.setattr(training, "run_scheme", catch)
    return kept


RUN = ("run", "--net", "resnet20", "--data", "digits", "--config", "config.json", "-o", "RUN")


@pytest.mark.parametrize("calibration", [None, Calibration(40, tp.Recovery(sweeps=1))])
def test_a_run_asks_for_what_another_did(
    calibration: Calibration | None, tensorpress: Command, asked: list[Request], tmp_path: Path
) -> None:
    request = Request(rank={"a*": tp.Energy(0.5)}, balance=True, calibration=calibration)
    config = {"kind": "run", "network": {"name": "vggnet"}, "compression": request.to_dict()}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "caught" in tensorpress(*RUN).err
    assert "caught" in tensorpress(*RUN, "--calibration-images", "64", "--no-balance").err
    more = Calibration(64, calibration.recovery if calibration else tp.Recovery())
    assert asked == [request, replace(request, balance=False, calibration=more)]


def test_a_config_of_before_is_read(
    tensorpress: Command, asked: list[Request], tmp_path: Path
) -> None:
    text: dict[str, object] = {
        "method": "ttpwt",
        "rank": None,
        "budget": "Budget(params=4, macs=None)",
    }
    text |= {"include": None, "exclude": ["b"], "calibration": {"images": 32, "recover": False}}
    config = {"kind": "run", "network": {"name": "vggnet"}, "compression": text}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensorpress(*RUN)
    calibration = Calibration(32, tp.Recovery(distil_epochs=0))
    budget = tp.Budget(params=4)
    wanted = Request(method="ttpwt", budget=budget, exclude=("b",), calibration=calibration)
    assert asked == [wanted]


def test_the_command_is_recorded_and_reported(tensorpress: Command, tmp_path: Path) -> None:
    given = [*OWN, "--energy", "0.5", "--exclude", "[4]", "-o", "a folder"]
    assert tensorpress(*given).code == 0
    facts = json.loads((tmp_path / "a folder" / "account.json").read_text())
    assert facts["command"] == shlex.join(["tensorpress", *given])
    assert tensorpress("report", "a folder", "--no-time", "-o", "PAGE").code == 0
    page = html.unescape((tmp_path / "PAGE" / "index.html").read_text())
    assert "The command as it was given" in page
    assert shlex.join(["tensorpress", *given]) in page
    # A lone file has no command; an account of before has that of its request.
    del facts["command"]
    (tmp_path / "a folder" / "account.json").write_text(json.dumps(facts))
    assert tensorpress("report", "a folder", "--no-time", "-o", "PAGE").code == 0
    page = (tmp_path / "PAGE" / "index.html").read_text()
    assert "The command line is not recorded" in page
    assert "--energy 0.5" in page
