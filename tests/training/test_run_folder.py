import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import tiny_data, tiny_net, tiny_run

import tensorpress as tp
from tensorpress.compression import Request
from tensorpress.errors import TensorpressError
from tensorpress.files import locked
from tensorpress.training import (
    Network,
    Recipe,
    Settings,
    Trainer,
    finetune,
    run_scheme,
    train,
)
from tensorpress.training.metrics import read_metrics

QUIET = Settings(device="cpu", quiet=True)


class Stop(BaseException):
    """Ends a run early, as a kill would."""


@pytest.fixture
def halfway(tmp_path, monkeypatch):
    """The folder of a run that stopped after the second epoch of fine-tuning."""
    epoch = Trainer.epoch

    def stopping(self, number, on_step=None):
        if (self.phase, number) == ("finetune", 2):
            raise Stop
        return epoch(self, number, on_step)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "epoch", stopping)
        with pytest.raises(Stop):
            tiny_run(tmp_path)
    return tmp_path


def test_a_checkpoint_holds_what_resuming_needs(halfway):
    state = torch.load(halfway / "last.pt", weights_only=True)
    assert (state["phase"], state["epochs_done"], state["seed"]) == ("finetune", 2, 3)
    assert state["optimizer"].keys() <= state["model"].keys()
    assert torch.load(halfway / "best.pt", weights_only=True)["phase"] == "finetune"


def test_a_live_process_keeps_others_out(halfway):
    code = "import sys, time; from pathlib import Path; from tensorpress.files import locked\n"
    code += "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(halfway)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(TensorpressError, match=f"in use by a live process .pid {holder.pid}"):
            tiny_run(halfway)
        holder.kill()
    with locked(halfway):
        pass


def test_another_configuration_is_refused_by_its_first_difference(halfway):
    with pytest.raises(TensorpressError, match=r"train.lr = 0.05, and this one asks for 0.2\."):
        tiny_run(halfway, train=Recipe(3, lr=0.2, batch_size=16, weight_decay=0.0))
    with pytest.raises(TensorpressError, match=r"distillation\.temperature = 4\.0"):
        tiny_run(halfway, distillation=None)
    with pytest.raises(TensorpressError, match="seed = 3, and this one asks for 4"):
        tiny_run(halfway, settings=Settings(seed=4, device="cpu", quiet=True))


def test_a_run_that_failed_before_it_began_may_be_asked_again_otherwise(tmp_path, monkeypatch):
    def fails(*_arguments, **_options):
        raise TensorpressError("a mistake")

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "__init__", fails)
        with pytest.raises(TensorpressError, match="a mistake"):
            tiny_run(tmp_path, settings=Settings(seed=4, device="cpu", quiet=True))
    assert tiny_run(tmp_path).summary["seed"] == 3
    with pytest.raises(TensorpressError, match="seed = 3, and this one asks for 4"):
        tiny_run(tmp_path, settings=Settings(seed=4, device="cpu", quiet=True))


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(TensorpressError, match=r"not empty and holds no run.*thesis.tex"):
        tiny_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_configuration_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "config.json").write_text('{"mine": 1}')
    with pytest.raises(TensorpressError, match=r"not empty and holds no run.*config.json"):
        tiny_run(tmp_path)
    assert (tmp_path / "config.json").read_text() == '{"mine": 1}'


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"budget": tp.Budget(params=500)}, "PCR 500 cannot be reached"),
        ({"budget": tp.Budget(params=2), "include": ("nosuch*",)}, "fits no layer"),
    ],
)
def test_what_compression_would_refuse_is_refused_before_the_baseline_is_trained(
    tmp_path, asked, said
):
    with pytest.raises(TensorpressError, match=said):
        tiny_run(tmp_path / "RUN", request=Request(**asked))
    assert not (tmp_path / "RUN").exists()


def test_a_network_with_too_few_classes_is_refused_before_it_trains(tmp_path):
    def two_classes() -> torch.nn.Module:
        return torch.nn.Sequential(*tiny_net()[:-1], torch.nn.Linear(16, 2))

    with pytest.raises(TensorpressError, match=r"gives \(2, 2\) for 2 images.*3 classes"):
        train(tmp_path, Network("two", two_classes), tiny_data(), Recipe(1), settings=QUIET)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(TensorpressError, match="is a file"):
        tiny_run(tmp_path / "run")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TensorpressError, match=r"run cannot be written.*is a file"):
        tiny_run(tmp_path / "file" / "run")


