"""The magics where people use them: plain IPython, and notebooks on both lines of ipykernel."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

import opskit
from opskit.notebook import load_ipython_extension, unload_ipython_extension
from tests.elements import Elements
from tests.system import kernels, loops

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from nbformat import NotebookNode

    from opskit.fleetlab import Fleet

pytestmark = [pytest.mark.system, loops.LEAKS]
kernel6 = kernels.kernel6
close_loops = loops.close_loops

HTML, TEXT = "text/html", "text/plain"
# As in tools/demo.py: without it ipykernel 7 warns that other users of this machine could listen.
ENCRYPTED = Config(KernelManager={"transport_encryption": "auto"})

CELLS = {
    "load": "%load_ext opskit",
    "nothing in use": "%parallel uptime",
    "use": "%opskit use {path}",
    "one command": "%parallel hostname",
    "variables": "word = 'a b'\nfavourites = ['both', 'db1']\ndef is_mine(name):\n    return name in favourites",
    "routed": (
        "%%parallel --timeout 30 -o routed\n"
        "when is_mine(server.name): echo {{{{ word }}}} on {{{{ server.name }}}}\n"
        "  env: GREETING='hi there'\n"
        "# the others\n"
        "else:\n"
        "    echo $GREETING-\n"
        "    echo done\n"
    ),
    "routed rows": "[(row.host, row.branch, row.stdout) for row in routed]",
    "script": '%%parallel -r db\ncat <<EOF\nwho: "$(hostname)"\nEOF',
    "rest is the command": '%parallel -w db1 echo "it\'s" $((1 + 1)) | tr a-z A-Z; echo -o x',
    "quiet": "%parallel -q -o kept hostname",
    "kept": "len(kept), kept.ok == kept",
    "dry": "%%parallel -n --chunk 2\nwhen in_('web'): touch never\nwhen in_('wbe'): x",
    "dry kept": "%parallel -n -q -o plan touch never\nplan.df.command.unique().tolist()",
    "bad": "%%parallel -o bad\nwhen in_('app'): echo oops >&2; exit 3\nelse: echo fine",
    "bad kept": "[row.status for row in bad]",
    "continued": "%parallel -r app --on-error continue -o continued exit 4",
    "selected": "%parallel -w $bad -n hostname",
    "loop": (
        "counts = []\nfor role in ['app', 'web', 'db']:\n    %parallel -r {{role}} -q -o {{role}}_up hostname\n"
        "[len(app_up), len(web_up), len(db_up)]"
    ),
    "bad condition": "%%parallel\nwhen in_('app'): uptime\n\nwhen in_('app')): uptime\n",
    "bad template": "%%parallel\nelse:\n    echo {{{{ wrod }}}}\n",
    "bad flag": "%parallel --rolse web uptime",
    "bad verb": "%opskit flet up 3",
    "python": (
        "import opskit\n\nwith opskit.parallel(roles='db') as session:\n"
        "    session.when(lambda server: is_mine(server.name), 'echo x')\nsession.results"
    ),
    "bad python": "x = 1\n\nopskit.run('exit 5', roles='db')",
    "awaited": "results = await opskit.arun('echo {{{{ word }}}}', hosts='db1')\nresults[0].stdout",
    "awaited block": (
        "async with opskit.parallel(hosts='db1') as session:\n    session.otherwise('hostname')\nsession.results"
    ),
    "long": "%%parallel -o long --name nap\nwhen in_('app'): sleep 1.5\nelse: echo awake",
    "use variable": "few = opskit.load_inventory(r'{path}').select(roles='web')\n%opskit use few",
    "use variable's path": "path = r'{path}'\n%opskit use path",
    "config": "%opskit config",
    "help": "%opskit help",
    "fleet up": "%opskit fleet up 3",
    "fleet": "%parallel hostname",
    "fleet up 0": "%opskit fleet up 0",
    "fleet again": "%parallel hostname",
    "fleet down": "%opskit fleet down",
    "no fleet": "%parallel hostname",
}
ALLOWED_TO_FAIL = {"bad", "nothing in use", "fleet up 0", "no fleet"}


@dataclass(frozen=True)
class Ran:
    """A notebook that ran.

    Attributes:
        cells: By what they are for.
        stderr: What the kernel's process complained of.
    """

    cells: Mapping[str, NotebookNode]
    stderr: str

    def outputs(self, name: str) -> list[NotebookNode]:
        """The outputs of one cell, each with its data."""
        return list(self.cells[name].outputs)

    def text(self, name: str) -> str:
        """What one cell showed, as text."""
        return "\n".join(map(as_text, self.outputs(name)))

    def error(self, name: str) -> NotebookNode:
        """The error that one cell ended in."""
        last = self.outputs(name)[-1]
        assert last.output_type == "error"
        return last


def as_text(output: NotebookNode) -> str:
    """An output as a terminal would show it."""
    if output.output_type == "stream":
        return str(output.text)
    if output.output_type == "error":
        return "\n".join(output.traceback)
    return str(output.data[TEXT])


def notebook(*sources: str) -> NotebookNode:
    """A notebook of these cells."""
    made: NotebookNode = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    return made


@pytest.fixture(scope="module", params=["ipykernel 7", "ipykernel 6"])
def kernel(request: pytest.FixtureRequest) -> str:
    """The name of a kernel."""
    return str(request.getfixturevalue("kernel6")) if request.param == "ipykernel 6" else "python3"


@pytest.fixture(scope="module")
def ran(kernel: str, embedded: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The cells above, each of which runs whatever became of the one before."""
    document = notebook(*(source.format(path=embedded.path) for source in CELLS.values()))
    folder = tmp_path_factory.mktemp("kernel")
    errors = folder / "stderr"
    with errors.open("wb") as stderr, pytest.MonkeyPatch.context() as patch:
        # This comes before what gives each test a journal.
        patch.setenv("OPSKIT_JOURNAL", str(folder / "journal.db"))
        # A kernel sends what a cell prints as time passes: in one piece, or in two.
        client = NotebookClient(
            document, kernel_name=kernel, config=ENCRYPTED, timeout=60, allow_errors=True, coalesce_streams=True
        )
        client.execute(stderr=stderr)
    return Ran(dict(zip(CELLS, document.cells, strict=True)), errors.read_text())


