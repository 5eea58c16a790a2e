"""The wheel without the checkout: installed into an environment of its own, used in another folder.

The environment holds the wheel alone; the dependencies are those that the tests run with, by links, without
those of the extra `engines`.
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
ENGINES = ("ray", "dask", "distributed", "bokeh")

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
    (folder / "dependencies").mkdir()
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not entry.name.startswith(ENGINES):
            (folder / "dependencies" / entry.name).symlink_to(entry)
    (site / "dependencies.pth").write_text(f"{folder / 'dependencies'}\n")
    shutil.rmtree(source)
    return folder / "env" / "bin"


def variables(home: Path) -> dict[str, str]:
    """What a program finds in its environment: nothing that leads to the checkout."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return own | {"CMH_HOME": str(home / "home"), "PREFECT_HOME": str(home / "prefect"), "COLUMNS": "200"}


def cmh(environment: Path, folder: Path, *arguments: object, status: int = 0) -> str:
    """Call the installed program in a folder; what it printed, or its error where it is to fail."""
    command = [str(environment / "cmh"), *map(str, arguments)]
    called = subprocess.run(command, cwd=folder, env=variables(folder), capture_output=True, text=True)
    assert called.returncode == status, called.stdout + called.stderr
    return called.stderr if status else called.stdout


def test_the_program_is_the_wheels(environment: Path, tmp_path: Path) -> None:
    """Every package comes from the environment, none from the checkout; help and catalog answer."""
    shown = "import cmh, data_catalog, flows, infra; print(cmh, flows, infra, data_catalog)"
    program = [str(environment / "python"), "-c", shown]
    places = subprocess.check_output(program, cwd=tmp_path, env=variables(tmp_path), text=True)
    assert str(ROOT) not in places
    assert places.count(str(environment.parent)) == 4
    assert "Find items by words" in cmh(environment, tmp_path, "--help")
    listed = cmh(environment, tmp_path, "catalog")
    assert all(name in listed for name in ("emoji", "wiki", "mirflickr25k"))


def test_a_folder_is_run_and_searched(environment: Path, drawn: Workspace, tmp_path: Path) -> None:
    """The whole pipeline on a user's folder, without Ray and Dask, which are asked for by name; a search."""
    for option, value, engine in (("--dask", "local", "Dask"), ("--workers", 2, "Ray")):
        refused = cmh(environment, tmp_path, "run", *drawn.data, *drawn.small, option, value, status=2)
        assert (
            f"{option} {value} needs {engine}, which is not installed; pip install 'cmh[engines]'" in refused
        )
    printed = cmh(environment, tmp_path, "run", *drawn.data, *drawn.small)
    assert "6 of 6 stages computed" in printed
    hits = cmh(environment, tmp_path, "search", "red circle", "--top", 5, "--json")
    assert len(hits.splitlines()) == 5