@pytest.mark.parametrize("damage", ["cut short", "a flipped bit"])
def test_a_damaged_checkpoint_is_named_with_the_way_out(halfway, damage):
    last = halfway / "last.pt"
    content = bytearray(last.read_bytes())
    if damage == "cut short":
        del content[len(content) // 2 :]
    else:
        weights = torch.load(last, weights_only=True)["model"]["0.weight"].numpy().tobytes()
        content[content.index(weights)] ^= 4
    last.write_bytes(content)
    with pytest.raises(TensorpressError, match=r"last\.pt.*best\.pt is whole.*after epoch"):
        tiny_run(halfway)
    aside = (halfway / "best.pt").rename(halfway / "aside.pt")
    with pytest.raises(TensorpressError, match=f"Delete {last} to start phase 'finetune' again"):
        tiny_run(halfway)
    aside.rename(halfway / "best.pt")
    best = torch.load(halfway / "best.pt", weights_only=True)
    shutil.copy(halfway / "best.pt", last)
    assert not tiny_run(halfway).was_finished
    assert best["phase"] == "finetune"


def test_without_a_checkpoint_the_phase_starts_again(halfway, tmp_path_factory):
    (halfway / "last.pt").unlink()
    outcome = tiny_run(halfway)
    straight = tiny_run(tmp_path_factory.mktemp("straight"))
    assert outcome.model_file.read_bytes() == straight.model_file.read_bytes()


def test_a_network_whose_code_changed_meanwhile_is_refused(tmp_path, monkeypatch):
    def other() -> torch.nn.Module:
        return torch.nn.Sequential(*tiny_net()[:-1], torch.nn.Linear(16, 3, bias=False))

    def stopping(*_arguments, **_options):
        raise Stop

    def start(build):
        train(tmp_path, Network("own", build), tiny_data(), Recipe(2), settings=QUIET)

    with monkeypatch.context() as patched:
        patched.setattr("tensorpress.training.progress.PhaseBar.epoch", stopping)
        with pytest.raises(Stop):
            start(tiny_net)
    with pytest.raises(TensorpressError, match=r"another structure.*has changed"):
        start(other)


def test_a_foreign_checkpoint_is_refused(halfway):
    torch.save({"weights": torch.zeros(3)}, halfway / "last.pt")
    with pytest.raises(TensorpressError, match="no checkpoint of a tensorpress run"):
        tiny_run(halfway)


def test_a_damaged_configuration_is_named(halfway):
    (halfway / "config.json").write_text('{"kind": ')
    with pytest.raises(TensorpressError, match=r"config\.json cannot be read"):
        tiny_run(halfway)


def test_half_lines_and_leftovers_of_a_kill_go(halfway):
    with open(halfway / "metrics.jsonl", "a") as metrics:
        metrics.write('{"phase": "finetune", "epoch": 3, "loss": 1.0}\n{"phase": "fine')
    (halfway / ".last.pt.x7f3.partial").write_bytes(b"half")
    tiny_run(halfway)
    lines = [json.loads(line) for line in (halfway / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 9
    assert not (halfway / ".last.pt.x7f3.partial").exists()


def test_metrics_with_a_damaged_byte_are_left_out(halfway):
    kept = read_metrics(halfway / "metrics.jsonl")
    content = bytearray((halfway / "metrics.jsonl").read_bytes())
    content[3] |= 0x80  # no UTF-8 any more
    (halfway / "metrics.jsonl").write_bytes(content)
    assert read_metrics(halfway / "metrics.jsonl") == kept[1:]
    assert tiny_run(halfway).summary["epochs"] == 3


@pytest.mark.parametrize(
    "damaged",
    [
        '{"phase": "finetune", "epoch": "one"}',
        '{"phase": ["finetune"], "epoch": 1}',
        '{"phase": "finetune", "epoch": 1, "test_acc": "good"}',
        '{"phase": "finetune", "epoch": 1, "loss": NaN}',
        "[" * 100_000,
    ],
)
def test_metrics_with_a_damaged_value_are_left_out(halfway, damaged):
    kept = read_metrics(halfway / "metrics.jsonl")
    with open(halfway / "metrics.jsonl", "a") as metrics:
        metrics.write(f"{damaged}\n")
    assert read_metrics(halfway / "metrics.jsonl") == kept
    assert tiny_run(halfway).summary["epochs"] == 3


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run that has ended."""
    folder = tmp_path_factory.mktemp("finished") / "RUN"
    tiny_run(folder)
    return folder


@pytest.mark.parametrize("name", ["summary.json", "phases.json"])
@pytest.mark.parametrize("spoilt", [None, "much", [], {}, float("nan")])
def test_a_number_that_is_none_is_named(finished, tmp_path, name, spoilt):
    whole = json.loads((finished / name).read_text())
    for phase in [None] if name == "summary.json" else whole:
        folder = shutil.copytree(finished, tmp_path / str(phase))
        found = json.loads(json.dumps(whole))
        (found[phase] if phase else found)["acc"] = spoilt
        (folder / name).write_text(json.dumps(found))
        if phase:
            (folder / "summary.json").unlink()
        with pytest.raises(TensorpressError, match=rf"{name} is damaged: its acc is"):
            tiny_run(folder)


def test_a_finished_run_whose_network_is_gone_says_so(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "RUN")
    (folder / "model.tp").unlink()
    for also in (None, "summary.json"):
        if also:
            (folder / also).unlink()
        with pytest.raises(TensorpressError, match=r"model\.tp is gone.*restore it"):
            tiny_run(folder)
        if not also:
            with pytest.raises(TensorpressError, match=r"model\.tp is gone.*restore it"):
                tiny_run(folder, settings=Settings(seed=3, device="cpu", quiet=True, dry_run=True))
    assert not (folder / "summary.json").exists()


def test_what_a_resumed_run_needs_and_lacks_is_named(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "RUN")
    phases = json.loads((folder / "phases.json").read_text())
    del phases["dense_control"]
    (folder / "phases.json").write_text(json.dumps(phases))
    (folder / "summary.json").unlink()
    weights = folder / "baseline.pt"
    held = weights.read_bytes()
    at = held.index(torch.load(weights, weights_only=True)["0.weight"].numpy().tobytes())
    weights.write_bytes(held[:at] + bytes([held[at] ^ 1]) + held[at + 1 :])
    with pytest.raises(TensorpressError, match=r"baseline\.pt cannot be read.*checksum"):
        tiny_run(folder)
    weights.unlink()
    with pytest.raises(TensorpressError, match=r"baseline\.pt cannot be read \(there is no"):
        tiny_run(folder)


@pytest.mark.parametrize("damage", ["gone", "cut short"])
def test_a_best_epoch_that_is_lost_is_named_with_the_way_out(tmp_path, damage, monkeypatch):
    settings = Settings(device="cpu", quiet=True, hold_back=30)
    folder, data, recipe = tmp_path / "Upper", tiny_data(), Recipe(2, lr=0.05, batch_size=16)

    def start():
        train(folder, Network("tiny", tiny_net), data, recipe, settings=settings)

    def stopping(*_arguments):
        raise Stop

    with monkeypatch.context() as patched:
        patched.setattr("tensorpress.training.run_folder.RunFolder.best", stopping)
        with pytest.raises(Stop):
            start()
    (folder / "best.pt").unlink()
    if damage == "cut short":
        (folder / "best.pt").write_bytes((folder / "last.pt").read_bytes()[:500])
    with pytest.raises(TensorpressError) as refused:
        start()
    assert str(folder / "best.pt") in str(refused.value)
    assert f"Delete {folder / 'last.pt'} to train the phase again." in str(refused.value)
    (folder / "last.pt").unlink()
    start()
    assert (folder / "summary.json").exists()


def test_a_full_disk_keeps_the_last_good_state(halfway):
    before = (halfway / "last.pt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(TensorpressError, match="cannot write"):
            tiny_run(halfway)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (halfway / "last.pt").read_bytes() == before
    assert not tiny_run(halfway).was_finished


def test_a_diverged_run_keeps_the_last_good_state(tmp_path):
    recipe = Recipe(4, lr=1e-3, milestones=(2,), factor=1e40, batch_size=16)
    with pytest.raises(TensorpressError, match="epoch 3, step"):
        train(tmp_path, Network("tiny", tiny_net), tiny_data(), recipe, settings=QUIET)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["epochs_done"] == 2
    assert all(value.isfinite().all() for value in state["model"].values())


def test_held_back_images_choose_the_epoch(tmp_path):
    settings = Settings(device="cpu", quiet=True, hold_back=30)
    recipe = Recipe(4, lr=0.05, batch_size=16)
    outcome = train(tmp_path, Network("tiny", tiny_net), tiny_data(), recipe, settings=settings)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    chosen = max(lines, key=lambda line: (line["held_back_acc"], -line["epoch"]))
    assert outcome.summary["acc"] == chosen["test_acc"]


def test_train_then_finetune_from_its_files(tmp_path):
    data, network = tiny_data(), Network("tiny", tiny_net)
    trained = train(tmp_path / "dense", network, data, Recipe(2), settings=QUIET)
    dense = Network("tiny", tiny_net, tmp_path / "dense" / "baseline.pt")
    small = tp.compress(dense.make(0), torch.zeros(1, 1, 8, 8), rank=tp.Energy(0.5))
    tp.save(small, tmp_path / "small.tp")
    tuned = finetune(
        tmp_path / "tuned",
        network,
        tmp_path / "small.tp",
        data,
        Recipe(2, lr=0.02),
        teacher=dense,
        settings=QUIET,
    )
    assert trained.summary["params"] > tuned.summary["params"]
    assert tuned.summary["distilled"]
    assert (tuned.summary["pcr"], tuned.summary["fcr"]) == (small.pcr, small.fcr)
    assert tuned.summary["acc_baseline"] == trained.summary["acc"]
    assert tuned.summary["baseline"] == dense.origin()
    assert tuned.summary["dacc"] == tuned.summary["acc"] - trained.summary["acc"]
    loaded = tp.load(tuned.model_file, into=tiny_net())
    assert sum(p.numel() for p in loaded.parameters()) == tuned.summary["params"]


def test_weights_that_are_trained_on_are_the_baseline(tmp_path):
    start = tmp_path / "start.pt"
    torch.save(tiny_net().state_dict(), start)
    known = Network("tiny", tiny_net, start)
    found = train(tmp_path / "on", known, tiny_data(), Recipe(1, lr=0.02), settings=QUIET).summary
    same = train(tmp_path / "as-is", known, tiny_data(), Recipe(0), settings=QUIET).summary
    assert found["acc_baseline"] == same["acc"] == same["acc_baseline"]
    assert found["dacc"] == found["acc"] - found["acc_baseline"]
    digest = hashlib.sha256(start.read_bytes()).hexdigest()
    assert found["baseline"] == f"start.pt (sha256 {digest[:8]})"
    fresh = train(tmp_path / "new", Network("tiny", tiny_net), tiny_data(), Recipe(0)).summary
    assert "acc_baseline" not in fresh


@pytest.mark.parametrize(
    ("known", "epochs", "words"),
    [
        ({}, 0, "not trained"),
        ({}, 4, "trained for 4 epochs"),
        ({"built_trained": True}, 0, "the weights that tiny is built with"),
        ({"pretrained": tiny_net}, 2, "the weights of tiny, trained on for 2 epochs"),
    ],
)
def test_where_weights_come_from_in_words(known, epochs, words):
    assert Network("tiny", tiny_net, **known).origin(epochs) == words


def test_where_the_weights_of_runs_come_from(tmp_path):
    def run(folder, epochs, weights=None):
        known = Network("tiny", tiny_net, weights)
        train(tmp_path / folder, known, tiny_data(), Recipe(epochs, lr=0.02), settings=QUIET)
        file = tmp_path / folder / "baseline.pt"
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
        return file, Network("tiny", tiny_net, file).origin(), f"baseline.pt (sha256 {digest})"

    first, told, file = run("first", 2)
    assert told == f"{file}, trained for 2 epochs"
    _, on, other = run("on", 1, first)
    assert on == f"{other}, {told}, trained on for 1 epochs"
    _, as_drawn, drawn = run("drawn", 0)
    assert as_drawn == drawn
    _, as_given, given = run("as-given", 0, first)
    assert as_given == f"{given}, {told}"
    for damaged in ("{", "{}", '{"epochs": 2}'):
        (tmp_path / "first" / "summary.json").write_text(damaged)
        assert Network("tiny", tiny_net, first).origin() == file


@pytest.mark.parametrize("epochs", [0, 3])
def test_where_the_weights_of_the_whole_scheme_come_from(tmp_path, epochs):
    tiny_run(tmp_path, finetune=Recipe(epochs, lr=0.02, batch_size=16))

    def told(name):
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()[:8]
        file = f"{name} (sha256 {digest}), "
        return Network("tiny", tiny_net, tmp_path / name).origin().removeprefix(file)

    assert told("baseline.pt") == "trained for 3 epochs"
    on = ", trained on for 3 epochs" if epochs else ""
    assert told("dense_control.pt") == f"trained for 3 epochs{on}"


def test_finetuning_on_labels_has_nothing_to_compare_with(tmp_path):
    small = tp.compress(tiny_net(), torch.zeros(1, 1, 8, 8), rank=tp.Energy(0.5))
    tp.save(small.model, tmp_path / "small.tp")
    network = Network("tiny", tiny_net)
    tuned = finetune(
        tmp_path / "tuned", network, tmp_path / "small.tp", tiny_data(), Recipe(1), settings=QUIET
    )
    assert tuned.summary["acc_baseline"] is tuned.summary["dacc"] is None
    assert "pcr" not in tuned.summary


def test_weights_are_taken_as_they_are_at_no_epochs(tmp_path):
    data, start = tiny_data(), tmp_path / "start.pt"
    torch.save(tiny_net().state_dict(), start)
    outcome = run_scheme(
        tmp_path / "run",
        Network("tiny", tiny_net, start),
        data,
        Request(rank=tp.Energy(0.5)),
        train=Recipe(0),
        finetune=Recipe(0),
        settings=QUIET,
    )
    kept = torch.load(tmp_path / "run" / "baseline.pt", weights_only=True)
    assert all(torch.equal(v, kept[k]) for k, v in torch.load(start, weights_only=True).items())
    assert outcome.summary["acc"] == outcome.summary["acc_before_finetune"]
    assert outcome.summary["acc_dense_control"] is None


def test_an_untrained_baseline_is_refused(tmp_path):
    with pytest.raises(TensorpressError, match="untrained"):
        tiny_run(tmp_path / "run", train=Recipe(0))
    assert not (tmp_path / "run").exists()


def test_the_summary_adds_up(tmp_path):
    summary = tiny_run(tmp_path).summary
    assert summary["dacc"] == pytest.approx(summary["acc"] - summary["acc_baseline"])
    assert summary["dacc_vs_control"] == pytest.approx(
        summary["acc"] - summary["acc_dense_control"]
    )
    assert summary["pcr"] == pytest.approx(summary["params_baseline"] / summary["params"])
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert os.path.getsize(tmp_path / "curves.png") > 1000
    assert Path(tmp_path / "config.json").exists()


def test_the_command_is_kept_and_does_not_set_a_run_apart(tmp_path):
    settings = [Settings(device="cpu", quiet=True, command=command) for command in ("a", "b")]
    data, network = tiny_data(), Network("tiny", tiny_net)
    for given in settings:
        outcome = train(tmp_path / "run", network, data, Recipe(1), settings=given)
        assert json.loads((tmp_path / "run" / "config.json").read_text())["command"] == "a"
    assert outcome.was_finished


def test_a_run_begun_before_requests_had_a_version_goes_on(tmp_path):
    first = tiny_run(tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    assert config["compression"]["rank"] == {"rule": "Energy", "tau": 0.5}
    keys = ("method", "include", "exclude", "skip_first", "linear", "balance", "round_to")
    held = {key: config["compression"][key] for key in keys}
    held |= {"rank": "Energy(tau=0.5)", "budget": None, "calibration": None}
    path.write_text(json.dumps({**config, "compression": held}))
    again = tiny_run(tmp_path / "run")
    assert again.was_finished
    assert again.summary == first.summary
    path.write_text(json.dumps({**config, "compression": {**held, "rank": "Energy(tau=0.6)"}}))
    with pytest.raises(TensorpressError, match=r"compression.rank.tau = 0.6.*asks for 0.5"):
        tiny_run(tmp_path / "run")


def test_a_run_that_began_before_a_setting_was_known_goes_on(halfway):
    config = json.loads((halfway / "config.json").read_text())
    for phase in ("train", "finetune"):
        del config[phase]["mixup"]
    (halfway / "config.json").write_text(json.dumps(config))
    assert tiny_run(halfway).summary["epochs"] == 3
