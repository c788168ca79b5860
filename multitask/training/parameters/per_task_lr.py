"""Learning rates of the encoder by task."""

from collections.abc import Iterable, Iterator, Mapping

from torch.optim import Optimizer

from minbert import InputError
from multitask.training.parameters.groups import ENCODER
from multitask.training.plan import Step


class PerTaskLR:
    """Sets the rate of the optimizer's encoder groups for the task of the next step.

    For a task with a rate in `rates` each group gets its base rate times rate / lr, `lr` being the run's
    encoder rate, so that decay by layer and rates of parts keep their proportions. Schedules multiply that.
    Heads, and other tasks' steps, have the base rates, which are those at construction, so it has no state.

    A step has one task (RunConfig checks that): AdamW divides by the size of the gradient, so that in a step
    of several tasks none of them has a rate of its own. At rate 0 only the moments change.
    Raises InputError for an `lr` of 0, of which nothing is a multiple.
    """

    def __init__(self, optimizer: Optimizer, lr: float, rates: Mapping[str, float]):
        if rates and lr == 0:
            raise InputError(
                f"optim.lr is 0, so {next(iter(rates))}.encoder-lr has no rate to be a multiple of; give an "
                f"optim.lr above 0, and encoder-lr 0 to the tasks that leave the encoder alone"
            )
        self.optimizer = optimizer
        self.factors = {task: rate / lr for task, rate in rates.items()}
        self.bases = [group["initial_lr"] for group in optimizer.param_groups]

    def steps(self, plan: Iterable[Step]) -> Iterator[Step]:
        """Yields the plan's steps, each with its rates set, also where a process has no share of it."""
        for step in plan:
            factor = next((self.factors[task] for task in step.tasks if task in self.factors), 1.0)
            # By position: loading the optimizer's state makes new groups.
            for group, base in zip(self.optimizer.param_groups, self.bases, strict=True):
                group["initial_lr"] = base * factor if group["part"] == ENCODER else base
            yield step
