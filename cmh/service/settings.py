"""Limits of the service, and who may use it."""

from dataclasses import dataclass

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
LEAST_TOKEN = 16  # characters


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the service takes; whatever is beyond is refused with a reason."""

    token: str | None = None  # None: whoever reaches the port may ask
    hosts: frozenset[str] | None = LOOPBACK  # names by which it may be called; None: any
    body_bytes: int = 32 << 20  # of a request
    bodies: float = 8  # how many of the largest all requests may hold together that are not answered yet
    seconds: float = 20.0  # until a request has its body and its answer
    waiting: int = 256  # queries before the model; decodings before the image reader
    batch: int = 64  # queries that are encoded together
    window: float = 0.002  # seconds to wait for more of them, while queries come side by side
    decoders: int = 2  # images that are decoded at the same time, each within the reader's 1 GiB
    poll: float = 1.0  # seconds between looks whether the collection has changed
    threads: int | None = None  # of a scan; None: the default of `cmh.codes.threads`
    writable: bool = False  # items may be added and deleted
    log_queries: bool = False  # texts in the log

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < LEAST_TOKEN:
            raise ValueError(
                f"a token has at least {LEAST_TOKEN} characters, got {len(self.token)}; make one with "
                "`openssl rand -hex 32`"
            )
        for what, number in (
            ("the largest body of a request, in bytes,", self.body_bytes),
            ("the number of largest bodies at the same time", self.bodies),
            ("the time for a request, in seconds,", self.seconds),
            ("the queue, in queries,", self.waiting),
            ("the number of queries that are encoded together", self.batch),
            ("the number of images that are decoded at the same time", self.decoders),
        ):
            if number <= 0:
                raise ValueError(f"{what} is to be above 0, got {number}")
