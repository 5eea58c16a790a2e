"""`cmh` as a user calls it: what it prints for people and for programs, and what it says of mistakes."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra import artifacts
from infra.artifacts import Target
from infra.storage import Store
from tests.flows.command_line import Called, cmh
from tests.flows.conftest import Workspace

COMMANDS = (
    *("demo", "run", "preprocess", "features", "train", "encode", "evaluate", "search"),
    *(
        "ls",
        "runs",
        "show",
        "diff",
        "tag",
        "deploy",
        "pull",
        "push",
        "verify",
        "rm",
        "gc",
        "catalog",
        "methods",
        "doctor",
    ),
)


@pytest.fixture
def address(first: Called) -> dict[str, str]:
    """The addresses of the first run's artifacts by kind."""
    return {row["stage"]: row["address"] for row in first.rows}


def test_help_lists_every_command():
    """All commands with a line each, grouped by what they are for."""
    shown = cmh("--help")
    assert shown.status == 0
    lines = shown.out.splitlines()
    for command in COMMANDS:
        assert any(line.strip("│ ").startswith(f"{command} ") for line in lines), command
    for group in ("Run the pipeline", "Use what it made", "Artifacts", "Find out"):
        assert group in shown.out


def test_help_imports_no_engine():
    """`cmh --help` answers at once because torch, Ray, Dask and Prefect stay outside."""
    program = (
        "import sys, flows.cli\n"
        "sys.argv = ['cmh', '--help']\n"
        "try: flows.cli.main()\n"
        "except SystemExit: pass\n"
        "print('engines:', sorted({'torch', 'ray', 'distributed', 'prefect'} & set(sys.modules)))"
    )
    called = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert called.stdout.splitlines()[-1] == "engines: []"


@pytest.mark.slow
def test_prefects_home_may_lie_in_folders_that_are_not_there(tmp_path: Path):
    """As in a fresh clone, where `make` names .cmh/prefect: a flow runs, its database is there."""
    home = tmp_path / "not" / "there" / "prefect"
    program = (
        "import sys, flows.cli\n"
        "sys.argv = ['cmh', '--version']\n"
        "try: flows.cli.main()\n"
        "except SystemExit: pass\n"
        "import prefect\n"
        "prefect.flow(lambda: print('ran'), name='probe')()"
    )
    environment = os.environ | {"PREFECT_HOME": str(home)}
    for name in ("PREFECT_API_URL", "PREFECT_API_DATABASE_CONNECTION_URL"):
        environment.pop(name, None)
    called = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert "ran" in called.stdout, called.stderr
    assert (home / "prefect.db").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_explains_its_options(command: str):
    """Every command says what it does and what its options are."""
    shown = cmh(command, "--help")
    assert shown.status == 0
    assert f"cmh {command}" in shown.out
    if command in ("run", "train"):
        for option in (
            "--images",
            "--items",
            "--bits",
            "--training.epochs",
            "--backbone.frozen",
            "--dry-run",
        ):
            assert option in shown.out


def test_plan_of_a_first_run(cmh_home: Path, drawn: Workspace):
    """With nothing there yet the plan knows the first address, and writes nothing."""
    plan = cmh("train", *drawn.data, *drawn.small, "--dry-run", "--json").rows
    assert [step["stage"] for step in plan] == ["images", "dataset", "features", "model"]
    assert {step["state"] for step in plan} == {"to compute"}
    assert plan[0]["address"].startswith("images/folder/")
    assert not (cmh_home / "store").exists() or not list((cmh_home / "store").rglob("*.*"))
    assert "to compute" in cmh("train", *drawn.data, *drawn.small, "--dry-run").out
    lengths = ("--evaluation.bits", 8, 16, "--dry-run", "--json")  # of one option
    several = cmh("run", *drawn.data, *drawn.small, *lengths)
    assert several.status == 0, several.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--method", "schan"], r"'schan'.*scahn"),
        (["run", "--dataset", "emojis"], r"'emojis' is not in the catalog, which has .*emoji"),
        (["run", "--bits", 12], r"--bits: bits must be a multiple of 8, got 12; use 8 or 16"),
        (["compare", "--methods"], "--methods: .* at least 1 item"),
        (["run", "--images", "photos"], "items is missing"),
        (["run", "--settings.gama", 1], "gama"),
        (["run", "wiki", "--images", "photos", "--items", "items.csv"], "choose one of them"),
        (["run", "--images", "no", "--items", "no.csv", "--dry-run"], "is not a folder"),
        (["run", "--evaluation.bits", 0, "--dry-run"], "greater than or equal to 1"),
        (["features", "--backbone.no-frozen", "--dry-run"], "no stage features: .* it has images, dataset"),
        (["run", "--dask", "tcp://127.0.0.1:9"], "nobody answers at --dask"),
        (["run", "--images", ".", "--items", ".", "--dry-run"], "is not a file"),
        (["catalog", "nothing"], "not in the catalog"),
        (["methods", "nothing"], r"'nothing'.*scahn"),
        (["search"], "nothing was given; give words or an image"),
        (
            ["search", "red", "fruit"],
            'red is no collection; .* put quotes around them: cmh search "red fruit"',
        ),
        (
            ["search", "red", "--image", "pyproject.toml"],
            "'red' and --image pyproject.toml were given; give words",
        ),
        (
            ["tag", "model/a-b@c"],
            "only model/a-b@c was given; give a tag and an address, or a tag and --delete",
        ),
        (["search", "red"], r"no artifacts of kind codes in .* yet; `cmh run`"),
        (["verify", "codes"], "not of the form kind/name"),
        (["verify", "codes/x/0123456789abcdef"], "no artifact|no such|No such"),
        (["pull", "codes/x/0123456789abcdef"], "into itself"),
        (["fly"], "fly"),
    ],
)
def test_mistakes_are_named(cmh_home: Path, arguments: list[object], message: str):
    """What was given, what is allowed; exit status above 0, no traceback, nothing on stdout to be parsed."""
    called = cmh(*arguments)
    said = " ".join((called.err + called.out).replace("│", " ").split())
    assert called.status > 0
    assert "Traceback" not in said
    assert "pydantic" not in said
    assert re.search(message, said), said


