"""Mistakes in the whole model: the layers' order and weights, and the mask that they are given."""

import numpy as np

from minbert.check.mistakes.bert.mistaken import Mistaken

ALL_LAYERS = ("all layers",)
FEW_DIGITS = 2e-2  # 10000 + x has 3 digits after the point in fp32, and two layers make more of it
EXTENDED = "(1 - mask) * -10000, of shape (B, 1, 1, S)"


class FirstLayersWeights(Mistaken):
    stages = ALL_LAYERS
    name = "the first layer for all layers"
    cause = "Every step runs the first layer, as if the layers shared its weights."
    remedy = "Run layer i at step i: for layer in self.bert_layers."

    def encode(self, hidden, extended):
        for _ in range(self.config["num_hidden_layers"]):
            hidden = self.layer(0, hidden, extended)
        return hidden


class LastLayersWeights(Mistaken):
    stages = ALL_LAYERS
    name = "one layer's weights in all layers"
    cause = "The layers are one object, [BertLayer(config)] * n, and hold what was loaded last."
    remedy = "Make a layer for each: [BertLayer(config) for _ in range(n)]."

    def encode(self, hidden, extended):
        count = self.config["num_hidden_layers"]
        for _ in range(count):
            hidden = self.layer(count - 1, hidden, extended)
        return hidden


class LastLayerSkipped(Mistaken):
    stages = ALL_LAYERS
    name = "last layer skipped"
    cause = "The loop over the layers ends too early, or the last output is not the one returned."
    remedy = "Run all layers of self.bert_layers."

    def encode(self, hidden, extended):
        for number in range(self.config["num_hidden_layers"] - 1):
            hidden = self.layer(number, hidden, extended)
        return hidden


class FirstLayerSkipped(Mistaken):
    stages = ALL_LAYERS
    name = "first layer skipped, or each layer fed with the embeddings"
    cause = "The loop starts at the second layer, or every layer is run on the embeddings again."
    remedy = "Run all layers, each on the output of the one before."

    def encode(self, hidden, extended):
        for number in range(1, self.config["num_hidden_layers"]):
            hidden = self.layer(number, hidden, extended)
        return hidden


class LayersReversed(Mistaken):
    stages = ALL_LAYERS
    name = "layers in reverse order"
    cause = "The last layer runs first."
    remedy = "Run the layers in their order."

    def encode(self, hidden, extended):
        for number in reversed(range(self.config["num_hidden_layers"])):
            hidden = self.layer(number, hidden, extended)
        return hidden


class LayersTwice(Mistaken):
    stages = ALL_LAYERS
    name = "all layers run twice"
    cause = "The layers' output goes through the layers again."
    remedy = "Run each layer once."

    def encode(self, hidden, extended):
        return super().encode(super().encode(hidden, extended), extended)


class EachLayerTwice(Mistaken):
    stages = ALL_LAYERS
    name = "each layer run twice"
    cause = "A layer's output goes through the same layer again."
    remedy = "Run each layer once."

    def encode(self, hidden, extended):
        for number in range(self.config["num_hidden_layers"]):
            hidden = self.layer(number, self.layer(number, hidden, extended), extended)
        return hidden


class NoLayers(Mistaken):
    stages = ALL_LAYERS
    name = "no layers"
    cause = "The embeddings are returned as last_hidden_state."
    remedy = "Return the last layer's output."

    def encode(self, hidden, extended):
        return hidden


class LayersWithResidual(Mistaken):
    stages = ALL_LAYERS
    name = "residual around a whole layer"
    cause = "A layer's input is added to its output once more."
    remedy = "Go on with the layer's output alone."

    def encode(self, hidden, extended):
        for number in range(self.config["num_hidden_layers"]):
            hidden = hidden + self.layer(number, hidden, extended)
        return hidden


class MeanOfLayers(Mistaken):
    stages = ALL_LAYERS
    name = "mean of the layers' outputs"
    cause = "The layers' outputs are averaged."
    remedy = "Return the last layer's output."

    def encode(self, hidden, extended):
        outputs = []
        for number in range(self.config["num_hidden_layers"]):
            hidden = self.layer(number, hidden, extended)
            outputs.append(hidden)
        return np.mean(outputs, axis=0)


class MaskOfOnes(Mistaken):
    stages = ALL_LAYERS
    name = "mask of 1 and 0 added to the scores"
    cause = "The attention mask reaches the layers as it is, so that real tokens get 1 more than padding."
    remedy = f"Make it additive first, by get_extended_attention_mask: {EXTENDED}."

    def extended(self, mask):
        return mask[:, None, None, :].astype(np.float64)


class MaskOfOnesReversed(Mistaken):
    stages = ALL_LAYERS
    name = "mask of 0 and 1 added to the scores"
    cause = "1 - mask is added to the scores, so that padding gets 1 more than real tokens."
    remedy = f"Multiply it by -10000: {EXTENDED}."

    def extended(self, mask):
        return 1.0 - mask[:, None, None, :]


class MaskOfRealTokens(Mistaken):
    stages = ALL_LAYERS
    tolerance = FEW_DIGITS
    name = "additive mask the wrong way round"
    cause = "The mask is mask * -10000 or (1 - mask) * 10000, so that padding alone is seen."
    remedy = f"Hide padding: {EXTENDED}."

    def extended(self, mask):
        return mask[:, None, None, :] * -10000.0


class ModelWithoutMask(Mistaken):
    stages = ALL_LAYERS
    name = "the model's mask not handed to the layers"
    cause = "The layers run without a mask, so that tokens look at padding."
    remedy = f"Give every layer the extended mask: {EXTENDED}."

    def extended(self, mask):
        return np.zeros((len(mask), 1, 1, mask.shape[1]))


class MaskForTheFirstLayer(Mistaken):
    stages = ALL_LAYERS
    name = "mask for the first layer alone"
    cause = "Only the first layer is given the mask."
    remedy = f"Give every layer the extended mask: {EXTENDED}."

    def encode(self, hidden, extended):
        for number in range(self.config["num_hidden_layers"]):
            hidden = self.layer(number, hidden, extended if number == 0 else np.zeros_like(extended))
        return hidden


class MaskKept(Mistaken):
    stages = ("padding",)
    name = "mask kept from an earlier call"
    cause = "The extended mask of a batch is used for the next one of the same shape."
    remedy = f"Make it anew in every call: {EXTENDED}."

    def attention_mask(self, ids, mask):
        kept = self.__dict__.setdefault("kept", {})
        return kept.setdefault(mask.shape, mask)


class MaskFromIds(Mistaken):
    stages = ("padding",)
    name = "mask made from the token ids"
    cause = "The model takes every token but [PAD] for real, whatever attention_mask says."
    remedy = "Use the attention_mask that the model is given."

    def attention_mask(self, ids, mask):
        return (ids != self.config["pad_token_id"]).astype(np.int64)
