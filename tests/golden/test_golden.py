"""Identities, pages and results of the science against those recorded: no change goes unnoticed.

Identities and pages are compared to the letter, as an artifact's address and content are made of them.
"""

import json
from typing import Any

import pytest

from tests.golden import identities, pages, science
from tests.golden.__main__ import HERE

RENEW = "then record what is now: python -m tests.golden"
RECORDED = json.loads((HERE / "science.json").read_text())


@pytest.fixture(scope="module")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return identities.experiments(tmp_path_factory.mktemp("own"))


@pytest.mark.parametrize("name", json.loads((HERE / "identities.json").read_text()))
def test_no_identity_moves_unnoticed(name: str, experiments: dict[str, Any]) -> None:
    """A moved identity computes every user's artifacts anew: only a raised revision or a new field may."""
    recorded = json.loads((HERE / "identities.json").read_text())[name]
    found = identities.identities(experiments[name])
    moved = [stage for stage in recorded if found.get(stage) != recorded[stage]]
    assert list(found) == list(recorded), f"other stages than before: {RENEW}"
    assert not moved, (
        f"identities of {', '.join(moved)} moved; if that is meant, say so in CHANGELOG.md; {RENEW}"
    )


@pytest.fixture(scope="module")
def current_pages() -> dict[str, str]:
    return pages.pages()


@pytest.mark.parametrize("name", sorted(path.name for path in pages.FOLDER.iterdir()))
def test_no_page_changes_unnoticed(name: str, current_pages: dict[str, str]) -> None:
    """A page is part of its artifact's content: another letter under the same identity is a conflict."""
    recorded = (pages.FOLDER / name).read_text()
    hint = f"{name} changed: raise the revision of the artifact that holds it; {RENEW}"
    assert current_pages[name] == recorded, hint


@pytest.mark.parametrize("name", science.GUARDS)
def test_no_result_changes_under_an_old_revision(name: str) -> None:
    """Whoever changes what comes out raises the revision, else old artifacts pass for new ones."""
    guard = science.GUARDS[name]
    results = json.loads(json.dumps(guard.results()))
    assert not (message := complaint(name, guard, results, RECORDED[name])), message


def complaint(name: str, guard: science.Guard, results: Any, recorded: dict[str, Any]) -> str:
    """What is to be done about these results, or about this revision; "" if both are those recorded."""
    difference = first_difference(results, recorded["results"])
    if difference and guard.revision == recorded["revision"]:
        return (
            f"{name}: {difference}.  {guard.place} is still {guard.revision}, so artifacts made before this "
            f"change would be taken for results of it.  If the change is meant, raise {guard.place}, {RENEW}"
        )
    return "" if guard.revision == recorded["revision"] else f"{guard.place} was raised; {RENEW}"


@pytest.mark.parametrize("name", science.GUARDS)
def test_a_change_without_its_revision_is_named(name: str) -> None:
    """A result with one key less, under the same revision, then under a raised one: what to raise and why."""
    guard, recorded = science.GUARDS[name], RECORDED[name]
    changed = dict(list(recorded["results"].items())[1:])
    message = complaint(name, guard, changed, recorded)
    assert f"raise {guard.place}" in message
    assert "artifacts made before this change would be taken for results of it" in message
    raised = guard._replace(revision=guard.revision + 1)
    assert complaint(name, raised, changed, recorded) == f"{guard.place} was raised; {RENEW}"
    assert complaint(name, guard, recorded["results"], recorded) == ""


def first_difference(found: Any, recorded: Any, where: str = "") -> str:
    """Where two results part, in words; "" if they agree: numbers within 1e-4 of each other or of 1."""
    if isinstance(found, dict) and isinstance(recorded, dict):
        if found.keys() != recorded.keys():
            return f"{where or 'results'} have {sorted(found.keys() ^ recorded.keys())} on one side only"
        found, recorded = list(found.items()), list(recorded.items())
        return next(
            (d for (k, a), (_, b) in zip(found, recorded, strict=True) if (d := first_difference(a, b, k))),
            "",
        )
    if isinstance(found, list) and isinstance(recorded, list) and len(found) == len(recorded):
        return next(
            (d for a, b in zip(found, recorded, strict=True) if (d := first_difference(a, b, where))), ""
        )
    if isinstance(found, float) and isinstance(recorded, int | float):
        return (
            ""
            if found == pytest.approx(recorded, rel=1e-4, abs=1e-5)
            else f"{where}: {found}, was {recorded}"
        )
    return "" if found == recorded else f"{where}: {found!r}, was {recorded!r}"


def test_a_changed_result_is_found() -> None:
    """The comparison itself: equal within rounding, and any other number, text, length or key is told."""
    assert first_difference({"a": [1.0, "x", [2]]}, {"a": [1.00001, "x", [2]]}) == ""
    for changed in (
        {"a": [1.1, "x", [2]]},
        {"a": [1.0, "y", [2]]},
        {"a": [1.0, "x"]},
        {"b": []},
        {"a": [1.0, "x", [3]]},
    ):
        assert first_difference(changed, {"a": [1.0, "x", [2]]})
