"""`cmh runs`, `show`, `diff`, `tag` and `gc --keep-last`, on artifacts made by hand: no server is there."""

from pathlib import Path

import pyarrow as pa
import pytest

from cmh.evaluation import report
from infra import artifacts
from infra.artifacts import Ref, Target
from infra.stores import open_store
from tests.flows.command_line import cmh


@pytest.fixture
def two(cmh_home: Path) -> list[dict[str, Ref]]:
    """Two runs that differ in their epochs and in one figure."""
    return [_run(15, 0.5), _run(20, 0.625)]


def _run(epochs: int, score: float) -> dict[str, Ref]:
    refs: dict[str, Ref] = {}
    store = open_store()
    configs = {"images": {"size": 128}, "model": {"settings": {"bits": 16}, "training": {"epochs": epochs}}}
    for kind, source in (("images", None), ("model", "images"), ("codes", "model"), ("report", "codes")):
        inputs = {source: refs[source].content} if source else {}
        run = {
            "began": f"2026-01-01T{epochs}:00:00+00:00", "seconds": 1800, "threads": 2, "commit": "abc",
            "host": "here", "machine": "x86_64", "run": f"scahn-toy-16-{epochs:04}",
        }  # fmt: skip
        with artifacts.write(store, Target(kind, "toy", configs.get(kind, {}), inputs), run=run) as draft:
            draft.write_json("value.json", [kind, inputs, epochs if kind == "model" else 0])
            if kind == "report":
                row = dict.fromkeys(report.METRICS.names) | {
                    "metric": "map", "direction": "image_to_text", "bits": 16, "value": score,
                    "ranking": "stored",
                }  # fmt: skip
                draft.write_table("metrics.parquet", pa.Table.from_pylist([row], report.METRICS))
        refs[kind] = draft.ref
    return refs


def test_runs_have_their_figures_times_and_core_hours(two: list[dict[str, Ref]]) -> None:
    """The newest last."""
    rows = cmh("runs", "--json").rows
    assert [row["run"] for row in rows] == ["scahn-toy-16-0015", "scahn-toy-16-0020"]
    assert (rows[1]["i→t"], rows[1]["t→i"]) == ("0.625", "")
    assert (rows[1]["minutes"], rows[1]["core-hours"], rows[1]["commit"]) == ("120.00", "4.00", "abc")
    assert len(cmh("runs", "--last", 1, "--json").rows) == 1
    assert "Must be > 0" in cmh("runs", "--last", 0).err


@pytest.mark.parametrize("which", ["run", "address", "tag"])
def test_a_lineage_leads_from_pixels_to_figures(two: list[dict[str, Ref]], which: str) -> None:
    """By the name of the run, an address or a tag."""
    address = two[1]["report"].address
    assert cmh("tag", "report/toy@best", address).status == 0
    name = {"run": "scahn-toy-16-0020", "address": address, "tag": "report/toy@best"}[which]
    rows = cmh("show", name, "--json").rows
    assert [row["artifact"] for row in rows] == [ref.address for ref in two[1].values()]
    assert [row["from"] for row in rows] == ["sources", "images", "model", "codes"]
    assert "4 artifacts" in cmh("show", name).out


def test_a_lineage_as_a_diagram_and_a_page(two: list[dict[str, Ref]], tmp_path: Path) -> None:
    """The diagram is Mermaid; the page needs nothing from elsewhere."""
    diagram = cmh("show", "scahn-toy-16-0020", "--mermaid").out
    assert diagram.splitlines()[0] == "flowchart TD"
    assert "n0 --> n1" in diagram
    page = tmp_path / "lineage.html"
    assert cmh("show", "scahn-toy-16-0020", "--html", page).status == 0
    assert "http" not in page.read_text()
    assert "training.epochs" in page.read_text()


def test_a_difference_names_its_cause_and_the_figures(two: list[dict[str, Ref]]) -> None:
    """The epochs, and what came of them."""
    rows = cmh("diff", "scahn-toy-16-0015", "scahn-toy-16-0020", "--json").rows
    assert {"of": "model", "what": "training.epochs", "first": 15, "second": 20} in rows
    figure = {"of": "report", "what": "map image_to_text 16 stored", "first": "0.5000", "second": "0.6250"}
    assert rows[-1] == figure
    assert "the same" in cmh("diff", "scahn-toy-16-0015", two[0]["report"].address).out


def test_tags_are_listed_moved_and_taken_away(two: list[dict[str, Ref]]) -> None:
    """A tagged artifact is not removed."""
    first, second = (run["model"].address for run in two)
    cmh("tag", "model/toy@production", first)
    cmh("tag", "model/toy@production", second)
    assert cmh("tag", "--json").rows == [{"tag": "model/toy@production", "address": second}]
    assert {row["address"]: row["tags"] for row in cmh("ls", "model", "--json").rows} == {
        first: "", second: "production",
    }  # fmt: skip
    assert "production" in cmh("rm", second).err
    assert cmh("verify", "model/toy@production").out == "1 artifacts are whole\n"
    assert cmh("tag", "model/toy@production", "--delete").status == 0
    assert cmh("rm", second).status == 0


def test_old_artifacts_are_shown_before_they_go(two: list[dict[str, Ref]]) -> None:
    """Nothing is removed without --delete."""
    call = ["gc", "--keep-last", 1, "--older-than", 0]
    rows = cmh(*call, "--json").rows
    assert [row["path"] for row in rows] == [two[0][kind].address for kind in ("report", "codes", "model")]
    assert len(cmh("ls", "--json").rows) == 7
    assert cmh(*call, "--delete").status == 0
    assert len(cmh("ls", "--json").rows) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "nothing"], "no run nothing"),
        (["show", "model/toy/0123456789abcdef"], "no artifact"),
        (["tag", "model/toy@production"], "a tag and an address"),
        (["tag", "production", "model/toy/0123456789abcdef"], "kind/name@tag"),
        (["verify", "model/toy@nothing"], "model/toy has no tags"),
        (["gc", "--keep-last", 0], "1 or more"),
        (["gc", "--older-than", -1], "0 or more, got -1"),
        (["gc", "--older-than", "nan"], "0 or more, got nan"),
        (["ls", "modles"], "no kind of artifact; there are images, dataset"),
        (["deploy", "scahn/emoji"], "cmh up"),
        (["up", "--serve", "."], "is no collection; make one first: cmh index"),
    ],
)
def test_mistakes_are_said(
    two: list[dict[str, Ref]], monkeypatch: pytest.MonkeyPatch, arguments: list[object], said: str
) -> None:
    """What is allowed, and what to do."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    called = cmh(*arguments)
    assert called.status == 2
    assert said in called.err
