"""The error of data that a theorem does not cover."""


class HypothesisError(ValueError):
    """Data outside the theorem's hypotheses; one line naming the value and what is accepted."""
