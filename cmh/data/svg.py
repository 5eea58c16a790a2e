"""Draw SVG files, which are programs of strangers, where they can do no harm.

A few bytes of SVG can nest, repeat or filter without end, and crash the renderer by it.  So it runs in a
process of its own, `python -m cmh.data.svg`, with limits on its memory and on the time of each drawing; it
draws one file after the other, and is replaced when it dies.
"""

import atexit
import importlib.util
import os
import re
import resource
import select
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

MAX_BYTES = 4 << 20  # the largest drawing of the emoji sets has 0.9 MB
MAX_MEMORY = 2 << 30  # bytes of address space
MAX_SECONDS = 20

# What an SVG could use to read files or run scripts.
_FORBIDDEN = re.compile(
    rb"<!(?:DOCTYPE|ENTITY)|<\s*(?:\w+:)?(?:image|script|foreignObject|feImage)\b|@import", re.I
)
_REFERENCE = re.compile(rb"""(?:href\s*=\s*["']|url\(\s*["']?)\s*([^#\s"'])""", re.I)
_ASKED = struct.Struct("<II")  # width of the drawing, bytes of the SVG
_TOLD = struct.Struct("<?I")  # whether it was drawn, bytes of the PNG or of the error


def draw(data: bytes, width: int) -> bytes:
    """Return PNG of a drawing on white, `width` pixels wide.

    Raises:
        ValueError: if it is too large, refers to something outside itself, cannot be drawn, or takes too long
            or too much memory.
    """
    check_installed()
    if len(data) > MAX_BYTES:
        raise ValueError(f"SVG of {len(data)} bytes; at most {MAX_BYTES} are rendered")
    found = _FORBIDDEN.search(data)
    if found:
        raise ValueError(f"SVG contains {found.group().decode()!r}, which is not rendered")
    if _REFERENCE.search(data):
        raise ValueError("SVG refers to something outside itself, which is not loaded")
    with _lock:
        return _renderer.draw(data, width)


class _Renderer:
    """The other process, started when it is needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def draw(self, data: bytes, width: int) -> bytes:
        process = self._running()
        deadline = time.monotonic() + MAX_SECONDS
        try:
            assert process.stdin is not None
            process.stdin.write(_ASKED.pack(width, len(data)) + data)
            process.stdin.flush()
            drawn, size = _TOLD.unpack(self._read(process, _TOLD.size, deadline))
            told = self._read(process, size, deadline)
        except (OSError, EOFError, TimeoutError) as error:
            self.stop()
            raise ValueError(
                f"SVG was not drawn within {MAX_SECONDS} s and {MAX_MEMORY >> 30} GiB "
                f"({type(error).__name__}); it is damaged or hostile"
            ) from None
        if not drawn:
            raise ValueError(f"SVG cannot be drawn: {told.decode(errors='replace')}")
        return told

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def forget(self) -> None:
        """Forget the process in a forked child: it is the parent's."""
        self._process = None

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cmh.data.svg"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={"PATH": os.defpath, "PYTHONPATH": str(Path(__file__).parents[2])},
            )
        return self._process

    def _read(self, process: "subprocess.Popen[bytes]", size: int, deadline: float) -> bytes:
        assert process.stdout is not None
        parts: list[bytes] = []
        while size:
            if not select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError
            part = os.read(process.stdout.fileno(), size)
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


_renderer, _lock = _Renderer(), threading.Lock()
atexit.register(_renderer.stop)
os.register_at_fork(after_in_child=_renderer.forget)


def check_installed() -> None:
    """Refuse to go on without the renderer.

    Raises:
        ValueError: it is not installed.
    """
    if importlib.util.find_spec("resvg_py") is None:
        raise ValueError("drawings (SVG) need resvg-py; pip install 'cmh[svg]'")


def _serve() -> None:
    """Draw what comes in, in the process with limits, until nothing does."""
    from resvg_py import svg_to_bytes

    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    look: dict[str, Any] = {"background": "white", "skip_system_fonts": True}
    while asked := sys.stdin.buffer.read(_ASKED.size):
        width, size = _ASKED.unpack(asked)
        text = sys.stdin.buffer.read(size)
        try:
            told = bytes(svg_to_bytes(svg_string=text.decode("utf-8"), width=width, height=width, **look))
            drawn = True
        except Exception as error:  # whatever it is, it is told to whom it concerns
            told, drawn = (str(error) or type(error).__name__).encode(), False
        sys.stdout.buffer.write(_TOLD.pack(drawn, len(told)) + told)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
