"""Mistakes in AdamW, by the stage at which each of them shows."""

from dataclasses import replace

import numpy as np

from minbert.check.mistakes.table import Wrong, wrong
from minbert.check.references.optimizer import CALLS, AdamW, ClosureAdamW, Settings, State
from minbert.check.stage import Mistake, Outputs

CORRECTION = "Take alpha_t = lr * sqrt(1 - beta2^t) / (1 - beta1^t) as the size of the step."
FIRST = "Take m = beta1 * m + (1 - beta1) * g."
SECOND = "Take v = beta2 * v + (1 - beta2) * g^2."
UPDATE = "Take p = p - alpha_t * m / (sqrt(v) + eps)."
EPSILON = "Add the group's eps to the root of the uncorrected v: m / (sqrt(v) + eps)."
EPSILON_COUNTS = ("tiny gradients",)
CLEARED = "Leave that to whoever calls zero_grad(): the gradients may be summed or looked at."
DECAY = "Decay the updated parameters: p = p - lr * weight_decay * p, with lr as it is in the group."


def _scaled_gradient_squared(self, name, gradient, settings):
    self.scale = 1 - self.betas(settings)[0]
    AdamW.update(self, name, gradient, settings)


def _with_both_betas(self, name, gradient, settings):
    self.both = self.betas(settings)
    AdamW.update(self, name, gradient, settings)


def _started_at_gradient(self, name, t=0):
    gradient = self.scenario.gradients[self.number, name].astype(np.float64)
    return State(gradient, gradient**2, t)


def _one_tensor(self, name, gradient, settings):
    """Both moments go into it in turn, and it serves as both."""
    state, before, (beta1, beta2) = self.state(name), self.values[name], self.betas(settings)
    self.t = state.t = self.count(state.t)
    gradient = gradient.astype(np.float64)
    first = self.first_moment(state.first, gradient, beta1)
    state.first = self.second_moment(first, gradient, first, beta2)
    rate = settings.lr * self.correction(state.t, beta1, beta2, settings.correct_bias)
    after = self.moved(before, rate, state.first, self.root(state.first, settings.eps, 1 - beta2**state.t))
    self.values[name] = self.decayed(before, after, rate, settings)


