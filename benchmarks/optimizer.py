"""Times an AdamW step on the parameters of MiniLM: our default beside that of torch.optim.AdamW.

python benchmarks/optimizer.py [--json] [--steps 5] [--repetitions 9] [--threads N]

The two take turns, so that other work on the machine slows both; the ratio of the medians is what counts.
Goal: at most 0.5.
"""

from collections.abc import Callable, Sequence

import torch
from comparison import MINILM, command_parser, show_share

from minbert import AdamW, BertModel, run_command


def steps_of(kind: type[torch.optim.Optimizer], steps: int) -> Callable[[], None]:
    """Returns a call that takes so many steps of an optimizer with its defaults."""
    parameters = [torch.nn.Parameter(p.detach().clone()) for p in BertModel(MINILM).parameters()]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter) * 1e-3
    optimizer = kind(parameters)

    def take() -> None:
        for _ in range(steps):
            optimizer.step()

    return take


def main(arguments: Sequence[str]) -> None:
    parser = command_parser(__doc__, repetitions=9)
    parser.add_argument("--steps", type=int, default=5, help="steps in one measurement")
    options = parser.parse_args(arguments)
    kinds = {"ours": AdamW, "torch.optim.AdamW": torch.optim.AdamW}
    calls = {name: steps_of(kind, options.steps) for name, kind in kinds.items()}
    show_share(calls, options.steps, 0.5, options)


if __name__ == "__main__":
    run_command(main)
