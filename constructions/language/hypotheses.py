"""The error of data that a theorem does not cover."""


class HypothesisError(ValueError):
    """Data outside the theorem's hypotheses; one line naming the value and what is accepted."""


class LostDirectionError(HypothesisError):
    """A step whose exact vector is not 0, but whose layers have no vector left to normalise.

    Attributes:
        step: which, from 1 on. task: row of the batch.
    """

    def __init__(self, message: str, step: int, task: int) -> None:
        super().__init__(message)
        self.step, self.task = step, task
