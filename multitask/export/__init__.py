"""Tasks with their heads for other software: transformers, sentence-transformers, ONNX, peft."""
