"""Right ways to write the losses, combined at random: fused or not, fp32 or fp64, loops or matrices."""

from random import Random

HEADER = """\
import math

import torch
import torch.nn.functional as F
from torch import nn
"""

LOG_SOFTMAX = (
    "F.log_softmax({x}, dim=-1)",
    "nn.LogSoftmax(dim=-1)({x})",
    "({x} - {x}.logsumexp(-1, keepdim=True))",
    "({x} - {x}.amax(-1, keepdim=True)).log_softmax(-1)",
    "(({x} - {x}.amax(1)[:, None]) - ({x} - {x}.amax(1)[:, None]).exp().sum(-1, keepdim=True).log())",
    "torch.stack([row - torch.logsumexp(row, 0) for row in {x}])",
)
# Right too where logits are not large.
MODERATE_LOG_SOFTMAX = (
    *LOG_SOFTMAX,
    "torch.softmax({x}, dim=-1).log()",
    "(({x} - {x}.max()) - ({x} - {x}.max()).exp().sum(-1, keepdim=True).log())",
    "({x} - {x}.exp().sum(-1, keepdim=True).log())",
    "(torch.exp({x}) / torch.einsum('nc->n', torch.exp({x}))[:, None]).log()",
)
PICKED = (
    "{x}[torch.arange(len({labels})), {labels}]",
    "{x}.gather(1, {labels}[:, None]).squeeze(1)",
    "{x}.gather(dim=-1, index={labels}.unsqueeze(-1)).view(-1)",
    "({x} * F.one_hot({labels}, {x}.shape[1])).sum(-1)",
    "torch.einsum('nc,nc->n', {x}, F.one_hot({labels}, {x}.shape[1]).to({x}.dtype))",
    "torch.stack([row[int(label)] for row, label in zip({x}, {labels})])",
)
MEAN = (
    "{x}.mean()",
    "{x}.sum() / len({x})",
    "torch.mean({x}, dim=0)",
    "sum({x}) / len({x})",
    "torch.stack(tuple({x})).mean()",
    "({x} / {x}.numel()).sum()",
    "{x}.flip(0).mean()",
)
UNIT = (
    "F.normalize({x}, dim=-1)",
    "F.normalize({x}, p=2, dim=1)",
    "({x} / {x}.norm(dim=-1, keepdim=True))",
    "({x} / ({x} ** 2).sum(-1, keepdim=True).sqrt())",
    "({x} * torch.rsqrt(({x} * {x}).sum(-1, keepdim=True)))",
    "({x} / torch.linalg.vector_norm({x}, dim=1)[:, None])",
    "torch.stack([row / torch.sqrt(row @ row) for row in {x}])",
)
# Scaled cosines of all pairs of a and b; `factor` is a number.
SCORES = (
    "{unit_a} @ {unit_b}.T * {factor}",
    "{unit_a} @ {unit_b}.T / (1 / {factor})",
    "({factor} * {unit_a}) @ {unit_b}.T",
    "({unit_b} @ {unit_a}.T).T * {factor}",
    "(math.sqrt({factor}) * {unit_a}) @ (math.sqrt({factor}) * {unit_b}).transpose(0, 1)",
    "torch.einsum('nd,md->nm', {unit_a}, {unit_b}) * {factor}",
    "F.cosine_similarity({a}[:, None], {b}[None, :], dim=-1) * {factor}",
    "{factor} * ({a} @ {b}.T) / {a}.norm(dim=1)[:, None] / {b}.norm(dim=1)",
    "({unit_a}[:, None, :] * {unit_b}[None]).sum(-1).mul({factor})",
    "torch.stack([torch.stack([{factor} * F.cosine_similarity(x, y, dim=0) for y in {b}]) for x in {a}])",
    "F.linear({unit_a}, {unit_b}) * {factor}",
)
BINARY = (
    "return F.binary_cross_entropy_with_logits(logits, labels)",
    "return nn.BCEWithLogitsLoss()(logits, labels)",
    "losses = F.softplus(logits) - logits * labels",
    "losses = -(labels * F.logsigmoid(logits) + (1 - labels) * F.logsigmoid(-logits))",
    "losses = logits.clamp(min=0) - logits * labels + torch.log1p(torch.exp(-logits.abs()))",
    "losses = torch.logaddexp(torch.zeros_like(logits), logits) - logits * labels",
    "losses = torch.where(labels > 0.5, F.softplus(-logits), F.softplus(logits))",
    "losses = F.softplus((1 - 2 * labels) * logits)",
    "return F.cross_entropy(torch.stack([torch.zeros_like(logits), logits], 1), labels.long())",
)
SQUARES = (
    "return F.mse_loss({x}, labels)",
    "return nn.MSELoss()({x}, labels)",
    "losses = ({x} - labels) ** 2",
    "losses = ({x} - labels).square()",
    "losses = {x} ** 2 - 2 * {x} * labels + labels ** 2",
    "return torch.dot({x} - labels, {x} - labels) / len(labels)",
    "losses = torch.stack([(p - y) * (p - y) for p, y in zip({x}, labels)])",
)
PAIR_COSINES = (
    "F.cosine_similarity(u, v)",
    "nn.CosineSimilarity(dim=1)(u, v)",
    "({unit_a} * {unit_b}).sum(-1)",
    "torch.einsum('nd,nd->n', {unit_a}, {unit_b})",
    "(u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))",
    "torch.stack([a @ b / a.norm() / b.norm() for a, b in zip(u, v)])",
    "torch.bmm({unit_a}[:, None], {unit_b}[:, :, None]).flatten()",
    "({unit_a} @ {unit_b}.T).diagonal()",
)
COSENT = (
    """\
    e = scale * (cosines[None] - cosines[:, None])
    e = e[labels[:, None] > labels[None]]
    return torch.log(1 + e.exp().sum())
""",
    """\
    e = scale * (cosines.unsqueeze(0) - cosines.unsqueeze(1))
    e = e - (labels[:, None] <= labels[None]).to(e.dtype) * 1e12
    return torch.logsumexp(torch.cat([e.new_zeros(1), e.view(-1)]), dim=0)
""",
    """\
    terms = [torch.zeros_like(cosines[0])]
    for i in range(len(labels)):
        for j in range(len(labels)):
            if labels[i] > labels[j]:
                terms.append((cosines[j] - cosines[i]) * scale)
    return torch.stack(terms).logsumexp(0)
""",
    """\
    e = scale * cosines
    i, j = torch.where(labels[:, None] > labels[None])
    return torch.log1p(torch.exp(e[j] - e[i]).sum())
""",
    """\
    p = torch.exp(scale * cosines)
    higher = (labels[:, None] > labels[None]).to(p.dtype)
    return torch.log1p(torch.einsum('i,ij,j->', 1 / p, higher, p))
""",
    """\
    order = labels.argsort(descending=True)
    s, y = scale * cosines[order], labels[order]
    e = (s[None] - s[:, None]).masked_fill(y[:, None] <= y[None], -torch.inf)
    return F.softplus(e.flatten().logsumexp(0))
""",
)
DIVERGENCE = (
    "losses = ((a.exp() - b.exp()) * (a - b)).sum(-1) / 2",
    "return (F.kl_div(a, b.exp(), reduction='batchmean') + F.kl_div(b, a.exp(), reduction='batchmean')) / 2",
    "return 0.5 * F.kl_div(a, b, log_target=True, reduction='none').sum(-1).mean()"
    " + 0.5 * F.kl_div(b, a, log_target=True, reduction='sum') / len(b)",
    "losses = 0.5 * (a.exp() * (a - b)).sum(1) + 0.5 * (b.exp() * (b - a)).sum(1)",
    "losses = torch.einsum('nc,nc->n', a.exp() - b.exp(), a - b) * 0.5",
    "losses = torch.stack([(p.exp() @ (p - q) + q.exp() @ (q - p)) / 2 for p, q in zip(a, b)])",
)
DISTRIBUTIONS = """\
    p, q = (torch.distributions.Categorical(logits=x) for x in (p_logits, q_logits))
    kl = torch.distributions.kl_divergence
    return torch.stack([kl(p, q), kl(q, p)]).mean()
"""
# What is done to the inputs first.
PREPARED = (
    "",
    "    {x} = {x}.double()\n",
    "    {x} = {x}.to(torch.float64).contiguous()\n",
    "    {x} = {x}.clone()\n",
    "    {x} = {x}.T.contiguous().T\n",
    "    {x} = torch.stack([{x}, {x}], dim=-1)[..., 0]\n",
    "    {x} *= 1.0\n",
)


