"""Sizes that people meet, with the memory that they may cost: much output, long lines, large files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.ground import MIB, said_by

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.sshd import SshdFleet

pytestmark = pytest.mark.system


def test_thirty_mebibytes_from_each_of_twenty_hosts_fit_in_300(sshd_fleet: SshdFleet) -> None:
    """R19: the process, all of it, stays below 300 MiB; each row has head and tail, and what is left out is told."""
    script = """
        opskit.use(sys.argv[1])
        rows = opskit.run("echo head {{ server.name }}; head -c 31457280 /dev/zero; echo tail {{ server.name }}")
        print(peak())
        for row in rows:
            begin, end = f"head {row.host}\\n", f"tail {row.host}\\n"
            whole = row.stdout.startswith(begin) and row.stdout.endswith(end)
            left_out = f"\\n... {30 * 2**20 + 2 * len(begin) - 2**20} bytes left out ...\\n" in row.stdout
            print(row.status, row.truncated, whole, left_out, len(row.stdout) // 2**20)
    """
    peak, *rows = said_by(script, sshd_fleet.inventory_path)
    assert rows == ["ok True True True 1"] * 20
    assert float(peak) < 300


def test_a_line_of_ten_mebibytes_is_whole_where_room_is(sshd_fleet: SshdFleet) -> None:
    """One line, also to who listens; it costs a few times its size."""
    script = """
        opskit.use(sys.argv[1])
        heard = []
        with opskit.configure(max_output="11 MiB"):
            rows = opskit.run(
                "head -c 10485760 /dev/zero | tr '\\\\0' x; echo", hosts="h1",
                on_output=lambda host, stream, line: heard.append((len(line), set(line))),
            )
        print(rows[0].truncated, rows[0].stdout == "x" * 10485760 + "\\n", heard)
        print(grown())
    """
    told, grown = said_by(script, sshd_fleet.inventory_path)
    assert told == f"False True [({10 * MIB}, {{'x'}})]"
    assert float(grown) < 100


def test_a_large_file_as_standard_input_is_never_read_whole(sshd_fleet: SshdFleet, tmp_path: Path) -> None:
    """A file goes to its host piece by piece, no faster than that reads it."""
    file = tmp_path / "large"
    with file.open("wb") as large:
        large.truncate(256 * MIB)
    script = """
        from pathlib import Path
        opskit.use(sys.argv[1])
        rows = opskit.run("wc -c", hosts="h1", stdin=Path(sys.argv[2]))
        print(rows[0].stdout.strip())
        print(grown())
    """
    count, grown = said_by(script, sshd_fleet.inventory_path, file)
    assert int(count) == 256 * MIB
    assert float(grown) < 32
