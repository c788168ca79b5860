"""The command `multitask report`: one HTML page for a run, an ablation or a search."""

from argparse import Namespace

from minbert import CommandParser, InputError


def add_report_options(parser: CommandParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="folder of a run, an ablation or a search")
    parser.add_argument("--out", metavar="FILE.html", help="the page; default FOLDER/report.html")
    data = "of a run: folder with the data files; default: the run's"
    parser.add_argument("--data", metavar="DIR", help=data)
    split = "of a run: what is predicted; default dev"
    parser.add_argument("--split", choices=("train", "dev", "test"), default="dev", help=split)
    without = "of a run: leave every sentence of the data out"
    parser.add_argument("--without-texts", action="store_true", help=without)
    parser.add_argument("--device", default="auto", help="of a run: auto, cpu, cuda[:n] or mps")
    parser.add_argument("--threads", type=int, help="CPU threads; default: all cores")


def report_command(options: Namespace) -> None:
    from multitask.experiments.report.report import write_report

    if options.threads is not None:
        import torch

        if options.threads < 1:
            raise InputError(f"--threads is {options.threads}; it must be at least 1")
        torch.set_num_threads(options.threads)
    path = write_report(
        options.folder, options.out, options.data, options.split, not options.without_texts, options.device
    )
    print(f"wrote {path}")
