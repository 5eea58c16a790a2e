"""Read YAML files as data: by PyYAML's SafeLoader, bounded in size and depth, and without aliases."""

from pathlib import Path
from typing import Any

import yaml

MAX_BYTES, MAX_DEPTH = 1 << 20, 20


class CatalogError(ValueError):
    """A catalog entry is missing or malformed; the message names the file, the field and what is allowed."""


class _BoundedSafeLoader(yaml.SafeLoader):
    """Plain values only, as SafeLoader makes no objects of other classes; neither aliases nor deep nesting.

    By aliases a few lines can stand for gigabytes.  Of a field that is there twice YAML takes the last.
    """

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"an alias (*name) in line {event.start_mark.line + 1}; write it out")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(
                    f"the field {name[:60]} is there again in line {line}; keep one of the two"
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


def read(path: Path) -> dict[str, Any]:
    """Return the fields of a YAML file.

    Raises:
        CatalogError: no such file, too large, not valid, or no fields.
    """
    if not path.is_file():
        raise CatalogError(f"{path}: {'not a file' if path.exists() else 'no such file'}; give a YAML file")
    if path.stat().st_size > MAX_BYTES:
        raise CatalogError(
            f"{path} has {path.stat().st_size} bytes; at most {MAX_BYTES} are read: is it the right file?"
        )
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), _BoundedSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CatalogError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(value, dict):
        raise CatalogError(
            f"{path}: expected fields with values, such as `name: photos`, got {type(value).__name__}"
        )
    return value
