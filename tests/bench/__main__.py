"""All benchmarks at their default sizes: `python -m tests.bench` (some ten minutes on two cores).

They are printed, and recorded at the end of docs/benchmarks.md in place of those recorded before.
"""

import io
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from sys import stdout

from tests.bench import bench_metrics, bench_search, bench_training

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
HEADING = "\n## Last run of `make bench`\n"


class _Tee(io.StringIO):
    """Text that is kept and printed as it comes."""

    def write(self, text: str) -> int:
        stdout.write(text)
        stdout.flush()
        return super().write(text)


def record(page: Path, tables: str) -> None:
    """Put tables at the end of a page, with the date, in place of those of the last time."""
    before = page.read_text().split(HEADING)[0].rstrip()
    inner = tables.strip().replace("\n### ", "\n#### ").replace("## ", "### ", 1).replace("\n## ", "\n### ")
    page.write_text(f"{before}\n{HEADING}\n{datetime.now(UTC):%Y-%m-%d}\n\n{inner}\n")


def main() -> None:
    """Run, print and record them."""
    with redirect_stdout(_Tee()) as tables:
        for benchmark in (bench_metrics, bench_search, bench_training):
            benchmark.main([])
    record(PAGE, tables.getvalue())


if __name__ == "__main__":
    main()
