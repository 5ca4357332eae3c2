"""The acceptance cases A1 to A34: what the originals' examples and tests say, on real SSH servers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

import opskit
from opskit.fleetlab import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opskit.results import Results

pytestmark = pytest.mark.system

EVERYONE = ["app1", "app2", "both", "web1", "db1"]

O_ROLES = {
    "app1": ["app"],
    "app2": ["app", "report"],
    "app3": ["app"],
    "web1": ["web"],
    "web2": ["web"],
    "file": ["file"],
}


@pytest.fixture(autouse=True)
def fleet_in_use(embedded: Fleet) -> Iterator[None]:
    """Each case runs on the fleet F, from a log that is empty."""
    for home in homes(embedded):
        (home / "ran").unlink(missing_ok=True)
    with opskit.use(embedded.inventory):
        yield


@pytest.fixture(scope="module")
def originals() -> Iterator[opskit.Inventory]:
    """The fleet O of the originals' tests."""
    with Fleet(roles=O_ROLES) as fleet:
        hosts = []
        for host in fleet.inventory:
            marks = {"app1": {"primary": True}, "file": {"no_deploy": True}}.get(host.name, {})
            hosts.append(
                opskit.Host(
                    host.name, host.address, host.port, host.user, roles=host.roles, vars={**host.vars, **marks}
                )
            )
        yield opskit.Inventory(hosts)


def homes(fleet: Fleet) -> list[Path]:
    """The hosts' home folders."""
    return [fleet.folder / "homes" / name for name in EVERYONE]


def ran(fleet: Fleet) -> dict[str, list[str]]:
    """What each host was told to note by `echo WORD >> ran`, sorted: the hosts' own word for what really ran."""
    logs = {home.name: home / "ran" for home in homes(fleet)}
    return {name: sorted(log.read_text().split()) for name, log in logs.items() if log.exists()}


def note(word: str) -> str:
    """A command that a host remembers."""
    return f"echo {word} >> ran"


def routes(results: Results) -> list[tuple[str, str | None]]:
    """Host and branch of each row."""
    return [(row.host, row.branch) for row in results]


def statuses(results: Results) -> dict[str, str]:
    """The status of each host's last row."""
    return {row.host: row.status for row in results}


def test_a1(embedded: Fleet) -> None:
    """A1: every matching branch of a host runs, `otherwise` where none matched."""
    with opskit.parallel() as session:
        session.when("in_('app')", note("A"))
        session.when("in_('web')", note("W"))
        session.otherwise(note("E"))
    assert ran(embedded) == {"app1": ["A"], "app2": ["A"], "both": ["A", "W"], "web1": ["W"], "db1": ["E"]}
    assert routes(session.results) == [
        ("app1", "in_('app')"),
        ("app2", "in_('app')"),
        ("both", "in_('app')"),
        ("both", "in_('web')"),
        ("web1", "in_('web')"),
        ("db1", "else"),
    ]
    assert {row.status for row in session.results} == {"ok"}


def test_a1_branches_of_a_host_run_at_once() -> None:
    """A1: the branches of one host run at the same time: each waits for the other."""
    with opskit.parallel(hosts="both", timeout=20) as session:
        session.when("in_('app')", "mkfifo first 2>/dev/null; echo hello > first; rm first")
        session.when("in_('web')", "until [ -p first ]; do sleep 0.01; done; cat first")
    assert [row.status for row in session.results] == ["ok", "ok"]
    assert session.results[1].stdout == "hello\n"


def test_a2() -> None:
    """A2: conditions combine roles, the server's name and the caller's variables."""
    sp = ["db1"]
    with opskit.parallel() as session:
        session.when("in_('app') or in_('web')", "echo L")
        session.when("'db' in server.name", "echo B {{ server.name }}")
        session.when("server.name in sp", "echo X")
    assert [(row.host, row.stdout.strip()) for row in session.results] == [
        ("app1", "L"),
        ("app2", "L"),
        ("both", "L"),
        ("web1", "L"),
        ("db1", "B db1"),
        ("db1", "X"),
    ]
    assert sp == ["db1"]


