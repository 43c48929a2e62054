"""Settings: one YAML file and the environment → frozen settings, with every fault told at once.

The smallest file that works::

    ledger: var/ledger.db
    sources:
      - name: ehr
        base_url: https://ehr.example/fhir
        write_back: false

Secrets never stand in the file: a source names an environment variable (``token_env``) or a file
(``token_file``). Relative paths start at the folder that holds the file's folder: the project, where the file is
``config/baton.yaml``.
"""

from __future__ import annotations

import difflib
import os
import re
import ssl
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from adapter.errors import Fault, SettingsError
from adapter.fhir.auth import BearerToken
from adapter.mapping.calendar import build_calendar
from adapter.mapping.yaml_lines import Document, YamlFault, parse, spell
from adapter.model import SourceFacts
from adapter.references import Bases

DEFAULT_FILE = Path("config/baton.yaml")
CONFIG_VARIABLE = "BATON_CONFIG"
_LIVE_OVER = 20
DEFAULT_INTERVAL = timedelta(minutes=5)
TEMPLATE = "baton.yaml.template"

_HERE = Path(__file__).resolve().parent
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|d)\s*$")


def _duration(value: Any) -> Any:
    """Seconds, or a number with s, m, min, h or d."""
    if isinstance(value, bool):
        raise ValueError("a span of time is a number with s, m, h or d, such as 5m")
    if isinstance(value, int | float):
        return timedelta(seconds=value)
    found = _DURATION.match(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("a span of time is a number with s, m, h or d, such as 5m")
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]])


