"""Checks that the settings of methods share; each names the setting, what was given and what is allowed."""

from typing import Any


def positive(config: Any, *names: str) -> None:
    """Refuse with a ValueError what is not above zero; a word in place of a number ("balanced") passes."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, str) and value <= 0:
            raise ValueError(f"{name} must be positive, got {value}")


def share(config: Any, *names: str) -> None:
    """Refuse with a ValueError what is not between 0 and 1; neither of them."""
    for name in names:
        if not 0 < getattr(config, name) < 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {getattr(config, name)}")


def not_negative(config: Any, *names: str) -> None:
    """Refuse with a ValueError what is below zero."""
    for name in names:
        if getattr(config, name) < 0:
            raise ValueError(f"{name} must not be negative, got {getattr(config, name)}")
