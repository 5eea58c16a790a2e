"""What Grafana's dashboard asks Prometheus for."""

import re
from typing import Any


def targets(board: dict[str, Any]) -> list[dict[str, Any]]:
    """The queries of all panels."""
    return [target for panel in board["panels"] for target in panel["targets"]]


def names(expression: str) -> set[str]:
    """The metrics of an expression of PromQL."""
    return set(re.findall(r"\bcmh_\w+", expression))
