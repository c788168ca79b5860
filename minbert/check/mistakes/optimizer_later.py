"""Mistakes in AdamW's update that the first step does not show: later steps, flags, epsilon, the rate."""

import numpy as np

from minbert.check.mistakes.optimizer import Settings, State, Steps
from minbert.check.mistakes.optimizer_update import EPSILON, FIRST, SECOND

# Seen after several steps


class FixedBetas(Steps):
    name = "betas fixed at 0.9 and 0.999"
    cause = "The moments were computed with the default betas, whatever the group says."
    remedy = 'Read them at each step: beta1, beta2 = group["betas"].'

    def betas(self, settings):
        return 0.9, 0.999


class SwappedBetas(Steps):
    name = "betas swapped"
    cause = "beta2 was used for the first moment and beta1 for the second."
    remedy = 'The first of group["betas"] is for m, the second for v.'

    def betas(self, settings):
        return tuple(settings.betas)[::-1]


class StateNotKept(Steps):
    name = "state made anew at each step"
    cause = "Moments and step count started from zero at each step."
    remedy = "Make the state only where it is empty (len(state) == 0), and write the new moments into it."

    def state(self, name):
        zeros = np.zeros_like(self.values[name])
        return State(zeros, zeros)


class MomentsNotKept(Steps):
    name = "moments not kept"
    cause = "The step count went on, but the moments started from zero at each step."
    remedy = 'Write the new moments into the state: state["exp_avg"] = m, state["exp_avg_sq"] = v.'

    def state(self, name):
        zeros = np.zeros_like(self.values[name])
        self.states[name] = State(zeros, zeros, self.states[name].t if name in self.states else 0)
        return self.states[name]


class CountNotKept(Steps):
    name = "step count stays at 1"
    cause = "The bias correction took t = 1 at each step: the count stays, or beta is not raised to it."
    remedy = 'Keep the count in the state, state["step"] += 1, and correct by 1 - beta^t.'

    def count(self, t):
        return 1


class CorrectedMomentsKept(Steps):
    name = "corrected moments kept in the state"
    cause = "The moments were corrected for bias and the corrected ones went back into the state."
    remedy = "Keep the uncorrected moments; correct only what the update uses."

    def update(self, name, gradient, settings):
        super().update(name, gradient, settings)
        if settings.correct_bias:
            state, (beta1, beta2) = self.states[name], settings.betas
            state.first = state.first / (1 - beta1**state.t)
            state.second = state.second / (1 - beta2**state.t)


class CorrectedRateKept(Steps):
    name = "corrected rate kept in the group"
    cause = "The bias-corrected rate went back into the group, so that it is corrected again at each step."
    remedy = "Keep alpha_t in a variable of its own."
    factor = 1.0

    def correction(self, t, beta1, beta2, correct_bias):
        self.factor *= super().correction(t, beta1, beta2, correct_bias)
        return self.factor


class RootKept(Steps):
    name = "root kept as the second moment"
    cause = "sqrt_() and add_() work in place, so that the state holds sqrt(v) + eps at the next step."
    remedy = "Take the root into a tensor of its own: v.sqrt() + eps."

    def update(self, name, gradient, settings):
        super().update(name, gradient, settings)
        state = self.state(name)
        state.second = np.sqrt(state.second) + settings.eps


class FirstMomentSummed(Steps):
    name = "old first moment not multiplied by beta1"
    cause = "The first moment was computed as m + (1 - beta1) * g."
    remedy = FIRST

    def first_moment(self, old, gradient, beta):
        return old + (1 - beta) * gradient


class SecondMomentSummed(Steps):
    name = "old second moment not multiplied by beta2"
    cause = "The second moment was computed as v + (1 - beta2) * g^2."
    remedy = SECOND

    def second_moment(self, old, gradient, first, beta):
        return old + (1 - beta) * gradient**2


class LargestSecondMoment(Steps):
    name = "largest second moment kept (AMSGrad)"
    cause = "The update was divided by the root of the largest second moment so far."
    remedy = SECOND

    def second_moment(self, old, gradient, first, beta):
        return np.maximum(old, super().second_moment(old, gradient, first, beta))


SEVERAL_STEPS = (
    RootKept,
    FixedBetas,
    SwappedBetas,
    StateNotKept,
    MomentsNotKept,
    CountNotKept,
    CorrectedMomentsKept,
    CorrectedRateKept,
    FirstMomentSummed,
    SecondMomentSummed,
    LargestSecondMoment,
)


# Seen without bias correction


