"""What `import opskit` gives, what it costs, and the tree of errors."""

from __future__ import annotations

import ast
import inspect
import json
import pickle
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

import opskit
from opskit import errors
from opskit.results import HostResult, Results

HEAVY = ("pandas", "numpy", "IPython", "ipywidgets", "sqlalchemy", "asyncssh", "jinja2", "yaml", "rich")

PUBLIC = """
    __version__ configure settings
    Host Inventory load_inventory use
    Transaction begin on_rollback rollback transaction Parallelize parallelize journal
    Attached attach
    Handle Parallel arun load_plan parallel plan run Plan Step
    Secret secret observe
    HostResult Results
    load_ipython_extension unload_ipython_extension
    AuthenticationError Cancelled CommandError ConditionError HostKeyError HostsBusy InventoryError JournalError
    NoMatchingHosts OpskitError PlanChanged PlanError PromptRefused RollbackError RollbackRequested SettingsError
    TemplateError TimeoutExceeded UnreachableError
"""

COMMAND_ERRORS = [
    errors.CommandError,
    errors.UnreachableError,
    errors.HostKeyError,
    errors.AuthenticationError,
    errors.TimeoutExceeded,
    errors.Cancelled,
]


def in_a_new_interpreter(code: str) -> str:
    """What the code prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def names_for_type_checkers() -> set[str]:
    """What the package imports for type checkers, and what it imports at once, under public names."""
    tree = ast.parse(Path(inspect.getfile(opskit)).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {alias.asname for node in imports for alias in node.names if alias.asname is not None}


def test_all_is_the_public_surface() -> None:
    """A name is added to the package, or taken away, on purpose."""
    assert sorted(opskit.__all__) == sorted(PUBLIC.split())


def test_type_checkers_see_the_same_names() -> None:
    """What is loaded when first used, and what type checkers are told, is the same."""
    assert names_for_type_checkers() == set(opskit.__all__) - {"__version__"}


@pytest.mark.parametrize("name", opskit.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    """Each can be had, stands in `dir()`, and has a docstring of its own if it can be called."""
    value = getattr(opskit, name)
    assert name in dir(opskit)
    if callable(value):
        assert value.__doc__


@pytest.mark.parametrize("owner", [opskit.Host, opskit.Inventory, opskit.Parallel, opskit.Plan, opskit.Results])
def test_every_public_method_says_what_it_does(owner: type) -> None:
    """No public method or property of a public class is without a docstring."""
    own = {name: member for name, member in vars(owner).items() if not name.startswith("_")}
    undocumented = [
        name
        for name, member in own.items()
        if (callable(member) or isinstance(member, (property, classmethod))) and not member.__doc__
    ]
    assert own
    assert undocumented == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module, so that `hasattr` and `from opskit import x` do what they should."""
    with pytest.raises(AttributeError, match="has no attribute 'paralel'"):
        getattr(opskit, "paralel")  # noqa: B009 - mypy knows better
    assert not hasattr(opskit, "__wrapped__")


def test_import_loads_nothing_heavy() -> None:
    """Who imports opskit waits for no library that he may never need, nor does who asks what there is."""
    loaded = in_a_new_interpreter("import opskit, sys, json; dir(opskit); print(json.dumps(sorted(sys.modules)))")
    assert not {name.partition(".")[0] for name in json.loads(loaded)}.intersection(HEAVY)


def test_import_costs_next_to_nothing() -> None:
    """On top of asyncio, importing opskit takes less than 100 ms of a processor, in the middle of five tries."""
    code = "import time, asyncio; began = time.process_time(); import opskit; print(time.process_time() - began)"
    assert median(float(in_a_new_interpreter(code)) for _ in range(5)) < 0.1


def test_who_catches_failures_does_not_catch_a_cancel() -> None:
    """A person ended the run: nothing went wrong that a retry could mend."""
    assert not issubclass(opskit.Cancelled, opskit.CommandError)


def test_every_error_is_an_opskit_error() -> None:
    """Who catches OpskitError catches all of them, and each is public."""
    found = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and kind.__module__ == errors.__name__ and not name.startswith("_")
    }
    assert len(found) == 19
    for name, kind in found.items():
        assert issubclass(kind, opskit.OpskitError)
        assert getattr(opskit, name) is kind


@pytest.mark.parametrize("kind", COMMAND_ERRORS)
def test_a_command_error_keeps_its_results_over_a_pickle(kind: type[errors.CommandError]) -> None:
    """A worker process can send it home: class, message and rows are the same."""
    results = Results((HostResult("web1", None, "false", "failed", exit_code=1),))
    again = pickle.loads(pickle.dumps(kind("1 of 1 hosts did not end well", results)))
    assert type(again) is kind
    assert str(again) == "1 of 1 hosts did not end well"
    assert again.results == results


def test_an_unknown_word_is_answered_with_near_ones_else_with_all() -> None:
    """Near words come first; without any the known ones are listed, a dozen at most, none of a notebook's own."""
    assert errors.did_you_mean("wbe", ["web", "db"]) == "; did you mean 'web'?"
    assert errors.did_you_mean("xyz", ["web", "db", "_", "__name__"]) == "; known: db, web"
    assert errors.did_you_mean("xyz", ["web"], plural="known roles") == "; known roles: web"
    assert errors.did_you_mean("xyz", ["_", "__name__"]) == ""
    assert errors.did_you_mean("_nam", ["_name", "x"]) == "; did you mean '_name'?"
    assert errors.did_you_mean("zz", [f"host{number:02}" for number in range(13)]).endswith("host11, ...")