def _instant(value: Any) -> Any:
    """A date is its first moment in UTC; a time without a zone is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value) if len(value) > 10 else date.fromisoformat(value)
        except ValueError:
            raise ValueError("a date is written 2026-03-01, a moment 2026-03-01T08:00:00Z") from None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    raise ValueError("a date is written 2026-03-01, a moment 2026-03-01T08:00:00Z")


Span = Annotated[timedelta, BeforeValidator(_duration)]
Instant = Annotated[datetime, BeforeValidator(_instant)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}$")]
TypeName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z]{1,63}$")]
LocalRef = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z]{1,63}/[A-Za-z0-9\-.]{1,64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LimitSettings(_Strict):
    """Bounds of requests to one source. Times are spans; ``calls_per_minute`` 0 means no bound."""

    connect: Span = timedelta(seconds=10)
    read: Span = timedelta(seconds=60)
    total: Span = timedelta(seconds=120)
    retries: int = Field(default=4, ge=0, le=20)
    max_megabytes: int = Field(default=64, ge=1, le=1024)
    calls_per_minute: int = Field(default=1200, ge=0)


class EvidenceSettings(_Strict):
    """How fresh evidence read for one patient has to be, the Patient itself included."""

    max_age: Span = timedelta(hours=1)

    @field_validator("max_age")
    @classmethod
    def _max_age(cls, value: timedelta) -> timedelta:
        if value < timedelta(minutes=1):
            raise ValueError("evidence that is stale within a minute would be read for ever: 1m or more")
        return value


class OptOutSettings(_Strict):
    """Who wants no outreach: ``patients`` as "Patient/id" or "system|value" of an identifier; ``flags`` as
    "system|code" of Flags that say so in the EHR."""

    patients: frozenset[str] = frozenset()
    flags: frozenset[str] = frozenset()

    @field_validator("patients")
    @classmethod
    def _patients(cls, value: frozenset[str]) -> frozenset[str]:
        for text in value:
            if not re.fullmatch(r"Patient/[A-Za-z0-9\-.]{1,64}|[^|\s]+\|\S+", text):
                raise ValueError('a patient here is "Patient/ID", or "system|value" of an identifier')
        return value

    @field_validator("flags")
    @classmethod
    def _flags(cls, value: frozenset[str]) -> frozenset[str]:
        for text in value:
            if not re.fullmatch(r"[^|\s]+\|\S+", text):
                raise ValueError('a Flag is named by "system|code"')
        return value


class RetentionSettings(_Strict):
    """For how long what is not needed for work is kept."""

    quarantine_bytes: Span = timedelta(days=30)


class SourceSettings(_Strict):
    """One source: one FHIR base URL with all that is to be said of it."""

    name: Name
    base_url: str
    role: Literal["ehr", "payer"] = "ehr"
    environment: Literal["production", "test"] = "production"
    timezone: str = "UTC"
    write_back: bool = False
    interval: Span | dict[TypeName, Span] = timedelta(minutes=5)
    overlap: Span = timedelta(seconds=150)
    search: str | dict[TypeName, str] = Field(default_factory=dict)
    since: Instant | dict[TypeName, Instant] | None = None
    references: Literal["literal", "logical"] = "literal"
    store: Literal["minimal", "full"] = "minimal"
    roles: dict[Name, LocalRef] = Field(default_factory=dict)
    parameters: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    codes: dict[Name, dict[str, str]] = Field(default_factory=dict)
    types: dict[TypeName, Literal["none"]] = Field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    moved: bool = False
    was: Name | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    token_env: str = ""
    token_file: Path | None = None
    ca_file: Path | None = None
    calendar: dict[str, Any] = Field(default_factory=dict)
    completed_means: Literal["sent", "scheduled", "performed", "unknown"] = "unknown"
    disabled: frozenset[str] = frozenset()
    enabled: frozenset[str] = frozenset()
    live_from: Instant | dict[str, Instant] | None = None
    live_over: int | None = Field(default=None, ge=0, le=60)
    limits: LimitSettings = LimitSettings()
    page_size: int = Field(default=100, ge=1, le=1000)
    system_actors: frozenset[str] = frozenset()
    opt_out: OptOutSettings = OptOutSettings()
    sweep: Span = timedelta(days=1)

    @field_validator("base_url")
    @classmethod
    def _base_url(cls, value: str) -> str:
        return _checked_url(value)

    @field_validator("aliases")
    @classmethod
    def _aliases(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_checked_url(url) for url in value)

    @field_validator("role")
    @classmethod
    def _role(cls, value: str) -> str:
        if value == "payer":
            raise ValueError("payer sources cannot be used yet; leave this source out")
        return value

    @field_validator("timezone")
    @classmethod
    def _timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"there is no time zone of this name{_like(value, _zones())}") from None
        return value

    @field_validator("interval", "overlap")
    @classmethod
    def _positive(cls, value: timedelta | dict[str, timedelta]) -> timedelta | dict[str, timedelta]:
        if any(span <= timedelta(0) for span in (value.values() if isinstance(value, dict) else [value])):
            raise ValueError("this span has to be longer than nothing")
        return value

    @field_validator("search")
    @classmethod
    def _search(cls, value: str | dict[str, str]) -> str | dict[str, str]:
        for text in [value] if isinstance(value, str) else value.values():
            _parameters(text)
        return value

    @field_validator("headers")
    @classmethod
    def _headers(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if name.lower() in ("authorization", "cookie", "proxy-authorization"):
                raise ValueError(f"{name} is a secret: use token_env or token_file")
            if not (text.isascii() and text.isprintable()) or not re.fullmatch(r"[A-Za-z0-9\-_]+", name):
                raise ValueError("a header holds plain ASCII only")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.token_env and self.token_file:
            raise ValueError("token_env and token_file exclude each other")
        if both := self.enabled & self.disabled:
            raise ValueError(f"rule {min(both)} is both enabled and disabled")
        try:
            build_calendar(self.zone, self.calendar)
        except (ValueError, TypeError, NotImplementedError) as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def zone(self) -> tzinfo:
        """The zone of times that come without one."""
        return ZoneInfo(self.timezone)

    @property
    def identity(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What makes it one EHR: the normalised base with its fixed headers (tenants share a URL, F53)."""
        base = Bases(self.base_url).urls[0]
        return base, tuple(sorted((name.lower(), text) for name, text in self.headers.items()))

    def filters(self, types: Iterable[str]) -> dict[str, tuple[tuple[str, str], ...]]:
        """The search parameters that bound each type; a bare text bounds every one of ``types``."""
        if isinstance(self.search, str):
            return {type: _parameters(self.search) for type in types} if self.search else {}
        return {type: _parameters(text) for type, text in self.search.items() if text}

    def bounds(self, types: Iterable[str]) -> dict[str, datetime]:
        """From when on each type is polled."""
        if isinstance(self.since, dict):
            return dict(self.since)
        return {type: self.since for type in types} if self.since else {}

    def every(self, type: str) -> timedelta:
        """How often the service polls a type."""
        if isinstance(self.interval, dict):
            return self.interval.get(type, DEFAULT_INTERVAL)
        return self.interval

    def credential(self, environ: Mapping[str, str] | None = None) -> BearerToken | None:
        """What signs in; None where the source is open."""
        if not (self.token_env or self.token_file):
            return None
        return BearerToken(env=self.token_env, file=self.token_file, environ=environ)

    @property
    def live_over_days(self) -> int:
        """Business days over which what waited at go-live opens: four weeks of an EHR in use, none of a test."""
        if self.live_over is None:
            return 0 if self.environment == "test" else _LIVE_OVER
        return self.live_over

    def notes(self) -> Iterator[str]:
        """What ``check`` tells about settings that were left to their defaults."""
        if "timezone" not in self.model_fields_set:
            yield f"{self.name}: no timezone is set, so times without a zone are taken as UTC"


