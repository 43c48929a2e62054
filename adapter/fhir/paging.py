"""Where a server's link leads, brought onto our own base. Pure: nothing here sends anything.

Servers behind proxies name themselves wrongly: an inner host, a doubled port, another scheme, a base path
that the proxy rewrites. The path after the base and the query are theirs to choose, the origin and the base
are ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import parse_qsl, urljoin, urlsplit

from adapter.errors import ForeignOrigin

_DOTS = re.compile(r"(?i)(?:^|/)(?:\.|%2e){1,2}(?:/|$)")
_LOOK = "look at what the server, or a proxy before it, writes into the links of its pages"
_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an absolute URL; ("", "", 0) where it has none, or is no http."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ("", "", 0)
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not parts.hostname:
        return ("", "", 0)
    return (scheme, parts.hostname.lower(), port or _PORTS[scheme])


def same_origin(one: str, other: str) -> bool:
    """Whether two absolute URLs share scheme, host and port."""
    return origin(one) == origin(other) != ("", "", 0)


def address(url: str) -> str:
    """The origin as text for a message, "https://host:port", without user, path or query."""
    scheme, host, port = origin(url)
    if not scheme:
        return "an address that is no http"
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" if port == _PORTS[scheme] else f"{scheme}://{shown}:{port}"


def tail_of(url: str, base: str) -> str:
    """The path of one of our own URLs after the base: "Task", "Task/_history", "" for the base itself."""
    path, root = urlsplit(url).path, urlsplit(base).path.rstrip("/")
    return path[len(root) :].strip("/") if path.startswith(root) else ""


def rebase(link: str, *, base: str, current: str, tail: str, aliases: Sequence[str] = ()) -> str:
    """A page link as an absolute URL on ``base``.

    Args:
        link: as the server wrote it, absolute or relative.
        base: our base URL, without a last slash.
        current: the URL whose answer held the link; relative links start there.
        tail: what was asked for (:func:`tail_of`): how a link may end when its base is unknown.
        aliases: other URLs under which this server knows itself.

    Raises:
        ForeignOrigin: where the link cannot be brought onto the base; the message names its origin alone.
    """
    full = _joined(current, link.strip())
    if origin(full) == ("", "", 0):
        raise ForeignOrigin("a page link has no address that could be asked", remedy=_LOOK)
    parts = urlsplit(full)
    if _DOTS.search(parts.path):
        raise ForeignOrigin(f"a page link to {address(full)} leads out of the base", remedy=_LOOK)
    rest = _rest(full, parts.path, parts.query, base, tail, aliases)
    if rest is None:
        raise ForeignOrigin(
            f"a page link leads to {address(full)}, which is not the base",
            remedy="name the server's own base URL among the aliases of this source",
        )
    path = f"{base}/{rest}" if rest else base
    return f"{path}?{parts.query}" if parts.query else path


def _joined(current: str, link: str) -> str:
    try:
        return urljoin(current, link)
    except ValueError:  # "http://[": no address at all
        return ""


def _rest(full: str, path: str, query: str, base: str, tail: str, aliases: Sequence[str]) -> str | None:
    """The link's path after the base, "" for the base itself, None where it is none of ours."""
    for known in (base, *aliases):
        root = urlsplit(known).path.rstrip("/")
        ours = known == base or same_origin(known, full)
        if not ours or not (path == root or path.startswith(root + "/")):
            continue
        # Without a base path everything starts with it: on another host the ending then says more.
        if root or same_origin(known, full) or path.strip("/") in ("", tail):
            return path[len(root) :].strip("/")
    return _by_ending(path, query, tail)


def _by_ending(path: str, query: str, tail: str) -> str | None:
    if tail and (path.strip("/") == tail or path.rstrip("/").endswith(f"/{tail}")):
        return tail
    # HAPI's own paging asks the base itself, whatever the base is called inside.
    is_hapi = any(name == "_getpages" for name, _ in parse_qsl(query, keep_blank_values=True))
    return "" if is_hapi or path in ("", "/") or path.endswith("/") else None
