"""The options that say which sentence encoder a command uses, and how it runs."""

import argparse
import sys
from collections.abc import Sequence

from minbert.cli.command_line import CommandParser

COMPUTES = ("fp32", "bf16", "fp16", "auto")


class Precision(argparse.Action):
    """--precision, of the vectors; the model's, which it was before, goes to --compute with a note."""

    def __call__(self, parser, namespace, values, option_string=None):
        if values in COMPUTES:
            print(f"note: --precision {values} is --compute {values} now", file=sys.stderr)
        setattr(namespace, "compute" if values in COMPUTES else self.dest, values)


def add_encoder_options(
    parser: CommandParser, prompts: str = "the texts", precisions: Sequence[str] = ()
) -> None:
    """Adds the options; `prompts` says what a prompt is put before, `precisions` are those of the output."""
    parser.add_argument(
        "--weights", required=True, metavar="W", help="a folder of weights, or a name on the hub"
    )
    add_weights_prefix(parser)
    parser.add_argument(
        "--pooling", choices=("cls", "pooler", "mean", "max"), help="default: as the folder says"
    )
    parser.add_argument("--normalize", choices=("l1", "l2", "none"), help="default: as the folder says")
    parser.add_argument("--prompt", metavar="TEXT", help=f"put before {prompts}")
    parser.add_argument(
        "--prompt-name", metavar="NAME", help="the folder's prompt of that name; default: as the folder says"
    )
    parser.add_argument(
        "--compute",
        choices=COMPUTES,
        default="fp32",
        help="of the model; fp16: on CUDA; auto: bf16 where the hardware has it, else fp16 on CUDA; default "
        "fp32",
    )
    parser.add_argument(
        "--precision",
        action=Precision,
        choices=(*precisions, *COMPUTES),
        metavar="P",
        help=f"of the vectors: {', '.join(precisions)}; default {precisions[0]}"
        if precisions
        else argparse.SUPPRESS,
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda[:N] or mps; default cpu")
    parser.add_threads()


def add_weights_prefix(parser: CommandParser) -> None:
    parser.add_argument(
        "--weights-prefix",
        metavar="P",
        help="which encoder, of weights that hold several; default: the only one",
    )


def load_encoder(options: argparse.Namespace):
    """The SentenceEncoder that the options ask for, on their device; says what --compute auto means."""
    import torch

    from minbert.kernels.device import find_device
    from minbert.sentence import FROM_FOLDER, SentenceEncoder

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = find_device(options.device)
    normalize = {None: FROM_FOLDER, "none": None}.get(options.normalize, options.normalize)
    encoder = SentenceEncoder.from_pretrained(
        options.weights, options.pooling, normalize, weights_prefix=options.weights_prefix
    )
    encoder.to(device)
    if options.compute == "auto":
        print(f"compute auto: {encoder.resolve('auto')}", file=sys.stderr)
    return encoder
