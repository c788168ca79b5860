"""Encoders for other software: transformers, sentence-transformers, ONNX.

The names that exports of whole tasks are made with are public, see multitask/export/.
"""

from minbert.first_use import names_on_first_use

_HOME = {
    "ExportReport": "target",
    "GraphExport": "onnx",
    "OPSET": "onnx",
    "check_plain": "hf",
    "export_encoder": "encoder",
    "files_of": "target",
    "merged_encoder": "hf",
    "new_folder": "target",
    "rectangle": "onnx",
    "traceable": "onnx",
    "weights_folder": "target",
    "write_encoder": "hf",
    "write_graph": "onnx",
    "write_sentence_encoder": "sentence_transformers",
}
__all__ = list(_HOME)
__getattr__ = names_on_first_use(__name__, _HOME)
