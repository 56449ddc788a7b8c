"""Draw docs/results.png from docs/results.json: dAcc against PCR, calibrated and fine-tuned."""

from pathlib import Path

from matplotlib.figure import Figure

from tensorpress.experiments import read_results

DOCS = Path(__file__).parents[1] / "docs"
PAPER = (3.93, -0.50)
"""PCR and dAcc of ResNet-56 on CIFAR-100 in Table 4."""


def main() -> None:
    lines: dict[str, list[tuple[float, float, float]]] = {}
    for row in read_results(DOCS / "results.json"):
        if "calibrated" in row.method and row.network.startswith("resnet"):
            label = f"{row.network}, {row.epochs} epochs, {row.method.rsplit(', ', 1)[1]}"
            lines.setdefault(label, []).append((row.pcr, row.worse_dacc, row.stderr))
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for label, points in lines.items():
        pcr, dacc, error = zip(*sorted(points), strict=True)
        axes.errorbar(pcr, dacc, yerr=error, marker="o", capsize=3, label=label)
    axes.plot(*PAPER, "k*", ms=10, label="printed: resnet56, 200 epochs, CIFAR-100")
    axes.axhline(0, color="black", lw=0.8, ls=":")
    axes.set_xlabel("PCR")
    axes.set_ylabel("dAcc, points (the worse of the two)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(DOCS / "results.png", dpi=90)


if __name__ == "__main__":
    main()
