"""YAML with places: every key and value knows its line and column, and what is ambiguous is refused.

Stricter than YAML 1.1, because a mapping is edited by people who do not know it by heart: a key given twice, an
anchor or alias, a tag, ``yes``/``on`` as a truth value, ``0123`` as an octal and ``17:00`` as a sexagesimal number
are no surprises here: the first three are faults, the others are texts.

A file that begins with ``---`` must end with ``...``: a copy that was cut short is then never taken for a whole one.
Most cut points of a mapping file are valid YAML with rules missing (CONSISTENCY F19).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from adapter.errors import Fault

Path = tuple[str | int, ...]

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
_QUOTE_IT = 'quote it: write the whole value between double quotes, as in  key: "…"'
_STARTS_BADLY = re.compile(r"^\s*(?:- )*(?:[\w-]+:\s+)?[%\[{'@`&*!|>]")
_ALTERNATIVE_IN_BRACES = re.compile(r"\{[^}]*\?\?")


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a value stands. Lines and columns count from 1; ``style`` is YAML's: "", ', ", | or >."""

    line: int
    column: int
    key_line: int = 0
    key_column: int = 0
    style: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed file: its plain value, and the place of everything in it by path."""

    file: str
    value: Any
    text: str
    marks: Mapping[Path, Mark] = field(default_factory=dict)

    def place(self, path: Path, offset: int = 0, *, key: bool = False) -> tuple[int, int]:
        """Line and column of a value (of its key); of the nearest thing around it where it is not there.

        ``offset`` counts characters into a text.
        """
        for length in range(len(path), -1, -1):
            mark = self.marks.get(path[:length])
            if mark is None:
                continue
            if key or length < len(path):
                return (mark.key_line or mark.line, mark.key_column or mark.column)
            return self._inside(mark, offset)
        return (1, 1)

    def _inside(self, mark: Mark, offset: int) -> tuple[int, int]:
        if not mark.style:
            return mark.line, mark.column + offset
        if mark.style in "'\"":
            return mark.line, mark.column + 1 + offset
        lines = self.text.split("\n")
        for number in range(mark.line, len(lines)):  # a block's text begins on the line after its sign
            content = lines[number].strip()
            if offset <= len(content):
                return number + 1, lines[number].index(content) + 1 + offset if content else 1
            offset -= len(content) + 1
        return mark.line, mark.column

    def fault(
        self, path: Path, message: str, remedy: str = "", offset: int = 0, *, key: bool = False
    ) -> Fault:
        """A fault at a place of this file."""
        line, column = self.place(path, offset, key=key)
        return Fault(message, remedy, self.file, line, column, spell(path))


_FLATTER = "no setting and no rule is that deep: look for brackets or indents that do not end"


class YamlFault(Exception):
    """A file does not parse; ``fault`` says where and what to do."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def spell(path: Path) -> str:
    """A path as a person reads it: ``rules[0].opens[1].by``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def parse(text: str, file: str) -> Document:
    """Parse one YAML document.

    Raises:
        YamlFault: at the first thing that cannot be read.
    """
    if len(text.encode()) > MAX_BYTES:
        raise YamlFault(Fault(f"the file is larger than {MAX_BYTES} bytes", "split it", file))
    _check_frame(text, file)
    try:
        node = _Composer(text).get_single_node()
    except _Refused as refused:
        raise YamlFault(_at(refused.mark, file, refused.message, refused.remedy)) from None
    except yaml.MarkedYAMLError as error:
        raise YamlFault(_syntax_fault(error, text, file)) from None
    except yaml.YAMLError:
        raise YamlFault(
            Fault("the file holds characters that YAML does not allow", "save it as UTF-8", file)
        ) from None
    except RecursionError:
        raise YamlFault(Fault("the file is nested too deeply", _FLATTER, file)) from None
    if node is None:
        raise YamlFault(Fault("the file is empty", "delete it, or write it anew", file, 1, 1))
    marks: dict[Path, Mark] = {}
    return Document(file, _build(node, (), marks, file), text, marks)


def _check_frame(text: str, file: str) -> None:
    lines = [line.rstrip() for line in text.rstrip().split("\n")]
    first = next((line for line in lines if line and not line.startswith("#")), "")
    if not (first == "---" or first.startswith("--- ")):
        return
    if lines[-1] != "...":
        message = "the file begins with '---' and does not end with '...': it was cut short"
        raise YamlFault(Fault(message, "copy it again, whole", file, len(lines), 1))


class _Refused(Exception):
    def __init__(self, mark: Any, message: str, remedy: str) -> None:
        super().__init__(message)
        self.mark, self.message, self.remedy = mark, message, remedy


class _Composer(yaml.SafeLoader):
    """SafeLoader's grammar with a smaller idea of what a bare word may be."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _Refused(event.start_mark, "an anchor or alias (& or *) is not allowed", _QUOTE_IT)
        if getattr(event, "tag", None) is not None:
            raise _Refused(event.start_mark, "a tag (!) is not allowed", _QUOTE_IT)
        return super().compose_node(parent, index)


