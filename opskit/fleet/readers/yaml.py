"""Inventories in YAML: plain values only, lines known from the nodes, and no aliases that grow without bound."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from opskit.errors import InventoryError
from opskit.fleet.readers.document import inventory_from

if TYPE_CHECKING:
    import pathlib

    import yaml

    from opskit.fleet.inventory import Inventory
    from opskit.fleet.readers.places import Path

LIMIT: Final = 2_000_000
"""How many values a file may come to, each alias counted in full."""

DEPTH: Final = 100
"""How deep values may be nested. PyYAML's fast loader calls itself for each level, until the interpreter crashes."""

_MERGE: Final = "tag:yaml.org,2002:merge"


def read(text: str, path: pathlib.Path) -> Inventory:
    """Read the common document shape from YAML.

    Raises:
        InventoryError: It is no YAML, has tags that are not allowed, or does not describe hosts; says in which line.
    """
    import yaml

    fast: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # where PyYAML was built with it
    loader = fast(text)
    try:
        _check_depth(text, path, fast)
        root = loader.get_single_node()
        if root is None:
            document = None
        else:
            _check(root, path, loader.yaml_constructors)
            document = loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise InventoryError(f"{path}{line}: not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InventoryError(f"{path}: not YAML: {error}") from error
    finally:
        loader.dispose()
    return inventory_from(document if document is not None else {}, partial(_place, path, root))


def _check_depth(text: str, path: pathlib.Path, loader: Any) -> None:
    import yaml

    depth = 0
    event: Any
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH:
            raise InventoryError(f"{path}:{event.start_mark.line + 1}: not allowed: nested more than {DEPTH} deep")


def _check(root: yaml.Node, path: pathlib.Path, known_tags: dict[str | None, Any]) -> None:
    """Refuse foreign tags, keys that are there twice, and aliases that contain themselves or come to too much."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        line = node.start_mark.line + 1
        if id(node) in sizes:
            if sizes[id(node)] == 0:
                raise InventoryError(f"{path}:{line}: not allowed: a value that contains itself by an alias")
            return sizes[id(node)]
        if node.tag not in known_tags and node.tag != _MERGE:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise InventoryError(f"{path}:{line}: the tag {tag} is not allowed: an inventory holds plain values only")
        sizes[id(node)] = 0
        children = _children(node)
        _refuse_twins(node, path)
        total = 1 + sum(map(size, children))
        if total > LIMIT:
            raise InventoryError(f"{path}:{line}: not allowed: with its aliases this is more than {LIMIT:,} values")
        sizes[id(node)] = total
        return total

    size(root)


def _children(node: yaml.Node) -> list[yaml.Node]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _refuse_twins(node: yaml.Node, path: pathlib.Path) -> None:
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
            continue
        line, name = key.start_mark.line + 1, (key.tag, key.value)
        if name in lines:
            raise InventoryError(f"{path}:{line}: {key.value!r} is there twice, first in line {lines[name]}")
        lines[name] = line


def _place(path: pathlib.Path, root: yaml.Node | None, keys: Path) -> str:
    """The file and the line of the last of these keys that can be found."""
    node, line = root, root.start_mark.line if root else 0
    for key in keys:
        found = _child(node, key)
        if found is None:
            break
        line, node = found
    return f"{path}:{line + 1}"


def _child(node: yaml.Node | None, key: str | int) -> tuple[int, yaml.Node] | None:
    import yaml

    if isinstance(node, yaml.MappingNode):
        found = (pair for pair in node.value if pair[0].value == str(key))
        return next(((name.start_mark.line, value) for name, value in found), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int):
        return node.value[key].start_mark.line, node.value[key]
    return None
