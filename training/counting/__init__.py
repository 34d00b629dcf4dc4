"""How many components: a learned criterion beside BIC and ICL.

`learned_count` says of data sets how probable each K is; `python -m training.count` trains such a criterion.
"""

from training.counting.choose import LearnedCount, learned_count, load_criterion

__all__ = ["LearnedCount", "learned_count", "load_criterion"]
