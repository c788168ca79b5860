"""A student's losses.py, right, and each mistake of the catalogue as replacements in its text."""

HEADER = """\
import math

import torch
import torch.nn.functional as F
"""

CORRECT = {
    "cross_entropy": """
def cross_entropy(logits, labels):
    return F.cross_entropy(logits, labels)
""",
    "binary_cross_entropy": """
def binary_cross_entropy(logits, labels):
    return F.binary_cross_entropy_with_logits(logits, labels)
""",
    "focal": """
def focal(logits, labels, gamma):
    log_p = logits.log_softmax(-1)[torch.arange(len(labels)), labels]
    factor = (1 - log_p.exp()) ** gamma
    return -(factor * log_p).mean()
""",
    "mean_squared_error": """
def mean_squared_error(predictions, labels):
    return F.mse_loss(predictions, labels)
""",
    "cosine_similarity_loss": """
def cosine_similarity_loss(u, v, labels):
    cosine = F.cosine_similarity(u, v, dim=-1)
    return ((cosine - labels) ** 2).mean()
""",
    "simcse": """
def simcse(first, second, temperature):
    a, b = F.normalize(first, dim=-1), F.normalize(second, dim=-1)
    scores = a @ b.T / temperature
    return F.cross_entropy(scores, torch.arange(len(a)))
""",
    "mnrl": """
def mnrl(anchors, positives, scale):
    a, b = F.normalize(anchors, dim=-1), F.normalize(positives, dim=-1)
    scores = a @ b.T * scale
    return F.cross_entropy(scores, torch.arange(len(a)))
""",
    "mnrl_with_negatives": """
def mnrl_with_negatives(anchors, positives, negatives, scale):
    a, b = anchors, torch.cat([positives, negatives])
    a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    scores = a @ b.T * scale
    return F.cross_entropy(scores, torch.arange(len(a)))
""",
    "cosent": """
def cosent(cosines, labels, scale):
    excess = scale * (cosines[None, :] - cosines[:, None])
    pairs = labels[:, None] > labels[None, :]
    terms = torch.cat([torch.zeros(1), excess[pairs]])
    return torch.logsumexp(terms, dim=0)
""",
    "symmetric_kl": """
def symmetric_kl(p_logits, q_logits):
    log_p, log_q = F.log_softmax(p_logits, dim=-1), F.log_softmax(q_logits, dim=-1)
    forward = (log_p.exp() * (log_p - log_q)).sum(dim=-1).mean()
    backward = (log_q.exp() * (log_q - log_p)).sum(dim=-1).mean()
    return (forward + backward) / 2
""",
}

PICKED = "[torch.arange(len(labels)), labels]"
CROSS_ENTROPY = "F.cross_entropy(logits, labels)"
BINARY = "F.binary_cross_entropy_with_logits(logits, labels)"
MSE = "F.mse_loss(predictions, labels)"
LOSS_OF_SCORES = "F.cross_entropy(scores, torch.arange(len(a)))"
FORWARD = "(log_p.exp() * (log_p - log_q)).sum(dim=-1).mean()"
BACKWARD = "(log_q.exp() * (log_q - log_p)).sum(dim=-1).mean()"
# Of simcse and mnrl: first and second, and how scores are scaled.
CONTRASTIVE = {
    "simcse": ("F.normalize(first, dim=-1)", "F.normalize(second, dim=-1)", "/ temperature", "/ 0.05"),
    "mnrl": ("F.normalize(anchors, dim=-1)", "F.normalize(positives, dim=-1)", "* scale", "* 20.0"),
    "mnrl_with_negatives": ("F.normalize(a, dim=-1)", "F.normalize(b, dim=-1)", "* scale", "* 20.0"),
}

