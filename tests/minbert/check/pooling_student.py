"""Pooling and normalisation as students write them, in three styles, and each mistake as a change of one."""

PLAIN = """
import torch


def cls_pooling(hidden, mask):
    return hidden[:, 0]


def mean_pooling(hidden, mask):
    mask = mask.unsqueeze(-1).float()
    total = (hidden * mask).sum(dim=1)
    return total / mask.sum(dim=1)


def max_pooling(hidden, mask):
    hidden = hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf"))
    return hidden.max(dim=1).values


def l1_normalize(vectors):
    return vectors / vectors.abs().sum(dim=1, keepdim=True)


def l2_normalize(vectors):
    return vectors / vectors.pow(2).sum(dim=1, keepdim=True).sqrt()
"""

LOOPS = """
import torch


def real(hidden, mask):
    return [tokens[row.bool()] for tokens, row in zip(hidden, mask)]


def cls_pooling(hidden, mask):
    return torch.stack([tokens[0] for tokens in real(hidden, mask)])


def mean_pooling(hidden, mask):
    return torch.stack([tokens.mean(0) for tokens in real(hidden, mask)])


def max_pooling(hidden, mask):
    return torch.stack([tokens.amax(0) for tokens in real(hidden, mask)])


def l1_normalize(vectors):
    return torch.stack([vector / sum(abs(value) for value in vector) for vector in vectors])


def l2_normalize(vectors):
    return torch.stack([vector / torch.dot(vector, vector) ** 0.5 for vector in vectors])
"""

FUSED = """
import torch
import torch.nn.functional as F


def cls_pooling(hidden, mask):
    return hidden.select(1, 0)


def mean_pooling(hidden, mask):
    weights = F.normalize(mask.to(hidden.dtype), p=1, dim=1)
    return torch.einsum("bsd,bs->bd", hidden, weights)


def max_pooling(hidden, mask):
    return torch.where(mask[..., None].bool(), hidden, -1e9).amax(1)


def l1_normalize(vectors):
    return F.normalize(vectors, p=1, dim=-1)


def l2_normalize(vectors):
    return F.normalize(vectors, dim=-1)
"""

STYLES = {"plain": PLAIN, "loops": LOOPS, "fused": FUSED}

_CLS = "return hidden[:, 0]"
_MASK = "mask = mask.unsqueeze(-1).float()"
_TOTAL = "total = (hidden * mask).sum(dim=1)"
_MEAN = "return total / mask.sum(dim=1)"
_FILL = 'hidden = hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf"))'
_MAX = "return hidden.max(dim=1).values"
_L1 = "return vectors / vectors.abs().sum(dim=1, keepdim=True)"
_L2 = "return vectors / vectors.pow(2).sum(dim=1, keepdim=True).sqrt()"
_WITHOUT_FIRST = "mask = mask.clone(); mask[:, 0] = 0"
_WITHOUT_LAST = "last = mask.sum(1) - 1; mask = mask.clone(); mask[torch.arange(len(mask)), last] = 0"
_MEAN_BUT = "return total / mask.sum(dim=1).clamp(min=1)"


def _of_both(name: str, right: str, order: int) -> dict[str, list[tuple[str, str]]]:
    length = f"vectors.norm({order}, dim=1, keepdim=True)"
    return {
        f"{name} length over the batch": [(right, f"return vectors / vectors.norm({order}, dim=0)")],
        f"{name} length of the whole batch": [(right, f"return vectors / vectors.norm({order})")],
        f"vectors not {name}-normalised": [(right, f"{length}\n    return vectors")],
        f"vectors multiplied by their {name} length": [(right, f"return vectors * {length}")],
        f"largest value instead of the {name} length": [
            (right, "return vectors / vectors.abs().amax(1, keepdim=True)")
        ],
    }