# fmt: off
FIRST_STEP = (
    wrong("parameters not changed", "The parameters stay as they are: the new values went into new tensors.",
          "Change the parameter in place, as in p.data.add_(update, alpha=-alpha_t).",
          moved=lambda self, value, rate, direction, root: value),
    wrong("update with the wrong sign", "The update was added to the parameters, which climbs.", UPDATE,
          moved=lambda self, value, rate, direction, root: value + rate * direction / root),
    wrong("no bias correction",
          "The moments' bias towards zero was not corrected although correct_bias is True.", CORRECTION,
          correction=lambda self, t, beta1, beta2, correct: 1.0),
    wrong("bias correction of the first moment only",
          "The step was divided by 1 - beta1^t, but not multiplied by sqrt(1 - beta2^t).", CORRECTION,
          correction=lambda self, t, beta1, beta2, correct: 1 / (1 - beta1**t) if correct else 1.0),
    wrong("bias correction of the second moment only",
          "The step was multiplied by sqrt(1 - beta2^t), but not divided by 1 - beta1^t.", CORRECTION,
          correction=lambda self, t, beta1, beta2, correct: np.sqrt(1 - beta2**t) if correct else 1.0),
    wrong("bias correction of the second moment without the root",
          "The step was multiplied by 1 - beta2^t instead of its square root.", CORRECTION,
          correction=lambda self, t, beta1, beta2, correct:
              (1 - beta2**t) / (1 - beta1 ** np.float64(t)) if correct else 1.0),
    wrong("bias correction inverted", "The step was multiplied by (1 - beta1^t) / sqrt(1 - beta2^t).",
          CORRECTION,
          correction=lambda self, t, beta1, beta2, correct:
              1 / AdamW.correction(self, t, beta1, beta2, correct)),
    wrong("bias corrected twice", "Both the moments and the size of the step were corrected.",
          "Correct once: " + CORRECTION[0].lower() + CORRECTION[1:],
          correction=lambda self, t, beta1, beta2, correct:
              AdamW.correction(self, t, beta1, beta2, correct) ** 2),
    wrong("first moment corrected twice",
          "The step is alpha_t along m / (1 - beta1^t), though alpha_t has this correction already.",
          "Correct once: " + CORRECTION[0].lower() + CORRECTION[1:],
          correction=lambda self, t, beta1, beta2, correct:
              AdamW.correction(self, t, beta1, beta2, correct) / ((1 - beta1**t) if correct else 1.0)),
    wrong("betas swapped in the bias correction",
          "The step was multiplied by sqrt(1 - beta1^t) / (1 - beta2^t).", CORRECTION,
          correction=lambda self, t, beta1, beta2, correct:
              AdamW.correction(self, t, beta2, beta1, correct)),
    wrong("root of both bias corrections", "The step was multiplied by sqrt((1 - beta2^t) / (1 - beta1^t)).",
          CORRECTION,
          correction=lambda self, t, beta1, beta2, correct:
              np.sqrt((1 - beta2**t) / (1 - beta1 ** np.float64(t))) if correct else 1.0),
    wrong("steps counted from 0",
          "The bias correction of the first step took t = 0, so it divided by 1 - beta1^0 = 0.",
          "Add 1 to the step count before it is used; at the first step t is 1.",
          correction=lambda self, t, beta1, beta2, correct:
              AdamW.correction(self, t - 1, beta1, beta2, correct)),
    wrong("steps counted from 2", "The bias correction of the first step took t = 2.",
          "Start the count at 0 and add 1 once a step; at the first step t is 1.",
          correction=lambda self, t, beta1, beta2, correct:
              AdamW.correction(self, t + 1, beta1, beta2, correct)),
    wrong("gradient in the first moment without 1 - beta1", "The first moment was computed as beta1 * m + g.",
          FIRST, seen_in=EPSILON_COUNTS, first_moment=lambda self, old, gradient, beta: beta * old
              + gradient),
    wrong("gradient in the second moment without 1 - beta2",
          "The second moment was computed as beta2 * v + g^2.", SECOND,
          second_moment=lambda self, old, gradient, first, beta: beta * old + gradient**2),
    wrong("1 - beta2 in the first moment", "The first moment was computed as beta1 * m + (1 - beta2) * g.",
          FIRST, update=_with_both_betas,
          first_moment=lambda self, old, gradient, beta: beta * old + (1 - self.both[1]) * gradient),
    wrong("1 - beta1 in the second moment",
          "The second moment was computed as beta2 * v + (1 - beta1) * g^2.",
          SECOND, update=_with_both_betas,
          second_moment=lambda self, old, gradient, first, beta:
              beta * old + (1 - self.both[0]) * gradient**2),
    wrong("beta2 for the first moment", "The first moment was computed as beta2 * m + (1 - beta2) * g.",
          FIRST, update=_with_both_betas,
          first_moment=lambda self, old, gradient, beta: AdamW.first_moment(self, old, gradient,
              self.both[1])),
    wrong("beta1 for the second moment", "The second moment was computed as beta1 * v + (1 - beta1) * g^2.",
          SECOND, update=_with_both_betas,
          second_moment=lambda self, old, gradient, first, beta:
              AdamW.second_moment(self, old, gradient, first, self.both[0])),
    wrong("one tensor for both moments",
          'The state\'s two moments are one tensor, as of state["m"] = state["v"] = zeros.',
          "Make two tensors: torch.zeros_like(p) for each.", update=_one_tensor),
    wrong("second moment not updated",
          "The second moment stays at zero, so that epsilon alone is the divisor.",
          SECOND, second_moment=lambda self, old, gradient, first, beta: old),
    wrong("moments started at the gradient", "At the first step m was g and v was g^2, instead of zero.",
          "Begin with zeros: torch.zeros_like(p).", new_state=_started_at_gradient),
    wrong("first moment started at the gradient", "At the first step m was g, instead of zero.",
          "Begin with zeros: torch.zeros_like(p).",
          new_state=lambda self, name, t=0:
              replace(_started_at_gradient(self, name, t), second=np.zeros_like(self.values[name]))),
    wrong("moments started at one", "At the first step m and v were 1, instead of zero.",
          "Begin with zeros: torch.zeros_like(p).",
          new_state=lambda self, name, t=0:
              State(np.ones_like(self.values[name]), np.ones_like(self.values[name]), t)),
    wrong("second moment from the scaled gradient",
          "The gradient was multiplied by 1 - beta1 for the first moment and then squared for the second.",
          "Square the gradient itself: " + SECOND[0].lower() + SECOND[1:], seen_in=EPSILON_COUNTS,
          update=_scaled_gradient_squared,
          second_moment=lambda self, old, gradient, first, beta:
              AdamW.second_moment(self, old, self.scale * gradient, first, beta)),
    wrong("second moment from the first moment", "The second moment was computed from m^2 instead of g^2.",
          SECOND, second_moment=lambda self, old, gradient, first, beta: beta * old + (1 - beta) * first**2),
    wrong("gradient in place of the first moment",
          "The step went along the gradient instead of the first moment m.", UPDATE,
          direction=lambda self, first, gradient: gradient),
    wrong("weights of the first moment exchanged",
          "The first moment was computed as (1 - beta1) * m + beta1 * g.", FIRST,
          first_moment=lambda self, old, gradient, beta: (1 - beta) * old + beta * gradient),
    wrong("weights of the second moment exchanged",
          "The second moment was computed as (1 - beta2) * v + beta2 * g^2.", SECOND,
          second_moment=lambda self, old, gradient, first, beta: (1 - beta) * old + beta * gradient**2),
    wrong("second moment from the gradient, not its square",
          "The second moment was computed from g, whose root does not exist where g is negative.", SECOND,
          second_moment=lambda self, old, gradient, first, beta: beta * old + (1 - beta) * gradient),
    wrong("second moment from the gradient's absolute value",
          "The second moment was computed from |g| instead of g^2.", SECOND,
          second_moment=lambda self, old, gradient, first, beta: beta * old + (1 - beta) * np.abs(gradient)),
    wrong("no square root of the second moment", "The first moment was divided by v + eps.", UPDATE,
          root=lambda self, second, eps, bias: second + eps),
    wrong("update without the rate", "The step was not multiplied by lr.", CORRECTION,
          moved=lambda self, value, rate, direction, root:
              AdamW.moved(self, value, rate / self.scenario.settings["lr"], direction, root)),
    wrong("rate fixed at 0.001",
          "The step has the size that the default rate of 0.001 gives, whatever the group says.",
          'Read the rate at each step: alpha = group["lr"].',
          settings=lambda self, number, step: replace(AdamW.settings(self, number, step), lr=1e-3)),
)
# The first step shows it where a gradient is 0, the other stages have none.
ZERO_GRADIENT = (
    wrong("epsilon left out",
          "The first moment was divided by sqrt(v) alone, which is 0 where a gradient is 0.", EPSILON,
          root=lambda self, second, eps, bias: np.sqrt(second)),
)
# fmt: on


