"""Published figures: that the file reads whole, and cells against the papers' tables."""

import yaml

from cmh import methods
from data_catalog import catalog, paper_figures


def test_cells_are_the_papers() -> None:
    """DSPAH's own row at 64 bits on NUS-WIDE, and DCMH's at 16 on IAPR TC-12."""
    by_cell = {(*f[:4], f.source[:4]): f.value for f in paper_figures.figures("nuswide")}
    assert by_cell["nuswide", "dspah", 64, "text_to_image", "Chen"] == 0.6792
    assert by_cell["nuswide", "dcmh", 64, "image_to_text", "Jian"] == 0.6093
    assert paper_figures.figures("iaprtc12")[0].value == 0.4526


def test_every_figure_is_a_map_of_a_method_there_is() -> None:
    """Between 0 and 1, and of a file of cmh/methods or of one that is only known by name."""
    papers = yaml.safe_load((catalog.FOLDER / "paper_figures.yaml").read_text())
    found = [f for p in papers for dataset in p["tables"] for f in paper_figures.figures(dataset)]
    assert all(0 < f.value < 1 for f in found)
    assert {"dspah", "dcmh", "scm"} <= {f.method for f in found} & set(methods.available())


def test_own_datasets_have_none_and_the_file_is_no_dataset() -> None:
    """emoji has no published figures; `published` is not offered as a dataset."""
    assert paper_figures.figures("emoji") == []
    assert "published" not in catalog.available()
