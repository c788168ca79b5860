"""Mistakes in AdamW's weight decay."""

from minbert.check.mistakes.optimizer import Steps

DECAY = "Decay the updated parameters: p = p - lr * weight_decay * p, with lr as it is in the group."


class NoDecay(Steps):
    name = "no weight decay"
    cause = "The parameters were not decayed although weight_decay is not 0."
    remedy = DECAY

    def decayed(self, before, after, rate, settings):
        return after


class L2(NoDecay):
    name = "L2 instead of decoupled decay"
    cause = "weight_decay * p was added to the gradient, so that the moments scale it: Adam with L2."
    remedy = "Leave the gradient alone. " + DECAY

    def gradient(self, gradient, value, settings):
        return gradient + settings.weight_decay * value


class L2AndDecay(Steps):
    name = "decayed twice, as L2 and decoupled"
    cause = "weight_decay * p was added to the gradient, and the parameters were decayed as well."
    remedy = "Leave the gradient alone. " + DECAY

    def gradient(self, gradient, value, settings):
        return gradient + settings.weight_decay * value


class DecayWithoutRate(Steps):
    name = "decay without the rate"
    cause = "The decay was weight_decay * p, not multiplied by lr."
    remedy = DECAY

    def decayed(self, before, after, rate, settings):
        return after - settings.weight_decay * after


class DecayOfOldParameters(Steps):
    name = "decay of the parameters before the update"
    cause = "The decay came before the update, or was computed from the parameters before it, as torch does."
    remedy = DECAY

    def decayed(self, before, after, rate, settings):
        return after - settings.lr * settings.weight_decay * before


class DecayByCorrectedRate(Steps):
    name = "decay by the bias-corrected rate"
    cause = "The decay was multiplied by alpha_t, the size of the step, instead of lr."
    remedy = DECAY

    def decayed(self, before, after, rate, settings):
        return after - rate * settings.weight_decay * after


class DecayInUpdate(Steps):
    name = "decay as a part of the update"
    cause = "The update was alpha_t * (m / (sqrt(v) + eps) + weight_decay * p)."
    remedy = DECAY

    def decayed(self, before, after, rate, settings):
        return after - rate * settings.weight_decay * before


class Growth(Steps):
    name = "decay with the wrong sign"
    cause = "lr * weight_decay * p was added to the parameters."
    remedy = DECAY

    def decayed(self, before, after, rate, settings):
        return after + settings.lr * settings.weight_decay * after


FIRST_STEP_WITH_DECAY = (
    NoDecay,
    L2,
    L2AndDecay,
    DecayWithoutRate,
    DecayOfOldParameters,
    DecayByCorrectedRate,
    DecayInUpdate,
    Growth,
)


class DecayOfMatricesOnly(Steps):
    name = "no decay of vectors"
    cause = "Biases and other vectors were not decayed, though their group has a weight_decay."
    remedy = "Decay every parameter of the group; who wants none for biases gives them a group of their own."

    def decayed(self, before, after, rate, settings):
        return super().decayed(before, after, rate, settings) if after.ndim > 1 else after


class DecayOnce(Steps):
    name = "decay at the first step only"
    cause = "The parameters were decayed at the first step only."
    remedy = "Decay at each step, outside of what makes the state. " + DECAY

    def update(self, name, gradient, settings):
        self.fresh = name not in self.states
        super().update(name, gradient, settings)

    def decayed(self, before, after, rate, settings):
        return super().decayed(before, after, rate, settings) if self.fresh else after


SEVERAL_STEPS_WITH_DECAY = (DecayOfMatricesOnly, DecayOnce)