def _moments_not_kept(self, name):
    self.states[name] = self.new_state(name, self.states[name].t if name in self.states else 0)
    return self.states[name]


def _moment_not_kept(moment):
    def update(self, name, gradient, settings):
        AdamW.update(self, name, gradient, settings)
        setattr(self.states[name], moment, np.zeros_like(gradient, dtype=np.float64))

    return update


def _corrected_kept(*moments):
    def update(self, name, gradient, settings):
        AdamW.update(self, name, gradient, settings)
        if settings.correct_bias:
            state = self.states[name]
            for moment, beta in zip(("first", "second"), settings.betas, strict=True):
                if moment in moments:
                    setattr(state, moment, getattr(state, moment) / (1 - beta**state.t))

    return update


def _root_kept(self, name, gradient, settings):
    AdamW.update(self, name, gradient, settings)
    state = self.state(name)
    state.second = np.sqrt(state.second) + settings.eps


def _corrected_again(self, t, beta1, beta2, correct_bias):
    self.factor *= AdamW.correction(self, t, beta1, beta2, correct_bias)
    return self.factor


def _step_with_new_rate(self, step):
    self.factor = 1.0
    AdamW.step(self, step)


def _shared_count(self, t):
    self.total += 1
    return self.total


def _moved_by_first_rate(self, value, rate, direction, root):
    rates = self.scenario.rates
    return AdamW.moved(self, value, rate * (rates[0][0] / rates[self.number - 1][0]), direction, root)


def _decayed_in_the_fraction(self, value, rate, direction, root):
    return AdamW.moved(self, value, rate, direction + self.scenario.settings["weight_decay"] * value, root)


