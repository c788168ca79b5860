"""The tasks of the course: SST and CFIMDB sentiment, Quora paraphrases, STS similarity.

The three tasks of its second part hold the default recipe, chosen by the experiments in docs/results.md.
"""

from collections.abc import Sequence

from multitask.data.readers import Example, integer_label
from multitask.metrics.scores import off_by_one_accuracy
from multitask.tasks.generic import ClassificationTask, PairTask, SimilarityTask
from multitask.tasks.predictions import PredictionFormat


class SentimentTask(ClassificationTask):
    """Sentences whose labels are the whole numbers from 0; predictions are these numbers."""

    prediction_values = "class"

    def parse_label(self, text: str) -> int:
        return integer_label(0, len(self.labels) - 1)(text)

    def named(self, places: Sequence[int]) -> list[int]:
        return list(places)

    @property
    def format(self) -> PredictionFormat:
        return PredictionFormat(self.name, "Predicted_Sentiment", "class", 0, len(self.labels) - 1)


class SST(SentimentTask):
    """Stanford Sentiment Treebank: a sentence -> one of five levels, 0 very negative to 4 very positive.

    Scored by accuracy, and by the share that is at most one level off. The loss "ordinal" uses the order.
    """

    defaults = {
        "train": "ids-sst-train.csv",
        "dev": "ids-sst-dev.csv",
        "test": "ids-sst-test-student.csv",
        "text": "sentence",
        "label": "sentiment",
        "labels": ("0", "1", "2", "3", "4"),
    }

    def score(self, predictions: Sequence[int], examples: Sequence[Example]) -> dict[str, float]:
        labels = [example.label for example in examples]
        return super().score(predictions, examples) | {"off_by_one": off_by_one_accuracy(predictions, labels)}


class CFIMDB(SentimentTask):
    """CFIMDB: a film review -> positive (1) or negative (0). Half of the reviews have over 200 tokens."""

    defaults = {
        "train": "ids-cfimdb-train.csv",
        "dev": "ids-cfimdb-dev.csv",
        "test": "ids-cfimdb-test-student.csv",
        "text": "sentence",
        "label": "sentiment",
        "labels": ("0", "1"),
    }
    # Two classes have no order to learn.
    losses = {name: loss for name, loss in ClassificationTask.losses.items() if name != "ordinal"}


class Paraphrase(PairTask):
    """Quora question pairs: do two questions ask the same? Labels in the files are 1.0 and 0.0."""

    defaults = PairTask.defaults | {
        "train": "quora-train.csv",
        "dev": "quora-dev.csv",
        "test": "quora-test-student.csv",
        "label": "is_duplicate",
    }

    @property
    def format(self) -> PredictionFormat:
        stem = "para" if self.name == "paraphrase" else self.name
        return PredictionFormat(stem, "Predicted_Is_Paraphrase", "flag", 0, 1)


class STS(SimilarityTask):
    """Semantic textual similarity of two sentences from 0 to 5. Pearson's r is what the course scores."""

    defaults = SimilarityTask.defaults | {
        "train": "sts-train.csv",
        "dev": "sts-dev.csv",
        "test": "sts-test-student.csv",
        "label": "similarity",
        "high": 5.0,
        "weight": 5.0,  # its gradients are the smallest, and all tasks share one AdamW
    }

    @property
    def format(self) -> PredictionFormat:
        # The misspelling is the starter code's own.
        return PredictionFormat(self.name, "Predicted_Similiary", "number", 0, 5, "Predicted_Similarity")
