"""Reads a folder of mappings into one checked edition. All faults at once, or none.

The folder holds ``*.yaml`` mapping files, ``clocks.yaml`` and ``valuesets/*.yaml``; code maps lie elsewhere
(``config/codes``), because they belong to a site. Scenario files (``*.scenarios.yaml``) and ``schema/`` are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapter import __version__
from adapter.errors import Fault, MappingError
from adapter.facts.codes import Codebook
from adapter.fhirjson import digest
from adapter.mapping.calendar import HOLIDAYS_VERSION
from adapter.mapping.check import Read, clock_faults, identity_faults, rank_faults
from adapter.mapping.compiling import compile_file
from adapter.mapping.rules import Edition, MappingFile, Rule
from adapter.mapping.schema import ClockModel, ClocksModel, CodeMapModel, MappingModel, validated
from adapter.mapping.valuesets import Include, ValueSets, read_valueset
from adapter.mapping.yaml_lines import Document, YamlFault, parse

CLOCKS = "clocks.yaml"
VALUESETS = "valuesets"
SCENARIOS = ".scenarios.yaml"
Maps = dict[str, dict[str, dict[str, str]]]


@dataclass(slots=True)
class _Reading:
    """What was read so far, and what was wrong with it."""

    faults: list[Fault] = field(default_factory=list)
    contents: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def document(self, path: Path, root: Path) -> Document | None:
        """One parsed file; None where it cannot be read."""
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        try:
            document = parse(path.read_text("utf-8"), name)
        except YamlFault as error:
            self.faults.append(error.fault)
            return None
        except (OSError, UnicodeDecodeError) as error:
            self.faults.append(Fault("the file cannot be read", f"check it ({type(error).__name__})", name))
            return None
        self.contents[name] = document.value
        if not document.text.lstrip().startswith("---"):
            self.notes.append(f"{name}: not framed by '---' and '...': a copy cut short is not noticed")
        return document


def load(folder: Path, *, codes: Path | None = None) -> Edition:
    """The edition of a folder, compiled.

    Args:
        folder: where the mapping files lie.
        codes: where the code maps lie; None = none.

    Raises:
        MappingError: with every fault of every file, each with line, column and remedy.
    """
    reading = _Reading()
    if not folder.is_dir():
        raise MappingError("there is no folder of mappings", remedy="name one that exists")
    valuesets = _valuesets(folder, reading)
    clocks = _clocks(folder, reading)
    files = _mappings(folder, reading)
    maps = _code_maps(codes, reading) if codes is not None else {}
    reading.faults += [*identity_faults(files), *rank_faults(files)]
    rules, elements = _compiled(files, valuesets, clocks, reading)
    faults = tuple(dict.fromkeys(reading.faults))
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise MappingError(f"the mappings have {count}", sorted(faults, key=_place))
    return Edition(
        rules=tuple(rules),
        mappings=tuple(_mapping(read) for read in files),
        valuesets=valuesets,
        codebook=Codebook(valuesets, maps.get("", {})),
        hash=digest([__version__, HOLIDAYS_VERSION, reading.contents])[:16],
        elements={type: frozenset(names) for type, names in elements.items()},
        codes=maps,
        notes=tuple(reading.notes),
    )


def mapping_paths(folder: Path) -> Iterator[Path]:
    """The mapping files of a folder, by name."""
    for path in sorted(folder.glob("*.yaml")):
        if path.name != CLOCKS and not path.name.endswith(SCENARIOS):
            yield path


def _valuesets(folder: Path, reading: _Reading) -> ValueSets:
    sets: dict[str, tuple[Include, ...]] = {}
    for path in sorted((folder / VALUESETS).glob("*.yaml")):
        document = reading.document(path, folder)
        if document is None:
            continue
        name, parts, faults = read_valueset(document)
        reading.faults += faults
        if name in sets:
            reading.faults.append(document.fault(("valueset",), f"there is another value set '{name}'"))
        if name:
            sets[name] = parts
    return ValueSets(sets)


def _clocks(folder: Path, reading: _Reading) -> Mapping[str, ClockModel]:
    path = folder / CLOCKS
    document = reading.document(path, folder) if path.exists() else None
    if document is None:
        return {}
    model, faults = validated(ClocksModel, document)
    reading.faults += faults
    if model is None:
        return {}
    wrong = list(clock_faults(model, document))
    reading.faults += wrong
    return {} if wrong else model.clocks


def _mappings(folder: Path, reading: _Reading) -> list[Read]:
    files = []
    paths = list(mapping_paths(folder))
    for path in paths:
        document = reading.document(path, folder)
        if document is None:
            continue
        model, faults = validated(MappingModel, document)
        reading.faults += faults
        if model is not None:
            files.append(Read(model, document))
    if not paths:
        reading.faults.append(Fault("the folder holds no mapping file", "copy the shipped ones into it"))
    return files


def _code_maps(folder: Path, reading: _Reading) -> Maps:
    maps: Maps = {}
    for path in sorted(folder.glob("**/*.yaml")):
        document = reading.document(path, folder.parent)
        if document is None:
            continue
        model, faults = validated(CodeMapModel, document)
        reading.faults += faults
        for key in model.codes if model else ():
            if "|" not in key:
                remedy = "write it as system|code, or |code where there is no system"
                reading.faults.append(
                    document.fault(("codes", key), "a code has no system", remedy, key=True)
                )
        if model is not None:
            maps.setdefault(model.source or "", {}).setdefault(model.map, {}).update(model.codes)
    return maps


def _compiled(
    files: list[Read], valuesets: ValueSets, clocks: Mapping[str, ClockModel], reading: _Reading
) -> tuple[list[Rule], dict[str, set[str]]]:
    rules: list[Rule] = []
    elements: dict[str, set[str]] = {}
    for read in files:
        found = compile_file(read.model, read.document, valuesets, clocks)
        rules += found.rules
        for compiler in found.compilers:
            reading.faults += compiler.faults
        for type, names in found.elements.items():
            elements.setdefault(type, set()).update(names - _NOT_ELEMENTS)
    return rules, elements


_NOT_ELEMENTS = frozenset({"resourceType", "id"})


def _mapping(read: Read) -> MappingFile:
    model = read.model
    return MappingFile(
        model.mapping,
        model.version,
        model.title,
        read.document.file,
        tuple(rule.id for rule in model.rules),
        frozenset(model.removed),
    )


def _place(fault: Fault) -> tuple[str, int, int]:
    return fault.file, fault.line, fault.column