# fmt: off
SEVERAL_STEPS = (
    wrong("root kept as the second moment",
          "sqrt_() and add_() work in place, so that the state holds sqrt(v) + eps at the next step.",
          "Take the root into a tensor of its own: v.sqrt() + eps.", update=_root_kept),
    wrong("betas fixed at 0.9 and 0.999",
          "The moments were computed with the default betas, whatever the group says.",
          'Read them at each step: beta1, beta2 = group["betas"].',
          betas=lambda self, settings: (0.9, 0.999)),
    wrong("betas swapped", "beta2 was used for the first moment and beta1 for the second.",
          'The first of group["betas"] is for m, the second for v.',
          betas=lambda self, settings: tuple(settings.betas)[::-1]),
    wrong("state made anew at each step", "Moments and step count started from zero at each step.",
          "Make the state only where it is empty (len(state) == 0), and write the new moments into it.",
          state=lambda self, name: self.new_state(name)),
    wrong("moments not kept", "The step count went on, but the moments started from zero at each step.",
          'Write the new moments into the state: state["exp_avg"] = m, state["exp_avg_sq"] = v.',
          state=_moments_not_kept),
    wrong("first moment not kept", "The first moment started from zero at each step, the second went on.",
          'Write the new moment into the state: state["exp_avg"] = m.', update=_moment_not_kept("first")),
    wrong("second moment not kept", "The second moment started from zero at each step, the first went on.",
          'Write the new moment into the state: state["exp_avg_sq"] = v.', update=_moment_not_kept("second")),
    wrong("beta1 for both moments", "beta1 was used for the second moment and its bias too.",
          'The first of group["betas"] is for m, the second for v.',
          betas=lambda self, settings: (settings.betas[0],) * 2),
    wrong("beta2 for both moments", "beta2 was used for the first moment and its bias too.",
          'The first of group["betas"] is for m, the second for v.',
          betas=lambda self, settings: (settings.betas[1],) * 2),
    wrong("corrected first moment kept in the state",
          "The first moment was corrected for bias and the corrected one went back into the state.",
          "Keep the uncorrected moment; correct only what the update uses.", update=_corrected_kept("first")),
    wrong("corrected second moment kept in the state",
          "The second moment was corrected for bias and the corrected one went back into the state.",
          "Keep the uncorrected moment; correct only what the update uses.", update=_corrected_kept(
              "second")),
    wrong("step count stays at 1",
          "The bias correction took t = 1 at each step, as where beta is not raised to t.",
          'Keep the count in the state, state["step"] += 1, and correct by 1 - beta^t.',
          count=lambda self, t: 1),
    wrong("corrected moments kept in the state",
          "The moments were corrected for bias and the corrected ones went back into the state.",
          "Keep the uncorrected moments; correct only what the update uses.", update=_corrected_kept("first",
              "second")),
    wrong("corrected rate kept in the group",
          "The bias-corrected rate went back into the group, so that it is corrected again at each step.",
          "Keep alpha_t in a variable of its own.", factor=1.0, correction=_corrected_again),
    wrong("old first moment not multiplied by beta1", "The first moment was computed as m + (1 - beta1) * g.",
          FIRST, first_moment=lambda self, old, gradient, beta: old + (1 - beta) * gradient),
    wrong("old second moment not multiplied by beta2",
          "The second moment was computed as v + (1 - beta2) * g^2.", SECOND,
          second_moment=lambda self, old, gradient, first, beta: old + (1 - beta) * gradient**2),
    wrong("largest second moment kept (AMSGrad)",
          "The update was divided by the root of the largest second moment so far.", SECOND,
          second_moment=lambda self, old, gradient, first, beta:
              np.maximum(old, AdamW.second_moment(self, old, gradient, first, beta))),
)
SEVERAL_PARAMETERS = (
    wrong("one state for all parameters",
          "Moments and step count were kept once, and every parameter changed them.",
          "Keep a state for each parameter: state = self.state[p].",
          state=lambda self, name: AdamW.state(self, next(iter(self.values)))),
    wrong("one step count that every parameter advances",
          "The step count is shared, and was advanced once for each parameter.",
          'Keep the count in the parameter\'s state: self.state[p]["step"] += 1.', total=0,
          count=_shared_count),
    wrong("rate corrected again for each parameter",
          "The variable that holds the rate was corrected in the loop over parameters, again for each.",
          "Read the rate anew for each parameter, or keep alpha_t in a variable of its own.",
          step=_step_with_new_rate, correction=_corrected_again),
    wrong("only the first parameter updated", "The loop over the parameters ended after the first one.",
          "Return the loss only after the loops; look at how far the return is indented.",
          with_gradient=lambda self, step, names: AdamW.with_gradient(self, step, names)[:1]),
    wrong("only the last parameter updated",
          "The update stands after the loop over the parameters, not in it.",
          'Indent the update, so that it belongs to `for p in group["params"]`.',
          with_gradient=lambda self, step, names: AdamW.with_gradient(self, step, names)[-1:]),
)
NO_BIAS_CORRECTION = (
    wrong("no update where correct_bias is False", "Without bias correction the parameters stay as they are.",
          "Update in both cases; without correction the size of the step is lr.",
          correction=lambda self, t, beta1, beta2, correct:
              AdamW.correction(self, t, beta1, beta2, True) if correct else 0.0),
    wrong("bias corrected although correct_bias is False", "The bias was corrected whatever the group says.",
          'Correct only if group["correct_bias"]; else the size of the step is lr.',
          correction=lambda self, t, beta1, beta2, correct: AdamW.correction(self, t, beta1, beta2, True)),
    wrong("first moment corrected although correct_bias is False",
          "The step was divided by 1 - beta1^t whatever the group says.",
          'Correct only if group["correct_bias"]; else the size of the step is lr.',
          correction=lambda self, t, beta1, beta2, correct: 1 / (1 - beta1**t)),
    wrong("second moment corrected although correct_bias is False",
          "The step was multiplied by sqrt(1 - beta2^t) whatever the group says.",
          'Correct only if group["correct_bias"]; else the size of the step is lr.',
          correction=lambda self, t, beta1, beta2, correct: np.sqrt(1 - beta2**t)),
)
TINY_GRADIENTS = (
    wrong("epsilon inside the root", "The first moment was divided by sqrt(v + eps).", EPSILON,
          root=lambda self, second, eps, bias: np.sqrt(second + eps)),
    wrong("squared epsilon inside the root", "The first moment was divided by sqrt(v + eps^2).", EPSILON,
          root=lambda self, second, eps, bias: np.sqrt(second + eps**2)),
    wrong("epsilon on the corrected root",
          "Epsilon was added to sqrt(v / (1 - beta2^t)), which is torch's AdamW.", EPSILON,
          root=lambda self, second, eps, bias: np.sqrt(second) + eps * np.sqrt(bias)),
    wrong("epsilon inside the corrected root",
          "The first moment was divided by sqrt(v / (1 - beta2^t) + eps).", EPSILON,
          root=lambda self, second, eps, bias: np.sqrt(second + eps * bias)),
    wrong("epsilon as the least root", "The first moment was divided by the larger of sqrt(v) and eps.",
          EPSILON, root=lambda self, second, eps, bias: np.maximum(np.sqrt(second), eps)),
    wrong("epsilon fixed at 1e-6", "Epsilon is the default of 1e-6, whatever the group says.", EPSILON,
          root=lambda self, second, eps, bias: np.sqrt(second) + 1e-6),
    wrong("epsilon fixed at 1e-8", "Epsilon is 1e-8, torch's default, whatever the group says.", EPSILON,
          root=lambda self, second, eps, bias: np.sqrt(second) + 1e-8),
)
CHANGING_RATE = (
    wrong("rate of the first step kept",
          "The rate was read when the optimizer was made, so a schedule has no effect.",
          'Read the rate at each step: alpha = group["lr"].',
          settings=lambda self, number, step: AdamW.settings(self, number, 1)),
    wrong("update by the rate of the first step",
          "The update took the rate that the optimizer was made with; the decay that of the group.",
          'Read the rate at each step: alpha = group["lr"].', moved=_moved_by_first_rate),
    wrong("decay by the rate of the first step", "The decay took the rate that the optimizer was made with.",
          'Read the rate at each step: p = p - group["lr"] * weight_decay * p.',
          decayed=lambda self, before, after, rate, group:
              AdamW.decayed(self, before, after, rate, replace(group, lr=self.scenario.rates[0][0]))),
)
DECAYS = (
    wrong("no weight decay", "The parameters were not decayed although weight_decay is not 0.", DECAY,
          decayed=lambda self, before, after, rate, group: after),
    wrong("L2 instead of decoupled decay",
          "weight_decay * p was added to the gradient, so that the moments scale it: Adam with L2.",
          "Leave the gradient alone. " + DECAY, decayed=lambda self, before, after, rate, group: after,
          gradient=lambda self, gradient, value, group: gradient + group.weight_decay * value),
    wrong("decayed twice, as L2 and decoupled",
          "weight_decay * p was added to the gradient, and the parameters were decayed as well.",
          "Leave the gradient alone. " + DECAY,
          gradient=lambda self, gradient, value, group: gradient + group.weight_decay * value),
    wrong("decayed twice", "lr * weight_decay * p was subtracted two times.", "Decay once. " + DECAY,
          decayed=lambda self, before, after, rate, group:
              AdamW.decayed(self, before, AdamW.decayed(self, before, after, rate, group), rate, group)),
    wrong("decay divided by the root of the second moment",
          "weight_decay * p was added to m, so that the update divides it by sqrt(v) + eps.",
          DECAY, moved=_decayed_in_the_fraction, decayed=lambda self, before, after, rate, group: after),
    wrong("decay by a constant", "lr * weight_decay was subtracted, not multiplied by the parameters.", DECAY,
          decayed=lambda self, before, after, rate, group: after - group.lr * group.weight_decay),
    wrong("decay without the rate", "The decay was weight_decay * p, not multiplied by lr.", DECAY,
          decayed=lambda self, before, after, rate, group: after - group.weight_decay * after),
    wrong("decay of the parameters before the update",
          "The decay was that of the parameters before the update, as torch's AdamW has it.",
          DECAY,
          decayed=lambda self, before, after, rate, group: after - group.lr * group.weight_decay * before),
    wrong("decay by the bias-corrected rate",
          "The decay was multiplied by alpha_t, the size of the step, instead of lr.", DECAY,
          decayed=lambda self, before, after, rate, group: after - rate * group.weight_decay * after),
    wrong("decay as a part of the update",
          "The update was alpha_t * (m / (sqrt(v) + eps) + weight_decay * p).", DECAY,
          decayed=lambda self, before, after, rate, group: after - rate * group.weight_decay * before),
    wrong("decay with the wrong sign", "lr * weight_decay * p was added to the parameters.", DECAY,
          decayed=lambda self, before, after, rate, group: after + group.lr * group.weight_decay * after),
)
# fmt: on


