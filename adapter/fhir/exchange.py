"""One request and its answer: retries where they are safe, bounds, sign-in, redirects, and faults told apart.

What a lost answer means depends on what was sent. A read is asked again. A write is sent again only where
nothing of it can have reached the server; otherwise its outcome is unknown, and the caller looks first (F15).
"""

from __future__ import annotations

import random
import secrets
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin

import httpx

from adapter import __version__
from adapter.clock import Clock, Sequence, ServerClock
from adapter.errors import (
    ForeignOrigin,
    NotFhir,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    RetryableError,
    ServerError,
    ServerUnavailable,
    SettingsError,
)
from adapter.fhir.answers import Limits
from adapter.fhir.auth import Renewable
from adapter.fhir.deadline import Deadline, transport
from adapter.fhir.paging import address, origin, same_origin
from adapter.fhir.status import error_for

MAX_REDIRECTS = 3
ACCEPT = "application/fhir+json, application/json;q=0.9"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRIED_AGAIN = "the next pass tries again, and nothing is lost"
_SLOW = "raise `limits: {read: …, total: …}` of this source, or lower its page_size"
_LOOKED_FOR = "nothing to do: it is looked for before it is sent again"
# Nothing of the request can have reached a server.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Ask:
    """What is to be sent; ``what`` says it in safe words ("search of Task"), ``writes`` forbids repeats."""

    method: str
    url: str
    what: str
    writes: bool = False
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer with status 2xx, its body whole and unpacked."""

    status: int
    headers: httpx.Headers
    body: bytes
    url: str
    date: datetime | None
    sent_seq: int
    received_seq: int


class Exchange:
    """Sends requests to one origin. Safe for use from several threads."""

    def __init__(
        self,
        base_url: str,
        *,
        name: str,
        headers: Mapping[str, str],
        token: Callable[[], str | None] | None,
        limits: Limits,
        clock: Clock,
        seq: Sequence,
        verify: bool | str,
        wire: httpx.BaseTransport | None,
        spend: Callable[[], None] | None = None,
    ) -> None:
        if origin(base_url) == ("", "", 0):
            raise SettingsError("the base URL of a source has to begin with http:// or https://")
        self.clock = ServerClock(clock)
        self.run_id = f"baton-{secrets.token_hex(8)}"
        self._base = base_url
        self._label = name or address(base_url)
        self._name = name
        self._token = token
        self._limits = limits
        self._local = clock
        self._seq = seq
        self._spend = spend
        self._deadline = Deadline(clock.monotonic)
        self._jitter = random.Random()  # noqa: S311 (spreads retries; no secret)
        self._http = httpx.Client(
            transport=wire or transport(self._deadline, verify=verify),
            headers={
                **{key: _header(value, f"header {key}") for key, value in headers.items()},
                "Accept": ACCEPT,
                "Accept-Encoding": "gzip",
                "User-Agent": f"baton-fhir/{__version__}",
            },
            timeout=httpx.Timeout(limits.read_s, connect=limits.connect_s),
            follow_redirects=False,
            trust_env=False,
        )

    def send(self, ask: Ask) -> Raw:
        """Send until an answer with 2xx comes, or a fault that no repeat mends.

        Raises:
            ServerError: one of its kinds, with ``source`` set.
        """
        attempt = 0
        while True:
            try:
                return self._signed(ask)
            except RetryableError as fault:
                if attempt >= self._limits.retries or not _repeatable(ask, fault):
                    raise
                self._local.sleep(self._pause(attempt, fault))
                attempt += 1

    def error(
        self, kind: type[ServerError], message: str, *, remedy: str = "", status: int = 0
    ) -> ServerError:
        """A fault of this source, to be raised."""
        return kind(f"{self._label}: {message}", remedy=remedy, status=status, source=self._name)

    def labelled(self, fault: ServerError) -> ServerError:
        """A fault that knew nothing of its source, now with its name."""
        made = type(fault)(
            f"{self._label}: {fault.message}",
            remedy=fault.remedy,
            status=fault.status,
            issues=fault.issues,
            source=self._name,
        )
        return made

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def _pause(self, attempt: int, fault: RetryableError) -> float:
        if isinstance(fault, RateLimited) and fault.retry_after > 0:
            return fault.retry_after
        step = min(self._limits.backoff_cap_s, self._limits.backoff_s * 2.0**attempt)
        return step * self._jitter.uniform(0.5, 1.0)

    def _signed(self, ask: Ask) -> Raw:
        """One attempt; after a 401, which did nothing, a second one if the credential is another by now."""
        said = self._credential()
        answer = self._followed(ask, said)
        if answer.status == 401 and isinstance(self._token, Renewable):
            self._token.renew()
            now = self._credential()
            if now != said:  # compared here: another thread may have renewed it first
                answer = self._followed(ask, now)
        if 200 <= answer.status < 300:
            return answer
        raise error_for(
            answer.status,
            answer.headers,
            answer.body,
            what=ask.what,
            writes=ask.writes,
            label=self._label,
            source=self._name,
            now=answer.date or self._local.now(),
            cap=self._limits.retry_after_cap_s,
        )

    def _followed(self, ask: Ask, said: str) -> Raw:
        url = ask.url
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._once(ask, url, said)
            if answer.status not in _REDIRECTS:
                return answer
            url = self._target(ask, answer)
        raise self.error(
            NotFhir,
            f"{ask.what} is redirected over and over",
            remedy="is base_url the FHIR root, and the sign-in right?",
            status=answer.status,
        )

    def _target(self, ask: Ask, answer: Raw) -> str:
        """Where a redirect leads, if it may be followed."""
        try:
            url = urljoin(answer.url, str(answer.headers.get("Location", "")))
        except ValueError:
            url = ""
        if not same_origin(url, self._base):
            raise self.error(
                ForeignOrigin,
                f"{ask.what} is redirected to {address(url)}; nothing was sent there",
                remedy="where the source has moved, give its new address as base_url",
                status=answer.status,
            )
        if ask.method != "GET":
            raise self.error(
                ForeignOrigin,
                f"{ask.what} is redirected, and a write does not follow",
                remedy="give the address that it leads to as base_url",
                status=answer.status,
            )
        return url

    def _once(self, ask: Ask, url: str, said: str) -> Raw:
        if not same_origin(url, self._base):
            raise self.error(ForeignOrigin, f"{ask.what} leads to another origin; nothing was sent there")
        request = self._request(ask, url, said)
        if not ask.writes:
            self._local.sleep(0.0)  # a clock that was told to stop ends it here; a write goes through
        if self._spend is not None:
            self._spend()
        self._deadline.start(self._limits.total_s)
        sent = self._seq.next()
        try:
            response = self._http.send(request, stream=True)
            try:
                body = self._body(ask, response)
            finally:
                response.close()
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as fault:
            raise self._transport_error(ask, fault) from None
        date = _date(response.headers)
        if response.headers.get("Age", "0").strip() in ("", "0"):  # a cache's answer tells an old time
            self.clock.heard(date)
        return Raw(response.status_code, response.headers, body, url, date, sent, self._seq.next())

    def _credential(self) -> str:
        text = _header((self._token() if self._token else None) or "", "token")
        return text if not text or " " in text else f"Bearer {text}"

    def _request(self, ask: Ask, url: str, said: str) -> httpx.Request:
        headers = {"X-Request-ID": self.run_id, **ask.headers}
        if said:
            headers["Authorization"] = said
        if ask.method == "GET":
            headers["Cache-Control"] = "no-cache"  # HAPI reuses a search for a minute
        try:
            return self._http.build_request(ask.method, url, content=ask.body, headers=headers)
        except (httpx.InvalidURL, ValueError):
            raise self.error(
                Rejected, f"{ask.what} has no address that could be asked", remedy="check the base_url"
            ) from None

    def _body(self, ask: Ask, response: httpx.Response) -> bytes:
        """The unpacked body, within its bounds. Of a fault, only as much as its outcome may need."""
        parts: list[bytes] = []
        size, most = 0, self._limits.max_bytes
        for part in response.iter_bytes():
            size += len(part)
            if size > most:
                kind = OutcomeUnknown if ask.writes and response.status_code < 300 else NotFhir
                raise self.error(
                    kind,
                    f"the answer to {ask.what} is larger than {most} bytes",
                    remedy="raise `limits: {max_megabytes: …}` of this source, or lower its page_size",
                    status=response.status_code,
                )
            if self._deadline.left() <= 0:
                raise httpx.ReadTimeout("", request=response.request)
            parts.append(part)
        return b"".join(parts)

    def _transport_error(self, ask: Ask, fault: Exception) -> ServerError:
        place = address(self._base)
        if isinstance(fault, _UNSENT):
            return self._unconnected(fault, place)
        if isinstance(fault, httpx.LocalProtocolError | httpx.InvalidURL | httpx.UnsupportedProtocol):
            return self.error(Rejected, f"{ask.what} cannot be put into a request")
        late = isinstance(fault, httpx.TimeoutException)
        said = "no answer in time from" if late else "the connection was lost to"
        if ask.writes:
            return self.error(OutcomeUnknown, f"{said} {place} after {ask.what} was sent", remedy=_LOOKED_FOR)
        if isinstance(fault, httpx.DecodingError):
            return self.error(
                NotFhir, f"the answer to {ask.what} cannot be unpacked", remedy="look at the proxies between"
            )
        remedy = _SLOW if late else _TRIED_AGAIN
        return self.error(ServerUnavailable, f"{said} {place} during {ask.what}", remedy=remedy)

    def _unconnected(self, fault: Exception, place: str) -> ServerError:
        where = place.partition("://")[2]
        port = origin(self._base)[2]
        where = where if where.rsplit(":", 1)[-1] == str(port) else f"{where}:{port}"
        tls = _tls_fault(fault)
        if tls is None:
            late = isinstance(fault, httpx.TimeoutException)
            text = f"no server answers at {where}" + (" in time" if late else "")
            return self.error(_Unsent, text, remedy="is the address right, and the server up?")
        if isinstance(tls, ssl.SSLCertVerificationError):
            text = f"the certificate of {where} does not fit"
            return self.error(
                _Untrusted,
                text,
                remedy="name the right host, or give the authority that signed it as ca_file",
            )
        return self.error(
            _Untrusted,
            f"no secure connection to {where} could be made",
            remedy="does that port speak https, TLS 1.2 or newer?",
        )


class _Unsent(ServerUnavailable):
    """Nothing was sent: even a write may be sent again."""


class _Untrusted(ServerUnavailable):
    """Nothing was sent, and no repeat mends it."""


def _repeatable(ask: Ask, fault: RetryableError) -> bool:
    if isinstance(fault, _Untrusted):
        return False
    return not ask.writes or isinstance(fault, _Unsent) or fault.status == 429


def _tls_fault(fault: BaseException | None) -> ssl.SSLError | None:
    seen = 0
    while fault is not None and seen < 10:
        if isinstance(fault, ssl.SSLError):
            return fault
        fault, seen = fault.__cause__ or fault.__context__, seen + 1
    return None


def _header(text: str, what: str) -> str:
    """A header's value; httpx would put a wrong one, secret or not, into its error."""
    if not (text.isascii() and text.isprintable()):
        raise SettingsError(
            f"the {what} holds signs that no header may carry", remedy="write it in one line, in plain ASCII"
        )
    return text


def _date(headers: httpx.Headers) -> datetime | None:
    text = headers.get("Date")
    try:
        date = parsedate_to_datetime(text) if text else None
    except (ValueError, TypeError, OverflowError):
        return None
    return None if date is None else date.replace(tzinfo=date.tzinfo or UTC).astimezone(UTC)