def test_a3() -> None:
    """A3: a role that nobody has matches nothing, and the plan warns."""
    with opskit.parallel() as session:
        session.when("in_('web')", "echo spin")
        session.when("in_('daemon')", "echo restart")
    assert statuses(session.results) == {
        "app1": "skipped",
        "app2": "skipped",
        "both": "ok",
        "web1": "ok",
        "db1": "skipped",
    }
    assert any("daemon" in warning for warning in session.plan.warnings)


def test_a4(embedded: Fleet) -> None:
    """A4: `otherwise` alone runs everywhere."""
    with opskit.parallel() as session:
        session.otherwise(note("E"))
    assert routes(session.results) == [(name, "else") for name in EVERYONE]
    assert ran(embedded) == {name: ["E"] for name in EVERYONE}


def test_a5(embedded: Fleet) -> None:
    """A5: no branch, and a second `otherwise`, are errors, and nothing ran."""
    with pytest.raises(opskit.PlanError, match="nothing to run"), opskit.parallel():
        pass
    with opskit.parallel(dry_run=True) as session:
        session.otherwise(note("one"))
        with pytest.raises(opskit.PlanError, match="two `otherwise`"):
            session.otherwise(note("two"))
    assert ran(embedded) == {}


def test_a6(embedded: Fleet) -> None:
    """A6: the same branch twice runs twice."""
    with opskit.parallel() as session:
        session.when("in_('app')", note("X"))
        session.when("in_('app')", note("X"))
    assert ran(embedded) == {name: ["X", "X"] for name in ("app1", "app2", "both")}
    assert len([row for row in session.results if row.status == "ok"]) == 6


def test_a7(embedded: Fleet) -> None:
    """A7: `last` ends the search for the hosts that it matched, for no others."""
    with opskit.parallel() as session:
        session.when("in_('app')", note("A"), last=True)
        session.when("in_('web')", note("W"))
        session.when("True", note("T"))
        session.otherwise(note("E"))
    assert ran(embedded) == {
        "app1": ["A"],
        "app2": ["A"],
        "both": ["A"],
        "web1": ["T", "W"],
        "db1": ["T"],
    }


def test_a8(embedded: Fleet) -> None:
    """A8: what stands before a `last` branch does not matter to it."""
    with opskit.parallel() as session:
        session.when("in_('web')", note("W"), last=True)
        session.when("in_('app')", note("A"))
    assert ran(embedded) == {"app1": ["A"], "app2": ["A"], "both": ["W"], "web1": ["W"]}
    assert statuses(session.results)["db1"] == "skipped"


@pytest.mark.parametrize(
    ("condition", "named"),
    [("in_('app'", "in_('app'"), ("no_such_name", "no_such_name"), ("1/0 if server.name == 'db1' else True", "db1")],
)
def test_a9(embedded: Fleet, condition: str, named: str) -> None:
    """A9: a condition that can't be evaluated, on any host, stops everything before the first connection."""
    with pytest.raises(opskit.ConditionError) as caught, opskit.parallel(chunk=1) as session:
        session.when(condition, note("A"))
    assert named in str(caught.value)
    assert ran(embedded) == {}


def test_a10() -> None:
    """A10: a callable is asked once for each host, in inventory order, before anything is dialled."""
    asked = []

    def counted(server: opskit.Host) -> bool:
        asked.append(server.name)
        return True

    with opskit.parallel(dry_run=True) as session:
        session.when(counted, "true")
    assert asked == EVERYONE
    assert {step.branch for step in session.plan.steps} == {"test_a10.<locals>.counted"} or {
        step.branch for step in session.plan.steps
    } == {"counted"}


def test_a11(embedded: Fleet) -> None:
    """A11: where nothing matches anywhere, all rows are skipped and nobody is dialled."""
    with opskit.parallel() as session:
        session.when("False", note("A"))
    assert statuses(session.results) == dict.fromkeys(EVERYONE, "skipped")
    assert ran(embedded) == {}


