"""The wheel without the checkout: installed into an environment of its own, used in another folder.

The environment holds the wheel alone; the dependencies are those that the tests run with, by path.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.flows.conftest import Workspace

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment into which the wheel was installed."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    for name in tracked:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.check_call([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(source)])
    (wheel,) = folder.glob("cmh-*.whl")
    venv.create(folder / "env", with_pip=False)
    site = folder / "env" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    subprocess.check_call([*pip, "--python", str(folder / "env"), "install", "--no-deps", str(wheel)])
    # Last in the path, and read as a folder only: the checkout's own entry in it is not followed.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    shutil.rmtree(source)
    return folder / "env" / "bin"


def cmh(environment: Path, folder: Path, *arguments: object) -> str:
    """Call the installed program in a folder; what it printed."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables |= {"CMH_HOME": str(folder / "home"), "PREFECT_HOME": str(folder / "prefect"), "COLUMNS": "200"}
    command = [str(environment / "cmh"), *map(str, arguments)]
    called = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert called.returncode == 0, called.stdout + called.stderr
    return called.stdout


def test_the_program_is_the_wheels(environment: Path, tmp_path: Path) -> None:
    """Every package comes from the environment, none from the checkout; help and catalog answer."""
    shown = "import cmh, data_catalog, flows, infra; print(cmh, flows, infra, data_catalog)"
    places = subprocess.check_output([str(environment / "python"), "-c", shown], cwd=tmp_path, text=True)
    assert str(ROOT) not in places
    assert places.count(str(environment.parent)) == 4
    assert "Find items by words" in cmh(environment, tmp_path, "--help")
    listed = cmh(environment, tmp_path, "catalog")
    assert all(name in listed for name in ("emoji", "wiki", "mirflickr25k"))


def test_a_folder_is_run_and_searched(environment: Path, drawn: Workspace, tmp_path: Path) -> None:
    """The whole pipeline on a user's folder, with Prefect, Dask and a shallow method; then a search."""
    settings = ["--method", "cca", "--bits", 8, "--threads", 1, "--backbone.name", "resnet18"]
    settings += ["--backbone.weights", drawn.weights, "--backbone.image-size", 32]
    printed = cmh(environment, tmp_path, "run", *drawn.data, *settings)
    assert "6 of 6 stages computed" in printed
    hits = cmh(environment, tmp_path, "search", "red circle", "--top", 5, "--json")
    assert len(hits.splitlines()) == 5
