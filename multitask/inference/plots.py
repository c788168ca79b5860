"""Plots of a run: the training loss and, where the run scores SST, its confusion matrix. Needs matplotlib."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from multitask.inference.chart_style import INK, PAPER, STYLE, task_colors
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


def draw_losses(axes, records: Iterable[Mapping[str, Any]], tasks: Iterable[str]) -> None:
    """Draws the training loss of each task, as recorded and smoothed, on matplotlib's `axes`.

    `records` are those of a metrics.jsonl, `tasks` all of the run, which decide the colors.
    """
    points: dict[str, tuple[list[int], list[float]]] = {}
    for record in records:
        for task, loss in record.get("loss", {}).items() if record["kind"] == "train" else ():
            steps, losses = points.setdefault(task, ([], []))
            steps.append(record["step"])
            losses.append(loss)
    names = dict.fromkeys([*tasks, *points])
    colors = task_colors(names)
    for task in filter(points.get, names):
        steps, losses = points[task]
        axes.plot(steps, losses, linewidth=0.8, alpha=0.35, color=colors[task])
        axes.plot(steps, smoothed(losses), color=colors[task], label=task)
    axes.set(xlabel="step", ylabel="training loss (log)")
    if points:
        logarithmic(axes, "y", [loss for _, losses in points.values() for loss in losses])


def smoothed(values: Sequence[float]) -> list[float]:
    """Returns the mean of the up to 9 values around each one, of fewer where there are few."""
    half = min(4, len(values) // 4)
    windows = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(window) / len(window) for window in windows]


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


@contextmanager
def _png(path: Path, size: tuple[float, float]):
    """Gives the axes of a figure of `size` inches, which is written in the end."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=size, layout="constrained")
        yield figure.add_subplot()
        figure.savefig(path, dpi=120)


def _plot_losses(run: Run, path: Path) -> Path:
    with _png(path, (7, 4)) as axes:
        draw_losses(axes, read_metrics(run.folder / "metrics.jsonl"), run.config.tasks)
        axes.set_title("Training loss, smoothed")
        if axes.lines:
            axes.legend()
    return path


def _plot_confusion(run: Run, path: Path) -> Path:
    """Counts and shares of the true class; rows are true and columns predicted levels."""
    with run.data_folder(None) as folder:
        examples, _ = load_split(run.task("sst"), folder, "dev", run.config.limit)
    predictions = run.predict("sst", [example.texts[0] for example in examples.rows])
    labels = [example.label for example in examples.rows]
    counts = confusion_matrix(predictions, labels, SST_LEVELS)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    with _png(path, (5, 4.4)) as axes:
        image = axes.imshow(100 * shares, cmap=_shades(task_colors(["sst"])["sst"]), vmin=0, vmax=100)
        for (row, column), count in np.ndenumerate(counts):
            share = shares[row, column]
            color = "white" if share > 0.8 else INK
            text = f"{count}\n{100 * share:.0f} %"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=9)
        axes.set(xticks=range(SST_LEVELS), yticks=range(SST_LEVELS))
        axes.set(xlabel="predicted level", ylabel="true level")
        axes.set_title("SST dev: 0 very negative to 4 very positive")
        axes.grid(False)
        axes.figure.colorbar(image, label="% of the true level")
    return path


def _shades(color: str):
    """The color map from white to a color."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shades", [PAPER, color])
