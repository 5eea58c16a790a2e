"""Check settings of methods; each error names the setting, its value and the allowed values."""

from typing import Any


def positive(config: Any, *names: str) -> None:
    """Refuse settings that are not above zero.

    Args:
        config: the settings of a method.
        names: the fields of `config` to check; a word in place of a number, such as "balanced", is accepted.

    Raises:
        ValueError: a setting is zero or less.
    """
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, str) and value <= 0:
            raise ValueError(f"{name} must be positive, got {value}")


def share(config: Any, *names: str) -> None:
    """Refuse settings that are not between 0 and 1, both ends excluded.

    Args:
        config: the settings of a method.
        names: the fields of `config` to check.

    Raises:
        ValueError: a setting is outside.
    """
    for name in names:
        if not 0 < getattr(config, name) < 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {getattr(config, name)}")


def not_negative(config: Any, *names: str) -> None:
    """Refuse settings that are below zero.

    Args:
        config: the settings of a method.
        names: the fields of `config` to check.

    Raises:
        ValueError: a setting is negative.
    """
    for name in names:
        if getattr(config, name) < 0:
            raise ValueError(f"{name} must not be negative, got {getattr(config, name)}")