class Settings(_Strict):
    """All settings. ``file`` and ``folder`` say where they came from."""

    ledger: Path = Path("var/ledger.db")
    namespace: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.\-]{0,64}$")] = ""
    mappings: Path | None = None
    codes: Path | None = None
    parameters: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    evidence: EvidenceSettings = EvidenceSettings()
    retention: RetentionSettings = RetentionSettings()
    sources: tuple[SourceSettings, ...]

    _file: Path = PrivateAttr(default=Path())

    @field_validator("sources")
    @classmethod
    def _some(cls, value: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
        if not value:
            raise ValueError("there has to be at least one source")
        return value

    @property
    def file(self) -> Path:
        """The file that was read."""
        return self._file

    @property
    def mappings_folder(self) -> Path:
        """The mappings in use: the configured folder, else those that come with Baton."""
        return self.mappings or packaged("mappings")

    def source(self, name: str) -> SourceSettings | None:
        """A source by its name."""
        return next((source for source in self.sources if source.name == name), None)

    def source_facts(
        self,
        source: SourceSettings,
        key: str,
        *,
        codes: Mapping[str, Mapping[str, Mapping[str, str]]] | None = None,
        live_from: datetime | None = None,
    ) -> SourceFacts:
        """What looks have to know of a source.

        Args:
            source: its settings.
            key: its key, as the ledger keeps it.
            codes: code maps of ``config/codes/`` by source name ("" = all); the source's own settings win.
            live_from: the go-live that the ledger or the Device keeps, where the file names none.
        """
        said = source.live_from
        return SourceFacts(
            name=source.name,
            key=key,
            zone=source.zone,
            environment=source.environment,
            parameters=_merged(self.parameters, source.parameters),
            codes=_merged((codes or {}).get("", {}), (codes or {}).get(source.name, {}), source.codes),
            completed_means=source.completed_means,
            writes=source.write_back,
            roles=dict(source.roles),
            disabled=source.disabled,
            enabled=source.enabled,
            system_actors=source.system_actors,
            opt_out_patients=source.opt_out.patients,
            opt_out_flags=source.opt_out.flags,
            live_from=said if isinstance(said, datetime) else live_from,
            live_from_rules=dict(said) if isinstance(said, dict) else {},
            live_over=source.live_over_days,
            evidence_max_age_s=self.evidence.max_age.total_seconds(),
            aliases=source.aliases,
            base_url=source.base_url,
            references=source.references,
            calendar=dict(source.calendar),
        )

    def notes(self) -> list[str]:
        """What ``check`` tells about settings that were left to their defaults."""
        found = [note for source in self.sources for note in source.notes()]
        if not self.namespace:
            found.append("no namespace is set: one is drawn, and lost with the ledger")
        return found


def packaged(name: str) -> Path:
    """The folder ``mappings`` or ``config``: beside the package in a checkout, inside it in a wheel.

    Raises:
        SettingsError: where neither is there.
    """
    for folder in (_HERE.parent / name, _HERE / "_data" / name):
        if folder.is_dir():
            return folder
    raise SettingsError(f"the folder {name} is missing from this installation", remedy="install Baton again")


def find_file(path: Path | str | None = None, *, environ: Mapping[str, str] | None = None) -> Path:
    """The configuration file: the one named, else ``BATON_CONFIG``, else ``config/baton.yaml``.

    Raises:
        SettingsError: where it is not there.
    """
    named = (os.environ if environ is None else environ).get(CONFIG_VARIABLE, "")
    found = Path(path or named or DEFAULT_FILE)
    if not found.is_file():
        raise SettingsError(f"there is no configuration at {found}", remedy="run `baton init`, or name one")
    return found


def template(namespace: str, base_url: str) -> str:
    """The commented configuration that `baton init` writes."""
    text = (packaged("config") / TEMPLATE).read_text(encoding="utf-8")
    return text.replace("@NAMESPACE@", namespace).replace("@BASE_URL@", base_url)


def load(
    path: Path | str | None = None, *, environ: Mapping[str, str] | None = None, secrets: bool = True
) -> Settings:
    """Read the configuration.

    Args:
        path: the file; see :func:`find_file`.
        environ: stands in for the environment.
        secrets: whether a secret that is missing is a fault.

    Raises:
        SettingsError: with every fault of the file at once.
    """
    environ = os.environ if environ is None else environ
    file = find_file(path, environ=environ)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"{file} cannot be read", remedy="save it as UTF-8, readable by you") from None
    return parse_settings(text, file, environ=environ, secrets=secrets)


