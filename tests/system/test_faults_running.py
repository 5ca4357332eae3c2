"""What goes wrong while a command runs, caused for real: F6, F8, F11, F14, F22, F25, F26 and F28."""

from __future__ import annotations

import re
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from jupyter_client.manager import KernelManager
from traitlets.config import Config

import opskit
from opskit.transport.ssh.link import Link
from opskit.transport.ssh.process import RemoteProcess
from tests.system import loops
from tests.system.ground import (
    MIB,
    behind,
    first,
    processes,
    proxy_to,
    python,
    row_of,
    said_by,
    send,
    sessions,
    unique_sleep,
    wait_until,
)  # fmt: skip
from tests.system.network import network
from tests.system.sshd import SshdFleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.conftest import StartSshd
    from tests.system.proxy import Direction

pytestmark = [pytest.mark.system, loops.LEAKS]
close_loops = loops.close_loops


# The host, or the way to it, is gone


def test_a_server_that_stops_in_mid_command_is_noticed(sshd: StartSshd) -> None:
    """F6, R5, R6: without a timeout, by its silence; with one, in time, and it is ended over another connection.

    When the server goes on nothing is left of either.
    """
    fleet = sshd()
    host, (sleep, argument) = first(fleet), unique_sleep()

    def stop(*_: object) -> None:
        send(signal.SIGSTOP, sessions(fleet))

    with opskit.configure(keepalive=0.15):
        begin = time.monotonic()
        unnoticed = row_of(host, f"echo begun; {sleep}", on_output=stop, timeout=20)
        outlived = row_of(host, f"echo begun; {sleep}", on_output=stop, timeout=0.3)
        assert time.monotonic() - begin < 10
        assert (unnoticed.status, unnoticed.exit_code, unnoticed.stdout) == ("unknown", None, "begun\n")
        assert "may have run" in str(unnoticed.error)
        assert (outlived.status, outlived.exit_code, outlived.stdout) == ("timeout", None, "begun\n")
        assert str(outlived.error).endswith("; it was ended")
        assert len(processes(argument)) == 1
        send(signal.SIGCONT, sessions(fleet))
        assert row_of(host).status == "ok"
    wait_until(lambda: not processes(argument))


def test_what_outlived_its_timeout_on_a_stopped_server_ends_when_that_goes_on(sshd: StartSshd) -> None:
    """F6, R6: a host that did not take the signal is hung up on, so that it ends the command by itself."""
    fleet = sshd()
    host, (sleep, argument) = first(fleet), unique_sleep()
    row = row_of(
        host, f"echo begun; {sleep}", timeout=0.3, connect_timeout=1,
        on_output=lambda *_: send(signal.SIGSTOP, sessions(fleet)),
    )  # fmt: skip
    assert re.search(r"it may still run on h1: process group \d+$", str(row.error))
    assert len(processes(argument)) == 1
    send(signal.SIGCONT, sessions(fleet))
    wait_until(lambda: not processes(argument))


