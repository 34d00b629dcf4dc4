"""What the page says, from made-up figures, and what is drawn."""

from finding_results import BLOCKS, made_up
from marked import faults

from training.comparison.finding.figures import NAMES
from training.comparison.finding.report import render


def test_findings_name_the_cells_and_their_numbers():
    section = render(made_up())
    assert "by every network of strongest (20, 16 of 20)" in section.paragraphs[0]
    assert "by some of strongest-adamw (14, 15 of 20)" in section.paragraphs[0]
    assert "baseline" not in section.paragraphs[0]
    assert "Most blocks: strongest" in section.paragraphs[1]
    assert f"lack {'; '.join(BLOCKS[16:])}" in section.paragraphs[1]
    assert "Combination but. AdamW in place of Muon: 14, 15, loss" in " ".join(section.paragraphs)
    assert "100 tasks: 3 on them" in section.paragraphs[-3]
    assert "construction 0.5 to 1, untrained 0 to 0, baseline 0.05 to 0.1" in section.paragraphs[-2]


def test_without_a_find_the_strongest_is_shown():
    data = made_up()
    del data.cells[1:3]
    assert "No cell finds the theorem" in render(data).paragraphs[0]
    assert "baseline with 1, 2 of 20" in render(data).paragraphs[0]


def test_tables_have_every_cell_and_control():
    data = made_up()
    cells, used, blocks = render(data).tables
    assert [row[0] for row in cells.rows] == ["construction", "untrained", *(c.cell.name for c in data.cells)]
    assert all(len(row) == len(cells.header) for row in cells.rows)
    assert used.rows[0] == ["construction", "0.5; 1 (0.01)", "0.5; 0.5 (0.01)"]
    assert len(used.rows) == len(cells.rows)
    assert [row[-1] for row in blocks.rows] == ["0", "0", "1", "0"]


def test_pictures_show_every_seed():
    pictures = render(made_up()).pictures
    assert tuple(picture.name for picture in pictures) == NAMES
    assert [faults(picture.figure) for picture in pictures] == [[], []]
    left, right = pictures[0].figure.axes[:2]
    dots = [x for line in left.lines for x in line.get_xdata() if line.get_linestyle() == "None"]
    assert sorted(dots) == [0, 0, 0, 1, 2, 14, 15, 16, 20, 20]
    assert right.get_xscale() == "log"
    assert [panel.get_title() for panel in pictures[1].figure.axes[:2]] == ["baseline", "strongest-adamw"]
