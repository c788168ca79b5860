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
    """The graph is cut at these points, see Backward."""
    calls = "detach(), .data, .item(), torch.tensor(...) or torch.no_grad()"
    return wrong(name, cause, f"Take no {calls} into the computation of {place}.", cut=frozenset(points))


# fmt: off
GRADIENTS = (
    _cut("no gradient through the queries",
         "The graph is cut at the queries, so that their linear layer does not learn.", "the queries",
         "query"),
    _cut("no gradient through the keys",
         "The graph is cut at the keys, so that their linear layer does not learn.", "the keys", "key"),
    _cut("no gradient through the values",
         "The graph is cut at the values, so that their linear layer does not learn.", "the values", "value"),
    _cut("no gradient through the attention probabilities",
         "The graph is cut at the scores or probabilities: queries and keys do not learn.",
         "scores and probabilities", "probabilities"),
    _cut("no gradient through attention",
         "The graph is cut at the context: queries, keys and values do not learn.", "attention", "context"),
    _cut("no gradient through attention's half of the layer",
         "The graph is cut after attention's dense layer, which does not learn.", "attention's add_norm",
         "attention output"),
    _cut("no gradient through the residual around attention", "The layer's input is added as a constant.",
         "the residual sum", "attention residual"),
    _cut("no gradient through the activation",
         "The graph is cut between the feed-forward layers, so that the first does not learn.",
         "the activation", "activation"),
    _cut("no gradient through the feed-forward layers",
         "The graph is cut after the feed-forward layers, which do not learn.", "the feed-forward layers",
         "feed-forward output"),
    _cut("no gradient through the residual around the feed-forward layers",
         "Attention's output is added as a constant.", "the residual sum", "feed-forward residual"),
    _cut("no gradient through both residuals", "add_norm adds its input as a constant.", "add_norm",
         "attention residual", "feed-forward residual"),
    _cut("no gradient through both halves of the layer",
         "add_norm adds its dense layer's output as a constant.", "add_norm", "attention output",
         "feed-forward output"),
    _cut("no gradient from one layer to the layer before",
         "The graph is cut between the layers, so that only the last one learns.", "a layer's input",
         "layers"),
    _cut("no gradient into the embeddings", "The graph is cut between the embeddings and the first layer.",
         "the embeddings", "embeddings"),
    _cut("no gradient into the embedding tables",
         "The graph is cut before the embeddings' layer norm, the only one of them that learns.",
         "the embeddings' sum", "word embeddings", "position embeddings", "token_type embeddings"),
    _cut("no gradient into the word embeddings", "The word embeddings are looked up as constants.",
         "the word embeddings", "word embeddings"),
    _cut("no gradient into the position embeddings", "The position embeddings are looked up as constants.",
         "the position embeddings", "position embeddings"),
    _cut("no gradient into the token-type embeddings",
         "The token-type embeddings are looked up as constants.", "the token-type embeddings",
         "token_type embeddings"),
    _cut("no gradient from the pooler to the layers",
         "The pooler reads the first token's hidden state as a constant.", "the pooler's input", "pooler"),
    _cut("no gradient through the pooler",
         "The pooler's output is a constant, and its dense layer does not learn.", "the pooler",
         "pooler output"),
    _cut("no gradient into the layers",
         "The graph is cut after the last layer, so that the pooler alone learns.", "the layers", "encoder"),
)
# fmt: on
