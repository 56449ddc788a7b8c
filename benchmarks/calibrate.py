"""How much accuracy each step of calibration keeps before fine-tuning: the ablation table.

Run by `make bench-calibrate WEIGHTS=FILE DATA=DIR`. Calibration sees training images without
labels; accuracies are on the test images, which choose nothing. `--finetune-epochs 3` adds
fine-tuning with distillation from the plain and from the calibrated start, at equal epochs, on the
training images.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

import tensorpress as tp
from tensorpress.data import Dataset, load_data, unlabelled_of
from tensorpress.networks import build
from tensorpress.training import Distillation, Recipe, evaluate
from tensorpress.training.distil import Teacher
from tensorpress.training.loop import fit

NOTHING = tp.Recovery(False, False, False, False, distil_epochs=0)
STEPS = {
    "TTPWT, one threshold for all layers": NOTHING,
    "+ batch-norm statistics": tp.Recovery(False, False, False, True, distil_epochs=0),
    "+ data-aware TT-SVD (whitening)": tp.Recovery(True, False, False, True, 0, 0),
    "+ alternating least squares": tp.Recovery(True, False, False, True, 2, 0),
    "+ budget spread by measured losses": tp.Recovery(True, True, False, True, 2, 0),
    "+ reconstruction": tp.Recovery(True, True, True, True, 2, 0),
    "+ distillation": tp.Recovery(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--net", default="resnet56")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--params", type=float, default=4.0, help="PCR to reach")
    parser.add_argument("--macs", type=float, default=4.0, help="FCR to reach")
    parser.add_argument("--steps", default="", help="words of the rows to run; all by default")
    parser.add_argument("--finetune-epochs", type=int, default=0)
    parser.add_argument("--finetune-lr", type=float, default=0.004)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the rows here")
    given = parser.parse_args()

    data = load_data(given.data)
    net = tp.load_weights(build(given.net, data.num_classes, data.input_shape[0]), given.weights)
    net = net.eval()
    images = unlabelled_of(data, most=given.images, seed=given.seed)
    budget = tp.Budget(params=given.params, macs=given.macs)
    base = evaluate(net, data)
    print(
        f"{given.net}, {base} on {base.images} test images; {len(images)} unlabelled images; "
        f"{budget}; torch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    print("| step | PCR | FCR | accuracy | to the baseline | seconds |")
    print("|---|---|---|---|---|---|")
    rows, models = [], {}
    for step, recovery in STEPS.items():
        if given.steps and not any(word in step for word in given.steps.split(",")):
            continue
        start = time.perf_counter()
        result = tp.compress(
            net, torch.zeros(1, *data.input_shape), budget=budget, calibration=images,
            recover=recovery,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        models[step] = result.model
        rows.append(row(step, result.pcr, result.fcr, result.model, data, base.percent, seconds))
    if given.finetune_epochs:
        for step in (*list(models)[:1], *list(models)[-1:]):
            start = time.perf_counter()
            finetune(models[step], net, data, given)
            seconds = time.perf_counter() - start
            label = f"{step}; {given.finetune_epochs} epochs of fine-tuning"
            kept = next(r for r in rows if r["step"] == step)
            ratios = (kept["pcr"], kept["fcr"])
            rows.append(row(label, *ratios, models[step], data, base.percent, seconds))
    if given.json:
        content = {**vars(given), "baseline": asdict(base), "rows": rows}
        given.json.write_text(json.dumps(content, indent=1, default=str) + "\n")


def row(
    step: str, pcr: float, fcr: float, model: nn.Module, data: Dataset, base: float, seconds: float
) -> dict[str, object]:
    found = evaluate(model, data)
    print(
        f"| {step} | {pcr:.2f} | {fcr:.2f} | {found} | {found.percent - base:+.2f} | "
        f"{seconds:.0f} |",
        flush=True,
    )
    facts = {"step": step, "pcr": pcr, "fcr": fcr, "acc": found.percent, "stderr": found.stderr}
    return {**facts, "dacc": found.percent - base, "images": found.images, "seconds": seconds}


def finetune(model: nn.Module, net: nn.Module, data: Dataset, given: argparse.Namespace) -> None:
    """Fine-tune in place, with the network before compression as the teacher."""
    recipe = Recipe(given.finetune_epochs, lr=given.finetune_lr, schedule="cosine")
    teacher = Teacher(net, Distillation(), data.input_shape)
    for epoch in fit(model, data, recipe, seed=given.seed, teacher=teacher):
        print(f"  epoch {epoch.epoch + 1}: loss {epoch.loss:.3f}", flush=True)


if __name__ == "__main__":
    main()