class AlwaysCorrected(Steps):
    name = "bias corrected although correct_bias is False"
    cause = "The bias was corrected whatever the group says."
    remedy = 'Correct only if group["correct_bias"]; else the size of the step is lr.'

    def correction(self, t, beta1, beta2, correct_bias):
        return super().correction(t, beta1, beta2, True)


class FirstAlwaysCorrected(Steps):
    name = "first moment corrected although correct_bias is False"
    cause = "The step was divided by 1 - beta1^t whatever the group says."
    remedy = 'Correct only if group["correct_bias"]; else the size of the step is lr.'

    def correction(self, t, beta1, beta2, correct_bias):
        return 1 / (1 - beta1**t)


class SecondAlwaysCorrected(Steps):
    name = "second moment corrected although correct_bias is False"
    cause = "The step was multiplied by sqrt(1 - beta2^t) whatever the group says."
    remedy = 'Correct only if group["correct_bias"]; else the size of the step is lr.'

    def correction(self, t, beta1, beta2, correct_bias):
        return np.sqrt(1 - beta2**t)


NO_BIAS_CORRECTION = (AlwaysCorrected, FirstAlwaysCorrected, SecondAlwaysCorrected)


# Seen where gradients are as small as epsilon


class EpsilonInsideRoot(Steps):
    name = "epsilon inside the root"
    cause = "The first moment was divided by sqrt(v + eps)."
    remedy = EPSILON

    def root(self, second, eps, bias):
        return np.sqrt(second + eps)


class SquaredEpsilonInsideRoot(Steps):
    name = "squared epsilon inside the root"
    cause = "The first moment was divided by sqrt(v + eps^2)."
    remedy = EPSILON

    def root(self, second, eps, bias):
        return np.sqrt(second + eps**2)


class EpsilonOnCorrectedRoot(Steps):
    name = "epsilon on the corrected root"
    cause = "Epsilon was added to sqrt(v / (1 - beta2^t)), which is torch's AdamW."
    remedy = EPSILON

    def root(self, second, eps, bias):
        return np.sqrt(second) + eps * np.sqrt(bias)


class EpsilonInsideCorrectedRoot(Steps):
    name = "epsilon inside the corrected root"
    cause = "The first moment was divided by sqrt(v / (1 - beta2^t) + eps)."
    remedy = EPSILON

    def root(self, second, eps, bias):
        return np.sqrt(second + eps * bias)


class EpsilonAsFloor(Steps):
    name = "epsilon as the least root"
    cause = "The first moment was divided by the larger of sqrt(v) and eps."
    remedy = EPSILON

    def root(self, second, eps, bias):
        return np.maximum(np.sqrt(second), eps)


class FixedEpsilon(Steps):
    name = "epsilon fixed at 1e-6"
    cause = "Epsilon is the default of 1e-6, whatever the group says."
    remedy = EPSILON

    def root(self, second, eps, bias):
        return np.sqrt(second) + 1e-6


class FixedSmallEpsilon(Steps):
    name = "epsilon fixed at 1e-8"
    cause = "Epsilon is 1e-8, torch's default, whatever the group says."
    remedy = EPSILON

    def root(self, second, eps, bias):
        return np.sqrt(second) + 1e-8


TINY_GRADIENTS = (
    EpsilonInsideRoot,
    SquaredEpsilonInsideRoot,
    EpsilonOnCorrectedRoot,
    EpsilonInsideCorrectedRoot,
    EpsilonAsFloor,
    FixedEpsilon,
    FixedSmallEpsilon,
)


# Seen where the rate changes


class FirstRateKept(Steps):
    name = "rate of the first step kept"
    cause = "The rate was read when the optimizer was made, so a schedule has no effect."
    remedy = 'Read the rate at each step: alpha = group["lr"].'

    def settings(self, number, step):
        return super().settings(number, 1)


class UpdateByFirstRate(Steps):
    name = "update by the rate of the first step"
    cause = "The update took the rate that the optimizer was made with; the decay that of the group."
    remedy = 'Read the rate at each step: alpha = group["lr"].'

    def update(self, name, gradient, settings):
        self.share = self.scenario.rates[0][0] / settings.lr
        super().update(name, gradient, settings)

    def moved(self, value, rate, direction, root):
        return super().moved(value, rate * self.share, direction, root)


class DecayByFirstRate(Steps):
    name = "decay by the rate of the first step"
    cause = "The decay took the rate that the optimizer was made with."
    remedy = 'Read the rate at each step: p = p - group["lr"] * weight_decay * p.'

    def decayed(self, before, after, rate, settings):
        kept = Settings(**{**vars(settings), "lr": self.scenario.rates[0][0]})
        return super().decayed(before, after, rate, kept)


CHANGING_RATE = (FirstRateKept, UpdateByFirstRate, DecayByFirstRate)
