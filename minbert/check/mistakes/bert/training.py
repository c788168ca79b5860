"""Mistakes that show in training alone: dropout, and graphs cut so that some weights do not learn."""

import copy

from minbert.check.bert.dropout_stages import ADDED, KNOWN
from minbert.check.mistakes.table import Wrong, wrong
from minbert.check.references.bert import Bert

KEPT = "what is kept is divided by 1 - p"


def _context_dropout(self, key, query, value, mask, training=False):
    merged = Bert.attention(self, key, query, value, mask)
    return self.attention_dropout(merged) if training else merged


def _if_training(self, function, x):
    return function(x) if self.training else x


def _fixed_rates(place, step, cause):
    """Rates that are written into the code, by the step that drops."""
    return tuple(
        wrong(f"dropout of {rate} {place}", f"{cause} by a rate of {rate}, whatever the configuration says.",
              "Read the rate from the configuration.", seen_by=(KNOWN,),
              **{step: lambda self, x, training=True, rate=rate: self.dropped(x, rate) if training else x})
        for rate in (0.1, 0.5)
    )  # fmt: skip


def _scores_dropped(self, key, query, value, mask, training=False):
    model = copy.copy(self)
    if training:
        model.scaled = lambda products, size: self.attention_dropout(self.scaled(products, size))
    return Bert.attention(model, key, query, value, mask)


def _normalized_again(self, x):
    dropped = Bert.attention_dropout(self, x)
    return dropped / dropped.sum(axis=-1, keepdims=True)


def _context_dropped_too(self, key, query, value, mask, training=False):
    model = copy.copy(self)
    if training:
        model.context = lambda *inputs: self.attention_dropout(self.context(*inputs))
    return Bert.attention(model, key, query, value, mask, training)


# fmt: off
EMBEDDING_DROPOUT = (
    wrong("dropout before the layer norm of the embeddings",
          "The sum of the embeddings is dropped and normalized after.", "Return dropout(layer_norm(sum)).",
          seen_by=(KNOWN,),
          embed=lambda self, ids, training=False:
              self.embedding_norm(self.sublayer_dropout(self.embedding_sum(ids), training))),
    wrong("dropout of the word embeddings alone",
          "The word embeddings are dropped before positions and token types are added.",
          "Return dropout(layer_norm(sum)).", seen_by=(KNOWN,),
          embed=lambda self, ids, training=False:
              self.embedding_norm(self.sublayer_dropout(self.word_embeddings(ids), training)
                                  + self.position_embeddings(ids) + self.token_type_embeddings(ids))),
    wrong("dropout of the embeddings before and after the layer norm",
          "The sum of the embeddings is dropped, normalized and dropped again.",
          "Return dropout(layer_norm(sum)).", seen_by=(KNOWN,),
          embed=lambda self, ids, training=False: self.sublayer_dropout(
              self.embedding_norm(self.sublayer_dropout(self.embedding_sum(ids), training)), training)),
    wrong("dropout of the embeddings applied twice", "The embeddings' dropout is applied to its own output.",
          "Return dropout(layer_norm(sum)).", seen_by=(KNOWN,),
          embedding_dropout=lambda self, x:
              Bert.embedding_dropout(self, Bert.embedding_dropout(self, x))),
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
EMBEDDING_DROPOUT += _fixed_rates("on the embeddings", "embedding_dropout", "The embeddings are dropped")
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
    wrong("dropout before softmax", "The scores are dropped: a score of 0 still has a probability.",
          "Drop the probabilities, after softmax.", seen_by=(KNOWN,), attention=_scores_dropped),
    wrong("dropout of the attention probabilities applied twice",
          "The probabilities go through dropout twice.", "Apply self.dropout once, after softmax.",
          seen_by=(KNOWN,),
          attention_dropout=lambda self, x:
              Bert.attention_dropout(self, Bert.attention_dropout(self, x))),
    wrong("dropout on the probabilities and on the context",
          "Both the probabilities and the heads' contexts (B, H, S, K) are dropped.",
          "Apply self.dropout to the probabilities alone.", seen_by=(KNOWN,),
          attention=_context_dropped_too),
    wrong("dropout on the probabilities and on the merged heads",
          "Both the probabilities and attention's output (B, S, D) are dropped.",
          "Apply self.dropout to the probabilities alone.", seen_by=(KNOWN,),
          attention=lambda self, key, query, value, mask, training=False:
              _if_training(self.in_mode(training), self.attention_dropout,
                           Bert.attention(self, key, query, value, mask, training))),
    wrong("probabilities divided by their sum after dropout",
          "What dropout keeps of a row is made to sum to one again.",
              "Weigh the values by what dropout gives.",
          seen_by=(KNOWN,), attention_dropout=_normalized_again),
    wrong("dropout on the context", "The context is dropped, not the probabilities that make it.",
          "Apply self.dropout to the probabilities, after softmax.", attention=_context_dropout),
)
ATTENTION_DROPOUT += _fixed_rates(
    "on the attention probabilities", "attention_dropout", "The probabilities are dropped")
