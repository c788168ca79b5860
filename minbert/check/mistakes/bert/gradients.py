"""Graphs that are cut: all numbers are right forward, and some weights do not learn."""

from minbert.check.mistakes.bert.mistaken import Mistaken

GRADIENTS = ("gradients",)
REMEDY = "Take no detach(), .data, .item(), torch.tensor(...) or torch.no_grad() into the computation of {}."


class CutQuery(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"query"})
    name = "no gradient through the queries"
    cause = "The graph is cut at the queries, so that their linear layer does not learn."
    remedy = REMEDY.format("the queries")


class CutKey(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"key"})
    name = "no gradient through the keys"
    cause = "The graph is cut at the keys, so that their linear layer does not learn."
    remedy = REMEDY.format("the keys")


class CutValue(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"value"})
    name = "no gradient through the values"
    cause = "The graph is cut at the values, so that their linear layer does not learn."
    remedy = REMEDY.format("the values")


class CutProbabilities(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"probabilities"})
    name = "no gradient through the attention probabilities"
    cause = "The graph is cut at the scores or probabilities: queries and keys do not learn."
    remedy = REMEDY.format("scores and probabilities")


class CutContext(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"context"})
    name = "no gradient through attention"
    cause = "The graph is cut at the context: queries, keys and values do not learn."
    remedy = REMEDY.format("attention")


class CutAttentionOutput(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"attention output"})
    name = "no gradient through attention's half of the layer"
    cause = "The graph is cut after attention's dense layer, which does not learn."
    remedy = REMEDY.format("attention's add_norm")


class CutAttentionResidual(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"attention residual"})
    name = "no gradient through the residual around attention"
    cause = "The layer's input is added as a constant."
    remedy = REMEDY.format("the residual sum")


class CutActivation(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"activation"})
    name = "no gradient through the activation"
    cause = "The graph is cut between the feed-forward layers, so that the first does not learn."
    remedy = REMEDY.format("the activation")


class CutFeedForward(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"feed-forward output"})
    name = "no gradient through the feed-forward layers"
    cause = "The graph is cut after the feed-forward layers, which do not learn."
    remedy = REMEDY.format("the feed-forward layers")


class CutFeedForwardResidual(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"feed-forward residual"})
    name = "no gradient through the residual around the feed-forward layers"
    cause = "Attention's output is added as a constant."
    remedy = REMEDY.format("the residual sum")


class CutResiduals(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"attention residual", "feed-forward residual"})
    name = "no gradient through both residuals"
    cause = "add_norm adds its input as a constant."
    remedy = REMEDY.format("add_norm")


class CutOutputs(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"attention output", "feed-forward output"})
    name = "no gradient through both halves of the layer"
    cause = "add_norm adds its dense layer's output as a constant."
    remedy = REMEDY.format("add_norm")


class CutLayers(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"layers"})
    name = "no gradient from one layer to the layer before"
    cause = "The graph is cut between the layers, so that only the last one learns."
    remedy = REMEDY.format("a layer's input")


class CutEmbeddings(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"embeddings"})
    name = "no gradient into the embeddings"
    cause = "The graph is cut between the embeddings and the first layer."
    remedy = REMEDY.format("the embeddings")


class CutTables(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"word embeddings", "position embeddings", "token_type embeddings"})
    name = "no gradient into the embedding tables"
    cause = "The graph is cut before the embeddings' layer norm, the only one of them that learns."
    remedy = REMEDY.format("the embeddings' sum")


class CutWords(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"word embeddings"})
    name = "no gradient into the word embeddings"
    cause = "The word embeddings are looked up as constants."
    remedy = REMEDY.format("the word embeddings")


class CutPositions(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"position embeddings"})
    name = "no gradient into the position embeddings"
    cause = "The position embeddings are looked up as constants."
    remedy = REMEDY.format("the position embeddings")


class CutTokenTypes(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"token_type embeddings"})
    name = "no gradient into the token-type embeddings"
    cause = "The token-type embeddings are looked up as constants."
    remedy = REMEDY.format("the token-type embeddings")


class CutPooler(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"pooler"})
    name = "no gradient from the pooler to the layers"
    cause = "The pooler reads the first token's hidden state as a constant."
    remedy = REMEDY.format("the pooler's input")


class CutPoolerOutput(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"pooler output"})
    name = "no gradient through the pooler"
    cause = "The pooler's output is a constant, and its dense layer does not learn."
    remedy = REMEDY.format("the pooler")


class CutEncoder(Mistaken):
    stages = GRADIENTS
    cut = frozenset({"encoder"})
    name = "no gradient into the layers"
    cause = "The graph is cut after the last layer, so that the pooler alone learns."
    remedy = REMEDY.format("the layers")