def test_a12(embedded: Fleet) -> None:
    """A12: a host without a step is never dialled, so it may be down."""
    embedded.stop("db1")
    try:
        with opskit.parallel() as session:
            session.when("in_('app')", "true")
        assert statuses(session.results)["db1"] == "skipped"
    finally:
        embedded.start("db1")


def test_a13() -> None:
    """A13: the caller's variables are seen, but `server` is the host."""
    server = 1
    x = "web"
    with opskit.parallel() as session:
        session.when("in_(x) and server.name", "echo W")
    assert [row.host for row in session.results.ok] == ["both", "web1"]
    assert (server, x) == (1, "web")


def test_a14() -> None:
    """A14: a host's roles, sorted and joined, in a command."""
    results = opskit.run("echo {{ server.name }} {{ server.roles|sort|join(',') }}", hosts="both")
    assert results[0].stdout == "both app,web\n"


def test_a15(embedded: Fleet) -> None:
    """A15: a value reaches the shell as one word; an unknown name stops everything."""
    v = "a b; id"
    assert opskit.run("echo {{ v }}", hosts="app1")[0].stdout == v + "\n"
    with pytest.raises(opskit.TemplateError, match="nosuch"):
        opskit.run(note("{{ nosuch }}"))
    assert ran(embedded) == {}


@pytest.mark.parametrize("command", ["echo '{{.Names}}'", "echo '$CAPISTRANO:OTHER$'"])
def test_a16(command: str) -> None:
    """A16: Go templates and placeholders of others are shell text."""
    results = opskit.run(command, hosts="app1")
    assert results[0].command == command
    assert results[0].stdout == command.removeprefix("echo '").removesuffix("'") + "\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a17(end: str) -> None:
    """A17: several lines stop at the first that fails."""
    results = opskit.run(f"false{end}echo no", hosts="app1", on_error="continue")
    assert (results[0].status, results[0].exit_code, results[0].stdout) == ("failed", 1, "")


def test_a18() -> None:
    """A18: standard input is empty and closed, or what was given, for every branch."""
    with opskit.parallel(hosts="both", timeout=20) as session:
        session.when("in_('app')", "cat")
        session.when("in_('web')", "cat; echo end")
    assert [row.stdout for row in session.results] == ["", "end\n"]
    with opskit.parallel(hosts="both", stdin="hi", timeout=20) as session:
        session.when("in_('app')", "cat")
        session.when("in_('web')", "cat")
    assert [row.stdout for row in session.results] == ["hi", "hi"]


def test_a19() -> None:
    """A19: environments merge by name, and values arrive as they are."""
    with opskit.configure(env={"a": "1", "b": "2"}):
        results = opskit.run(
            'printf "%s\\n" "$a" "$b" "$c" "$d"', hosts="app1", env={"b": "3", "c": '( "x" )', "d": "$HOME;id"}
        )
    assert results[0].stdout == '1\n3\n( "x" )\n$HOME;id\n'


def test_a20() -> None:
    """A20: a call's shell beats the default; False sends the command as it is."""
    with opskit.configure(shell="/bin/bash"):
        assert opskit.run("echo ${BASH_VERSION:+bash}", hosts="app1")[0].stdout == "bash\n"
        assert opskit.run("echo ${BASH_VERSION:+bash}", hosts="app1", shell="/bin/sh")[0].stdout == "\n"
        assert opskit.run("echo $0", hosts="app1", shell=False)[0].status == "ok"
    with pytest.raises(opskit.PlanError, match="shell=False"):
        opskit.run("true", shell=False, env={"a": "1"})


def test_a21(embedded: Fleet) -> None:
    """A21: a failing host stops no other; then one error has all rows."""
    with pytest.raises(opskit.CommandError) as caught, opskit.parallel() as session:  # noqa: PT012 - the block's end raises
        session.when("server.name == 'app1'", "exit 3")
        session.otherwise(note("E"))
    assert statuses(caught.value.results) == {"app1": "failed"} | dict.fromkeys(EVERYONE[1:], "ok")
    assert caught.value.results[0].exit_code == 3
    assert caught.value.results is session.results
    assert ran(embedded) == {name: ["E"] for name in EVERYONE[1:]}