SUBLAYER_DROPOUT = (
    wrong("no dropout in add_norm",
          "In training the dense layer's output is added without dropout.",
          "Return norm(x + dropout(dense(output))).",
          projected=lambda self, output, dense, training: self.linear(output, dense)),
    wrong("dropout of the dense layer's input in add_norm",
          "What enters the dense layer is dropped, not what leaves it: norm(x + dense(dropout(output))).",
          "Drop the dense layer's output: norm(x + dropout(dense(output))).",
          projected=lambda self, output, dense, training:
              self.linear(self.sublayer_dropout(output, training), dense)),
    wrong("dropout of the dense layer's input and output in add_norm",
          "Dropout stands before and after the dense layer: norm(x + dropout(dense(dropout(output)))).",
          "Drop the dense layer's output alone: norm(x + dropout(dense(output))).", seen_by=(KNOWN,),
          projected=lambda self, output, dense, training:
              Bert.projected(self, self.sublayer_dropout(output, training), dense, training)),
    wrong("dropout in add_norm applied twice", "The dense layer's output goes through dropout twice.",
          "Return norm(x + dropout(dense(output))).", seen_by=(KNOWN,),
          sublayer_dropout=lambda self, x, training:
              Bert.sublayer_dropout(self, Bert.sublayer_dropout(self, x, training), training)),
    wrong("dropout of the residual and of the dense layer's output",
          "Input and output are both dropped: norm(dropout(x) + dropout(dense(output))).",
          "Drop the dense layer's output alone: norm(x + dropout(dense(output))).", seen_by=(ADDED, KNOWN),
          sum_and_norm=lambda self, x, output, dense, norm, training:
              Bert.sum_and_norm(self, self.sublayer_dropout(x, training), output, dense, norm, training)),
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
SUBLAYER_DROPOUT += _fixed_rates("in add_norm", "sublayer_dropout", "The dense layer's output is dropped")
TRAINING = (
    wrong("no dropout after the feed-forward layers",
          "BertLayer.forward adds the second dense layer's output without dropout.",
          "Use add_norm with out_dropout: norm(x + dropout(dense(output))).",
          after_feed_forward=lambda self, *given: Bert.after_feed_forward(self.in_mode(False), *given)),
    wrong("no dropout after attention", "BertLayer.forward adds attention's output without dropout.",
          "Use add_norm with attention_dropout: norm(x + dropout(dense(output))).",
          after_attention=lambda self, *given: Bert.after_attention(self.in_mode(False), *given)),
    wrong("no dropout in the layer", "BertLayer.forward adds both dense layers' outputs without dropout.",
          "Use add_norm in both halves: norm(x + dropout(dense(output))).",
          after_feed_forward=lambda self, *given: Bert.after_feed_forward(self.in_mode(False), *given),
          after_attention=lambda self, *given: Bert.after_attention(self.in_mode(False), *given)),
    wrong("dropout between the feed-forward layers", "What enters the second dense layer is dropped too.",
          "Drop what leaves it alone, in add_norm.",
          intermediate=lambda self, *given:
              self.sublayer_dropout(Bert.intermediate(self, *given), self.training)),
    wrong("dropout of self-attention's output",
          "The merged heads are dropped by BertSelfAttention's dropout.",
          "Apply it to the probabilities alone.",
          self_attention=lambda self, *given: _if_training(
              self, self.attention_dropout, Bert.self_attention(self, *given))),
    wrong("dropout before add_norm", "What add_norm is given after attention is dropped too.",
          "Leave dropout to add_norm.",
          after_attention=lambda self, x, attended, number: Bert.after_attention(
              self, x, self.sublayer_dropout(attended, self.training), number)),
    wrong("dropout of the layer's output", "What BertLayer.forward returns is dropped.",
          "Return add_norm's output as it is.",
          second_half=lambda self, *given:
              self.sublayer_dropout(Bert.second_half(self, *given), self.training)),
    wrong("dropout of the last hidden state", "The layers' output is dropped.",
          "Return the last layer's output as it is.",
          encode=lambda self, *given: self.sublayer_dropout(Bert.encode(self, *given), self.training)),
    wrong("dropout of the pooler's output", "pooler_output is dropped.",
          "Return tanh(W h + b) as it is; a classifier has a dropout of its own.",
          pool=lambda self, *given: self.sublayer_dropout(Bert.pool(self, *given), self.training)),
    wrong("dropout of the pooler's input", "The first token's hidden state is dropped before the pooler.",
          "Compute tanh(W h + b) from h as it is.",
          first_token=lambda self, *given:
              self.sublayer_dropout(Bert.first_token(self, *given), self.training)),
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
