"""The command `multitask export`: a run's encoder, or a task with its head, for other software."""

from argparse import Namespace

from minbert import CommandParser
from multitask.cli.option_groups import add_task_file
from multitask.config.task_kinds import load_task_file

FORMATS = ("hf", "sentence-transformers", "onnx", "peft")


def add_export_options(parser: CommandParser) -> None:
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
    parser.add_argument("--force", action="store_true", help="replace OUT, all of it, where it is not empty")
    parser.add_json()


def export_command(options: Namespace) -> None:
    from multitask.export.tasks import export_run

    load_task_file(options.task_file)
    report = export_run(
        options.run_folder, options.out, options.format, options.task, options.opset, options.force
    )
    report.show(options.json)
