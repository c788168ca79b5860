"""Plots of a run: the training loss and, where the run scores SST, its confusion matrix. Needs matplotlib."""

from importlib.util import find_spec
from pathlib import Path

from multitask.metrics import confusion_matrix
from multitask.run import Run, load_split
from multitask.tracking import read_metrics


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


def _plot_losses(run: Run, path: Path) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    points: dict[str, tuple[list[int], list[float]]] = {}
    for record in read_metrics(run.folder / "metrics.jsonl"):
        for task, loss in record.get("loss", {}).items() if record["kind"] == "train" else ():
            steps, losses = points.setdefault(task, ([], []))
            steps.append(record["step"])
            losses.append(loss)
    for task, (steps, losses) in points.items():
        line = axes.plot(steps, losses, linewidth=0.8, alpha=0.35)[0]
        axes.plot(steps, _smoothed(losses), color=line.get_color(), label=task)
    axes.set(
        xlabel="step", ylabel="training loss", yscale="log", title="Training loss, smoothed over 9 records"
    )
    if points:
        axes.legend()
    axes.grid(alpha=0.3)
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
    matrix = confusion_matrix(predictions, [example.label for example in examples.rows], classes=5)
    figure = Figure(figsize=(5, 4.4), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(matrix, cmap="Blues")
    for row in range(5):
        for column in range(5):
            dark = matrix[row, column] > matrix.max() / 2
            axes.text(
                column, row, matrix[row, column], ha="center", va="center", color="white" if dark else "black"
            )
    axes.set(
        xlabel="predicted level", ylabel="true level", title="SST dev: 0 very negative to 4 very positive"
    )
    figure.colorbar(image, label="sentences")
    figure.savefig(path, dpi=120)
    return path