def _with_l2(row: Wrong) -> Wrong:
    """A decoupled decay that is wrong, and L2 in the gradient as well."""
    return wrong(
        f"L2 and {row.name}",
        f"weight_decay * p was added to the gradient. {row.cause}",
        "Leave the gradient alone. " + DECAY,
        **row.steps
        | {"gradient": lambda self, gradient, value, group: gradient + group.weight_decay * value},
    )


FIRST_STEP_WITH_DECAY = DECAYS + tuple(
    _with_l2(row) for row in DECAYS if row.steps.keys() == {"decayed"} and row.name != "no weight decay"
)

# fmt: off
SEVERAL_STEPS_WITH_DECAY = (
    wrong("no decay of vectors",
          "Biases and other vectors were not decayed, though their group has a weight_decay.",
          "Decay every parameter of the group; who wants none for biases gives them a group of their own.",
          decayed=lambda self, before, after, rate, group:
              AdamW.decayed(self, before, after, rate, group) if after.ndim > 1 else after),
    wrong("decay at the first step only", "The parameters were decayed at the first step only.",
          "Decay at each step, outside of what makes the state. " + DECAY,
          decayed=lambda self, before, after, rate, group:
              AdamW.decayed(self, before, after, rate, group) if self.t == 1 else after),
)
PARAMETER_GROUPS = (
    wrong("settings of the first group for all",
          "All groups were updated with the first group's rate, betas and decay.",
          "Read the settings of each group in the loop `for group in self.param_groups`.",
          settings=lambda self, number, step: AdamW.settings(self, 0, step)),
    wrong("settings of the constructor for all groups",
          "The groups were updated with what the constructor was given, not with their own settings.",
          'Read the settings of each group: group["lr"], group["weight_decay"] and so on.',
          settings=lambda self, number, step: Settings(**self.scenario.settings)),
    wrong("rate of the constructor for all groups",
          "All groups were updated with the rate that the constructor was given.",
          'Read the rate of each group: alpha = group["lr"].',
          settings=lambda self, number, step:
              replace(AdamW.settings(self, number, step), lr=self.scenario.settings["lr"])),
    wrong("only the first group updated", "Only the parameters of the first group were updated.",
          "Update in a loop `for group in self.param_groups`, and return the loss after it.",
          group_numbers=lambda self: range(1)),
)
# fmt: on


