"""Mistakes in AdamW's update: moments, bias correction, epsilon, sign and rate."""

import numpy as np

from minbert.check.mistakes.optimizer import Settings, Steps

CORRECTION = "Take alpha_t = lr * sqrt(1 - beta2^t) / (1 - beta1^t) as the size of the step."
FIRST = "Take m = beta1 * m + (1 - beta1) * g."
SECOND = "Take v = beta2 * v + (1 - beta2) * g^2."
UPDATE = "Take p = p - alpha_t * m / (sqrt(v) + eps)."
EPSILON = "Add the group's eps to the root of the uncorrected v: m / (sqrt(v) + eps)."


# Seen at the first step


class NoUpdate(Steps):
    name = "parameters not changed"
    cause = "The parameters stay as they are: the new values went into new tensors."
    remedy = "Change the parameter in place, as in p.data.add_(update, alpha=-alpha_t)."

    def moved(self, value, rate, direction, root):
        return value


class Ascent(Steps):
    name = "update with the wrong sign"
    cause = "The update was added to the parameters, which climbs."
    remedy = UPDATE

    def moved(self, value, rate, direction, root):
        return value + rate * direction / root


class NoCorrection(Steps):
    name = "no bias correction"
    cause = "The moments' bias towards zero was not corrected although correct_bias is True."
    remedy = CORRECTION

    def correction(self, t, beta1, beta2, correct_bias):
        return 1.0


class FirstCorrectionOnly(Steps):
    name = "bias correction of the first moment only"
    cause = "The step was divided by 1 - beta1^t, but not multiplied by sqrt(1 - beta2^t)."
    remedy = CORRECTION

    def correction(self, t, beta1, beta2, correct_bias):
        return 1 / (1 - beta1**t) if correct_bias else 1.0


class SecondCorrectionOnly(Steps):
    name = "bias correction of the second moment only"
    cause = "The step was multiplied by sqrt(1 - beta2^t), but not divided by 1 - beta1^t."
    remedy = CORRECTION

    def correction(self, t, beta1, beta2, correct_bias):
        return np.sqrt(1 - beta2**t) if correct_bias else 1.0


class CorrectionWithoutRoot(Steps):
    name = "bias correction of the second moment without the root"
    cause = "The step was multiplied by 1 - beta2^t instead of its square root."
    remedy = CORRECTION

    def correction(self, t, beta1, beta2, correct_bias):
        return (1 - beta2**t) / (1 - beta1 ** np.float64(t)) if correct_bias else 1.0


class InvertedCorrection(Steps):
    name = "bias correction inverted"
    cause = "The step was multiplied by (1 - beta1^t) / sqrt(1 - beta2^t)."
    remedy = CORRECTION

    def correction(self, t, beta1, beta2, correct_bias):
        right = super().correction(t, beta1, beta2, correct_bias)
        return 1 / right


class DoubleCorrection(Steps):
    name = "bias corrected twice"
    cause = "Both the moments and the size of the step were corrected."
    remedy = "Correct once: " + CORRECTION[0].lower() + CORRECTION[1:]

    def correction(self, t, beta1, beta2, correct_bias):
        return super().correction(t, beta1, beta2, correct_bias) ** 2


class StepsFromZero(Steps):
    name = "steps counted from 0"
    cause = "The bias correction of the first step took t = 0, so it divided by 1 - beta1^0 = 0."
    remedy = "Add 1 to the step count before it is used; at the first step t is 1."

    def correction(self, t, beta1, beta2, correct_bias):
        return super().correction(t - 1, beta1, beta2, correct_bias)


class StepsFromTwo(Steps):
    name = "steps counted from 2"
    cause = "The bias correction of the first step took t = 2."
    remedy = "Start the count at 0 and add 1 once a step; at the first step t is 1."

    def correction(self, t, beta1, beta2, correct_bias):
        return super().correction(t + 1, beta1, beta2, correct_bias)


class FirstMomentUnscaled(Steps):
    name = "gradient in the first moment without 1 - beta1"
    cause = "The first moment was computed as beta1 * m + g."
    remedy = FIRST

    def first_moment(self, old, gradient, beta):
        return beta * old + gradient


