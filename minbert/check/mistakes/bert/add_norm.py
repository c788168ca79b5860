"""Mistakes in norm(x + dropout(dense(output))), the end of both halves of a layer."""

from minbert.check.mistakes.bert.mistaken import Mistaken

DENSE = ("output projection",)
ADD_NORM = ("add and norm",)
FORMULA = "norm(x + dropout(dense(output)))"


class NoDense(Mistaken):
    stages = DENSE
    name = "no output projection"
    cause = "The output is added without going through the dense layer."
    remedy = f"Apply it: {FORMULA}."

    def sum_and_norm(self, x, output, dense, norm, training):
        return self.layer_norm(x + self.sublayer_dropout(output, training), norm)


class DenseWithoutBias(Mistaken):
    stages = DENSE
    name = "output projection without its bias"
    cause = "The dense layer's bias is not added."
    remedy = f"Call the whole layer: {FORMULA}."

    def sum_and_norm(self, x, output, dense, norm, training):
        projected = output @ self.weights[f"{dense}.weight"].T
        return self.layer_norm(x + self.sublayer_dropout(projected, training), norm)


class DenseNotTransposed(Mistaken):
    stages = DENSE
    name = "output projection by the weight as it is stored"
    cause = "The output is multiplied by W; torch stores the weights of a linear layer as (out, in)."
    remedy = f"Call the layer, which computes x W^T + b: {FORMULA}."

    def sum_and_norm(self, x, output, dense, norm, training):
        projected = output @ self.weights[f"{dense}.weight"] + self.weights[f"{dense}.bias"]
        return self.layer_norm(x + self.sublayer_dropout(projected, training), norm)


class DenseTwice(Mistaken):
    stages = DENSE
    name = "output projection applied twice"
    cause = "The dense layer is applied to its own output."
    remedy = f"Apply it once: {FORMULA}."

    def sum_and_norm(self, x, output, dense, norm, training):
        return super().sum_and_norm(x, self.linear(output, dense), dense, norm, training)


class NoResidual(Mistaken):
    stages = ADD_NORM
    name = "no residual"
    cause = "The input is not added: norm(dense(output))."
    remedy = f"Add it: {FORMULA}."

    def sum_and_norm(self, x, output, dense, norm, training):
        return super().sum_and_norm(0.0, output, dense, norm, training)


class ResidualTwice(Mistaken):
    stages = ADD_NORM
    name = "residual added twice"
    cause = "The input is added two times."
    remedy = f"Add it once: {FORMULA}."

    def sum_and_norm(self, x, output, dense, norm, training):
        return super().sum_and_norm(2 * x, output, dense, norm, training)


class ResidualOfTheOutput(Mistaken):
    stages = ADD_NORM
    name = "the output added to itself"
    cause = "The residual is the sublayer's output, not its input: norm(output + dense(output))."
    remedy = f"Add the input: {FORMULA}."

    def sum_and_norm(self, x, output, dense, norm, training):
        return super().sum_and_norm(output, output, dense, norm, training)


class ResidualAfterNorm(Mistaken):
    stages = ADD_NORM
    name = "norm before the residual"
    cause = "The norm is taken before the input is added: x + norm(dense(output))."
    remedy = f"Add first, then normalize: {FORMULA}."

    def sum_and_norm(self, x, output, dense, norm, training):
        return x + super().sum_and_norm(0.0, output, dense, norm, training)


class PreNorm(Mistaken):
    stages = ADD_NORM
    name = "pre-norm in add_norm"
    cause = "What enters the dense layer is normalized, not the sum: x + dense(norm(output))."
    remedy = f"BERT is post-norm: {FORMULA}."

    def sum_and_norm(self, x, output, dense, norm, training):
        return x + self.sublayer_dropout(self.linear(self.layer_norm(output, norm), dense), training)


class InputNormalized(Mistaken):
    stages = ADD_NORM
    name = "norm of the input alone"
    cause = "The input is normalized, not the sum: norm(x) + dense(output)."
    remedy = f"Add first, then normalize: {FORMULA}."

    def sum_and_norm(self, x, output, dense, norm, training):
        return self.layer_norm(x, norm) + self.sublayer_dropout(self.linear(output, dense), training)


class ResidualAroundAll(Mistaken):
    stages = ADD_NORM
    name = "input added before and after the norm"
    cause = "The input is added once more to the normalized sum: x + norm(x + dense(output))."
    remedy = f"Add it once, before the norm: {FORMULA}."

    def sum_and_norm(self, x, output, dense, norm, training):
        return x + super().sum_and_norm(x, output, dense, norm, training)


class NoNorm(Mistaken):
    stages = ADD_NORM
    name = "no norm after the residual sum"
    cause = "The sum is returned as it is: x + dense(output)."
    remedy = f"Normalize it: {FORMULA}."

    def sum_and_norm(self, x, output, dense, norm, training):
        return x + self.sublayer_dropout(self.linear(output, dense), training)


class NormTwice(Mistaken):
    stages = ADD_NORM
    name = "norm applied twice to the residual sum"
    cause = "The layer norm is applied to its own output."
    remedy = f"Apply it once: {FORMULA}."

    def sum_and_norm(self, x, output, dense, norm, training):
        return self.layer_norm(super().sum_and_norm(x, output, dense, norm, training), norm)


class DenseOfTheSum(Mistaken):
    stages = ADD_NORM
    name = "dense layer applied to the sum"
    cause = "The input goes through the dense layer too: norm(dense(x + output))."
    remedy = f"Add the input after the dense layer: {FORMULA}."

    def sum_and_norm(self, x, output, dense, norm, training):
        return super().sum_and_norm(0.0, x + output, dense, norm, training)


class DenseOfTheInput(Mistaken):
    stages = ADD_NORM
    name = "input and output swapped in add_norm"
    cause = "The input goes through the dense layer and the output is added: norm(output + dense(x))."
    remedy = f"It is the other way round: {FORMULA}."

    def sum_and_norm(self, x, output, dense, norm, training):
        return super().sum_and_norm(output, x, dense, norm, training)


class Subtracted(Mistaken):
    stages = ADD_NORM
    name = "residual subtracted"
    cause = "The sublayer's output is subtracted from the input."
    remedy = f"Add it: {FORMULA}."

    def sum_and_norm(self, x, output, dense, norm, training):
        return self.layer_norm(x - self.sublayer_dropout(self.linear(output, dense), training), norm)


class MeanOfBoth(Mistaken):
    stages = ADD_NORM
    name = "mean in place of the residual sum"
    cause = "Input and output are averaged, which the norm hides but for its epsilon."
    remedy = f"Add them: {FORMULA}."

    def sum_and_norm(self, x, output, dense, norm, training):
        return self.layer_norm((x + self.linear(output, dense)) / 2, norm)


class ActivationInAddNorm(Mistaken):
    stages = ADD_NORM
    name = "activation after the dense layer of add_norm"
    cause = "GELU is applied to the dense layer's output."
    remedy = f"GELU stands between the feed-forward layers alone; here it is {FORMULA}."

    def sum_and_norm(self, x, output, dense, norm, training):
        return self.layer_norm(x + self.activation(self.linear(output, dense)), norm)
