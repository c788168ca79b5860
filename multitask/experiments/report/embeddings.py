"""Quality of a run's sentence vectors: alignment, uniformity and isotropy on its pairs with scores."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from minbert import Batch
from minbert.cli.page import Section, folded, paragraph, section, side_by_side, table, text_column
from multitask.data.batches import longest_first
from multitask.experiments.report.charts import figure, legend_below
from multitask.experiments.report.predictions import Predicted
from multitask.inference.chart_style import GREY, task_colors
from multitask.inference.run import Run
from multitask.metrics.embedding_quality import alignment, cosines, isotropy, mean_cosine, uniformity

POSITIVE = 0.8  # of the range of scores: 4 of 5, about what SimCSE takes as a pair that means the same
RANDOM_PAIRS = 5000
MEASURES = (
    "The encoder's vectors, pooled as the task pools them. Alignment (pairs that mean the same should be "
    "near) and uniformity (all sentences should be spread) are better when lower, with alpha = 2 and t = 2 "
    "as in Wang & Isola 2020; where all vectors are equal, alignment is 0, its best, uniformity is 0, its "
    "worst. Isotropy (Mu & Viswanath 2018, it depends on the vectors' lengths) is best at 1; a mean cosine "
    "(Ethayarajh 2019) far above 0 is a narrow cone."
)


def embedding_section(run: Run, predicted: Mapping[str, Predicted]) -> Section:
    """Numbers and the cosines of positive and random pairs, for each task that scores similarity."""
    rows, shown, colors = [], [], task_colors(run.config.tasks)
    scored = {name: entry for name, entry in predicted.items() if entry.task.target_kind == "number"}
    for name, entry in scored.items():
        if entry.task.config.text2 is None:  # a regression of single texts
            continue
        texts = list(dict.fromkeys(text for row in entry.rows for text in row.texts))
        vectors = sentence_vectors(run, name, texts)
        places = {text: place for place, text in enumerate(texts)}
        config = entry.task.config
        lowest = config.low + POSITIVE * (config.high - config.low)
        pairs = [[places[text] for text in row.texts] for row in entry.rows if row.label >= lowest]
        first, second = (vectors[[pair[side] for pair in pairs]] for side in (0, 1))
        near = f"alignment, {len(pairs):,} pairs with gold of {lowest:g} or more"
        rows += [
            (name, near, alignment(first, second)),
            (name, f"uniformity, {len(texts):,} different sentences", uniformity(vectors)),
            (name, "isotropy, smallest / largest partition function", isotropy(vectors)),
            (name, "mean cosine of two different sentences", mean_cosine(vectors)),
        ]
        if pairs and len(texts) > 1:
            found = cosines(first, second), _random_cosines(vectors)
            shown.append(_cosine_figure(name, *found, lowest, colors[name]))
    title = "Sentence vectors"
    if not rows:
        return section(title)
    parts = []
    if any(entry.task.config.pairs == "cross" for entry in scored.values()):
        text = "A task that reads both sentences as one input does not use such vectors."
        parts.append(paragraph(text, "note"))
    columns = (text_column("task"), text_column("measure"), "value")
    numbers = table("Quality of the vectors", columns, rows, "embeddings")
    about = folded("What the measures say", paragraph(MEASURES))
    return section(title, *parts, side_by_side(*shown, numbers), about)


def sentence_vectors(run: Run, name: str, texts: Sequence[str]) -> np.ndarray:
    """Encodes texts with the pooling of the task `name`, unnormalised; -> (N, D) in float64."""
    task, model = run.task(name), run.model
    sequences = run.tokenizer.encode(list(texts), max_length=task.config.max_length)
    encoder = model.view(name)
    vectors = np.empty((len(sequences), model.encoder.config.hidden_size))
    model.eval()
    with torch.inference_mode():
        for indices in longest_first([len(s.ids) for s in sequences], run.config.eval.batch_tokens):
            chosen = [sequences[i] for i in indices]
            batch = Batch.from_sequences([s.ids for s in chosen], [s.types for s in chosen]).to(model.device)
            vectors[indices] = encoder.vectors(batch, task.config.pooling).cpu().numpy()
    return vectors


def _random_cosines(vectors: np.ndarray) -> np.ndarray:
    """The cosines of RANDOM_PAIRS pairs of different vectors, always the same ones."""
    draw = np.random.default_rng(0)
    first = draw.integers(len(vectors), size=RANDOM_PAIRS)
    second = (first + draw.integers(1, len(vectors), size=RANDOM_PAIRS)) % len(vectors)
    return cosines(vectors[first], vectors[second])


def _cosine_figure(name: str, positive: np.ndarray, random: np.ndarray, lowest: float, color: str) -> str:
    def draw(axes):
        edges = np.linspace(min(positive.min(), random.min(), 0), 1, 41)
        shown = ((random, "random pairs", GREY), (positive, f"gold of {lowest:g} or more", color))
        for values, label, shade in shown:
            shares = np.full(len(values), 100 / len(values))
            axes.hist(values, edges, weights=shares, alpha=0.6, label=label, color=shade)
        axes.set(xlabel="cosine of the two sentences' vectors", ylabel="% of the pairs")
        legend_below(axes)

    guide = "The less the two humps overlap, the better the vectors tell meanings apart."
    return figure(f"{name}: cosines of pairs that mean the same, and of random pairs", guide, draw, 3.7)