class SecondMomentUnscaled(Steps):
    name = "gradient in the second moment without 1 - beta2"
    cause = "The second moment was computed as beta2 * v + g^2."
    remedy = SECOND

    def second_moment(self, old, gradient, first, beta):
        return beta * old + gradient**2


class ScaledGradientSquared(Steps):
    name = "second moment from the scaled gradient"
    cause = "The gradient was multiplied by 1 - beta1 for the first moment and then squared for the second."
    remedy = "Square the gradient itself: " + SECOND[0].lower() + SECOND[1:]

    def update(self, name, gradient, settings):
        self.scale = 1 - self.betas(settings)[0]
        super().update(name, gradient, settings)

    def second_moment(self, old, gradient, first, beta):
        return super().second_moment(old, self.scale * gradient, first, beta)


class FirstMomentSquared(Steps):
    name = "second moment from the first moment"
    cause = "The second moment was computed from m^2 instead of g^2."
    remedy = SECOND

    def second_moment(self, old, gradient, first, beta):
        return beta * old + (1 - beta) * first**2


class FirstMomentUnused(Steps):
    name = "gradient in place of the first moment"
    cause = "The step went along the gradient instead of the first moment m."
    remedy = UPDATE

    def direction(self, first, gradient):
        return gradient


class ExchangedFirst(Steps):
    name = "weights of the first moment exchanged"
    cause = "The first moment was computed as (1 - beta1) * m + beta1 * g."
    remedy = FIRST

    def first_moment(self, old, gradient, beta):
        return (1 - beta) * old + beta * gradient


class ExchangedSecond(Steps):
    name = "weights of the second moment exchanged"
    cause = "The second moment was computed as (1 - beta2) * v + beta2 * g^2."
    remedy = SECOND

    def second_moment(self, old, gradient, first, beta):
        return (1 - beta) * old + beta * gradient**2


class NotSquared(Steps):
    name = "second moment from the gradient, not its square"
    cause = "The second moment was computed from g, whose root does not exist where g is negative."
    remedy = SECOND

    def second_moment(self, old, gradient, first, beta):
        return beta * old + (1 - beta) * gradient


class AbsoluteGradient(Steps):
    name = "second moment from the gradient's absolute value"
    cause = "The second moment was computed from |g| instead of g^2."
    remedy = SECOND

    def second_moment(self, old, gradient, first, beta):
        return beta * old + (1 - beta) * np.abs(gradient)


class NoRoot(Steps):
    name = "no square root of the second moment"
    cause = "The first moment was divided by v + eps."
    remedy = UPDATE

    def root(self, second, eps, bias):
        return second + eps


class EpsilonIgnored(Steps):
    name = "epsilon left out"
    cause = "The first moment was divided by sqrt(v) alone, which is 0 where a gradient is 0."
    remedy = EPSILON

    def root(self, second, eps, bias):
        return np.sqrt(second)


class FixedRate(Steps):
    name = "rate fixed at 0.001"
    cause = "The step has the size that the default rate of 0.001 gives, whatever the group says."
    remedy = 'Read the rate at each step: alpha = group["lr"].'

    def settings(self, number, step):
        return Settings(**{**vars(super().settings(number, step)), "lr": 1e-3})


FIRST_STEP = (
    NoUpdate,
    Ascent,
    NoCorrection,
    FirstCorrectionOnly,
    SecondCorrectionOnly,
    CorrectionWithoutRoot,
    InvertedCorrection,
    DoubleCorrection,
    StepsFromZero,
    StepsFromTwo,
    FirstMomentUnscaled,
    SecondMomentUnscaled,
    ScaledGradientSquared,
    FirstMomentSquared,
    FirstMomentUnused,
    ExchangedFirst,
    ExchangedSecond,
    NotSquared,
    AbsoluteGradient,
    NoRoot,
    FixedRate,
)
ZERO_GRADIENT = (EpsilonIgnored,)  # the first step shows it where a gradient is 0, the other stages have none