def test_catalog_and_methods(cmh_home: Path):
    """Lists and single entries, for people and as JSON."""
    listed = cmh("catalog", "--json")
    assert listed.status == 0, listed.err
    assert "emoji" in [row["dataset"] for row in listed.rows]
    entry = json.loads(cmh("catalog", "emoji", "--json").out)
    shown = cmh("catalog", "emoji").out
    for name, source in entry["sources"].items():
        assert name in shown
        assert source["licence"] in shown
    assert "scahn" in cmh("methods").out
    settings = cmh("methods", "scahn").out
    assert "bits" in settings
    assert "64" in settings
    for variant in ("without_attention", "prefix", "nested", "random_bits"):
        assert f"scahn:{variant} " in settings
    assert "acmr:" not in cmh("methods", "acmr").out


def test_doctor_gives_json(cmh_home: Path):
    """Every check has a name, what was found, and a remedy where it fails; the status says if one does."""
    called = cmh("doctor", "--json")
    checks = called.rows
    assert {"store"} <= {check["check"] for check in checks}
    failed = [check for check in checks if check[""] == "FAILS"]
    assert all(check["remedy"] for check in failed)
    assert called.status == (1 if failed else 0)


def test_a_store_with_other_things_in_it(cmh_home: Path, local_store: Store):
    """Folders of others, an unfinished attempt and a damaged manifest do not hide the rest."""
    with artifacts.write(local_store, Target("codes", "x", {}, {}, 1)) as draft:
        draft.write_bytes("a", b"12345")
    root = Path(local_store.url)
    (root / "photos" / "2020" / "summer").mkdir(parents=True)
    (root / "codes" / "y" / "0123456789abcdef" / "data-00").mkdir(parents=True)
    with artifacts.write(local_store, Target("codes", "z", {}, {}, 1)) as damaged:
        damaged.write_bytes("a", b"12345")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMH_STORE", str(root))
        assert cmh("gc").status == 0
    manifest = root / damaged.ref.address / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("{")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMH_STORE", str(root))
        rows = cmh("ls", "--json").rows
        content = {row["address"]: row["content"] for row in rows}
        assert content == {draft.ref.address: draft.ref.content[:12], damaged.ref.address: "damaged"}
        found = cmh("verify", "--json")
        assert found.status == 1
        assert {row["address"] for row in found.rows} == {damaged.ref.address}


@pytest.mark.slow
def test_ls(workspace: Workspace, address: dict[str, str]):
    """All artifacts, or those of one kind, with their sizes."""
    listed = [row["address"] for row in cmh("ls", "--json").rows]
    assert set(address.values()) <= set(listed)
    codes = cmh("ls", "codes", "--json").rows
    assert address["codes"] in [row["address"] for row in codes]
    assert {row["address"].split("/")[0] for row in codes} == {"codes"}
    assert address["model"] in cmh("ls").out


@pytest.mark.slow
def test_pull_damage_and_mend(workspace: Workspace, address: dict[str, str], tmp_path: Path):
    """A pulled artifact is whole; one flipped bit is found and its file named; pulling again mends it."""
    pulled, back = tmp_path / "pulled", tmp_path / "back"
    source = workspace.store.url
    call = ["pull", address["codes"], "--to", pulled, "--source", source]
    assert cmh(*call).status == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMH_STORE", str(pulled))
        assert "1 artifacts are whole" in cmh("verify").out
        assert cmh("push", address["codes"], back).status == 0
        (damaged,) = pulled.rglob("codes.json")
        content = bytearray(damaged.read_bytes())
        content[5] ^= 1
        damaged.chmod(0o644)
        damaged.write_bytes(content)
        found = cmh("verify", "--json")
        assert found.status == 1
        (problem,) = found.rows
        assert problem["file"].endswith("codes.json")
        assert problem["problem"] == "does not match its checksum"
        assert problem["address"] == address["codes"]
    assert cmh(*call).status == 0
    with pytest.MonkeyPatch.context() as patch:
        for folder in (pulled, back):
            patch.setenv("CMH_STORE", str(folder))
            assert cmh("verify").status == 0


@pytest.mark.slow
def test_gc_shows_and_removes_what_was_abandoned(workspace: Workspace, tmp_path: Path):
    """An attempt without a manifest is shown after a day of silence, and removed on request only."""
    attempt = tmp_path / "store" / "codes" / "x" / "0123456789abcdef" / "data-00"
    attempt.mkdir(parents=True)
    (attempt / "a").write_bytes(b"12345")
    yesterday = time.time() - 2 * 86400
    os.utime(attempt / "a", (yesterday, yesterday))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMH_STORE", str(tmp_path / "store"))
        (row,) = cmh("gc", "--json").rows
        assert row["path"] == "codes/x/0123456789abcdef/data-00"
        assert (attempt / "a").exists()
        cmh("gc", "--delete")
        assert not (attempt / "a").exists()
