"""Choose items by what their columns hold: `year >= 2020 and "dog" in labels`.

    mask_N = filters.matches('caption is not None and 1990 <= year < 2000', table)

An expression is a small part of Python's grammar, parsed by Python and computed by Arrow; nothing is run:

    a column              year, caption; [taken at] for a name that is no word of Python
    a value               3, -2.5, "dog", True; a date as text: taken >= "2020-05-01"
    comparisons           ==  !=  <  <=  >  >=, chained too: 1990 <= year < 2000
    in, not in            label in ("dog", "cat"): one of these; "dog" in caption: part of a text, any case;
                          "dog" in labels: one of a list
    is None, is not None  whether there is a value
    and, or, not          of these, with ( )

An item without a value fulfils no comparison, nor its opposite.
"""

import ast
import keyword
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

MAX_LENGTH = 2000  # characters
_QUOTED = r'"(?:[^"\\]|\\.)*"' + r"|'(?:[^'\\]|\\.)*'"
_HELP = 'write it as in: year >= 2020 and label in ("dog", "cat") and "snow" in caption'

_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: pc.equal, ast.NotEq: pc.not_equal, ast.Lt: pc.less, ast.LtE: pc.less_equal, ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}  # fmt: skip


def matches(expression: str, table: pa.Table) -> NDArray[np.bool_]:
    """Return which rows of a table fulfil an expression, bool (N,).

    Raises:
        ValueError: if it is not of the grammar, or names a column that is not there, or compares what cannot
            be compared.
    """
    if len(expression) > MAX_LENGTH:
        raise ValueError(f"a condition has at most {MAX_LENGTH} characters, got {len(expression)}")
    try:
        tree = ast.parse(_as_python(expression, table), mode="eval")
        found = _Condition(table).of(tree.body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"condition {_shown(expression)} is not understood ({error}); {_HELP}") from None
    except (pa.ArrowException, OverflowError) as error:
        raise ValueError(f"condition {_shown(expression)} compares what differs in type: {error}") from None
    except ValueError as error:
        raise ValueError(f"condition {_shown(expression)}: {error}") from None
    mask_N: NDArray[np.bool_] = pc.fill_null(found, False).to_numpy(zero_copy_only=False)
    return mask_N


def has(column: str, value: str | int | bool, *, listed: bool) -> str:
    """Return the expression that asks whether a column is, or with `listed` lists, a value."""
    name = column if _is_word(column) else f"[{column}]"
    return f"{value!r} in {name}" if listed else f"{name} == {value!r}"