def test_no_cell_fails_that_should_not(ran: Ran) -> None:
    """All but those that are made to fail end well."""
    failed = {name for name in CELLS if any(output.output_type == "error" for output in ran.outputs(name))}
    assert failed == ALLOWED_TO_FAIL | {name for name in CELLS if name.startswith("bad ") and name != "bad kept"}


def test_nothing_is_written_to_standard_error(ran: Ran) -> None:
    """Neither in a cell nor by the kernel's process: no warnings, no tasks that nobody awaited."""
    streams = [(name, output.text) for name in CELLS for output in ran.outputs(name) if output.get("name") == "stderr"]
    assert streams == []
    assert "opskit" not in ran.stderr
    assert not [line for line in ran.stderr.splitlines() if "error" in line.lower() or "Warning" in line]


def test_use_says_which_hosts_there_are_now(ran: Ran) -> None:
    """From a file, from a variable that holds an inventory, and from one that holds a path."""
    assert ran.text("load") == ""
    assert ran.text("use").splitlines() == [
        "5 hosts in use: app[1-2],both,web1,db1",
        "  app: app[1-2],both",
        "  db: db1",
        "  web: both,web1",
    ]
    assert ran.text("use variable").splitlines()[0] == "2 hosts in use: both,web1"
    assert ran.text("use variable's path") == ran.text("use")


def test_without_hosts_the_error_says_how_to_get_some(ran: Ran) -> None:
    """As the very first thing that somebody may see."""
    assert ran.error("nothing in use").ename == "InventoryError"
    assert "%opskit use hosts.yaml" in ran.text("nothing in use")