def _decayed_without_gradient(self, step):
    AdamW.step(self, step)
    for number, group in enumerate(self.scenario.groups):
        settings = self.settings(number, step)
        for name in group["parameters"]:
            if (step, name) not in self.scenario.gradients:
                value = self.values[name]
                self.values[name] = self.decayed(value, value, settings.lr, settings)


def _zero_for_missing(self, name, gradient, settings):
    zeros = np.zeros_like(self.values[name])
    AdamW.update(self, name, zeros if gradient is None else gradient, settings)


def _stops_at_missing(self, step, names):
    first_without = next((n for n in names if (step, n) not in self.scenario.gradients), None)
    return names if first_without is None else names[: names.index(first_without)]


def _closure_after_update(self, step):
    if step > 1:
        AdamW.step(self, step - 1)
    self.tell(step, self.loss(step))


def called_twice(given: Outputs, expected: Outputs) -> bool:
    """Seen whatever the second call did."""
    return any(np.all(given[name] > 1) for name in expected if name.startswith(CALLS))


# fmt: off
MISSING_GRADIENTS = (
    wrong("steps counted without a gradient",
          "The count is of all steps, not of those in which the parameter had a gradient.",
          "Skip a parameter without a gradient before its state is touched, and count in its own state.",
          count=lambda self, t: self.number),
    wrong("decay without a gradient", "Parameters without a gradient were decayed.",
          "Skip a parameter without a gradient: `if p.grad is None: continue`.",
          step=_decayed_without_gradient),
    wrong("missing gradient taken as zero",
          "Parameters without a gradient went on along their first moment, and their state advanced.",
          "Skip a parameter without a gradient: `if p.grad is None: continue`.",
          with_gradient=lambda self, step, names: names, update=_zero_for_missing),
    wrong("parameters after a missing gradient left out",
          "The loop ended at the first parameter without a gradient.",
          "Go on with the next parameter: `continue`, not `break` or `return`.",
          with_gradient=_stops_at_missing),
)
CLOSURE = (
    wrong("closure ignored", "The closure was not called, so there was no gradient and no loss.",
          "Call it first, `loss = closure()`, and return the loss at the end.",
          step=lambda self, step: self.tell(step, np.nan, calls=0)),
    wrong("closure's loss not returned", "The closure was called, but step() returned nothing.",
          "Return what the closure gave: `return loss`.", loss=lambda self, step: np.nan),
    wrong("closure called after the update",
          "The closure was called after the update, which used the gradients of the step before.",
          "Call the closure before the parameters are updated.", step=_closure_after_update),
    wrong("closure called without gradients",
          "The closure was called under torch.no_grad(), where loss.backward() fails.",
          "Call it in `with torch.enable_grad():`, as torch's optimizers do.",
          tell=lambda self, step, loss: ClosureAdamW.tell(self, step, loss, gradients=False)),
)
GRADIENTS = (
    wrong("decay added to the gradient in place", "weight_decay * p was added to p.grad itself.",
          "Leave p.grad alone, and decay the parameters: p = p - lr * weight_decay * p.",
          left=lambda self: self.gradient + self.settings["weight_decay"] * self.value),
    wrong("gradient squared in place", "p.grad itself was squared for the second moment.",
          "Square into a new tensor: grad * grad, or v.addcmul_(grad, grad, value=1 - beta2).",
          left=lambda self: self.gradient**2),
    wrong("gradient scaled in place", "p.grad itself was multiplied by 1 - beta1 for the first moment.",
          "Scale into a new tensor: (1 - beta1) * grad, or m.add_(grad, alpha=1 - beta1).",
          left=lambda self: (1 - self.settings["betas"][0]) * self.gradient),
    wrong("gradients set to zero by the step", "step() filled the gradients with zeros.", CLEARED,
          left=lambda self: np.zeros_like(self.gradient)),
    wrong("gradients removed by the step", "step() set p.grad to None, as zero_grad() does.", CLEARED,
          left=lambda self: np.full_like(self.gradient, np.nan)),
)
# fmt: on
CLOSURE_CALLED_TWICE = Mistake(
    "closure called twice",
    "The closure was called twice in a step, which costs twice the time and draws dropout anew.",
    "Keep what the first call gave: `loss = closure()`, and at the end `return loss`.",
    recognise=called_twice,
)
