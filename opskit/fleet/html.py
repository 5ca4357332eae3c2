"""An inventory as HTML, for a notebook: a table of a few hosts, a summary of many."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from opskit.rendering.escape import html

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opskit.fleet.host import Host

_SHOWN: Final = 20
_CELL: Final = "padding:4px 12px 4px 0;text-align:left;vertical-align:top"


def as_html(hosts: Sequence[Host], summary: str) -> str:
    """Lay out the summary, then the hosts, or, if they are many, how many have each role.

    Vars stay out: one of them may be a password, and what is shown here is kept in the notebook's file.
    """
    details = _table(hosts) if len(hosts) <= _SHOWN else _roles(hosts)
    style = "margin:4px 0;text-align:left;font-size:13px"
    return (
        f'<div class="opskit-inventory tex2jax_ignore mathjax_ignore" style="{style}">'
        f'<div style="padding:4px 0">{html(summary)}</div>{details}</div>'
    )


def _table(hosts: Sequence[Host]) -> str:
    titles = ("name", "address", "port", "user", "roles")
    head = "".join(f'<th style="{_CELL};opacity:0.75;font-weight:normal">{title}</th>' for title in titles)
    body = "".join(f'<tr style="background:transparent">{_cells(host)}</tr>' for host in hosts)
    style = "border-collapse:collapse;margin:0;border:none;font-size:13px"
    return f'<table style="{style}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>' if hosts else ""


def _cells(host: Host) -> str:
    port = "" if host.port is None else str(host.port)
    texts = (host.name, host.address, port, host.user or "", " ".join(sorted(host.roles)))
    return "".join(f'<td style="{_CELL}">{html(text)}</td>' for text in texts)


def _roles(hosts: Sequence[Host]) -> str:
    counts = Counter(role for host in hosts for role in host.roles).most_common(_SHOWN)
    words = ", ".join(f"{role} ({count:,})" for role, count in counts)
    return f'<div style="padding:4px 0">roles: {html(words or "none")}</div>'