def test_results_are_the_cells_value_as_html_and_text(ran: Ran) -> None:
    """So that a saved notebook shows them without a kernel, on any page or terminal."""
    for name in ("one command", "routed", "python", "awaited block", "bad", "continued"):
        table = next(output for output in ran.outputs(name) if output.output_type != "stream")
        assert set(table.data) == {HTML, TEXT}
        assert "opskit-results" in table.data[HTML]
    assert ran.text("one command").splitlines()[0].startswith("5 hosts: ✔ 5 ok in ")


def test_conditions_and_templates_see_the_notebooks_variables(ran: Ran) -> None:
    """Functions of the notebook too; option lines set a branch up, comments are nobody's."""
    assert ran.text("routed rows") == (
        "[('app1', 'else', '-\\ndone\\n'),\n ('app2', 'else', '-\\ndone\\n'),\n"
        " ('both', 'is_mine(server.name)', 'a b on both\\n'),\n ('web1', 'else', '-\\ndone\\n'),\n"
        " ('db1', 'is_mine(server.name)', 'a b on db1\\n')]"
    )


def test_a_body_without_branches_is_one_script(ran: Ran) -> None:
    """Here-documents and all."""
    assert 'stdout │ who: "db1"' in ran.text("script")


def test_the_rest_of_the_line_is_the_command(ran: Ran) -> None:
    """Quotes, dollars, pipes and dashes are the shell's, not IPython's."""
    assert "stdout │ IT'S 2\n" in ran.text("rest is the command")
    assert "stdout │ -o x" in ran.text("rest is the command")


def test_quiet_shows_nothing_and_keeps_the_results(ran: Ran) -> None:
    """`-q -o name`."""
    assert ran.outputs("quiet") == []
    assert ran.text("kept") == "(5, True)"


def test_a_dry_run_is_the_plan(ran: Ran) -> None:
    """Shown as HTML and text, with its warnings; nothing was sent."""
    plan = ran.outputs("dry")[0]
    assert set(plan.data) == {HTML, TEXT}
    assert "2 steps on 2 of 5 hosts, 1 chunk" in plan.data[TEXT]
    assert "warning: no host has the role 'wbe'" in plan.data[TEXT]
    assert ran.text("dry kept") == "['touch never']"


def test_a_failing_host_fails_the_cell_after_its_table(ran: Ran) -> None:
    """The table, then a few lines of error; the variable is set."""
    table, error = ran.outputs("bad")
    assert "✘ 3 failed" in table.data[TEXT]
    assert error.ename == "CommandError"
    assert "app[1-2],both: exit code 3: oops" in error.evalue
    assert ran.text("bad kept") == "['failed', 'failed', 'failed', 'ok', 'ok']"


def test_on_error_continue_lets_the_notebook_go_on(ran: Ran) -> None:
    """The same table, and no error."""
    assert "✘ 3 failed" in ran.text("continued")


def test_a_flag_takes_a_variable_itself(ran: Ran) -> None:
    """Results select the hosts that are in them."""
    assert "5 steps on 5 of 5 hosts" in ran.text("selected")


def test_a_line_magic_works_in_a_loop(ran: Ran) -> None:
    """With the loop's variable in its flags."""
    assert ran.text("loop") == "[3, 2, 1]"


@pytest.mark.parametrize(
    ("name", "ename", "says"),
    [
        ("bad condition", "ConditionError", "(line 4 of the cell)"),
        ("bad template", "TemplateError", "did you mean 'word'"),
        ("bad template", "TemplateError", "line 2 of the cell"),
        ("bad flag", "PlanError", "did you mean '--roles'"),
        ("bad verb", "PlanError", "there is no 'flet'; did you mean 'fleet'?"),
        ("bad python", "CommandError", "at line 3 of the cell: opskit.run('exit 5', roles='db')"),
    ],
)
def test_errors_show_as_a_few_lines(ran: Ran, name: str, ename: str, says: str) -> None:
    """Without a traceback; they say where in the cell, and what may have been meant."""
    assert ran.error(name).ename == ename
    text = ran.text(name)
    assert says in text
    assert "Traceback" not in text
    assert len(text.splitlines()) <= 8