class _Condition:
    """What the nodes of an expression mean for a table; conditions are Arrow arrays of bool, with nulls."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def of(self, node: ast.expr) -> Any:
        """Return the array of a condition."""
        match node:
            case ast.BoolOp(op, values):
                join = pc.and_kleene if isinstance(op, ast.And) else pc.or_kleene
                found = self.of(values[0])
                for value in values[1:]:
                    found = join(found, self.of(value))
                return found
            case ast.UnaryOp(ast.Not(), operand):
                return pc.invert(self.of(operand))
            case ast.Compare(left, operators, others):
                found = self._compared(left, operators[0], others[0])
                for a, operator, b in zip(others, operators[1:], others[1:], strict=False):
                    found = pc.and_kleene(found, self._compared(a, operator, b))
                return found
            case ast.Name() | ast.List():
                column = self._column(node)
                if pa.types.is_boolean(column.type):
                    return column
        raise ValueError(f"{ast.unparse(node)[:60]!r} is no condition; {_HELP}")

    def _compared(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Any:
        match operator:
            case ast.Is() | ast.IsNot():
                if not (isinstance(right, ast.Constant) and right.value is None):
                    raise ValueError("'is' asks for None only; compare values with ==")
                column = self._column(left)
                return pc.is_null(column) if isinstance(operator, ast.Is) else pc.is_valid(column)
            case ast.In() | ast.NotIn():
                found = self._among(left, right)
                return found if isinstance(operator, ast.In) else pc.invert(found)
            case _ if self._is_column(left):
                column = self._column(left)
                other = self._column(right) if self._is_column(right) else _value(right, column.type)
                return _COMPARE[type(operator)](column, other)
            case _:
                column = self._column(right)
                return _COMPARE[type(operator)](_value(left, column.type), column)

    def _among(self, left: ast.expr, right: ast.expr) -> Any:
        if isinstance(right, ast.Tuple) or (isinstance(right, ast.List) and not self._is_column(right)):
            column = self._column(left)
            values = pa.array([_value(one, column.type) for one in right.elts], column.type)
            known = pc.is_in(column, value_set=values)
            return pc.if_else(pc.is_valid(column), known, pa.scalar(None, pa.bool_()))
        column = self._column(right)
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            return self._in_list(_value(left, column.type.value_type), column)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise ValueError(
                f"'in' looks into texts and lists, and column {ast.unparse(right)} is {column.type}"
            )
        return pc.match_substring(column, str(_value(left, pa.string())), ignore_case=True)

    def _in_list(self, value: Any, column: pa.ChunkedArray) -> Any:
        whole = column.combine_chunks()
        equal = pc.fill_null(pc.equal(pc.list_flatten(whole), value), False)
        rows = pc.filter(pc.list_parent_indices(whole), equal).to_numpy()
        found_N = np.zeros(len(whole), np.bool_)
        found_N[rows] = True
        return pa.array(found_N, mask=pc.is_null(whole).to_numpy(zero_copy_only=False))

    def _is_column(self, node: ast.expr) -> bool:
        """Return whether the node is a name, or [a name of several words] as `_as_python` writes it."""
        return isinstance(node, ast.Name) or (
            isinstance(node, ast.List)
            and len(node.elts) == 1
            and isinstance(node.elts[0], ast.Set)
            and isinstance(node.elts[0].elts[0], ast.Constant)
        )

    def _column(self, node: ast.expr) -> Any:
        if not self._is_column(node):
            raise ValueError(
                f"{ast.unparse(node)[:60]!r} stands where the name of a column is needed; {_HELP}"
            )
        name = node.id if isinstance(node, ast.Name) else node.elts[0].elts[0].value  # type: ignore[attr-defined]
        if name not in self._table.column_names:
            known = ", ".join(self._table.column_names) or "none"
            raise ValueError(f"there is no column {name!r}; the items have: {known[:500]}")
        return self._table[name]


def _as_python(expression: str, table: pa.Table) -> str:
    """Return the expression with [names of several words] in a form that Python parses: [{"taken at"}].

    What stands in quotes stays as it is.
    """
    names = [re.escape(f"[{name}]") for name in table.column_names if not _is_word(name)]

    def written(match: re.Match[str]) -> str:
        found = match.group()
        return f"[{{{found[1:-1]!r}}}]" if found.startswith("[") else found

    return re.sub("|".join([_QUOTED, *names]), written, expression).strip()


def _value(node: ast.expr, kind: pa.DataType) -> pa.Scalar:
    """Return a constant as a value that compares with a column of some type."""
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node, sign = node.operand, -1
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, bool | str) and sign == 1:
        if isinstance(value, str) and pa.types.is_temporal(kind):
            return pc.cast(pa.scalar(value), kind)
        if isinstance(value, str) != (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise ValueError(_unlike(node, kind, "write a value of that type, without quotes"))
        return pa.scalar(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
            raise ValueError(_unlike(node, kind, "put texts in quotes"))
        return pa.scalar(sign * value)
    raise ValueError(f"{ast.unparse(node)[:60]!r} is no number, text, True or False; {_HELP}")


def _unlike(node: ast.expr, kind: pa.DataType, remedy: str) -> str:
    """Return what is said of a value that is of another type than the column."""
    value = ast.unparse(node)[:60]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        remedy = f"ask whether a list holds it by: {value} in COLUMN"
    return f"{value} is compared with a column of {kind}; {remedy}"


def _is_word(name: str) -> bool:
    """Return whether Python reads the name of a column as a name."""
    return name.isidentifier() and not keyword.iskeyword(name)


def _shown(expression: str) -> str:
    return repr(expression if len(expression) <= 100 else expression[:97] + "...")