# Function -> title of the mistake -> replacements.
MISTAKES: dict[str, dict[str, list[tuple[str, str]]]] = {
    "cross_entropy": {
        title: [(CROSS_ENTROPY, new)]
        for title, new in {
            "softmax before a loss of logits": "F.cross_entropy(logits.softmax(-1), labels)",
            "sigmoid before a loss of logits": "F.cross_entropy(logits.sigmoid(), labels)",
            "sigmoid instead of softmax": "F.nll_loss(F.logsigmoid(logits), labels)",
            "divided by N - 1": "F.cross_entropy(logits, labels, reduction='sum') / (len(labels) - 1)",
            "logits taken for log-probabilities": "F.nll_loss(logits, labels)",
            "probability instead of its logarithm": "F.nll_loss(logits.softmax(-1), labels)",
            "softmax over the examples": "F.nll_loss(logits.log_softmax(0), labels)",
            "labels counted from 1": "-logits.log_softmax(-1)[torch.arange(len(labels)), labels - 1].mean()",
            "mean over classes too": "-(F.one_hot(labels, logits.shape[1]) * logits.log_softmax(-1)).mean()",
            "label smoothing left on": "F.cross_entropy(logits, labels, label_smoothing=0.1)",
            "minus missing": f"logits.log_softmax(-1){PICKED}.mean()",
            "sum instead of mean": "F.cross_entropy(logits, labels, reduction='sum')",
            "one loss for each example": "F.cross_entropy(logits, labels, reduction='none')",
            "logarithm to base 2": "F.cross_entropy(logits, labels) / math.log(2)",
            "no gradient flows": "F.cross_entropy(logits, labels).item()",
            "power that overflows or probability that rounds to 0 or 1": (
                f"-torch.log(logits.exp() / logits.exp().sum(-1, keepdim=True)){PICKED}.mean()"
            ),
            "probability kept away from 0": f"-torch.log(logits.softmax(-1) + 1e-8){PICKED}.mean()",
        }.items()
    },
    "binary_cross_entropy": {
        title: [(BINARY, new)]
        for title, new in {
            "sigmoid before a loss of logits": "F.binary_cross_entropy_with_logits(logits.sigmoid(), labels)",
            "divided by N - 1": (
                "F.binary_cross_entropy_with_logits(logits, labels, reduction='sum') / (len(labels) - 1)"
            ),
            "term of label 0 missing": "-(labels * F.logsigmoid(logits)).mean()",
            "labels the wrong way round": "F.binary_cross_entropy_with_logits(logits, 1 - labels)",
            "(N,) and (N, 1) broadcast": "(F.softplus(logits) - logits * labels[:, None]).mean()",
            "probability instead of its logarithm": (
                "-(labels * logits.sigmoid() + (1 - labels) * (-logits).sigmoid()).mean()"
            ),
            "minus missing": "-F.binary_cross_entropy_with_logits(logits, labels)",
            "sum instead of mean": "F.binary_cross_entropy_with_logits(logits, labels, reduction='sum')",
            "one loss for each example": "F.softplus(logits) - logits * labels",
            "logarithm to base 2": "F.binary_cross_entropy_with_logits(logits, labels) / math.log(2)",
            "no gradient flows": "F.binary_cross_entropy_with_logits(logits.detach(), labels)",
            "power that overflows or probability that rounds to 0 or 1": (
                "-(labels * logits.sigmoid().log() + (1 - labels) * (1 - logits.sigmoid()).log()).mean()"
            ),
            "probability kept away from 0": "F.binary_cross_entropy(logits.sigmoid(), labels)",
        }.items()
    },
    "focal": {
        "factor (1 - p)^gamma missing": [("-(factor * log_p)", "-log_p")],
        "p^gamma instead of (1 - p)^gamma": [("(1 - log_p.exp())", "log_p.exp()")],
        "gamma with the wrong sign": [("** gamma", "** -gamma")],
        "gamma as a factor": [("** gamma", "* gamma")],
        "one factor for the whole batch": [("log_p.exp()", "log_p.mean().exp()")],
        "alpha = 0.25 left in": [("factor * log_p", "0.25 * factor * log_p")],
        "last argument ignored": [("** gamma", "** 2")],
        "softmax before a loss of logits": [("logits.log_softmax", "logits.softmax(-1).log_softmax")],
        "softmax over the examples": [("log_softmax(-1)", "log_softmax(0)")],
        "sigmoid instead of softmax": [("log_softmax(-1)", "sigmoid().log()")],
        "divided by N - 1": [(".mean()", ".sum() / (len(labels) - 1)")],
        "probability instead of its logarithm": [("factor * log_p)", "factor * log_p.exp())")],
        "labels counted from 1": [("labels]", "labels - 1]")],
        "minus missing": [("-(factor", "(factor")],
        "sum instead of mean": [("mean", "sum")],
        "one loss for each example": [(".mean()", "")],
        "logarithm to base 2": [("factor * log_p", "factor * log_p / math.log(2)")],
        "no gradient flows": [("    log_p", "    logits = logits.detach()\n    log_p")],
        "factor cut off from the gradient": [("(factor *", "(factor.detach() *")],
    },
    "mean_squared_error": {
        title: [(MSE, new)]
        for title, new in {
            "(N, 1) and (N,) broadcast": "((predictions[:, None] - labels) ** 2).mean()",
            "half the squared error": "0.5 * F.mse_loss(predictions, labels)",
            "divided by N - 1": "((predictions - labels) ** 2).sum() / (len(labels) - 1)",
            "root of the mean squared error": "F.mse_loss(predictions, labels).sqrt()",
            "absolute instead of squared error": "F.l1_loss(predictions, labels)",
            "square of the mean difference": "(predictions - labels).mean() ** 2",
            "predictions through a sigmoid": "F.mse_loss(predictions.sigmoid(), labels)",
            "sum instead of mean": "F.mse_loss(predictions, labels, reduction='sum')",
            "one loss for each example": "(predictions - labels) ** 2",
            "no gradient flows": "torch.tensor(F.mse_loss(predictions, labels).item(), requires_grad=False)",
        }.items()
    },
    "cosine_similarity_loss": {
        "dot product instead of cosine": [("F.cosine_similarity(u, v, dim=-1)", "(u * v).sum(-1)")],
        "only one vector of unit length": [
            ("F.cosine_similarity(u, v, dim=-1)", "(u / u.norm(dim=-1, keepdim=True) * v).sum(-1)")
        ],
        "cosine of the wrong axis": [("dim=-1", "dim=0")],
        "labels stretched to -1..1": [("cosine - labels", "cosine - (2 * labels - 1)")],
        "labels divided by 5": [("cosine - labels", "cosine - labels / 5")],
        "1 - cosine compared with the labels": [("cosine - labels", "1 - cosine - labels")],
        "mean of 1 - cosine": [("((cosine - labels) ** 2)", "(1 - cosine)")],
        "divided by N - 1": [(".mean()", ".sum() / (len(labels) - 1)")],
        "cosine moved to 0..1": [("cosine - labels", "(cosine + 1) / 2 - labels")],
        "negative cosines cut off": [("dim=-1)", "dim=-1).relu()")],
        "cosines of all pairs": [
            ("F.cosine_similarity(u, v, dim=-1)", "F.normalize(u, dim=-1) @ F.normalize(v, dim=-1).T")
        ],
        "labels not used": [("cosine - labels", "1 - cosine")],
        "absolute instead of squared error": [("((cosine - labels) ** 2)", "(cosine - labels).abs()")],
        "half the squared error": [("** 2)", "** 2 / 2)")],
        "root of the mean squared error": [("mean()", "mean().sqrt()")],
        "sum instead of mean": [("mean", "sum")],
        "one loss for each example": [(".mean()", "")],
        "no gradient flows": [("dim=-1)", "dim=-1).detach()")],
        "u cut off from the gradient": [("similarity(u,", "similarity(u.detach(),")],
        "v cut off from the gradient": [(", v, dim", ", v.detach(), dim")],
    },
    **{
        function: {
            "dot product instead of cosine": [
                (unit_a, unit_a[12:].split(",")[0]),
                (unit_b, unit_b[12:].split(",")[0]),
            ],
            "only the anchors of unit length": [(unit_b, unit_b[12:].split(",")[0])],
            "normalized along the wrong axis": [
                (unit_a, unit_a.replace("-1", "0")),
                (unit_b, unit_b.replace("-1", "0")),
            ],
            "candidates normalized along the wrong axis": [(unit_b, unit_b.replace("-1", "0"))],
            "distance instead of cosine": [
                (unit_a, unit_a[12:].split(",")[0]),
                (unit_b, unit_b[12:].split(",")[0]),
                ("a @ b.T", "-torch.cdist(a, b)"),
            ],
            "no temperature or scale": [(f" {scaled}", "")],
            "last argument ignored": [(scaled, usual)],
            "own positive missing in the denominator": [
                (
                    LOSS_OF_SCORES,
                    "(scores.masked_fill(torch.eye(*scores.shape).bool(), -torch.inf).logsumexp(1)"
                    " - scores.diagonal()).mean()",
                )
            ],
            "other anchors among the candidates": [
                (
                    f"a @ b.T {scaled}",
                    f"torch.cat([a @ b.T, (a @ a.T).fill_diagonal_(-torch.inf)], 1) {scaled}",
                )
            ],
            "no softmax over the candidates": [(LOSS_OF_SCORES, "-scores.diagonal().mean()")],
            "first candidate as everyone's class": [
                ("torch.arange(len(a))", "torch.zeros(len(a), dtype=torch.long)")
            ],
            "softmax before a loss of logits": [("(scores,", "(scores.softmax(-1),")],
            "minus missing": [("return F", "return -F")],
            "sum instead of mean": [("(len(a))", "(len(a)), reduction='sum'")],
            "one loss for each example": [("(len(a))", "(len(a)), reduction='none'")],
            "divided by N - 1": [("(len(a)))", "(len(a))) * len(a) / (len(a) - 1)")],
            "logarithm to base 2": [("(len(a)))", "(len(a))) / math.log(2)")],
            "no gradient flows": [("(scores,", "(scores.detach(),")],
        }
        for function, (unit_a, unit_b, scaled, usual) in CONTRASTIVE.items()
    },
    "cosent": {
        "pairs the wrong way round": [(">", "<")],
        "pairs of equal labels included": [(">", ">=")],
        "all pairs in the sum": [("excess[pairs]", "excess.flatten()")],
        "scale missing": [("scale * (", "(")],
        "divided by the scale": [("scale * (", "1 / scale * (")],
        "last argument ignored": [("scale * (", "20 * (")],
        "1 in the logarithm missing": [("torch.cat([torch.zeros(1), excess[pairs]])", "excess[pairs]")],
        "mean over pairs in the logarithm": [
            ("torch.logsumexp(terms, dim=0)", "torch.log(1 + excess[pairs].exp().mean())")
        ],
        "divided by the number of examples": [("dim=0)", "dim=0) / len(labels)")],
        "divided by the number of pairs": [("dim=0)", "dim=0) / pairs.sum()")],
        "logarithm of each pair": [("torch.logsumexp(terms, dim=0)", "F.softplus(excess[pairs]).sum()")],
        "mean logarithm of the pairs": [
            ("torch.logsumexp(terms, dim=0)", "F.softplus(excess[pairs]).mean()")
        ],
        "logarithm to base 2": [("dim=0)", "dim=0) / math.log(2)")],
        "no gradient flows": [("    excess", "    cosines = cosines.detach()\n    excess")],
    },
    "symmetric_kl": {
        "KL(p, q) only": [("(forward + backward) / 2", "forward")],
        "KL(q, p) only": [
            ("(forward + backward) / 2", "F.kl_div(log_p, log_q.exp(), reduction='batchmean')")
        ],
        "half missing": [(" / 2", "")],
        "mean over classes too": [
            (FORWARD, FORWARD.replace("sum", "mean")),
            (BACKWARD, BACKWARD.replace("sum", "mean")),
        ],
        "cross-entropy instead of divergence": [("(log_p - log_q)", "-log_q"), ("(log_q - log_p)", "-log_p")],
        "logits taken for log-probabilities": [
            (FORWARD, "F.kl_div(q_logits, log_p.exp(), reduction='batchmean')"),
            (BACKWARD, "F.kl_div(p_logits, log_q.exp(), reduction='batchmean')"),
        ],
        "probabilities taken for log-probabilities": [
            (FORWARD, "F.kl_div(q_logits.softmax(-1), p_logits.softmax(-1), reduction='batchmean')"),
            (BACKWARD, "F.kl_div(p_logits.softmax(-1), q_logits.softmax(-1), reduction='batchmean')"),
        ],
        "divergence from the mean distribution": [
            ("(log_p - log_q)", "(log_p - ((log_p.exp() + log_q.exp()) / 2).log())"),
            ("(log_q - log_p)", "(log_q - ((log_p.exp() + log_q.exp()) / 2).log())"),
        ],
        "softmax over the examples": [
            ("(p_logits, dim=-1)", "(p_logits, dim=0)"),
            ("(q_logits, dim=-1)", "(q_logits, dim=0)"),
        ],
        "sum instead of mean": [(FORWARD, FORWARD[:-7] + ".sum()"), (BACKWARD, BACKWARD[:-7] + ".sum()")],
        "one loss for each example": [(FORWARD, FORWARD[:-7]), (BACKWARD, BACKWARD[:-7])],
        "logarithm to base 2": [("/ 2", "/ 2 / math.log(2)")],
        "divided by N - 1": [("/ 2", "/ 2 * len(log_p) / (len(log_p) - 1)")],
        "no gradient flows": [
            ("    log_p", "    p_logits, q_logits = p_logits.detach(), q_logits.detach()\n    log_p"),
        ],
        "p_logits cut off from the gradient": [("log_softmax(p_logits", "log_softmax(p_logits.detach()")],
        "q_logits cut off from the gradient": [("log_softmax(q_logits", "log_softmax(q_logits.detach()")],
        "targets cut off from the gradient": [
            (FORWARD, "F.kl_div(log_q, log_p.exp().detach(), reduction='batchmean')"),
            (BACKWARD, "F.kl_div(log_p, log_q.exp().detach(), reduction='batchmean')"),
        ],
    },
}
for function, (first, second) in {"simcse": ("first", "second"), "mnrl": ("anchors", "positives")}.items():
    MISTAKES[function] |= {
        "both directions averaged": [
            (LOSS_OF_SCORES, f"({LOSS_OF_SCORES} + {LOSS_OF_SCORES.replace('scores', 'scores.T')}) / 2")
        ],
        "both sides as one batch": [
            ("    scores", "    a = torch.cat([a, b])\n    b = a\n    scores"),
            (
                f"    return {LOSS_OF_SCORES}",
                "    scores.fill_diagonal_(-torch.inf)\n"
                "    return F.cross_entropy(scores, torch.arange(len(a)).roll(len(a) // 2))",
            ),
        ],
        "the other direction": [("(scores,", "(scores.T,")],
        f"{first} cut off from the gradient": [(f"({first}, dim", f"({first}.detach(), dim")],
        f"{second} cut off from the gradient": [(f"({second}, dim", f"({second}.detach(), dim")],
    }
