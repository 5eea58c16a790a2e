"""One paper per file.  `load("scahn")` imports `cmh.methods.scahn`; the file's name is the method's name."""

import dataclasses
import importlib
import inspect
import math
import pkgutil
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cmh.hashing.method import Method


def available() -> list[str]:
    """Return the names of all methods, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def load(name: str) -> type[Method]:
    """Return the method's class.

    Raises:
        ValueError: no method of that name; the message lists those there are.
    """
    if name not in available():
        raise ValueError(f"method {name!r} unknown; available: {', '.join(available())}")
    module = importlib.import_module(f"{__name__}.{name}")
    (cls,) = (
        c
        for _, c in inspect.getmembers(module, inspect.isclass)
        if issubclass(c, Method) and c.__module__ == module.__name__ and not inspect.isabstract(c)
    )
    return cls


def summary(name: str) -> str:
    """Return what the method is, in one line: the first of its file."""
    return (importlib.import_module(load(name).__module__).__doc__ or "").split("\n")[0]


def is_shallow(name: str) -> bool:
    """Return whether the solver trains the method, all items at once, and not the trainer, in epochs."""
    return load(name).phases is Method.phases


def config(name: str, /, **fields: Any) -> Any:
    """Return the method's `Config` with `fields` set and everything else at the paper's default.

    Raises:
        ValueError: unknown method, unknown field or a value that cannot be; the message names the fields.
    """
    cls = importlib.import_module(load(name).__module__).Config
    known = [f.name for f in dataclasses.fields(cls)]
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise ValueError(f"{name} has no setting {', '.join(unknown)}; it has: {', '.join(known)}")
    try:
        made = TypeAdapter(cls).validate_python(fields)
    except ValidationError as error:
        problems = "; ".join(": ".join([*map(str, e["loc"]), e["msg"]]) for e in error.errors())
        raise ValueError(f"settings of {name}: {problems}") from None
    values = dataclasses.asdict(made)
    if odd := [key for key, value in values.items() if isinstance(value, float) and not math.isfinite(value)]:
        raise ValueError(f"settings of {name}: {odd[0]} must be a finite number, got {values[odd[0]]}")
    return made


def display_name(name: str) -> str:
    """Return what tables call a method or a variant of one: real-valued methods are marked as such.

    Their embeddings have as many numbers as codes have bits.
    """
    return f"{name} (real-valued)" if name in available() and load(name).real_valued else name