def test_functions_work_in_cells_too(ran: Ran) -> None:
    """`with parallel`, and both ways to await."""
    assert "stdout │ x" in ran.text("python")
    assert ran.text("awaited") == "'a b\\n'"
    assert "stdout │ db1" in ran.text("awaited block")


def test_progress_is_one_display_that_ends_with_the_end(ran: Ran) -> None:
    """A run longer than a moment shows it once, updated in place; then come the results. A short run shows none."""
    progress, results = ran.outputs("long")
    assert progress.output_type == "display_data"
    assert "opskit-progress" in progress.data[HTML]
    page = Elements(progress.data[HTML]).text
    assert "✔ 5 ok" in page
    assert "nap" in page
    assert "running" not in page
    assert "No buttons: this notebook is executed where nobody can press them." in page
    assert "opskit-results" in results.data[HTML]
    assert not any("opskit-progress" in str(ran.outputs(name)) for name in CELLS if name != "long")


def test_help_and_config_are_there(ran: Ran) -> None:
    """Every flag, every setting."""
    assert "--on-error stop|continue" in ran.text("help")
    assert "connect_timeout        10.0 " in ran.text("config")


def test_the_embedded_fleet_comes_and_goes(ran: Ran) -> None:
    """It is in use while it is up; a bad count leaves it alone; afterwards there are no hosts."""
    assert ran.text("fleet up").splitlines()[0] == "3 hosts in use: app1,web1,db1"
    assert "3 ok" in ran.text("fleet")
    assert "has 1 to 500 hosts" in ran.text("fleet up 0")
    assert "3 ok" in ran.text("fleet again")
    assert ran.text("fleet down") == "the embedded fleet is down\n"
    assert "there is no inventory" in ran.text("no fleet")


def test_later_cells_do_not_run_after_a_failed_one(kernel: str, embedded: Fleet) -> None:
    """As "Run all" and nbclient do it."""
    document = notebook("%load_ext opskit", f"%opskit use {embedded.path}", "%parallel -w db1 exit 1", "print('later')")
    with pytest.raises(CellExecutionError):
        NotebookClient(document, kernel_name=kernel, config=ENCRYPTED, timeout=60).execute()
    # A busy machine may show progress before.
    assert [output.output_type for output in document.cells[2].outputs][-2:] == ["display_data", "error"]
    assert document.cells[3].outputs == []


