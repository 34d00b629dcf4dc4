"""The cells of the study: every factor, one at a time, and quick ones for each way through the code."""

import dataclasses

from training.comparison.finding.design import BASELINE, CELLS, QUICK_CELLS, settings_of

DESCRIPTION = ("name", "factor", "level")


def changed(cell, base):
    names = [field.name for field in dataclasses.fields(cell) if field.name not in DESCRIPTION]
    return {name for name in names if getattr(cell, name) != getattr(base, name)}


def test_single_factors_change_one_thing():
    wanted = {
        "every-step": {"supervision"},
        "given-e": {"given"},
        "wide-4": {"heads", "units"},
        "first-3": {"initial_scale"},
        "gelu": {"activation"},
        "muon": {"optimiser"},
        "decay": {"weight_decay"},
        "sparse": {"sparsity"},
        "tasks-1000": {"fixed_tasks"},
        "curriculum": {"curriculum"},
        "sizes": {"sizes"},
        "loops-3": {"loops"},
        "d1-k2": {"n_features", "n_components"},
    }
    assert {name: changed(CELLS[name], BASELINE) for name in wanted} == wanted
    assert CELLS["baseline"] == BASELINE


def test_the_strongest_is_varied_one_condition_at_a_time():
    for cell in CELLS.values():
        if cell.factor == "combination but" and cell.name != "strongest-output":
            assert len(changed(cell, CELLS["strongest"])) == 1


def test_no_two_cells_are_one():
    plain = [dataclasses.replace(cell, name="", factor="", level="") for cell in CELLS.values()]
    assert len(set(plain)) == len(CELLS)


def test_settings():
    full, quick = settings_of(False, 2), settings_of(True, 0)
    assert full.cells == tuple(CELLS)
    assert len(full.cells) >= 12
    assert full.seeds >= 5
    assert full.numbers == [2000, 2001, 2002, 2003, 2004]
    assert set(quick.cells) == set(QUICK_CELLS) <= set(CELLS)
    assert quick.quick
