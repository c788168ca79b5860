"""Learning rates of the encoder by task."""

from collections.abc import Iterable, Iterator, Mapping

from torch.optim import Optimizer

from minbert import InputError
from multitask.training.parameters.groups import ENCODER
from multitask.training.plan import Step


class PerTaskLR:
    """Sets the rate of the optimizer's encoder groups for the task of the next step.

    For a task with a rate in `rates` each of them gets its own base rate times rate / lr, where `lr` is the
    run's encoder rate: decay by layer, rates of embeddings, pooler and adapters keep their proportions. For
    other tasks, and for the heads always, it is the base rate. Schedules multiply it (`initial_lr`).

    A step has one task (RunConfig checks that): AdamW divides by the size of the gradient, so that in a step
    of several tasks none of them has a rate of its own. The moments are those of all tasks' steps; at rate 0
    they change and the encoder does not.

    Holds no state: the base rates are those at construction, so a loaded optimizer state does not count.
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

    def set_rates(self, tasks: Iterable[str]) -> None:
        """Sets each group's `initial_lr` for a step of these tasks: one, unless none has its own rate."""
        own = [task for task in tasks if task in self.factors]
        factor = self.factors[own[0]] if own else 1.0
        # By position: loading the optimizer's state makes new groups.
        for group, base in zip(self.optimizer.param_groups, self.bases, strict=True):
            group["initial_lr"] = base * factor if group["part"] == ENCODER else base

    def steps(self, plan: Iterable[Step]) -> Iterator[Step]:
        """Yields the plan's steps, each with its rates set, also where a process has no share of it."""
        for step in plan:
            self.set_rates(step.tasks)
            yield step
