"""`python -m tests.golden`: record what is now, after a change that was meant."""

import json
import tempfile
from pathlib import Path

from tests.golden import identities, pages, science

HERE = Path(__file__).parent


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = {
            name: identities.identities(experiment)
            for name, experiment in identities.experiments(Path(folder)).items()
        }
    (HERE / "identities.json").write_text(json.dumps(found, indent=1) + "\n")
    results = {
        name: {"place": guard.place, "revision": guard.revision, "results": guard.results()}
        for name, guard in science.GUARDS.items()
    }
    (HERE / "science.json").write_text(json.dumps(results) + "\n")
    pages.FOLDER.mkdir(exist_ok=True)
    for name, content in pages.pages().items():
        (pages.FOLDER / name).write_text(content)


if __name__ == "__main__":
    main()
