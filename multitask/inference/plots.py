"""Plots of a run: the training loss and, where the run scores SST, its confusion matrix. Needs matplotlib."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from multitask.inference.run import Run, load_split
from multitask.metrics.scores import confusion_matrix
from multitask.runtime.tracking import read_metrics

SST_LEVELS = 5


def write_plots(run: Run) -> list[str]:
    """Writes RUN/plots/*.png; -> a line for each, or the one that says what to install."""
    if find_spec("matplotlib") is None:
        return ['no plots: they need matplotlib; pip install "minbert[plots]"']
    folder = run.folder / "plots"
    folder.mkdir(exist_ok=True)
    paths = [_plot_losses(run, folder / "loss.png")]
    if "sst" in run.scores.get("scores", {}) and run.task("sst").config.type == "sst":
        paths.append(_plot_confusion(run, folder / "sst-confusion.png"))
    return [f"wrote {path}" for path in paths]


def draw_losses(axes, records: Iterable[Mapping[str, Any]]) -> None:
    """Draws the training loss of each task, as recorded and smoothed over 9 records, on matplotlib's `axes`.

    `records` are those of a metrics.jsonl.
    """
    points: dict[str, tuple[list[int], list[float]]] = {}
    for record in records:
        for task, loss in record.get("loss", {}).items() if record["kind"] == "train" else ():
            steps, losses = points.setdefault(task, ([], []))
            steps.append(record["step"])
            losses.append(loss)
    for task, (steps, losses) in points.items():
        line = axes.plot(steps, losses, linewidth=0.8, alpha=0.35)[0]
        axes.plot(steps, _smoothed(losses), color=line.get_color(), label=task)
    axes.set(xlabel="step", ylabel="training loss")
    if points:
        logarithmic(axes, "y", [loss for _, losses in points.values() for loss in losses])
        axes.legend()
    axes.grid(alpha=0.3)


def draw_confusion(axes, matrix: np.ndarray, labels: Sequence[Any]):
    """Draws counts (C, C), rows true and columns predicted classes; -> the image, for a colour bar."""
    count = len(labels)
    image = axes.imshow(matrix, cmap="Blues", aspect="auto" if count > 2 * SST_LEVELS else "equal")
    size = 10 if count <= 2 * SST_LEVELS else 6
    for row in range(count):
        for column in range(count):
            dark = matrix[row, column] > matrix.max() / 2
            color = "white" if dark else "black"
            axes.text(column, row, matrix[row, column], ha="center", va="center", color=color, fontsize=size)
    names = [str(label) for label in labels]
    axes.set_xticks(range(count), names, rotation=90 if max(map(len, names)) > 4 else 0)
    axes.set_yticks(range(count), names)
    axes.set(xlabel="predicted", ylabel="true")
    return image


def logarithmic(axes, side: str, values: Sequence[float]) -> None:
    """Puts the "x" or "y" axis on a logarithmic scale whose ticks are plain numbers: 0.01, 0.02, 0.05."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axes.set(**{f"{side}scale": "log"})
    axis = axes.xaxis if side == "x" else axes.yaxis
    low, high = min(values), max(values)
    if high < 4 * low:
        axis.set_major_locator(MaxNLocator(5))
    else:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, place: compact(value)))
    axis.set_minor_formatter(NullFormatter())


def compact(value: float) -> str:
    """Formats the number of a tick: 12M, 3.5k, 0.002, 1e-05."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.3g}"


def _plot_losses(run: Run, path: Path) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    draw_losses(axes, read_metrics(run.folder / "metrics.jsonl"))
    axes.set_title("Training loss, smoothed over 9 records")
    figure.savefig(path, dpi=120)
    return path


def _smoothed(values: list[float], width: int = 9) -> list[float]:
    half = width // 2
    windows = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(window) / len(window) for window in windows]


def _plot_confusion(run: Run, path: Path) -> Path:
    from matplotlib.figure import Figure

    with run.data_folder(None) as folder:
        examples, _ = load_split(run.task("sst"), folder, "dev", run.config.limit)
    predictions = run.predict("sst", [example.texts[0] for example in examples.rows])
    labels = [example.label for example in examples.rows]
    figure = Figure(figsize=(5, 4.4), layout="constrained")
    axes = figure.add_subplot()
    image = draw_confusion(axes, confusion_matrix(predictions, labels, SST_LEVELS), range(SST_LEVELS))
    axes.set(
        xlabel="predicted level", ylabel="true level", title="SST dev: 0 very negative to 4 very positive"
    )
    figure.colorbar(image, label="sentences")
    figure.savefig(path, dpi=120)
    return path
