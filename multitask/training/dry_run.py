"""The dry run of a plan: a table of the steps that each task would get, and the order of the first ones."""

from collections import Counter
from itertools import groupby

from multitask.text_table import aligned_lines
from multitask.training.plan import BatchPlan

SHOWN_STEPS = 40  # of the order
SHOWN_EPOCHS = 6  # of the table; of more, the first and the last three


def plan_lines(plan: BatchPlan) -> list[str]:
    """Returns the table and the order as lines. Collates nothing.

    Rows are the tasks; columns their examples, the batches of one pass, the steps with a batch of the task in
    each epoch (the middle ones of many left out) and in the whole run, and the share of them.
    """
    steps = list(plan.task_order())
    lengths = Counter(epoch for epoch, _ in steps)
    counts = Counter((name, epoch) for epoch, names in steps for name in names)
    total, batches = len(steps), plan.batches_per_pass()
    epochs = _ends([f"epoch {epoch}" for epoch in lengths])
    rows = [["task", "examples", "batches", *epochs, "steps", "share"]]
    for name, data in plan.data.items():
        own = [counts[name, epoch] for epoch in lengths]
        share = f"{sum(own) / total:.1%}" if total else "-"
        each = f"{batches[name]:,}" + (f", {data.accumulation} a step" if data.accumulation > 1 else "")
        cells = _ends([f"{count:,}" for count in own])
        rows.append([name, f"{len(data.lengths):,}", each, *cells, f"{sum(own):,}", share])
    rows.append(["all", "", "", *_ends([f"{count:,}" for count in lengths.values()]), f"{total:,}", ""])
    first = ["+".join(names) for _, names in steps[:SHOWN_STEPS]]
    runs = [(names, len(list(run))) for names, run in groupby(first)]
    order = ", ".join(f"{names} x{count}" if count > 1 else names for names, count in runs)
    policy = f"sampling {plan.sampling}"
    if cut := sum(plan.steps_per_epoch()) - total:
        policy += f"; max-steps ends the run in epoch {len(lengths)}, {cut:,} steps before its end"
    return [policy, *aligned_lines(rows), f"first {len(first)} steps: {order}"]


def _ends(cells: list[str]) -> list[str]:
    """Returns all cells, or the first and last ones of many."""
    half = SHOWN_EPOCHS // 2
    return cells if len(cells) <= SHOWN_EPOCHS else [*cells[:half], "...", *cells[-half:]]
