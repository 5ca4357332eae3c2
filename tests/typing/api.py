"""The public API as somebody uses it whose own code is typed: never run, but `mypy --strict` finds nothing here."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, assert_type

import pandas as pd

import opskit
from opskit import Host, HostResult, Inventory, Plan, Results, Step

if TYPE_CHECKING:
    from collections.abc import Iterator


def inventories(path: Path, frame: pd.DataFrame) -> Inventory:
    """Made, read, narrowed and combined."""
    inventory = opskit.load_inventory(path) | Inventory.from_frame(frame)
    made = Inventory([Host("web1", address="10.0.0.5", port=22, user="me", roles={"web"}, vars={"dc": "ams"})])
    narrow = inventory.select(roles=["web"], hosts=["web[1-20]", "db*"], only={"dc": "ams"}, except_="old", limit=5)
    narrow = inventory.select(roles="web", hosts=frame, once=True) & made - narrow
    assert_type(narrow, Inventory)
    assert_type(narrow["web1"], Host)
    assert_type([host.name for host in narrow], list[str])
    assert_type(narrow["web1"].roles, frozenset[str])
    assert_type(narrow["web1"].port, int | None)
    assert_type(narrow.df, pd.DataFrame)
    opskit.use(path)
    opskit.use("hosts.yaml")
    with opskit.use(narrow):
        return narrow


def told(host: str, stream: str, line: str) -> None:
    """A callback."""
    print(host, stream, line)  # noqa: T201 - an example


def runs(hosts: Results | Inventory | list[Host], *, careful: bool) -> Results:
    """Every option; a dry run is another type."""
    assert_type(opskit.run("uptime"), Results)
    assert_type(opskit.run("uptime", dry_run=careful), Results | Plan)
    assert_type(opskit.run("uptime", dry_run=False), Results)
    assert_type(opskit.run("uptime", dry_run=True), Plan)
    opskit.run("uptime", roles=["app", "web"], only={"dc": "ams"}, except_={"old": True}, limit=5, once=True)
    opskit.run("uptime", hosts=hosts, on_no_hosts="skip", name="look", variables={"v": 1}, template=False)
    opskit.run("uptime", chunk=[1, "10%", "100%"], fanout=8, on_error="continue", max_failures="10%")
    opskit.run("uptime", timeout=None, connect_timeout=5, env={"A": "b", "N": 1}, cwd=Path("/srv"), shell="/bin/bash")
    return opskit.run("cat", stdin="text", on_output=told, timeout=30, chunk="25%")


def routed() -> Results:
    """Conditions as text and as functions."""
    with opskit.parallel(roles=["app", "web"], env={"RAILS_ENV": "production"}, timeout=30) as session:
        session.when("in_('app')", "script/restart-mongrel", last=True)
        session.when(lambda server: server.name.startswith("db") and server.vars.dc == "ams", "pg_isready", timeout=5)
        session.otherwise("echo nothing to do", cwd="/srv")
    assert_type(session, opskit.Parallel)
    assert_type(session.plan, Plan)
    return session.results


async def awaited() -> Results:
    """The same inside a loop of one's own."""
    assert_type(await opskit.arun("uptime"), Results)
    assert_type(await opskit.arun("uptime", dry_run=True), Plan)
    assert_type(await opskit.arun("uptime", dry_run=bool(1)), Results | Plan)
    first, second = await asyncio.gather(opskit.arun("uptime", roles="app"), opskit.arun("uptime", roles="web"))
    assert_type(first, Results)
    assert_type(second[0], HostResult)
    async with opskit.parallel(chunk=1) as session:
        session.otherwise("uptime")
    return session.results


def plans(plan: Plan) -> Iterator[str]:
    """A plan is read."""
    assert_type(plan.steps, tuple[Step, ...])
    assert_type(plan.chunks, tuple[tuple[Step, ...], ...])
    assert_type(plan.skipped, tuple[Host, ...])
    assert_type(plan.warnings, tuple[str, ...])
    assert_type(plan.df, pd.DataFrame)
    for step in plan.steps:
        yield f"{step.host.name} {step.branch or 'all'} {step.command} {step.chunk}"


def results(rows: Results) -> dict[str, str]:
    """Rows, and the ways out."""
    assert_type(rows[0], HostResult)
    assert_type(rows[1:], Results)
    assert_type(rows.ok, Results)
    assert_type(rows.failed, Results)
    assert_type(rows.where("timeout", "unknown"), Results)
    assert_type(rows.df, pd.DataFrame)
    assert_type(rows.gather(), pd.DataFrame)
    assert_type(rows.to_markdown(), str)
    assert_type(rows[0].exit_code, int | None)
    assert_type(rows[0].seconds, float | None)
    rows.to_excel("incident.xlsx")
    rows.to_parquet(Path("incident.parquet"))
    rows.raise_for_failed()
    if any(row.status == "failed" for row in rows):
        opskit.run("uptime", hosts=rows.failed)
    return {name: own[0].stdout for name, own in rows.by_host.items()}


def failures() -> Results:
    """Errors carry what there is."""
    try:
        return opskit.run("uptime")
    except opskit.UnreachableError as error:
        assert_type(error.results, Results)
        return error.results
    except opskit.CommandError as error:
        return error.results.ok
    except opskit.NoMatchingHosts:
        return Results()
    except opskit.OpskitError as error:
        raise SystemExit(str(error)) from error


def mistakes() -> None:
    """What is refused when it runs is found before: an unused `ignore` here would be an error."""
    opskit.run("uptime", chunks=3)  # type: ignore[call-overload]
    opskit.run("uptime", on_error="ignore")  # type: ignore[call-overload]
    opskit.run(["uptime"])  # type: ignore[call-overload]
    opskit.parallel(rolse="web")  # type: ignore[call-arg]
    with opskit.parallel() as session:
        session.when("True", "uptime", chunk=1)  # type: ignore[call-arg]
        session.otherwise("uptime", last=True)  # type: ignore[call-arg]
    Results().where("faield")  # type: ignore[arg-type]
    opskit.settings.fanout = 5  # type: ignore[misc]


def settings() -> float | None:
    """Read and changed."""
    opskit.configure(known_hosts="ops/known_hosts", identity_files=["~/.ssh/ops"])
    with opskit.configure(fanout=8, timeout=None):
        assert_type(opskit.settings.fanout, int)
        assert_type(opskit.settings.env, tuple[tuple[str, str | opskit.Secret], ...])
        return opskit.settings.timeout


def elsewhere(transaction: str) -> Results:
    """What another process runs."""
    attached = opskit.attach(transaction)
    assert_type(attached, opskit.Attached)
    assert_type(attached.done, bool)
    assert_type(attached.results, Results)
    assert_type(attached.rollback("disk full"), Results)
    return attached.wait(60)


async def transactions() -> None:
    """With a lock, in a block of either kind, and over many cells."""
    with opskit.transaction("deploy", lock="hosts", wait_for_lock=60) as tx:
        assert_type(tx.id, str)
    async with opskit.transaction(lock="the database") as other:
        assert_type(other.results, Results)
    opskit.begin("deploy", lock="hosts", wait_for_lock=0.5).end()
