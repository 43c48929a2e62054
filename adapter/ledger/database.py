"""The file itself: opening it, its mode, its lock, its migrations, its transactions and its errors.

One connection per thread, and one writer at a time: writes begin with ``BEGIN IMMEDIATE``, so that two
writers wait for each other at the beginning and not at the end (F14). Errors of sqlite3 leave this package
only as :class:`~adapter.errors.LedgerError`, and none of their texts holds a value of a row.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from adapter.clock import Clock
from adapter.errors import LedgerError, LedgerLocked, LedgerUnusable

APPLICATION_ID = 0x42544E31  # "BTN1": tells a ledger from any other SQLite file
BUSY_MS = 30_000
# Of a new ledger: a resource is about a kilobyte, and of smaller pages each would hold three and waste the rest. One
# that was made with other pages keeps them.
PAGE_BYTES = 8192
# Of WAL before it is copied back: rows come in the order of time and lie in that of their ids, so a checkpoint after
# every 4 MB (SQLite's own) would write most pages of a first load several times over. No commit is weaker by it.
CHECKPOINT_BYTES = 64 * 1024 * 1024
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "fuse.sshfs", "9p"})


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step of the schema."""

    number: int
    name: str
    sql: str


def migrations() -> tuple[Migration, ...]:
    """All migrations that this version carries, in order."""
    found = [
        Migration(int(entry.name[:3]), entry.name, entry.read_text(encoding="utf-8"))
        for entry in files("adapter.ledger.migrations").iterdir()
        if entry.name.endswith(".sql")
    ]
    return tuple(sorted(found, key=lambda step: step.number))


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn sqlite3's errors into :class:`LedgerError`, each with what to do next."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path) from None


def translate(error: sqlite3.Error, path: Path) -> LedgerError:
    """The LedgerError that says what an error of sqlite3 means for this file."""
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    if name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")) and _is_full(path.parent):
        name = "SQLITE_FULL"  # what SQLite says where its -shm or -wal finds no room
    for start, sentence, remedy in _MEANINGS:
        if name.startswith(start):
            return LedgerUnusable(sentence.format(path=path), remedy=remedy)
    return LedgerError(f"the ledger {path} failed ({name})", remedy="run `baton ledger check`")


def _is_full(folder: Path) -> bool:
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _LEAST_ROOM


_LEAST_ROOM = 128 * 1024
_MEANINGS = (
    ("SQLITE_NOTADB", "{path} is no ledger, or it is corrupt", "restore it from a backup"),
    ("SQLITE_CORRUPT", "the ledger {path} is corrupt", "restore it from a backup"),
    ("SQLITE_READONLY", "the ledger {path} is read-only", "check the owner and mode of file and folder"),
    ("SQLITE_CANTOPEN", "the ledger {path} cannot be opened", "check the owner and mode of file and folder"),
    ("SQLITE_PERM", "the ledger {path} may not be accessed", "check the owner and mode of file and folder"),
    ("SQLITE_FULL", "the disk of the ledger {path} is full", "make room; nothing was half-written"),
    ("SQLITE_IOERR", "the disk of the ledger {path} fails", "check the disk; then run `baton ledger check`"),
    ("SQLITE_BUSY", "the ledger {path} is busy with another process", "try again"),
    ("SQLITE_LOCKED", "the ledger {path} is busy with another process", "try again"),
    ("SQLITE_CONSTRAINT", "the ledger {path} refused a row that contradicts another", "report this fault"),
)


