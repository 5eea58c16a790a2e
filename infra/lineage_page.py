"""A lineage as a Mermaid diagram, and as a page of its own that loads nothing from elsewhere."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

Edge = tuple[str, str]
"""Address of an input, and of what was made from it."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem;
       color: #1c2530 }
section { border: 1px solid #ccd5df; border-radius: 6px; padding: .6rem 1rem; margin: 0 0 1.4rem;
          position: relative }
section + section::before { content: "↓"; position: absolute; top: -1.35rem; left: 1rem; color: #5f6e7d }
h2 { font-size: 1rem; margin: 0 }
code { font-size: .92em; overflow-wrap: anywhere }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; margin: .3rem 0 }
dt { color: #55677a }
dd { margin: 0; overflow-wrap: anywhere }
summary { cursor: pointer; color: #55677a }
"""


def mermaid(addresses: Sequence[str], edges: Sequence[Edge]) -> str:
    """Return the diagram; Markdown pages of GitHub, GitLab and MkDocs draw it.

    >>> print(mermaid(["images/a/0", "codes/a/1"], [("images/a/0", "codes/a/1")]))
    flowchart TD
        n0["images<br>a<br>0"]
        n1["codes<br>a<br>1"]
        n0 --> n1
    """
    number = {address: place for place, address in enumerate(addresses)}
    nodes = [f'    n{place}["{"<br>".join(address.split("/"))}"]' for address, place in number.items()]
    arrows = [f"    n{number[a]} --> n{number[b]}" for a, b in dict.fromkeys(edges)]
    return "\n".join(["flowchart TD", *nodes, *arrows])


def html(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    edges: Sequence[Edge],
    settings: Mapping[str, Mapping[str, Any]],
) -> str:
    """Return the page: a box for each artifact, in the order in which they were made.

    Args:
        title: what the lineage leads to.
        rows: of each artifact its `artifact`, the address, and what else is shown of it.
        edges: which was made from which.
        settings: of each artifact, by address.
    """
    boxes = "\n".join(_box(row, edges, settings.get(row["artifact"], {})) for row in rows)
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
    )
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n'
        f"<body><h1>{escape(title)}</h1>\n{boxes}\n</body></html>\n"
    )


def _box(row: Mapping[str, Any], edges: Sequence[Edge], settings: Mapping[str, Any]) -> str:
    address = row["artifact"]
    sources = dict.fromkeys(a for a, b in edges if b == address)
    links = ", ".join(f'<a href="#{escape(one)}"><code>{escape(one)}</code></a>' for one in sources)
    facts = {key: value for key, value in row.items() if key not in ("artifact", "from") and value}
    return (
        f'<section id="{escape(address)}"><h2><code>{escape(address)}</code></h2>'
        f"<dl><dt>made from</dt><dd>{links or 'sources'}</dd>{_terms(facts)}</dl>"
        f"<details><summary>settings</summary><dl>{_terms(settings)}</dl></details></section>"
    )


def _terms(values: Mapping[str, Any]) -> str:
    return "".join(f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in values.items())
