"""The command `multitask export`: a run's encoder, or a task with its head, for other software."""

from argparse import Namespace

from minbert import CommandParser
from multitask.cli.option_groups import add_task_file, add_trust

FORMATS = ("hf", "sentence-transformers", "onnx", "peft")


HEADS = """\
With --task, onnx holds every head that is scored, a default run's too. hf and peft hold one linear layer on
BERT's pooler: train the task with --TASK.pooling pooler (the default is mean), a pair with --TASK.pairs cross
and --TASK.head mlp too, without hidden, normalize, projection, threshold and the loss ordinal; tags only
without hidden. peft needs a run with LoRA (--lora.rank N). sentence-transformers holds the vectors of a text,
or of the two of a pair with --TASK.pairs bi, and no head; without pooling by the pooler."""


def add_export_options(parser: CommandParser) -> None:
    parser.epilog = HEADS
    parser.add_argument("run_folder", metavar="RUN", help="a run's folder or a checkpoint")
    parser.add_argument("out", metavar="OUT", help="the new folder")
    parser.add_argument(
        "--format", required=True, choices=FORMATS, help="for which software; peft: the LoRA adapter and head"
    )
    parser.add_argument(
        "--task",
        help="the task whose head (sentence-transformers: whose sentence vectors) is exported; default: the "
        "encoder alone",
    )
    parser.add_argument("--opset", type=int, metavar="N", help="onnx: version of the operators; default 18")
    add_task_file(parser)
    add_trust(parser)
    parser.add_argument("--force", action="store_true", help="replace OUT, all of it, where it is not empty")
    parser.add_json()


def export_command(options: Namespace) -> None:
    from multitask.export.tasks import export_run

    report = export_run(
        options.run_folder,
        options.out,
        options.format,
        options.task,
        options.opset,
        options.force,
        options.task_file,
        options.trust,
    )
    report.show(options.json)
