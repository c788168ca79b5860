"""Mistakes in what AdamW does with several parameters, with groups, and where gradients are missing."""

import numpy as np

from minbert.check.mistakes.optimizer import Settings, Steps

# Seen with several parameters


class SharedState(Steps):
    name = "one state for all parameters"
    cause = "Moments and step count were kept once, and every parameter changed them."
    remedy = "Keep a state for each parameter: state = self.state[p]."

    def state(self, name):
        return super().state(next(iter(self.values)))


class SharedCount(Steps):
    name = "one step count that every parameter advances"
    cause = "The step count is shared, and was advanced once for each parameter."
    remedy = 'Keep the count in the parameter\'s state: self.state[p]["step"] += 1.'

    total = 0

    def count(self, t):
        self.total += 1
        return self.total


class RateCorrectedAgain(Steps):
    name = "rate corrected again for each parameter"
    cause = "The variable that holds the rate was corrected in the loop over parameters, again for each."
    remedy = "Read the rate anew for each parameter, or keep alpha_t in a variable of its own."

    def step(self, step):
        self.factor = 1.0
        super().step(step)

    def correction(self, t, beta1, beta2, correct_bias):
        self.factor *= super().correction(t, beta1, beta2, correct_bias)
        return self.factor


class OnlyFirstParameter(Steps):
    name = "only the first parameter updated"
    cause = "The loop over the parameters ended after the first one."
    remedy = "Return the loss only after the loops; look at how far the return is indented."

    def with_gradient(self, step, names):
        return super().with_gradient(step, names)[:1]


class OnlyLastParameter(Steps):
    name = "only the last parameter updated"
    cause = "The update stands after the loop over the parameters, not in it."
    remedy = 'Indent the update, so that it belongs to `for p in group["params"]`.'

    def with_gradient(self, step, names):
        return super().with_gradient(step, names)[-1:]


SEVERAL_PARAMETERS = (SharedState, SharedCount, RateCorrectedAgain, OnlyFirstParameter, OnlyLastParameter)


# Seen with several groups


class FirstGroupForAll(Steps):
    name = "settings of the first group for all"
    cause = "All groups were updated with the first group's rate, betas and decay."
    remedy = "Read the settings of each group in the loop `for group in self.param_groups`."

    def settings(self, number, step):
        return super().settings(0, step)


class ConstructorForAll(Steps):
    name = "settings of the constructor for all groups"
    cause = "The groups were updated with what the constructor was given, not with their own settings."
    remedy = 'Read the settings of each group: group["lr"], group["weight_decay"] and so on.'

    def settings(self, number, step):
        return Settings(**self.scenario.settings)


class ConstructorRate(Steps):
    name = "rate of the constructor for all groups"
    cause = "All groups were updated with the rate that the constructor was given."
    remedy = 'Read the rate of each group: alpha = group["lr"].'

    def settings(self, number, step):
        rate = {"lr": self.scenario.settings["lr"]}
        return Settings(**{**vars(super().settings(number, step)), **rate})


class OnlyFirstGroup(Steps):
    name = "only the first group updated"
    cause = "Only the parameters of the first group were updated."
    remedy = "Update in a loop `for group in self.param_groups`, and return the loss after it."

    def group_numbers(self):
        return range(1)


PARAMETER_GROUPS = (FirstGroupForAll, ConstructorForAll, ConstructorRate, OnlyFirstGroup)


# Seen where gradients are missing


class CountedWithoutGradient(Steps):
    name = "steps counted without a gradient"
    cause = "The count is of all steps, not of those in which the parameter had a gradient."
    remedy = "Skip a parameter without a gradient before its state is touched, and count in its own state."

    def step(self, step):
        self.number = step
        super().step(step)

    def count(self, t):
        return self.number


class DecayedWithoutGradient(Steps):
    name = "decay without a gradient"
    cause = "Parameters without a gradient were decayed."
    remedy = "Skip a parameter without a gradient: `if p.grad is None: continue`."

    def step(self, step):
        super().step(step)
        for number, group in enumerate(self.scenario.groups):
            settings = self.settings(number, step)
            for name in group["parameters"]:
                if (step, name) not in self.scenario.gradients:
                    value = self.values[name]
                    self.values[name] = self.decayed(value, value, settings.lr, settings)


class ZeroForMissing(Steps):
    name = "missing gradient taken as zero"
    cause = "Parameters without a gradient went on along their first moment, and their state advanced."
    remedy = "Skip a parameter without a gradient: `if p.grad is None: continue`."

    def with_gradient(self, step, names):
        return names

    def update(self, name, gradient, settings):
        zeros = np.zeros_like(self.values[name])
        super().update(name, zeros if gradient is None else gradient, settings)


class StopsAtMissing(Steps):
    name = "parameters after a missing gradient left out"
    cause = "The loop ended at the first parameter without a gradient."
    remedy = "Go on with the next parameter: `continue`, not `break` or `return`."

    def with_gradient(self, step, names):
        first_without = next((n for n in names if (step, n) not in self.scenario.gradients), None)
        return names if first_without is None else names[: names.index(first_without)]


MISSING_GRADIENTS = (CountedWithoutGradient, DecayedWithoutGradient, ZeroForMissing, StopsAtMissing)