MISTAKES["simcse"] |= {
    "multiplied by the temperature": [("/ temperature", "* temperature")],
    "divided by the temperature twice": [("/ temperature", "/ temperature / temperature")],
}
MISTAKES["mnrl"]["divided by the scale"] = [("* scale", "/ scale")]
CANDIDATES = "torch.cat([positives, negatives])"
ROWS = "torch.arange(len(a))"
OTHERS = "~torch.eye(len(a)).bool()"
MISTAKES["mnrl_with_negatives"] |= {
    "divided by the scale": [("* scale", "/ scale")],
    "only the own hard negative": [
        ("    return", f"    scores[:, len(a):][{OTHERS}] = -torch.inf\n    return"),
    ],
    "hard negatives not used": [(CANDIDATES, "positives")],
    "other rows' positives missing": [
        ("    return", f"    scores[:, :len(a)][{OTHERS}] = -torch.inf\n    return"),
    ],
    "no in-batch candidates": [
        ("    return", f"    scores[torch.cat([{OTHERS}] * 2, 1)] = -torch.inf\n    return"),
    ],
    "hard negatives in the place of positives": [("[positives, negatives]", "[negatives, positives]")],
    "anchors cut off from the gradient": [("a, b = anchors", "a, b = anchors.detach()")],
    "positives cut off from the gradient": [("[positives,", "[positives.detach(),")],
    "negatives cut off from the gradient": [(", negatives]", ", negatives.detach()]")],
    "positives and negatives cut off from the gradient": [(CANDIDATES, f"{CANDIDATES}.detach()")],
}


def source(function: str | None = None, replacements: list[tuple[str, str]] | None = None) -> str:
    """The right file, or one with replacements in a function, each of something that stands there once."""
    texts = dict(CORRECT)
    for old, new in replacements or []:
        assert texts[function].count(old) == 1, (function, old)
        texts[function] = texts[function].replace(old, new)
    return "\n".join([HEADER, *texts.values()])