def parse_settings(
    text: str, file: Path, *, environ: Mapping[str, str] | None = None, secrets: bool = True
) -> Settings:
    """Settings from a text; ``file`` stands in faults and anchors relative paths.

    Raises:
        SettingsError: with every fault at once.
    """
    try:
        document = parse(text, str(file))
    except YamlFault as fault:
        raise _refused([fault.fault]) from None
    try:
        settings = Settings.model_validate(document.value)
    except ValidationError as error:
        raise _refused(
            [*_faults(document, error), *_missing_secrets(document, file, environ, secrets)]
        ) from None
    faults = [*_doubles(settings, document), *_missing_secrets(document, file, environ, secrets)]
    if faults:
        raise _refused(faults)
    return _placed(settings, file)


def defaults(base_url: str, *, name: str = "ehr", ledger: Path | None = None, **source: Any) -> Settings:
    """Settings without a file: one source, everything else by default (the demo, ``check URL``).

    Raises:
        SettingsError: where the URL or another value is wrong.
    """
    given = {"sources": [{"name": name, "base_url": base_url, **source}]}
    if ledger is not None:
        given["ledger"] = ledger  # type: ignore[assignment]
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        document = Document("", given, "")
        raise _refused(_faults(document, error)) from None


# ---- faults ----


def _refused(faults: list[Fault]) -> SettingsError:
    faults = sorted(faults, key=lambda fault: (fault.line, fault.column))
    number = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return SettingsError(f"the configuration has {number}", faults)


def _faults(document: Document, error: ValidationError) -> list[Fault]:
    """Pydantic's errors, one for each place: of a union it tells every branch."""
    found: dict[str, Fault] = {}
    for one in error.errors(include_url=False, include_context=False):
        fault = _fault(document, one)
        if fault.key not in found or one["type"] == "value_error":
            found[fault.key] = fault
    return list(found.values())


def _fault(document: Document, error: Any) -> Fault:
    """One fault of pydantic's, in plain words, at its place."""
    path = _path(document.value, error["loc"])
    kind, message = str(error["type"]), str(error["msg"])
    unknown = kind == "extra_forbidden"
    remedy = ""
    if unknown:
        message = "there is no such setting"
        remedy = _nearest(path)
    elif kind == "missing":
        message, remedy = "this setting is missing", f"add `{path[-1]}:`"
    elif kind == "literal_error":
        message = message.replace("Input should be", "it has to be")
    elif kind == "string_pattern_mismatch":
        message = "this cannot be a " + _WORDS.get(str(path[-1]), "name here")
        remedy = "letters, digits, - and . only"
    elif kind == "value_error":
        message = message.removeprefix("Value error, ")
    else:
        message = _PLAIN.get(kind.partition("_")[0], message.replace("Input should be", "it has to be"))
    remedy = remedy or f"see `{path[-1] if path else 'sources'}` in the README"
    line, column = document.place(path, key=unknown or kind == "missing")
    return Fault(message, remedy, document.file, line, column, spell(path))


_PLAIN = {
    "bool": "it has to be true or false",
    "int": "it has to be a whole number",
    "tuple": "it has to be a list",
    "list": "it has to be a list",
    "dict": "it has to be names with values",
    "model": "it has to be names with values",
    "string": "it has to be a text",
}
_WORDS = {"namespace": "namespace", "name": "name", "was": "name"}


def _path(value: Any, loc: Iterable[str | int]) -> tuple[str | int, ...]:
    """The part of pydantic's location that is in the file: it also names branches of unions."""
    found: list[str | int] = []
    parts = list(loc)
    for place, part in enumerate(parts):
        if isinstance(value, Mapping) and (part in value or place == len(parts) - 1):
            value = value.get(part)
        elif isinstance(value, list | tuple) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            continue
        found.append(part)
    return tuple(found)


def _nearest(path: tuple[str | int, ...]) -> str:
    model: Any = Settings
    for part in path[:-1]:
        model = _MODELS.get(str(part), model)
    names = list(model.model_fields)
    close = difflib.get_close_matches(str(path[-1]), names, 1, 0.5)
    return f"did you mean `{close[0]}`?" if close else f"known here: {', '.join(names)}"