# name of the mistake -> changes of PLAIN
MISTAKES = {
    "last column instead of the first": [(_CLS, "return hidden[:, -1]")],
    "last real token instead of the first": [
        (_CLS, "return hidden[torch.arange(len(hidden)), mask.sum(1) - 1]")
    ],
    "second token instead of the first": [(_CLS, "return hidden[:, 1]")],
    "mean instead of the first token": [(_CLS, "return mean_pooling(hidden, mask)")],
    "mean over padding too": [(_MEAN, "return hidden.mean(dim=1)")],
    "sum of real tokens divided by all columns": [(_MEAN, "return total / hidden.shape[1]")],
    "sum of all columns divided by the real tokens": [(_TOTAL, "total = hidden.sum(dim=1)")],
    "sum instead of the mean": [(_MEAN, "return total")],
    "sum over padding too instead of the mean": [(_MEAN, "return hidden.sum(dim=1)")],
    "divided by the batch's real tokens": [(_MEAN, "return total / mask.sum()")],
    "divided by the number of sentences": [(_MEAN, "return total / mask.shape[0]")],
    "divided by the root of the count": [(_MEAN, "return total / mask.sum(dim=1).sqrt()")],
    "divided by one too many": [(_MEAN, "return total / (mask.sum(dim=1) + 1)")],
    "mean without the first token": [(_MASK, f"{_WITHOUT_FIRST}\n    {_MASK}"), (_MEAN, _MEAN_BUT)],
    "mean without the last token": [(_MASK, f"{_WITHOUT_LAST}\n    {_MASK}"), (_MEAN, _MEAN_BUT)],
    "mean without the first and the last token": [
        (_MASK, f"{_WITHOUT_LAST}\n    {_WITHOUT_FIRST}\n    {_MASK}"),
        (_MEAN, _MEAN_BUT),
    ],
    "mean over padding instead of real tokens": [(_MASK, "mask = (mask == 0).unsqueeze(-1).float()")],
    "maximum over padding too": [(_FILL, "pass")],
    "padding as zero in the maximum": [(_FILL, "hidden = hidden * mask.unsqueeze(-1)")],
    "maximum over padding instead of real tokens": [(_FILL, _FILL.replace("== 0", "== 1"))],
    "maximum of absolute values": [(_FILL, "hidden = hidden.abs() * mask.unsqueeze(-1)")],
    "value of the largest size": [
        (_FILL, "hidden = hidden * mask.unsqueeze(-1)"),
        (_MAX, "return hidden.gather(1, hidden.abs().argmax(1, keepdim=True))[:, 0]"),
    ],
    "minimum instead of the maximum": [
        (_FILL, _FILL.replace("-inf", "inf")),
        (_MAX, "return hidden.amin(1)"),
    ],
    "column of the maximum instead of its value": [(_MAX, "return hidden.max(dim=1)[1]")],
    "mean instead of the maximum": [(_FILL, "return mean_pooling(hidden, mask)")],
    "L2 length instead of L1": [(_L1, "return vectors / vectors.norm(dim=1, keepdim=True)")],
    "L1 length without absolute values": [(_L1, _L1.replace(".abs()", ""))],
    "mean of absolute values instead of their sum": [(_L1, _L1.replace(".sum(", ".mean("))],
    "L1 length instead of L2": [(_L2, "return vectors / vectors.abs().sum(-1, keepdim=True)")],
    "L2 length without the root": [(_L2, _L2.replace(".sqrt()", ""))],
    "root of the mean square instead of the L2 length": [(_L2, _L2.replace(".sum(", ".mean("))],
    **_of_both("L1", _L1, 1),
    **_of_both("L2", _L2, 2),
}

# The same mistake, written in other ways.
OTHERWISE = {
    "padding as zero in the maximum": [(_FILL, _FILL.replace('float("-inf")', "-1e-9"))],
    "mean over padding too": [(_MASK, "mask = torch.ones_like(hidden[..., :1])")],
}

# Mistakes that no catalogue has: (changes of PLAIN, first stage that shows it).
UNKNOWN = {
    "third token": ([(_CLS, "return hidden[:, 2]")], "first token"),
    "square of the count": ([(_MEAN, "return total / mask.sum(dim=1) ** 2")], "mean"),
    "padding as minus a half": ([(_FILL, _FILL.replace('float("-inf")', "-0.5"))], "maximum"),
    "L3": ([(_L2, "return vectors / vectors.norm(3, dim=1, keepdim=True)")], "L2 normalisation"),
}

# Correct ways to write each part; <place> takes one of them.
VARIANT = """
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
CHOICES = {
    "cls": (
        "return hidden[:, 0]",
        "return hidden[:, 0, :].clone()",
        "return hidden.transpose(0, 1)[0]",
        "return hidden.double().narrow(1, 0, 1).squeeze(1)",
        "return hidden[torch.arange(len(hidden)), mask.argmax(1)]",
    ),
    "mean": (
        "return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)",
        "return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1e-9)",
        "return (mask[:, None].float() @ hidden).squeeze(1) / mask.sum(1)[:, None]",
        "return hidden.masked_fill(~mask.bool()[..., None], 0).double().sum(1) / mask.sum(1)[:, None]",
        "return torch.stack([h[:n].mean(0) for h, n in zip(hidden, mask.sum(1).tolist())])",
        "return (hidden * (mask / mask.sum(1, keepdim=True)).unsqueeze(2)).sum(1)",
        "return hidden.masked_fill(mask[..., None] == 0, math.nan).nanmean(1)",
    ),
    "max": (
        "return hidden.masked_fill(mask[..., None] == 0, -1e4).max(1)[0]",
        "return hidden.masked_fill(~mask[..., None].bool(), -torch.inf).amax(dim=1)",
        "return (hidden + (1 - mask[..., None]) * -1e9).max(dim=1).values",
        "return torch.stack([h[:n].max(0).values for h, n in zip(hidden, mask.sum(1))])",
        "x = hidden.clone(); x[mask == 0] = torch.finfo(x.dtype).min\n    return x.amax(1)",
        "return -(-hidden).masked_fill(mask[..., None] == 0, torch.inf).min(1).values",
    ),
    "l1": (
        "return vectors / vectors.abs().sum(1, keepdim=True)",
        "return F.normalize(vectors, p=1)",
        "return vectors / vectors.norm(p=1, dim=-1, keepdim=True).clamp(min=1e-12)",
        "return vectors.double() / torch.linalg.vector_norm(vectors.double(), 1, dim=1)[:, None]",
        "return (vectors.T / vectors.abs().sum(1)).T",
    ),
    "l2": (
        "return vectors / vectors.norm(dim=1, keepdim=True)",
        "return F.normalize(vectors)",
        "return vectors * vectors.square().sum(-1, keepdim=True).rsqrt()",
        "return vectors / (vectors * vectors).sum(1, keepdim=True).add(1e-12).sqrt()",
        "return torch.einsum('bd,b->bd', vectors, 1 / torch.linalg.vector_norm(vectors, dim=1))",
        "return (vectors.double() / (vectors.double() ** 2).sum(1, keepdim=True) ** 0.5).float()",
    ),
}
