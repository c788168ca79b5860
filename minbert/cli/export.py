"""The command `minbert export`: an encoder for transformers, sentence-transformers or onnxruntime."""

from argparse import Namespace

from minbert.cli.command_line import CommandParser
from minbert.cli.encoder_options import add_weights_prefix
from minbert.export.target import FORMATS


def add_export_options(parser: CommandParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="a run, a checkpoint, or any folder of weights")
    parser.add_argument("out", metavar="OUT", help="the new folder")
    add_weights_prefix(parser)
    parser.add_argument("--format", required=True, choices=FORMATS, help="for which software")
    parser.add_argument(
        "--pooling", choices=("cls", "pooler", "mean", "max"), help="default: as the folder says; not for hf"
    )
    parser.add_argument(
        "--normalize", choices=("l1", "l2", "none"), help="default: as the folder says; not for hf"
    )
    parser.add_argument(
        "--adapter", metavar="TASK", help="whose adapter is used, where SOURCE holds one for each task"
    )
    parser.add_argument("--opset", type=int, metavar="N", help="onnx: version of the operators; default 18")
    parser.add_argument("--force", action="store_true", help="replace OUT, all of it, where it is not empty")
    parser.add_json()


def export_command(options: Namespace) -> None:
    from minbert.export.encoder import export_encoder
    from minbert.sentence import FROM_FOLDER

    normalize = {None: FROM_FOLDER, "none": None}.get(options.normalize, options.normalize)
    report = export_encoder(
        options.source,
        options.out,
        options.format,
        options.pooling,
        normalize,
        options.adapter,
        options.opset,
        options.force,
        options.weights_prefix,
    )
    report.show(options.json)
