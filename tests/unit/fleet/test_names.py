"""What a condition or a template may name, and which of two equal names wins."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from opskit.fleet.names import Configuration, Names, near_attributes

if TYPE_CHECKING:
    from collections.abc import Iterator

module_wide = "from the module"


@dataclass(frozen=True)
class FewSettings:
    """As the settings, for what is looked up here."""

    fanout: int = 64
    region: str = "from the settings"


def test_the_nearest_name_wins() -> None:
    """Variables come before locals, locals before globals."""
    names = Names({"a": 1}, {"a": 2, "b": 2}, {"a": 3, "b": 3, "c": 3}, FewSettings())
    assert names.pick(["a", "b", "c"]) == {"a": 1, "b": 2, "c": 3}


def test_only_what_is_wanted_and_known_is_picked() -> None:
    """An unknown name is left out, as is what nobody asked for; builtins are not among the names."""
    assert Names({"a": 1, "b": 2}, {}, {}, None).pick(["b", "nosuch", "len"]) == {"b": 2}


def test_a_frame_gives_its_locals_and_its_module() -> None:
    """The caller's own names are the frame's."""
    local = "from the function"
    names = Names.of(sys._getframe(), {}, FewSettings())
    assert names.pick(["local", "module_wide"]) == {"local": local, "module_wide": module_wide}
    assert {"local", "module_wide"} <= names.known()


def test_a_comprehension_sees_the_names_around_it() -> None:
    """Its frame, where Python gives it one, has none of them; its own names come first, also in one inside another."""
    local, number = "from the function", 0

    def seen() -> dict[str, object]:
        names = Names.of(sys._getframe(1), {}, None)
        assert all(name.isidentifier() for name in names.known())
        return names.pick(["local", "number", "code"])

    code = "from the function"

    def drawn(numbers: Iterator[dict[str, object]]) -> list[dict[str, object]]:
        code = "from the drawing function"
        assert code
        return list(numbers)

    expect = [{"local": local, "number": 1, "code": code}]
    assert [seen() for number in (1,)] == expect
    assert [{key: seen() for key in "a"}["a"] for number in (1,)] == expect
    assert drawn(seen() for number in (1,)) == expect
    assert number == 0


def test_without_a_frame_there_are_the_variables() -> None:
    """A call from nowhere knows its variables alone."""
    assert Names.of(None, {"a": 1}, None).known() == {"a"}


def test_what_was_picked_stays_as_it_was() -> None:
    """A name is looked up when it is picked, never later."""
    variables = {"a": 1}
    names = Names(variables, {}, {}, None)
    picked, configuration = names.pick(["a"]), names.configuration()
    variables["a"] = 2
    assert picked == {"a": 1}
    assert configuration.a == 1


def test_the_configuration_has_variables_and_settings() -> None:
    """`configuration.x` and `configuration["x"]` look in the variables first, then in the settings."""
    configuration = Names({"region": "mine"}, {}, {}, FewSettings()).configuration()
    assert (configuration.region, configuration["region"]) == ("mine", "mine")
    assert (configuration.fanout, configuration["fanout"]) == (64, 64)


def test_an_unknown_configuration_names_what_is_near() -> None:
    """Both ways of asking fail as Python's own do, and name what is near."""
    configuration = Configuration({}, FewSettings())
    with pytest.raises(AttributeError, match="configuration has no 'fanot'; did you mean 'fanout'"):
        _ = configuration.fanot
    with pytest.raises(KeyError, match="did you mean 'region'"):
        _ = configuration["regio"]
    with pytest.raises(AttributeError):
        _ = configuration._private


def test_near_attributes_are_a_mappings_keys_or_what_an_object_shows() -> None:
    """What is near is sought where the name was sought."""
    assert near_attributes({"dc": 1}, "dx") == "; known: dc"
    assert near_attributes(FewSettings(), "fanot") == "; did you mean 'fanout'?"