class Kernel:
    """A kernel that a test talks to as a front end does."""

    def __init__(self, name: str) -> None:
        self._manager = KernelManager(kernel_name=name, config=ENCRYPTED)
        self._manager.start_kernel()
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=30)

    def run(
        self,
        source: str,
        on_output: Callable[[str, Any], object] = lambda *_: None,
        answer: Callable[[str], str] | None = None,
    ) -> tuple[Any, list[tuple[str, Any]]]:
        """Run a cell: the reply, and type and content of each message until its end. `answer` is given each prompt."""
        messages: list[tuple[str, Any]] = []

        def take(message: dict[str, Any]) -> None:
            messages.append((message["msg_type"], message["content"]))
            on_output(*messages[-1])

        def ask(message: dict[str, Any]) -> None:
            assert answer is not None
            self._client.input(answer(message["content"]["prompt"]))

        reply = self._client.execute_interactive(
            source, output_hook=take, stdin_hook=ask, allow_stdin=answer is not None, timeout=30
        )
        return reply["content"], messages

    def said(self, source: str, answer: Callable[[str], str] | None = None) -> str:
        """Run a cell: all its output, as text."""
        _, messages = self.run(source, answer=answer)
        texts = (
            content.get("text") or content.get("data", {}).get(TEXT) or "\n".join(content.get("traceback", []))
            for _, content in messages
        )
        return "\n".join(filter(None, texts))

    def complete(self, code: str) -> tuple[str, list[str]]:
        """Press Tab at the end of a cell: what would be replaced, and by what."""
        reply = self._client.complete(code, len(code), reply=True, timeout=30)["content"]
        return code[reply["cursor_start"] : reply["cursor_end"]], reply["matches"]

    def inspect(self, code: str) -> str:
        """Press Shift-Tab in the first word: what is shown."""
        return str(self._client.inspect(code, 3, reply=True, timeout=30)["content"]["data"][TEXT])

    def interrupt(self) -> None:
        """As the button does it."""
        self._manager.interrupt_kernel()

    def end(self) -> None:
        """Shut it down."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@contextmanager
def started(name: str) -> Iterator[Kernel]:
    """A kernel for one test."""
    kernel = Kernel(name)
    try:
        yield kernel
    finally:
        kernel.end()


def test_an_interrupt_ends_the_cell_and_keeps_what_arrived(kernel: str, embedded: Fleet) -> None:
    """KeyboardInterrupt in a few lines, soon; the table is shown, the variable set, the remote commands gone."""
    with started(kernel) as front:
        front.run(f"%load_ext opskit\n%opskit use {embedded.path}")
        pressed: list[float] = []

        def press_once_it_runs(kind: str, content: Any) -> None:
            if kind.endswith("display_data") and "4 running" in content["data"][HTML] and not pressed:
                pressed.append(time.monotonic())
                threading.Thread(target=front.interrupt).start()

        reply, messages = front.run("%%parallel -o out\nwhen in_('db'): echo early\nelse: sleep 61", press_once_it_runs)
        assert time.monotonic() - pressed[0] < 5
        assert reply["ename"] == "KeyboardInterrupt"
        assert reply["traceback"] == ["KeyboardInterrupt: the run was ended; the error's .results has what arrived"]
        tables = [content for kind, content in messages if kind.endswith("display_data")]
        assert "opskit-results" in tables[-1]["data"][HTML]
        assert "⊘ 4 cancelled" in tables[-1]["data"][TEXT]
        _, messages = front.run("[row.status for row in out], out.by_host['db1'][0].stdout")
        (value,) = [content["data"][TEXT] for kind, content in messages if kind == "execute_result"]
        assert value == "(['cancelled', 'cancelled', 'cancelled', 'cancelled', 'ok'], 'early\\n')"
        _, messages = front.run("%parallel --on-error continue -o left pgrep -f 'slee[p] 61'")
        reply, _ = front.run("assert {row.stdout for row in left} == {''}")
        assert reply["status"] == "ok"


def test_progress_updates_its_one_display(kernel: str, embedded: Fleet) -> None:
    """One display, then updates of the same id; the last one before the results."""
    with started(kernel) as front:
        front.run(f"%load_ext opskit\n%opskit use {embedded.path}")
        _, messages = front.run("%parallel -w db1 sleep 1.5")
        kinds = [kind for kind, _ in messages if kind.endswith(("display_data", "result"))]
        assert kinds[0] == "display_data"
        assert kinds[1:-1] == ["update_display_data"] * len(kinds[1:-1])
        assert 2 <= len(kinds[1:-1]) <= 8
        assert kinds[-1] == "execute_result"
        ids = {content["transient"]["display_id"] for kind, content in messages if kind.endswith("display_data")}
        assert len(ids) == 1


def test_a_question_mark_shows_every_flag(kernel: str) -> None:
    """As pages of help open in a notebook; Shift-Tab shows the same."""
    with started(kernel) as front:
        front.run("%load_ext opskit")
        for source in ("%%parallel", "%parallel", "%%opsparallel", "%opskit"):
            reply, _ = front.run(f"{source}?")
            (page,) = reply["payload"]
            for text in (page["data"][TEXT], front.inspect(f"{source} -r web\nuptime")):
                assert "%opskit use hosts.yaml   take an inventory" in text
                assert ("-r --roles ROLES" in text) is (source != "%opskit")
                assert ("when in_('app'): script/restart-mongrel" in text) is (source != "%opskit")


def test_tab_completes_in_a_kernel(kernel: str, embedded: Fleet) -> None:
    """Flags, roles, hosts, parsers, conditions, verbs; no files and no Python among them."""
    with started(kernel) as front:
        front.run(f"%load_ext opskit\n%opskit use {embedded.path}\nslow = ['web1']")
        offered = {
            "%%parallel --time": ("--time", ["--timeout"]),
            "%%parallel -r app,w": ("w", ["web"]),
            "x = 1\n%parallel -w app": ("app", ["app[1-2]", "app1", "app2"]),
            "%%opsparallel -w $s": ("s", ["slow"]),
            "%%parallel --on-error ": ("", ["stop", "continue", "rollback"]),
            "%%parallel --parse apt-get": ("apt-get", ["apt-get-sqq"]),
            "%%parallel -r app\nw": ("w", ["when "]),
            "%%parallel\nwhen in_('": ("", ["app", "db", "web"]),
            "%%parallel\nelse: a\n  undo": ("undo", ["undo: ", "undo_once: "]),
            "%%parallel\nelse: echo {{ server.na": ("na", ["name"]),
            "%opskit transaction ": ("", ["begin", "end", "rollback"]),
            "%config Opskit.parallelize": ("Opskit.parallelize", ["Opskit.parallelize_chunk"]),
            "%%parallel -r nobody": ("nobody", ["nobody"]),
            "%%parallel --out ": ("", [""]),
        }
        for code, expected in offered.items():
            assert front.complete(code) == expected, code
        assert "slow" in front.complete("sl")[1]


def test_errors_and_settings_in_a_kernel(kernel: str, embedded: Fleet) -> None:
    """A line magic names its line of the cell; a bad setting fails the cell, and is in no log."""
    with started(kernel) as front:
        front.run(f"%load_ext opskit\n%opskit use {embedded.path}")
        said = front.said("x = 1\n\n%parallel --rolse web uptime")
        assert said.splitlines()[-1] == "at line 3 of the cell: %parallel --rolse web uptime"
        assert "usage: %parallel [-r ROLES]" in said
        said = front.said("%%parallel\nwhen in_('app'): a\nelse:\n  b\n  {{ wrod }}")
        assert said.splitlines()[-2:] == ["line 3 of the cell: else:", "line 5 of the cell: {{ wrod }}"]
        assert front.said("%config Opskit.fanout = 0") == (
            "SettingsError: %config Opskit: fanout = 0 must be a whole number, 1 or more"
        )
        front.run("%config Opskit.fanout = 5")
        assert front.said("import opskit\nopskit.settings.fanout") == "5"
        for source in ("%parallel --help", "%%parallel -h\nuptime"):
            assert "-r --roles ROLES" in front.said(source)


def test_a_run_in_the_background_joins_the_open_transaction(kernel: str, embedded: Fleet, tmp_path: Path) -> None:
    """`--bg -o`: a Handle is the cell's value and the variable; the end of the transaction waits for it."""
    with started(kernel) as front:
        front.run(f"%load_ext opskit\n%opskit use {embedded.path}\n%opskit transaction begin 'deploy'")
        begun = front.said(f"%%parallel -r db --bg -o later --undo 'rm {tmp_path}/x'\nsleep 1\ntouch {tmp_path}/x")
        assert begun.startswith("<run: ")
        assert front.said("type(later).__name__") == "'Handle'"
        assert "\n1 in the background, begun with --bg or wait=False\n" in front.said("%opskit status")
        assert "has ended; %opskit rollback" in front.said("%opskit transaction end")
        assert (tmp_path / "x").exists()
        assert "in the background" not in front.said("%opskit status")
        # The transaction's view may be told of its end as late as now.
        assert "(True, ['ok'])" in front.said("later.done, [row.status for row in later.results]")