class Database:
    """The connections of one ledger file. Use :meth:`writing` and :meth:`reading`; close it at the end."""

    def __init__(self, path: Path, *, clock: Clock, create: bool) -> None:
        self.path = path
        self._clock = clock
        self._local = threading.local()
        self._writer = threading.RLock()
        self._open: list[tuple[weakref.ref[threading.Thread], sqlite3.Connection]] = []
        self._guard = threading.Lock()
        self._closed = False
        prepare_file(path, create=create)
        try:
            with translated(path):
                self._migrate()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close every thread's connection. Calling it twice does no harm."""
        with self._guard:
            self._closed = True
            for _, connection in self._open:
                connection.close()
            self._open.clear()

    def connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        return self._session().connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent state for several reads; joins a transaction that this thread is in."""
        session = self._session()
        with translated(self.path):
            if session.depth:
                yield session.connection
                return
            session.connection.execute("BEGIN")
            session.depth = 1
            try:
                yield session.connection
            finally:
                session.depth = 0
                if session.connection.in_transaction:
                    session.connection.execute("COMMIT")

    @contextmanager
    def writing(
        self, before_commit: Callable[[sqlite3.Connection], None], *, durable: bool = True
    ) -> Iterator[sqlite3.Connection]:
        """One write transaction, rolled back by any exception; joins one that this thread is in.

        ``before_commit`` runs only where something was written. A transaction that is not ``durable`` may be lost
        with the power, though never with the process: it is for what follows from the EHR and can be read or
        looked at again. The next durable one, which stands before everything that is sent, makes it durable, too:
        the WAL is synced as a whole, so what survives is always a state that the ledger was in (F16).
        """
        session = self._session()
        if session.depth:
            if not session.writes:
                raise LedgerError("a write inside a read of the ledger", remedy="report this fault")
            with translated(self.path):
                yield session.connection
            return
        with self._writer, translated(self.path):
            yield from _transaction(session, before_commit, durable=durable)

    def _session(self) -> _Session:
        if self._closed:
            raise LedgerError("the ledger is closed")
        session: _Session | None = getattr(self._local, "session", None)
        if session is None:
            with translated(self.path):
                session = self._local.session = _Session(self._connect())
        return session

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.resolve().as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,  # transactions are begun and ended here, by name
            check_same_thread=False,  # close() is called by whichever thread ends the ledger
            timeout=BUSY_MS / 1000,
        )
        try:
            _settle(connection)
        except BaseException:
            connection.close()
            raise
        with self._guard:
            self._forget_ended()
            self._open.append((weakref.ref(threading.current_thread()), connection))
        return connection

    def _forget_ended(self) -> None:
        for reference, connection in list(self._open):
            thread = reference()
            if thread is None or not thread.is_alive():
                connection.close()
                self._open.remove((reference, connection))

    def _migrate(self) -> None:
        steps = migrations()
        connection = self._session().connection
        self._refuse_foreign(connection, steps[-1].number)
        connection.execute("PRAGMA journal_mode = WAL")
        for step in steps:
            if _version(connection) < step.number:
                _apply(connection, step)

    def _refuse_foreign(self, connection: sqlite3.Connection, newest: int) -> None:
        found, tables = (
            _version(connection),
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone(),
        )
        mark = connection.execute("PRAGMA application_id").fetchone()[0]
        if tables[0] and mark != APPLICATION_ID:
            raise LedgerError(f"{self.path} is a database of something else", remedy="name another file")
        if found > newest:
            raise LedgerError(
                f"the ledger {self.path} has schema {found}; this Baton knows {newest}",
                remedy="use the newer Baton that made it: a ledger never goes back",
            )


@dataclass(slots=True)
class _Session:
    connection: sqlite3.Connection
    depth: int = 0
    writes: bool = False
    durable: bool = True  # what the connection is set to, first by `_settle`


def _transaction(
    session: _Session, before_commit: Callable[[sqlite3.Connection], None], *, durable: bool
) -> Iterator[sqlite3.Connection]:
    connection = session.connection
    if durable is not session.durable:
        connection.execute("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
        session.durable = durable
    connection.execute("BEGIN IMMEDIATE")
    session.depth, session.writes = 1, True
    changes = connection.total_changes
    try:
        yield connection
        if connection.total_changes != changes:
            before_commit(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have rolled back already
            connection.execute("ROLLBACK")
        raise
    finally:
        session.depth, session.writes = 0, False


def _settle(connection: sqlite3.Connection) -> None:
    connection.row_factory = sqlite3.Row
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA synchronous = FULL")  # an acknowledged write must survive the power (F16)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")  # patient data in no temporary file
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA cache_size = -65536")
    page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_BYTES // page_bytes}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _apply(connection: sqlite3.Connection, step: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _version(connection) < step.number:  # another process may have been first
            for statement in statements(step.sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {step.number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def statements(sql: str) -> Iterator[str]:
    """The statements of a script, one by one: ``executescript`` would commit the transaction around it."""
    pending = ""
    for line in sql.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip():
        yield pending


def prepare_file(path: Path, *, create: bool) -> None:
    """Make folder and file readable by their owner only; -wal and -shm take their mode from the file.

    Raises:
        LedgerError: where there is no file and ``create`` is false, or the place cannot be used.
    """
    if not create and not path.exists():
        raise LedgerError(f"there is no ledger at {path}", remedy="run `baton init`, or name the right file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        refuse_network(path.parent)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        if path.stat().st_mode & 0o077 and path.stat().st_uid == os.getuid():
            path.chmod(0o600)
    except PermissionError:
        raise LedgerError(
            f"the ledger {path} may not be written", remedy="check the owner and mode of file and folder"
        ) from None
    except OSError as error:
        raise LedgerError(f"the ledger {path} cannot be made: {os.strerror(error.errno or 0)}") from None


def refuse_network(folder: Path) -> None:
    """Refuse a network file system: its locks and its shared memory do not hold (F67)."""
    kind = _file_system(folder.resolve())
    if kind in _NETWORK:
        raise LedgerError(
            f"{folder} is on a network file system ({kind})", remedy="keep the ledger on a local disk"
        )


def _file_system(folder: Path) -> str:
    best, kind = "", ""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    for line in lines:
        parts = line.split()
        if len(parts) > 2 and len(parts[1]) >= len(best) and folder.is_relative_to(parts[1]):
            best, kind = parts[1], parts[2]
    return kind


@contextmanager
def held(path: Path, verb: str, clock: Clock) -> Iterator[None]:
    """Hold the ledger's lock: by the system (flock), so that a killed process never leaves it behind.

    Raises:
        LedgerLocked: naming the process, host, verb and time of who holds it.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        number = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise LedgerError(f"the lock {lock} cannot be made: {os.strerror(error.errno or 0)}") from None
    try:
        _take(number, lock)
        os.ftruncate(number, 0)
        said = f"{os.getpid()} {socket.gethostname()} {verb} {clock.now():%Y-%m-%dT%H:%M:%SZ}"
        os.pwrite(number, said.encode(), 0)
        yield
    finally:
        os.close(number)  # gives the lock back


def _take(number: int, lock: Path) -> None:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pid, host, verb, since = (os.pread(number, 500, 0).decode(errors="replace").split() + ["?"] * 4)[:4]
        raise LedgerLocked(
            f"the ledger is in use: `{verb}`, process {pid} on {host}, since {since}",
            remedy=f"stop it, or wait ({lock.name})",
        ) from None