class RandomLosses:
    """Texts of right files; each function is a random combination of right steps."""

    def __init__(self, seed: int):
        self.random = Random(seed)

    def source(self) -> str:
        functions = [
            self.cross_entropy(),
            self.binary_cross_entropy(),
            self.focal(),
            self.mean_squared_error(),
            self.cosine_similarity_loss(),
            self.in_batch("simcse(first, second, temperature)", "first", "second", "(1 / temperature)"),
            self.in_batch("mnrl(anchors, positives, scale)", "anchors", "positives", "scale"),
            self.with_negatives(),
            self.cosent(),
            self.symmetric_kl(),
        ]
        self.random.shuffle(functions)
        return "\n\n".join([HEADER, *functions])

    def one(self, choices: tuple[str, ...], **names: str) -> str:
        return self.random.choice(choices).format(**names)

    def function(self, signature: str, floats: list[str], body: str) -> str:
        prepared = self.random.choice(PREPARED)
        if ".T" in prepared and signature.startswith(("binary", "mean_squared", "cosent")):
            prepared = ""
        return f"def {signature}:\n" + "".join(prepared.format(x=name) for name in floats) + body

    def ended(self, statement: str) -> str:
        """A statement that returns the mean, or makes `losses` of the examples and returns theirs."""
        if statement.startswith("return"):
            return f"    {statement}\n"
        return f"    {statement}\n    return {self.one(MEAN, x='losses')}\n"

    def of_scores(self, scores: str, labels: str, log_softmax: tuple[str, ...] = LOG_SOFTMAX) -> str:
        kind = self.random.randrange(4)
        if kind == 0:
            call = self.random.choice(["F.cross_entropy", "nn.CrossEntropyLoss()"])
            return f"    return {call}({scores}, {labels})\n"
        log_p = f"    log_p = {self.one(log_softmax, x=scores)}\n"
        if kind == 1:
            return log_p + f"    return F.nll_loss(log_p, {labels})\n"
        return log_p + self.ended(f"losses = -{self.one(PICKED, x='log_p', labels=labels)}")

    def cross_entropy(self) -> str:
        return self.function("cross_entropy(logits, labels)", ["logits"], self.of_scores("logits", "labels"))

    def binary_cross_entropy(self) -> str:
        body = self.ended(self.random.choice(BINARY))
        return self.function("binary_cross_entropy(logits, labels)", ["logits", "labels"], body)

    def focal(self) -> str:
        log_p = self.one(PICKED, x="log_p", labels="labels")
        steps = [
            f"    log_p = {self.one(MODERATE_LOG_SOFTMAX, x='logits')}\n    log_p = {log_p}\n",
            "    log_p = -F.cross_entropy(logits, labels, reduction='none')\n",
        ]
        losses = self.random.choice(
            [
                "-((1 - log_p.exp()) ** gamma) * log_p",
                "-torch.pow(1 - torch.exp(log_p), gamma) * log_p",
                "-torch.exp(gamma * torch.log1p(-log_p.exp())) * log_p",
                "-(-torch.expm1(log_p)) ** gamma * log_p",
            ]
        )
        body = self.random.choice(steps) + self.ended(f"losses = {losses}")
        return self.function("focal(logits, labels, gamma)", ["logits"], body)

    def mean_squared_error(self) -> str:
        body = self.ended(self.one(SQUARES, x="predictions"))
        return self.function("mean_squared_error(predictions, labels)", ["predictions", "labels"], body)

    def cosine_similarity_loss(self) -> str:
        cosine = self.one(PAIR_COSINES, unit_a=self.one(UNIT, x="u"), unit_b=self.one(UNIT, x="v"))
        body = f"    cosine = {cosine}\n    labels = labels.to(cosine.dtype)\n"
        body += self.ended(self.one(SQUARES, x="cosine"))
        return self.function("cosine_similarity_loss(u, v, labels)", ["u", "v"], body)

    def in_batch(self, signature: str, a: str, b: str, factor: str) -> str:
        units = {"unit_a": self.one(UNIT, x=a), "unit_b": self.one(UNIT, x=b)}
        scores = self.one(SCORES, a=a, b=b, factor=factor, **units)
        target = self.random.choice(["torch.arange(len(scores))", "torch.tensor(range(len(scores)))"])
        body = f"    scores = {scores}\n    target = {target}\n" + self.of_scores(
            "scores", "target", MODERATE_LOG_SOFTMAX
        )
        return self.function(signature, [a, b], body)

    def with_negatives(self) -> str:
        names = ["anchors", "positives", "negatives"]
        if self.random.random() < 0.5:
            joined = "    others = torch.cat([positives, negatives])\n"
            units = {"unit_a": self.one(UNIT, x="anchors"), "unit_b": self.one(UNIT, x="others")}
            scores = (
                joined
                + f"    scores = {self.one(SCORES, a='anchors', b='others', factor='scale', **units)}\n"
            )
        else:
            parts = []
            for other in names[1:]:
                units = {"unit_a": self.one(UNIT, x="anchors"), "unit_b": self.one(UNIT, x=other)}
                parts.append(self.one(SCORES, a="anchors", b=other, factor="scale", **units))
            scores = f"    scores = torch.cat([{', '.join(parts)}], dim=1)\n"
        body = scores + "    target = torch.arange(len(scores))\n"
        body += self.of_scores("scores", "target", MODERATE_LOG_SOFTMAX)
        return self.function("mnrl_with_negatives(anchors, positives, negatives, scale)", names, body)

    def cosent(self) -> str:
        return self.function("cosent(cosines, labels, scale)", ["cosines"], self.random.choice(COSENT))

    def symmetric_kl(self) -> str:
        if self.random.random() < 0.1:
            body = DISTRIBUTIONS
        else:
            a, b = (self.one(MODERATE_LOG_SOFTMAX, x=name) for name in ("p_logits", "q_logits"))
            body = f"    a, b = {a}, {b}\n" + self.ended(self.random.choice(DIVERGENCE))
        return self.function("symmetric_kl(p_logits, q_logits)", ["p_logits", "q_logits"], body)