def test_a22() -> None:
    """A22: a host of which one branch failed is named once, and both rows tell."""
    with pytest.raises(opskit.CommandError) as caught, opskit.parallel(hosts="both") as session:  # noqa: PT012 - as above
        session.when("in_('app')", "exit 1")
        session.when("in_('web')", "exit 0")
    assert [row.status for row in session.results] == ["failed", "ok"]
    assert str(caught.value).count("both") == 1


def test_a23() -> None:
    """A23: a command that a signal ended has the signal and no exit code."""
    results = opskit.run("kill -TERM $$", hosts="app1", on_error="continue")
    assert (results[0].status, results[0].exit_code, results[0].signal) == ("failed", None, "TERM")


def test_a24(embedded: Fleet) -> None:
    """A24: a host whose connection drops while it runs is unknown; the others end and are kept."""

    def cut(host: str, stream: str, text: str) -> None:
        if host == "app1":
            embedded.stop("app1")

    try:
        with pytest.raises(opskit.CommandError) as caught, opskit.parallel() as session:  # noqa: PT012 - as above
            session.when("server.name == 'app1'", "echo begun; sleep 30", on_output=cut)
            session.otherwise("echo done")
    finally:
        embedded.start("app1")
    assert statuses(caught.value.results) == {"app1": "unknown"} | dict.fromkeys(EVERYONE[1:], "ok")
    assert caught.value.results[0].stdout == "begun\n"
    assert caught.value.results[0].exit_code is None


def test_a25(embedded: Fleet) -> None:
    """A25: hosts that are down are unreachable, the others run, and one error names the two."""
    for name in ("app1", "app2"):
        embedded.stop(name)
    try:
        with pytest.raises(opskit.UnreachableError, match=r"app\[1-2\]") as caught:
            opskit.run(note("X"))
    finally:
        for name in ("app1", "app2"):
            embedded.start(name)
    assert statuses(caught.value.results) == dict.fromkeys(["app1", "app2"], "unreachable") | dict.fromkeys(
        EVERYONE[2:], "ok"
    )
    assert sorted(ran(embedded)) == sorted(EVERYONE[2:])


def test_a26(embedded: Fleet) -> None:
    """A26: a chunk that failed is the last; what was planned after it never started."""
    with pytest.raises(opskit.CommandError) as caught:
        opskit.run(note("X") + "; [ {{ server.name }} != app2 ]", chunk=2)
    rows = {row.host: (row.status, row.chunk) for row in caught.value.results}
    assert rows == {
        "app1": ("ok", 1),
        "app2": ("failed", 1),
        "both": ("not_started", 2),
        "web1": ("not_started", 2),
        "db1": ("not_started", 3),
    }
    assert sorted(ran(embedded)) == ["app1", "app2"]


def test_a27(embedded: Fleet) -> None:
    """A27: with on_error="continue" all chunks run and nothing is raised."""
    results = opskit.run(note("X") + "; [ {{ server.name }} != app2 ]", chunk=2, on_error="continue")
    assert statuses(results) == dict.fromkeys(EVERYONE, "ok") | {"app2": "failed"}
    assert sorted(ran(embedded)) == sorted(EVERYONE)


def test_a28() -> None:
    """A28: a chunk counts hosts, not steps."""
    with opskit.parallel(chunk=2, dry_run=True) as session:
        session.when("in_('app')", "A")
        session.when("in_('web')", "W")
        session.otherwise("E")
    assert [[step.host.name for step in steps] for steps in session.plan.chunks] == [
        ["app1", "app2"],
        ["both", "both", "web1"],
        ["db1"],
    ]


