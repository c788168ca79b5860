"""The command `multitask report`: one HTML page for a run, an ablation or a search."""

from argparse import Namespace
from pathlib import Path

from minbert import CommandParser, InputError
from multitask.cli.option_groups import add_device, add_trust, trust_folders, use_threads


def add_report_options(parser: CommandParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="folder of a run, an ablation or a search")
    parser.add_argument("--out", metavar="FILE.html", help="the page; default FOLDER/report.html")
    data = "of a run: folder with the data files; default: the run's"
    parser.add_argument("--data", metavar="DIR", help=data)
    split = "of a run: what is predicted; default dev"
    parser.add_argument("--split", choices=("train", "dev", "test"), default="dev", help=split)
    without = "of a run: leave every sentence of the data out"
    parser.add_argument("--without-texts", action="store_true", help=without)
    add_device(parser, "of a run: ")
    add_trust(parser)


def report_command(options: Namespace) -> None:
    from multitask.experiments.report.report import write_report

    if options.out is not None and Path(options.out).suffix not in (".html", ".htm"):
        raise InputError(f"--out is {options.out}, and the page is HTML; give a name that ends in .html")
    use_threads(options)
    if options.trust:
        trust_folders([options.folder])
    path = write_report(
        options.folder, options.out, options.data, options.split, not options.without_texts, options.device
    )
    print(f"wrote {path}")
