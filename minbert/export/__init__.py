"""Encoders for other software: transformers, sentence-transformers, ONNX.

The names that exports of whole tasks are made with are public, see multitask/export/.
"""

from typing import TYPE_CHECKING

from minbert import attach_names

if TYPE_CHECKING:
    from minbert.export.comparison import encoder_difference as encoder_difference
    from minbert.export.comparison import sentence_difference as sentence_difference
    from minbert.export.encoder import export_encoder as export_encoder
    from minbert.export.hf import check_plain as check_plain
    from minbert.export.hf import merged_encoder as merged_encoder
    from minbert.export.hf import write_encoder as write_encoder
    from minbert.export.onnx import OPSET as OPSET
    from minbert.export.onnx import GraphExport as GraphExport
    from minbert.export.onnx import rectangle as rectangle
    from minbert.export.onnx import traceable as traceable
    from minbert.export.onnx import write_graph as write_graph
    from minbert.export.sentence_transformers import write_sentence_encoder as write_sentence_encoder
    from minbert.export.target import ExportReport as ExportReport
    from minbert.export.target import files_of as files_of
    from minbert.export.target import new_folder as new_folder
    from minbert.export.target import weights_folder as weights_folder

__getattr__, __dir__, __all__ = attach_names(
    __name__,
    {
        "comparison": ("encoder_difference", "sentence_difference"),
        "encoder": ("export_encoder",),
        "hf": (
            "check_plain",
            "merged_encoder",
            "write_encoder",
        ),
        "onnx": (
            "GraphExport",
            "OPSET",
            "rectangle",
            "traceable",
            "write_graph",
        ),
        "sentence_transformers": ("write_sentence_encoder",),
        "target": (
            "ExportReport",
            "files_of",
            "new_folder",
            "weights_folder",
        ),
    },
)
