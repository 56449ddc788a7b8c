"""The curves of a run as a picture."""

import importlib.util
from pathlib import Path
from typing import Any


def can_plot() -> bool:
    """Whether matplotlib, which is optional, is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def plot_curves(metrics: list[dict[str, Any]], path: Path) -> None:
    """Draw loss and accuracy over the epochs of all phases.

    ``metrics`` are the lines of ``metrics.jsonl``; ``path`` gets a PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    for number, phase in enumerate(dict.fromkeys(line["phase"] for line in metrics)):
        lines = [line for line in metrics if line["phase"] == phase]
        epochs = [line["epoch"] for line in lines]
        colour = f"C{number}"
        loss_axes.plot(epochs, [line["loss"] for line in lines], ".-", color=colour, label=phase)
        test = [line["test_acc"] for line in lines]
        accuracy_axes.plot(epochs, test, ".-", color=colour, label=f"{phase}, test")
        train = [line["train_acc"] for line in lines]
        accuracy_axes.plot(epochs, train, ".:", color=colour, label=f"{phase}, training")
    loss_axes.set(xlabel="epoch", ylabel="training loss")
    accuracy_axes.set(xlabel="epoch", ylabel="accuracy, %")
    for axes in (loss_axes, accuracy_axes):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, format="png", dpi=120)