def test_a_healthy_command_outlives_one_whose_end_is_unsure(
    sshd: StartSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R7: the connection that both share ends after the last of them, not under it."""
    abandon, go = RemoteProcess.abandon, tmp_path / "go"

    async def silence(*_: object) -> None:
        raise TimeoutError

    def note(process: RemoteProcess) -> None:
        abandon(process)
        go.touch()

    monkeypatch.setattr(Link, "aside", silence)
    monkeypatch.setattr(RemoteProcess, "abandon", note)
    sleep, argument = unique_sleep()
    with opskit.parallel(hosts=opskit.Inventory([first(sshd())]), on_error="continue") as session:
        session.when("True", f"until [ -e {go} ]; do sleep 0.05; done; echo healthy")
        session.when("True", sleep, timeout=0.3)
    healthy, outlived = session.results
    assert (healthy.status, healthy.stdout) == ("ok", "healthy\n")
    assert "it may still run on h1: process group" in str(outlived.error)
    wait_until(lambda: not processes(argument))


def test_a_server_that_stops_before_it_takes_a_command(sshd: StartSshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """F6, R6: unknown within connect_timeout, it may have run; and when the server goes on, nothing of it stays."""
    fleet = sshd()
    host, (sleep, argument) = first(fleet), unique_sleep()
    began = Link.began

    def stop(link: Link, process: RemoteProcess) -> RemoteProcess:
        send(signal.SIGSTOP, sessions(fleet))
        return began(link, process)

    with monkeypatch.context() as patch:
        patch.setattr(Link, "began", stop)
        row = row_of(host, sleep, connect_timeout=2)
    assert row.status == "unknown"
    assert str(row.error).endswith("(no answer); it may have run")
    stopped = sessions(fleet)
    send(signal.SIGCONT, stopped)
    wait_until(lambda: not set(stopped) & set(sessions(fleet)))
    wait_until(lambda: not processes(argument))


@pytest.mark.parametrize("ways", ["none", "another"])
def test_a_connection_that_dies_as_a_timeout_would_end_the_command(sshd: StartSshd, tmp_path: Path, ways: str) -> None:
    """R6: the group is ended over another connection, or named."""
    fleet, begun, cuts = sshd(), threading.Event(), list[int]()
    sleep, argument = unique_sleep()

    def cut(direction: Direction, _piece: bytes) -> bool:
        if direction == "up" and begun.is_set() and (ways == "none" or not cuts):
            cuts.append(1)
            return False
        return True

    with behind(proxy_to(fleet, cut), fleet, tmp_path) as host:
        row = row_of(
            host, f"echo begun; {sleep}", timeout=0.3, connect_timeout=1, on_output=lambda *_: begun.set()
        )  # fmt: skip
    assert row.status == "timeout"
    if ways == "another":
        assert str(row.error).endswith("; it was ended")
        assert processes(argument) == []
    else:
        assert re.search(r"it may still run on h1: process group \d+$", str(row.error))
    wait_until(lambda: not processes(argument))


def test_half_of_a_fleet_is_cut_off_and_comes_back(tmp_path: Path) -> None:
    """F8, F14, R4, R7: the half that is gone without a word is unknown with its output, the other half ok.

    The hosts end what ran there by themselves; when the line is mended the next run is ok everywhere.
    """
    sleep, argument = unique_sleep()
    with network() as net, net.sshd(tmp_path, 6, ClientAliveInterval=1, ClientAliveCountMax=1) as fleet:
        inventory = opskit.load_inventory(fleet.inventory_path)
        assert len(opskit.run("true", hosts=inventory).ok) == 6
        begun: list[str] = []

        def cut_off(host: str, _stream: str, _line: str) -> None:
            begun.append(host)
            if len(begun) == 6:
                for address in net.hosts[:3]:
                    net.cut_off(address)
                (tmp_path / "cut").touch()

        others = f"until [ -e {tmp_path}/cut ]; do sleep 0.02; done"
        command = f"echo begun; case {{{{ server.name }}}} in h[123]) {sleep};; *) {others};; esac"
        with opskit.configure(keepalive=0.15):
            rows = opskit.run(command, hosts=inventory, on_error="continue", on_output=cut_off, timeout=20)
        assert {row.host: row.status for row in rows} == {
            "h1": "unknown", "h2": "unknown", "h3": "unknown", "h4": "ok", "h5": "ok", "h6": "ok",
        }  # fmt: skip
        assert {row.stdout for row in rows} == {"begun\n"}
        assert processes(argument)
        wait_until(lambda: not processes(argument))
        net.heal()
        assert len(opskit.run("true", hosts=inventory).ok) == 6


def test_a_reboot_costs_the_running_command_alone(sshd: StartSshd) -> None:
    """F11: it is unknown, with its output; while the host is down others are unreachable; then all is well again."""
    fleet = sshd()
    host = first(fleet)

    def lose_power(*_: object) -> None:
        send(signal.SIGKILL, sessions(fleet))  # before the command, whose end they would tell
        fleet.kill()

    row = row_of(host, "echo begun; sleep 100", on_output=lose_power)
    assert (row.status, row.stdout, row.exit_code) == ("unknown", "begun\n", None)
    assert row_of(host).status == "unreachable"
    fleet.start()
    assert row_of(host).status == "ok"


# What commands do to be left alone


def test_a_child_that_left_the_group_is_all_that_a_timeout_leaves(sshd_fleet: SshdFleet) -> None:
    """F22, R5, R6: what called setsid escapes, as is documented; the row comes in time, and its group is ended."""
    (escaped, its_argument), (sleep, argument) = unique_sleep(), unique_sleep()
    row = row_of(first(sshd_fleet), f"setsid {escaped} & {sleep}", timeout=0.3)
    assert row.status == "timeout"
    assert row.seconds is not None
    assert row.seconds < 0.3 + 5
    assert (len(processes(its_argument)), processes(argument)) == (1, [])
    send(signal.SIGKILL, processes(its_argument))


# Output without measure


def test_output_without_end_costs_bounded_memory(sshd_fleet: SshdFleet) -> None:
    """F25, R19: until its timeout a host may print what it likes: head and tail are kept, memory grows by a little."""
    script = """
        opskit.use(sys.argv[1])
        with opskit.configure(max_output="4 MiB"):
            rows = opskit.run("yes", hosts="h1", timeout=1.5, on_error="continue")
        row = rows[0]
        print(row.status, row.truncated, row.stdout[:4].split(), row.stdout[-4:].split(), "left out" in row.stdout)
        print(len(row.stdout) // 2**20, grown())
    """
    told, figures = said_by(script, sshd_fleet.inventory_path)
    kept, grown = map(float, figures.split())
    assert told == "timeout True ['y', 'y'] ['y', 'y'] True"
    assert kept == 4
    assert grown < 3 * 4 + 24  # keys, known hosts and the buffers of one connection
    wait_until(lambda: not [pid for pid in processes("yes") if pid in sshd_fleet.processes()])


def test_a_hundred_mebibytes_in_one_line_are_text_in_bounds(sshd_fleet: SshdFleet) -> None:
    """F26, R19: NULs and bytes that are no UTF-8, without a line end: cut, marked, listened to and shown as a table."""
    script = """
        opskit.use(sys.argv[1])
        heard = []
        half = "head -c 52428800 /dev/zero"
        rows = opskit.run(
            rf"{half}; {half} | tr '\\0' '\\377'; printf '\\303'; sleep 0.1; printf '\\251'", hosts="h1",
            on_output=lambda host, stream, line: heard.append(len(line)),
        )
        row, measured = rows[0], grown()
        head, left_out, tail = row.stdout.split("\\n")
        print(row.status, row.truncated, left_out, set(head) == {"\\0"}, set(tail) == {"\\ufffd", "é"}, tail[-1])
        print(sum(heard), len(heard) > 50, rows.df.truncated.tolist(), "\\0" in repr(rows))
        print(measured)
    """
    kept, shown, grown = said_by(script, sshd_fleet.inventory_path)
    assert kept == f"ok True ... {99 * MIB + 2} bytes left out ... True True é"
    assert shown == f"{100 * MIB + 1} True [True] False"
    assert float(grown) < 64


# Interrupts

FIFTY = "sh -c '{sleep} & {sleep}'"


@pytest.fixture(scope="module")
def fifty() -> Iterator[SshdFleet]:
    """Fifty hosts of real OpenSSH."""
    with SshdFleet(50) as fleet:
        yield fleet


def test_an_interrupted_script_leaves_nothing_on_fifty_hosts(fifty: SshdFleet) -> None:
    """F28, R6, R8: rows are cancelled and keep what arrived, and on no host a process is left within 5 s."""
    script = """
        from collections import Counter
        begun = []
        def count(*told):
            begun.append(told)
            if len(begun) == 50:
                print("all begun", flush=True)
        opskit.use(sys.argv[1])
        try:
            opskit.run(sys.argv[2], on_output=count)
        except KeyboardInterrupt as interrupt:
            print(*Counter((row.status, row.error, row.stdout) for row in interrupt.results).items())
    """
    sleep, argument = unique_sleep()
    with python(script, fifty.inventory_path, f"echo begun; {FIFTY.format(sleep=sleep)}") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "all begun\n"
        wait_until(lambda: len(processes(argument)) >= 100)
        child.send_signal(signal.SIGINT)
        wait_until(lambda: not processes(argument), 5)
        out, err = child.communicate(timeout=20)
    assert (out, err) == ("(('cancelled', 'cancelled; it was ended', 'begun\\n'), 50)\n", "")


def test_an_interrupted_cell_leaves_nothing_on_fifty_hosts(fifty: SshdFleet) -> None:
    """F28, R6, R9: as the button does it in a notebook; the next cell works in the same kernel."""
    sleep, argument = unique_sleep()
    # As in tools/demo.py: without it ipykernel 7 warns that other users of this machine could listen.
    manager = KernelManager(config=Config(KernelManager={"transport_encryption": "auto"}))
    manager.start_kernel()
    try:
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=30)

        def press() -> None:
            wait_until(lambda: len(processes(argument)) >= 100, 20)
            manager.interrupt_kernel()

        pressing = threading.Thread(target=press)
        pressing.start()
        use = f"import opskit\n%load_ext opskit\n%opskit use {fifty.inventory_path}\n"
        reply = client.execute_interactive(
            f"{use}%parallel -o out {FIFTY.format(sleep=sleep)}", output_hook=lambda _: None, timeout=30
        )
        pressing.join()
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        wait_until(lambda: not processes(argument), 5)
        reply = client.execute_interactive(
            "assert [row.status for row in out] == ['cancelled'] * 50\nassert len(opskit.run('true').ok) == 50",
            output_hook=lambda _: None, timeout=30,
        )  # fmt: skip
        assert reply["content"]["status"] == "ok", reply["content"]
        client.stop_channels()
    finally:
        manager.shutdown_kernel(now=True)
