"""Draw the root README's picture from the recorded trainings: what a CPU-minute of character GPT buys."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from tables import ROOT, record

RECIPES = ("nanogpt-cpu", "cpu-3min", "cpu-15min")
OTHERS = {"nanoGPT's CPU recipe, as stated": 1.88, "nanoGPT's GPU model, 10.6 M parameters": 1.4697}
PICTURE = ROOT / "docs" / "losses.png"


def draw() -> Figure:
    """Validation loss against CPU-seconds, a mark for each seed; what others state as lines."""
    figure = Figure(figsize=(7, 3.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    for name, marker in zip(RECIPES, "osD", strict=True):
        rows = record(f"packages/lets-build-gpt/results/train-{name}.json")["rows"]
        seeds, mean = [row for row in rows if row["seed"] != "mean"], rows[-1]
        x, y = [row["CPU-seconds"] for row in seeds], [row["validation loss"] for row in seeds]
        axes.plot(x, y, marker, color="black", markerfacecolor="none", markersize=7)
        label = f"{name}\n{mean['validation loss']:.3f}"
        axes.annotate(label, (max(x), max(y)), xytext=(9, 3), textcoords="offset points", fontsize=9)
    for text, loss in OTHERS.items():
        axes.axhline(loss, color="0.5", linestyle="--", linewidth=1)
        axes.annotate(
            text, (0.01, loss), xycoords=("axes fraction", "data"), ha="left", va="bottom", fontsize=8, color="0.3"
        )
    axes.set_xscale("log")
    axes.set_xlim(50, 3000)
    axes.set_ylim(1.42, 1.95)
    axes.set_xticks([60, 180, 900], ["1 min", "3 min", "15 min"])
    axes.minorticks_off()
    axes.set_xlabel("CPU time of the training")
    axes.set_ylabel("validation loss\n(nats per character)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main(path: Path = PICTURE) -> None:
    """Write the picture."""
    path.parent.mkdir(exist_ok=True)
    draw().savefig(path, metadata={"Software": None})
    print(f"{path.relative_to(ROOT)} written")


if __name__ == "__main__":
    main()
