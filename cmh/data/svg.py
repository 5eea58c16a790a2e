"""Render SVG files in a separate process, because an SVG from a stranger can harm the program that draws it.

A few bytes of SVG can nest, repeat or filter elements without end and so crash the renderer.  Therefore the
renderer runs in a process of its own, `python -m cmh.data.svg`, with limits on its memory and on the time for
each drawing.  It draws one file after the other, and a new process replaces it when it dies.
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

MAX_BYTES = 4 << 20  # of one SVG; the largest of the emoji sets has 0.9 MB
MAX_MEMORY = 2 << 30  # bytes of address space
MAX_SECONDS = 20  # for one drawing

# Elements and declarations with which an SVG could read files or run scripts.
# They are sought after all white space was made a single space, so that the search takes linear time.
_FORBIDDEN = re.compile(
    rb"<!(?:DOCTYPE|ENTITY)|< ?(?:\w{1,64}:)?(?:image|script|foreignObject|feImage)\b|@import", re.I
)
_REFERENCE = re.compile(rb"""(?:href ?= ?["']|url\( ?["']?) ?([^# "'])""", re.I)
_REQUEST = struct.Struct("<II")  # request: width of the drawing, bytes of the SVG that follows
_REPLY = struct.Struct("<?I")  # reply: whether it succeeded, bytes of the PNG or error that follows


def draw(data: bytes, width: int) -> bytes:
    """Return an SVG drawing on white as a PNG file.

    Args:
        data: the SVG file, of at most MAX_BYTES bytes.
        width: width of the PNG in pixels.

    Raises:
        ValueError: if the renderer is not installed, or the drawing is too large, refers to something outside
            itself, cannot be drawn, takes too long or needs too much memory.
    """
    check_installed()
    if len(data) > MAX_BYTES:
        raise ValueError(f"SVG of {len(data)} bytes; at most {MAX_BYTES} are rendered")
    spaced = re.sub(rb"\s+", b" ", data)
    match = _FORBIDDEN.search(spaced)
    if match:
        raise ValueError(f"SVG contains {match.group().decode()!r}, which is not rendered")
    if _REFERENCE.search(spaced):
        raise ValueError("SVG refers to something outside itself, which is not loaded")
    with _lock:
        return _renderer.draw(data, width)


class _Renderer:
    """The process that renders, started when it is first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def draw(self, data: bytes, width: int) -> bytes:
        """Send an SVG to the process and return the PNG that it sends back."""
        process = self._running()
        deadline = time.monotonic() + MAX_SECONDS
        try:
            assert process.stdin is not None
            process.stdin.write(_REQUEST.pack(width, len(data)) + data)
            process.stdin.flush()
            success, size = _REPLY.unpack(self._read(process, _REPLY.size, deadline))
            content = self._read(process, size, deadline)
        except (OSError, EOFError, TimeoutError) as error:
            self.stop()
            raise ValueError(
                f"SVG was not drawn within {MAX_SECONDS} s and {MAX_MEMORY >> 30} GiB "
                f"({type(error).__name__}); it is damaged or hostile"
            ) from None
        if not success:
            raise ValueError(f"SVG cannot be drawn: {content.decode(errors='replace')}")
        return content

    def stop(self) -> None:
        """End the process, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def forget(self) -> None:
        """Drop the reference to the process in a forked child, because the process belongs to the parent."""
        self._process = None

    def _running(self) -> "subprocess.Popen[bytes]":
        """Return the process, after starting it if it does not run."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cmh.data.svg"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={"PATH": os.defpath, "PYTHONPATH": str(Path(__file__).parents[2])},
            )
        return self._process

    def _read(self, process: "subprocess.Popen[bytes]", size: int, deadline: float) -> bytes:
        """Return the next `size` bytes of the process's output.

        Raises:
            TimeoutError: if they are not there by the deadline.
            EOFError: if the process has ended.
        """
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
    """Check that the renderer, the package resvg-py, is installed.

    Raises:
        ValueError: if it is not; the message shows how to install it.
    """
    if importlib.util.find_spec("resvg_py") is None:
        raise ValueError("drawings (SVG) need resvg-py; pip install 'cmh[svg]'")


def _serve() -> None:
    """Set the limits of this process, then answer requests from standard input until it is closed."""
    from resvg_py import svg_to_bytes

    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    options: dict[str, Any] = {"background": "white", "skip_system_fonts": True}
    while header := sys.stdin.buffer.read(_REQUEST.size):
        width, size = _REQUEST.unpack(header)
        text = sys.stdin.buffer.read(size)
        try:
            content = bytes(
                svg_to_bytes(svg_string=text.decode("utf-8"), width=width, height=width, **options)
            )
            success = True
        except Exception as error:  # any error becomes the reply; the parent process raises it
            content, success = (str(error) or type(error).__name__).encode(), False
        sys.stdout.buffer.write(_REPLY.pack(success, len(content)) + content)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
