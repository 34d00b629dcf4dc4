"""The list of mutants fits the tree as it stands; planting them is `make mutants`."""

from .listed import MUTANTS
from .mutant import Mutant, faults

GOOD = Mutant("a", "baselines/align.py", "mean(-1) +", "sum(-1) +", ("tests/mutants/test_list.py",), "why")


def test_every_mutant_is_found_once_and_has_its_tests():
    assert faults(MUTANTS) == []


def test_a_list_that_has_rotted_is_told():
    def told(**changes):
        fields = {name: getattr(GOOD, name) for name in Mutant.__dataclass_fields__} | changes
        return " ".join(faults([Mutant(**fields)]))

    assert told() == ""
    assert "is found 0 times" in told(text="no such text")
    assert "is found 2 times" in told(text="linear_sum_assignment")
    assert "the same program" in told(instead="mean(-1)  +")
    assert "there is no tests/none.py" in told(tests=("tests/none.py",))
    assert "has no test test_none" in told(tests=("tests/mutants/test_list.py::test_none",))
    assert "tests and a reason are needed" in told(tests=())
    assert "used 2 times" in " ".join(faults([GOOD, GOOD]))