def test_a_rollback_is_shown_and_asked_about(kernel: str, embedded: Fleet, tmp_path: Path) -> None:
    """What it would undo, and what was done since; a no leaves all as it is; where nobody can answer it is refused."""
    file = tmp_path / "x"
    with started(kernel) as front:
        front.run(f"%load_ext opskit\n%opskit use {embedded.path}")
        front.run(f"%parallel -r db -o done --undo 'rm {file}' touch {file}")
        front.run("%parallel -w db1 --name since --undo true uptime")
        transaction = front.said("print(done[0].transaction)").strip()
        assert front.complete("%opskit rollback ")[1][-1] == transaction
        refused = front.said(f"%opskit rollback {transaction}")
        assert refused.startswith("PromptRefused: nobody can answer here: Undo it? [y/N]; set OPSKIT_YES=1")
        prompts: list[str] = []

        def no(prompt: str) -> str:
            prompts.append(prompt)
            return "n"

        said = front.said(f"%opskit rollback {transaction}", no)
        assert said == "Cancelled: not confirmed: nothing was undone"
        assert f"  db1: rm {file}\nwhat was done later on the same hosts stays:\n" in prompts[0]
        assert " run since by " in prompts[0]
        assert file.exists()
        assert "1 ok" in front.said(f"%opskit rollback {transaction}", lambda _: "y")
        assert not file.exists()
        assert front.complete("%opskit rollback ")[1] != [transaction]


