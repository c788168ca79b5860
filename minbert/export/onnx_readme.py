"""What stands beside a graph: its inputs and outputs, and a program that runs it without torch."""

_PROGRAMS = {
    "text": 'first = tokenizer.encode_batch(["a text", "another, longer one"])',
    "pair": 'first = tokenizer.encode_batch([("a text", "its pair"), ("another", "and its pair")])',
    "pair of towers": (
        'first = tokenizer.encode_batch(["a text", "another, longer one"])\n'
        'second = tokenizer.encode_batch(["its pair", "and the pair of the other one"])'
    ),
    "words": 'first = tokenizer.encode_batch([["Some", "words"], ["more"]], is_pretokenized=True)',
}
_TOWER = """\
    "input_ids{end}": np.array([e.ids for e in {side}], dtype=np.int64),
    "attention_mask{end}": np.array([e.attention_mask for e in {side}], dtype=np.int64),
    "token_type_ids{end}": np.array([e.type_ids for e in {side}], dtype=np.int64),
"""


def readme(export) -> str:
    """README.md of a GraphExport."""
    towers = [("", "first"), ("_2", "second")][: export.towers]
    inputs = "".join(_TOWER.format(end=end, side=side) for end, side in towers)
    shapes = "(B, S)" + (", those with _2 (B, S2)" if export.towers == 2 else "")
    outputs = "\n".join(f"- `{name}` {about}" for name, about in export.outputs.items())
    facts = "".join(f"\n- {name}: {value}" for name, value in export.facts.items())
    return f"""\
# A BERT as an ONNX graph

Inputs: {", ".join(f"`{name}`" for name in export.inputs)}, int64 {shapes}; B and S are free, S is at most
{export.config.max_position_embeddings}. The mask is 1 at tokens and 0 at padding, which changes no output.

Outputs, float32:

{outputs}

Texts are cut to {export.max_length} tokens. This, and what follows, stands in the model's metadata too:
{facts}

`pip install onnxruntime tokenizers` is all that it needs:

```python
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.enable_truncation({export.max_length})
tokenizer.enable_padding()
session = onnxruntime.InferenceSession("model.onnx")
{_PROGRAMS[export.texts]}
inputs = {{
{inputs}}}
outputs = session.run(None, inputs)
```
"""