_MODELS: Mapping[str, type[BaseModel]] = {
    "sources": SourceSettings,
    "limits": LimitSettings,
    "evidence": EvidenceSettings,
    "retention": RetentionSettings,
    "opt_out": OptOutSettings,
}


def _doubles(settings: Settings, document: Document) -> Iterator[Fault]:
    names: dict[str, int] = {}
    bases: dict[Any, int] = {}
    for number, source in enumerate(settings.sources):
        if source.name in names:
            yield document.fault(("sources", number, "name"), "two sources have this name", "rename one")
        if source.identity in bases:
            other = settings.sources[bases[source.identity]].name
            message = f"source {other} has the same base URL and headers"
            yield document.fault(("sources", number, "base_url"), message, "one EHR is one source")
        names.setdefault(source.name, number)
        bases.setdefault(source.identity, number)


def _missing_secrets(
    document: Document, file: Path, environ: Mapping[str, str] | None, wanted: bool
) -> Iterator[Fault]:
    sources = document.value.get("sources") if isinstance(document.value, Mapping) else None
    known = os.environ if environ is None else environ
    for number, source in enumerate(sources if wanted and isinstance(sources, list) else ()):
        if not isinstance(source, Mapping):
            continue
        variable, secret = source.get("token_env"), source.get("token_file")
        if isinstance(variable, str) and variable and not known.get(variable, "").strip():
            message = f"the environment variable {variable} is missing or empty"
            yield document.fault(("sources", number, "token_env"), message, f"set {variable}")
        if isinstance(secret, str) and secret and not (_root(file) / secret).is_file():
            yield document.fault(("sources", number, "token_file"), "there is no such file", "create it")
        if isinstance(source.get("ca_file"), str) and (
            why := _no_authorities(_root(file) / source["ca_file"])
        ):
            yield document.fault(("sources", number, "ca_file"), why, "name a file of certificates, in PEM")


def _no_authorities(path: Path) -> str:
    """Why a file holds no certificate to trust; "" where it does."""
    if not path.is_file():
        return "there is no such file"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError):
        return "it holds no certificate that can be read"
    return ""


# ---- values ----


def _checked_url(value: str) -> str:
    """A base URL without a last slash."""
    try:
        parts = urlsplit(value.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("this is no URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("a base URL begins with https:// (or http://) and names a host")
    if parts.username or parts.password:
        raise ValueError("a base URL holds no user or password: use token_env or token_file")
    if parts.query or parts.fragment:
        raise ValueError("a base URL ends before ? and #")
    return value.strip().rstrip("/")


_OURS = frozenset({"_lastUpdated", "_sort", "_count", "_elements", "_summary", "_include", "_revinclude"})


def _parameters(text: str) -> tuple[tuple[str, str], ...]:
    """Search parameters from "a=b&c=d"."""
    pairs = parse_qsl(text.removeprefix("?").replace("+", "%2B"), keep_blank_values=True)
    if text and (not pairs or any(not value for _, value in pairs)):
        raise ValueError('a search is written "a=b&c=d"')
    for name, _ in pairs:
        if name.partition(":")[0] in _OURS:
            raise ValueError(f"{name} is set by Baton itself")
        if "." in name or name.startswith("_has"):
            raise ValueError(f"{name}: a chained search never shows a resource entering it")
    return tuple(pairs)


def _merged(*parts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        for name, values in part.items():
            found.setdefault(name, {}).update(values)
    return found


def _placed(settings: Settings, file: Path) -> Settings:
    """Relative paths made to start at the project."""
    root = _root(file)
    sources = tuple(
        source.model_copy(
            update={
                name: root / value
                for name in ("token_file", "ca_file")
                if (value := getattr(source, name)) is not None
            }
        )
        for source in settings.sources
    )
    paths = {
        name: root / value for name in ("ledger", "mappings", "codes") if (value := getattr(settings, name))
    }
    beside = file.resolve().parent / "codes"
    if settings.codes is None and beside.is_dir():
        paths["codes"] = beside
    placed = settings.model_copy(update={**paths, "sources": sources})
    placed._file = file
    return placed


def _root(file: Path) -> Path:
    folder = file.resolve().parent
    return folder.parent if folder.name == "config" else folder


@lru_cache(maxsize=1)
def _zones() -> tuple[str, ...]:
    from zoneinfo import available_timezones

    return tuple(sorted(available_timezones()))


def _like(value: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(value, list(names), 1, 0.6)
    return f"; did you mean {close[0]}?" if close else ""
