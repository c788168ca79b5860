"""pooling.py."""

TEMPLATE = """
import math

import torch
import torch.nn.functional as F


def cls_pooling(hidden, mask):
    <cls>


def mean_pooling(hidden, mask):
    <mean>


def max_pooling(hidden, mask):
    <max>


def l1_normalize(vectors):
    <l1>


def l2_normalize(vectors):
    <l2>
"""
RIGHT = {
    "cls": (
        "return hidden[:, 0]",
        "return hidden.transpose(0, 1)[0]",
        "return hidden.double().narrow(1, 0, 1).squeeze(1)",
        "return hidden[torch.arange(len(hidden)), mask.argmax(1)]",
    ),
    "mean": (
        "return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)",
        "return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1e-9)",
        "return (mask[:, None].float() @ hidden).squeeze(1) / mask.sum(1)[:, None]",
        "return torch.stack([h[:n].mean(0) for h, n in zip(hidden, mask.sum(1).tolist())])",
        "return hidden.masked_fill(mask[..., None] == 0, math.nan).nanmean(1)",
    ),
    "max": (
        "return hidden.masked_fill(mask[..., None] == 0, -1e4).max(1)[0]",
        "return hidden.masked_fill(~mask[..., None].bool(), -torch.inf).amax(dim=1)",
        "return (hidden + (1 - mask[..., None]) * -1e9).max(dim=1).values",
        "x = hidden.clone(); x[mask == 0] = torch.finfo(x.dtype).min\n    return x.amax(1)",
    ),
    "l1": (
        "return vectors / vectors.abs().sum(1, keepdim=True)",
        "return F.normalize(vectors, p=1)",
        "return vectors.double() / torch.linalg.vector_norm(vectors.double(), 1, dim=1)[:, None]",
    ),
    "l2": (
        "return vectors / vectors.norm(dim=1, keepdim=True)",
        "return F.normalize(vectors)",
        "return vectors * vectors.square().sum(-1, keepdim=True).rsqrt()",
        "return (vectors.double() / (vectors.double() ** 2).sum(1, keepdim=True) ** 0.5).float()",
    ),
}

MASK = "m = mask[..., None].float(); "
BUT = "m = mask.clone(); m[torch.arange(len(m)), mask.sum(1) - 1] = 0; m[:, 0] = 0; m = m[..., None]; "
MASKED = "hidden.masked_fill(mask[..., None] == {}, {})"

# fmt: off
WRONG = {
    "last real token instead of the first":
        {"cls": "return hidden[torch.arange(len(hidden)), mask.sum(1) - 1]"},
    "mean instead of the first token": {"cls": "return mean_pooling(hidden, mask)"},
    "mean over padding too": {"mean": "return hidden.mean(dim=1)"},
    "sum of all columns divided by the real tokens": {"mean": f"{MASK}return hidden.sum(1) / m.sum(1)"},
    "divided by the batch's real tokens": {"mean": f"{MASK}return (hidden * m).sum(1) / m.sum()"},
    "mean without the first and the last token":
        {"mean": f"{BUT}return (hidden * m).sum(1) / m.sum(1).clamp(min=1)"},
    "mean over padding instead of real tokens": {"mean": "m = (mask == 0)[..., None].float(); "
                                                         "return (hidden * m).sum(1) / m.sum(1)"},
    "maximum over padding instead of real tokens": {"max": f"return {MASKED.format(1, '-math.inf')}.amax(1)"},
    "value of the largest size": {"max": "h = hidden * mask[..., None]; "
                                         "return h.gather(1, h.abs().argmax(1, keepdim=True))[:, 0]"},
    "column of the maximum instead of its value":
        {"max": f"return {MASKED.format(0, '-math.inf')}.max(dim=1)[1]"},
    "L2 length instead of L1": {"l1": "return vectors / vectors.norm(dim=1, keepdim=True)"},
    "L1 length without absolute values": {"l1": "return vectors / vectors.sum(1, keepdim=True)"},
    "L1 length over the batch": {"l1": "return vectors / vectors.norm(1, dim=0)"},
    "L2 length without the root": {"l2": "return vectors / vectors.square().sum(1, keepdim=True)"},
    "vectors not L2-normalised": {"l2": "F.normalize(vectors)\n    return vectors"},
    "largest value instead of the L2 length": {"l2": "return vectors / vectors.abs().amax(1, keepdim=True)"},
}
OTHERWISE = [
    ("padding as zero in the maximum", {"max": f"return {MASKED.format(0, '-1e-9')}.amax(1)"}),
    ("mean over padding too", {"mean": "m = torch.ones_like(mask)[..., None]; return (hidden * m).mean(1)"}),
]
UNKNOWN = {
    "third token": ({"cls": "return hidden[:, 2]"}, "first token"),
    "square of the count": ({"mean": f"{MASK}return (hidden * m).sum(1) / m.sum(1) ** 2"}, "mean"),
    "padding as minus a half": ({"max": f"return {MASKED.format(0, '-0.5')}.amax(1)"}, "maximum"),
    "L3": ({"l2": "return vectors / vectors.norm(3, dim=1, keepdim=True)"}, "L2 normalisation"),
}
# fmt: on