def _resolve(tag: str, pattern: str, first: str) -> None:
    _Composer.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


_resolve("bool", r"^(?:true|false)$", "tf")
_resolve("int", r"^-?(?:0|[1-9][0-9]*)$", "-0123456789")
_resolve("float", r"^-?(?:0|[1-9][0-9]*)\.[0-9]+$", "-0123456789")
_resolve("null", r"^(?:~|null|)$", "~n\0")
_Composer.yaml_implicit_resolvers.setdefault("", []).append(("tag:yaml.org,2002:null", re.compile(r"^$")))


def _build(node: yaml.Node, path: Path, marks: dict[Path, Mark], file: str) -> Any:
    if len(path) > MAX_DEPTH:
        raise YamlFault(_at(node.start_mark, file, "the file is nested too deeply", _FLATTER))
    known = marks.get(path)
    start = node.start_mark
    marks[path] = Mark(
        start.line + 1,
        start.column + 1,
        known.key_line if known else 0,
        known.key_column if known else 0,
        getattr(node, "style", "") or "" if isinstance(node, yaml.ScalarNode) else "",
    )
    if isinstance(node, yaml.MappingNode):
        return dict(_members(node, path, marks, file))
    if isinstance(node, yaml.SequenceNode):
        return [_build(part, (*path, place), marks, file) for place, part in enumerate(node.value)]
    return _scalar(node)


def _members(
    node: yaml.MappingNode, path: Path, marks: dict[Path, Mark], file: str
) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise YamlFault(_at(key_node.start_mark, file, "a key is no plain word", _QUOTE_IT))
        key = str(key_node.value)
        if key in seen:
            message = f"'{key}' is given twice"
            raise YamlFault(
                _at(key_node.start_mark, file, message, "keep one of them", key=spell((*path, key)))
            )
        seen.add(key)
        mark = key_node.start_mark
        marks[(*path, key)] = Mark(0, 0, mark.line + 1, mark.column + 1)
        yield key, _build(value_node, (*path, key), marks, file)


def _scalar(node: yaml.Node) -> Any:
    text = str(node.value)
    match node.tag.rpartition(":")[2]:
        case "bool":
            return text == "true"
        case "int":
            return int(text) if len(text) < 20 else text
        case "float":
            return float(text)
        case "null":
            return None
    return text


def _at(mark: Any, file: str, message: str, remedy: str, key: str = "") -> Fault:
    return Fault(message, remedy, file, mark.line + 1, mark.column + 1, key)


def _syntax_fault(error: yaml.MarkedYAMLError, text: str, file: str) -> Fault:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Fault("the file is no YAML", "", file)
    lines = text.split("\n")
    starts = {mark.line, error.context_mark.line if error.context_mark else mark.line}
    suspects = [lines[number] for number in starts if number < len(lines)]
    quotable = any(_STARTS_BADLY.match(line) or _ALTERNATIVE_IN_BRACES.search(line) for line in suspects)
    remedy = _QUOTE_IT if quotable else "check indentation, colons and quotes of this line and the one before"
    return _at(mark, file, f"this is no YAML ({error.problem or 'unexpected text'})", remedy)