@pytest.fixture
def shell(embedded: Fleet) -> Iterator[InteractiveShell]:
    """A plain IPython of this process, which uses the embedded fleet; what it does to defaults ends with the test."""
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}), colors="nocolor")
    with opskit.use(embedded.inventory):
        load_ipython_extension(shell)
        yield shell


def test_plain_ipython_shows_the_same_as_text(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    """Results are the cell's value; errors come after their table."""
    value = shell.run_cell("%parallel -r db hostname").result
    assert type(value) is opskit.Results
    assert "✔ ok  db1" in capsys.readouterr().out
    outcome = shell.run_cell("%%parallel -o bad\nwhen in_('db'): exit 3\n")
    assert type(outcome.error_in_exec) is opskit.CommandError
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("5 hosts: ✘ 1 failed, – 4 skipped")  # noqa: RUF001 - a dash is meant
    assert lines[-3].startswith("CommandError: 1 of 5 hosts did not end well")
    assert shell.user_ns["bad"].failed[0].exit_code == 3


def test_plain_ipython_awaits(shell: InteractiveShell) -> None:
    """On a loop that IPython makes for the cell."""
    outcome = shell.run_cell("import opskit\nawait opskit.arun('hostname', roles='db')")
    outcome.raise_error()
    assert [row.stdout for row in outcome.result] == ["db1\n"]


def test_plain_ipython_has_the_embedded_fleet(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    """Up, in use, and down; up again replaces it, and loading the magics again leaves it."""
    for source in ("%opskit fleet up 2", "%opskit fleet up 3", "%reload_ext opskit", "%parallel -q -o out hostname"):
        shell.run_cell(source).raise_error()
    assert [row.stdout for row in shell.user_ns["out"]] == ["app1\n", "web1\n", "db1\n"]
    for said in ("the embedded fleet is down\n", "no embedded fleet is up\n"):
        shell.run_cell("%opskit fleet down").raise_error()
        assert capsys.readouterr().out.endswith(said)
    assert type(shell.run_cell("%parallel hostname").error_in_exec) is opskit.InventoryError


def test_the_extension_can_be_unloaded(shell: InteractiveShell) -> None:
    """Its magics are gone then, and others are still there."""
    unload_ipython_extension(shell)
    magics = shell.magics_manager.magics
    assert not {"parallel", "opskit"} & {*magics["line"], *magics["cell"]}
    assert "timeit" in magics["line"]
