"""Mistakes that show in training alone: dropout, and graphs cut so that some weights do not learn."""

from minbert.check.mistakes.table import Wrong, wrong
from minbert.check.references.bert import Bert

KEPT = "what is kept is divided by 1 - p"


def _context_dropout(self, key, query, value, mask, training=False):
    merged = Bert.attention(self, key, query, value, mask)
    return self.attention_dropout(merged) if training else merged


# fmt: off
EMBEDDING_DROPOUT = (
    wrong("no dropout on the embeddings",
          "The normalized embeddings are returned without dropout in training.",
          "Return embed_dropout(layer_norm(sum)).",
          embed=lambda self, ids, training=False: Bert.embed(self, ids)),
    wrong("dropout of the embeddings not scaled", "What is kept is not divided by 1 - p.",
          f"Use nn.Dropout: {KEPT}.",
          embedding_dropout=lambda self, x: self.dropped(x, self.hidden_rate, scaled=False)),
    wrong("attention's rate of dropout on the embeddings",
          "The embeddings are dropped by attention_probs_dropout_prob.", "Use hidden_dropout_prob.",
          embedding_dropout=lambda self, x: self.attention_dropout(x)),
)
ATTENTION_DROPOUT = (
    wrong("no dropout on the attention probabilities",
          "The probabilities weigh the values without dropout in training.",
          "Apply self.dropout to the probabilities, after softmax.", attention_dropout=lambda self, x: x),
    wrong("dropout of the attention probabilities not scaled", "What is kept is not divided by 1 - p.",
          f"Use nn.Dropout: {KEPT}.",
          attention_dropout=lambda self, x: self.dropped(x, self.attention_rate, scaled=False)),
    wrong("the hidden rate of dropout on the attention probabilities",
          "The probabilities are dropped by hidden_dropout_prob.", "Use attention_probs_dropout_prob.",
          attention_dropout=lambda self, x: self.embedding_dropout(x)),
    wrong("dropout on the context", "The context is dropped, not the probabilities that make it.",
          "Apply self.dropout to the probabilities, after softmax.", attention=_context_dropout),
)
SUBLAYER_DROPOUT = (
    wrong("no dropout in add_norm",
          "In training the dense layer's output is added without dropout, or its input is dropped instead.",
          "Return norm(x + dropout(dense(output))).",
          projected=lambda self, output, dense, training: self.linear(output, dense)),
    wrong("dropout in add_norm not scaled", "What is kept is not divided by 1 - p.",
          f"Use nn.Dropout: {KEPT}.",
          sublayer_dropout=lambda self, x, training:
              self.dropped(x, self.hidden_rate, scaled=False) if training else x),
    wrong("attention's rate of dropout in add_norm",
          "The dense layer's output is dropped by attention_probs_dropout_prob.", "Use hidden_dropout_prob.",
          sublayer_dropout=lambda self, x, training: self.attention_dropout(x) if training else x),
    wrong("dropout after the norm", "The normalized sum is dropped: dropout(norm(x + dense(output))).",
          "Drop the dense layer's output alone: norm(x + dropout(dense(output))).",
          sum_and_norm=lambda self, x, output, dense, norm, training:
              self.sublayer_dropout(Bert.sum_and_norm(self, x, output, dense, norm, False), training)),
    wrong("dropout of the residual sum", "The input is dropped too: norm(dropout(x + dense(output))).",
          "Drop the dense layer's output alone: norm(x + dropout(dense(output))).",
          sum_and_norm=lambda self, x, output, dense, norm, training:
              self.layer_norm(self.sublayer_dropout(x + self.linear(output, dense), training), norm)),
    wrong("dropout of the residual",
          "The input is dropped, and the dense layer's output is not: norm(dropout(x) + dense(output)).",
          "Drop the dense layer's output: norm(x + dropout(dense(output))).",
          sum_and_norm=lambda self, x, output, dense, norm, training:
              self.layer_norm(self.sublayer_dropout(x, training) + self.linear(output, dense), norm)),
)
# fmt: on


def _cut(name: str, cause: str, place: str, *points: str) -> Wrong:
    """The graph is cut at these points, see Backward, so that there is no gradient `name`."""
    calls = "detach(), .data, .item(), torch.tensor(...) or torch.no_grad()"
    return wrong(
        f"no gradient {name}",
        cause,
        f"Take no {calls} into the computation of {place}.",
        cut=frozenset(points),
    )


# fmt: off
GRADIENTS = (
    *(_cut(f"through the {place}",
           f"The graph is cut at the {place}, so that their linear layer does not learn.", f"the {place}",
           point)
      for place, point in (("queries", "query"), ("keys", "key"), ("values", "value"))),
    _cut("through the attention probabilities",
         "The graph is cut at the scores or probabilities: queries and keys do not learn.",
         "scores and probabilities", "probabilities"),
    _cut("through attention", "The graph is cut at the context: queries, keys and values do not learn.",
         "attention", "context"),
    _cut("through attention's half of the layer",
         "The graph is cut after attention's dense layer, which does not learn.", "attention's add_norm",
         "attention output"),
    _cut("through the residual around attention", "The layer's input is added as a constant.",
         "the residual sum", "attention residual"),
    _cut("through the activation",
         "The graph is cut between the feed-forward layers, so that the first does not learn.",
         "the activation", "activation"),
    _cut("through the feed-forward layers",
         "The graph is cut after the feed-forward layers, which do not learn.", "the feed-forward layers",
         "feed-forward output"),
    _cut("through the residual around the feed-forward layers", "Attention's output is added as a constant.",
         "the residual sum", "feed-forward residual"),
    _cut("through both residuals", "add_norm adds its input as a constant.", "add_norm", "attention residual",
         "feed-forward residual"),
    _cut("through both halves of the layer", "add_norm adds its dense layer's output as a constant.",
         "add_norm", "attention output", "feed-forward output"),
    _cut("from one layer to the layer before",
         "The graph is cut between the layers, so that only the last one learns.", "a layer's input",
         "layers"),
    _cut("into the embeddings", "The graph is cut between the embeddings and the first layer.",
         "the embeddings", "embeddings"),
    _cut("into the embedding tables",
         "The graph is cut before the embeddings' layer norm, the only one of them that learns.",
         "the embeddings' sum", "word embeddings", "position embeddings", "token_type embeddings"),
    *(_cut(f"into the {place} embeddings", f"The {place} embeddings are looked up as constants.",
           f"the {place} embeddings", f"{place.replace('-', '_')} embeddings")
      for place in ("word", "position", "token-type")),
    _cut("from the pooler to the layers", "The pooler reads the first token's hidden state as a constant.",
         "the pooler's input", "pooler"),
    _cut("through the pooler", "The pooler's output is a constant, and its dense layer does not learn.",
         "the pooler", "pooler output"),
    _cut("into the layers", "The graph is cut after the last layer, so that the pooler alone learns.",
         "the layers", "encoder"),
)
# fmt: on