def test_a29(originals: opskit.Inventory) -> None:
    """A29: roles select, none is no selection, an unknown one is no host."""
    assert len(originals.select()) == 6
    assert originals.select(roles="web").names == ("web1", "web2")
    assert len(originals.select(roles=["app", "web"])) == 5
    assert originals.select(roles="app", once=True).names == ("app1",)
    with opskit.use(originals), pytest.raises(opskit.NoMatchingHosts, match="bogus"):
        opskit.run("true", roles="bogus")


def test_a30(originals: opskit.Inventory) -> None:
    """A30: `only` and `except_` look at vars."""
    with opskit.use(originals):
        assert [row.host for row in opskit.run("true", roles="app", only="primary")] == ["app1"]
        assert [row.host for row in opskit.run("true", except_={"no_deploy": True})] == [
            "app1",
            "app2",
            "app3",
            "web1",
            "web2",
        ]


def test_a31(originals: opskit.Inventory) -> None:
    """A31: all criteria must hold; an unknown host is an error; an empty list is no host, never all."""
    with opskit.use(originals):
        assert [row.host for row in opskit.run("true", hosts=["app1", "web1"], roles="web")] == ["web1"]
        with pytest.raises(opskit.InventoryError, match=r"appp1.*app1"):
            opskit.run("true", hosts=["appp1"])
        with pytest.raises(opskit.NoMatchingHosts):
            opskit.run("true", hosts=[])
        assert len(opskit.run("true", hosts=[], on_no_hosts="skip")) == 0


def test_a32(embedded: Fleet) -> None:
    """A32: a dry run is the plan, and sends nothing; an unknown option is an error."""
    with opskit.parallel(dry_run=True) as session:
        session.when("in_('app')", note("A"))
        session.when("in_('web')", note("W"))
        session.otherwise(note("E"))
    assert len(session.plan.steps) == 6
    assert len(session.results) == 0
    with pytest.raises(opskit.PlanError, match="did you mean 'chunk'"):
        opskit.run(note("X"), chunks=2)  # type: ignore[call-overload]  # the mistake
    assert ran(embedded) == {}


def test_a33(embedded: Fleet) -> None:
    """A33: more branches than the server grants sessions all run: the surplus waits."""
    with opskit.parallel(hosts="app1") as session:
        for number in range(12):
            session.when("True", note(f"{number:02}"))
    assert [row.status for row in session.results] == ["ok"] * 12
    assert ran(embedded) == {"app1": [f"{number:02}" for number in range(12)]}


def test_a34_raising(caplog: pytest.LogCaptureFixture) -> None:
    """A34: an on_output that raises is logged once and dropped; the run goes on."""

    def broken(host: str, stream: str, text: str) -> None:
        raise ValueError("no")

    with caplog.at_level(logging.WARNING, logger="opskit"):
        results = opskit.run("echo one; echo two", on_output=broken)
    assert statuses(results) == dict.fromkeys(EVERYONE, "ok")
    assert len(caplog.records) == 1


def test_a34_lines() -> None:
    """A34: on_output gets whole lines of the right stream, also where a character is cut in two."""
    seen: list[tuple[str, str, str]] = []
    opskit.run(
        r"printf 'caf\303'; sleep 0.05; printf '\251\nlast'; echo oops >&2",
        hosts="app1",
        on_output=lambda *told: seen.append(told),
    )
    assert sorted(seen) == [("app1", "stderr", "oops"), ("app1", "stdout", "café"), ("app1", "stdout", "last")]


def test_a35(embedded: Fleet) -> None:
    """A35: a command that outlives its timeout is ended on the host; the others are ok."""
    with pytest.raises(opskit.TimeoutExceeded) as caught, opskit.parallel(timeout=1) as session:  # noqa: PT012 - as above
        session.when("server.name == 'app1'", "echo $$ > pid; exec sleep 1000")
        session.otherwise("true")
    assert statuses(caught.value.results) == {"app1": "timeout"} | dict.fromkeys(EVERYONE[1:], "ok")
    check = opskit.run("kill -s 0 $(cat pid) 2>/dev/null && echo lives || echo gone", hosts="app1")
    assert check[0].stdout == "gone\n"
