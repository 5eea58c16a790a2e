"""The benchmarks that are run on other machines than CI's run, at sizes of seconds, and are recorded."""

from pathlib import Path

import pytest

from tests.bench import bench_gpu, bench_training
from tests.bench.__main__ import record


@pytest.mark.slow
def test_the_gpus_table_has_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    """On a CPU it measures the same things as on the day there is a GPU."""
    bench_gpu.main(["--device", "cpu", "--tiny"])
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if "s/s" in line]
    assert [row[0].split(",")[0].strip() for row in rows] == ["training", "encoding", "counting"]
    assert all(float(cell) > 0 for row in rows for cell in row[1:])


def test_the_table_of_training_has_a_row_a_method(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with the seconds of an epoch."""
    bench_training.main(["--items", "128", "--threads", "1", "mlsph", "ucch"])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split("|")[1:-1] for line in lines if line.startswith(("| mlsph", "| ucch"))]
    assert [row[0].strip() for row in rows] == ["mlsph", "ucch"]
    assert all(float(cell) > 0 for row in rows for cell in row[1:])


def test_a_run_is_recorded_in_place_of_the_last(tmp_path: Path) -> None:
    """What stands before it on the page stays; its headings go one level down."""
    page = tmp_path / "benchmarks.md"
    page.write_text("# Benchmarks\n\nfigures\n")
    record(page, "\n## Metrics\n\n### MAP\n\n| 1 |\n")
    record(page, "\n## Metrics\n\n### MAP\n\n| 2 |\n\n## Search\n")
    head, ours = page.read_text().split("\n## Last run of `make bench`\n")
    assert head == "# Benchmarks\n\nfigures\n"
    assert ours.splitlines()[3:] == ["### Metrics", "", "#### MAP", "", "| 2 |", "", "### Search"]
