"""SQLite files in write-ahead-log mode, for processes that fork.

SQLite keeps account of a file's locks inside the process. A forked child inherits the account but not the locks:
if the parent had the file open, even a connection that the child opens for itself holds none, the next process to
close the file deletes the log under the child, and what the child commits is lost. So a process closes its
connections before it forks, and parent and child open them again when they need them.
"""

from __future__ import annotations

import _sqlite3 as sqlite3  # what the package sqlite3 adds, adapters for datetime, costs 7 ms to import
import fcntl
import os
import sys
from _thread import RLock
from _weakref import ref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from swapbox.errors import DataError, Unavailable


class WalFile:
    """One SQLite file: opened when needed, shared by the threads of a process, closed around a fork.

    Any use raises ``Unavailable`` when another process keeps the file locked for too long, and ``DataError`` when
    it is damaged or of another version.

    :param path: made when missing, in a directory that exists.
    :param schema: SQL statements for each version of the schema, from the one before: the first makes the tables.
    :param timeout: seconds to wait for other processes' transactions.
    """

    def __init__(self, path: Path, *, schema: Sequence[str], timeout: float = 60.0) -> None:
        self._path = path
        self._schema = schema
        self._version = len(schema)
        self._timeout = timeout
        self._lock = RLock()
        self._db: sqlite3.Connection | None = None
        self._pid = 0
        self._held = False
        _close_before_forks(self)

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to one thread; each statement outside a transaction is one of its own."""
        with self._lock:
            try:
                yield self._opened()
            except sqlite3.OperationalError as error:
                raise Unavailable(f"cannot use {self._path}: {error}") from error
            except sqlite3.DatabaseError as error:
                raise DataError(f"cannot use {self._path}: {error}") from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do what the block does in one write transaction; an error undoes it. Blocks may be nested."""
        with self.connection() as db:
            if db.in_transaction:
                yield db
                return
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the connection; it is opened again when next needed."""
        with self._lock:
            if self._db is not None and self._pid == os.getpid():
                self._db.close()
                self._db = None

    def hold(self) -> None:
        """Wait for other threads' transactions, close, and let no thread in before :meth:`release`."""
        self._lock.acquire()
        self._held = True
        if self._db is not None and not self._db.in_transaction:
            self.close()

    def release(self) -> None:
        """Undo :meth:`hold`; without one, as in a child of ``syscalls.clone``, there is nothing to undo."""
        if self._held:
            self._held = False
            self._lock.release()

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            self._pid, self._db = os.getpid(), self._open()
        elif self._pid != os.getpid():
            raise RuntimeError(f"process {self._pid} was forked inside a transaction on {self._path}")
        return self._db

    def _open(self) -> sqlite3.Connection:
        # Only its owner may read it, wherever it lies: environments of containers are in it, passwords too. One
        # that is there must not be opened: closing it would give up the locks of this process (fcntl(2)).
        with suppress(OSError):
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        # The lock makes the connection safe among threads. Autocommit: transactions are begun by hand.
        db = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        try:
            found = _version(db)
            if found < self._version:
                found = self._upgrade(db)
            if found != self._version:
                hint = "use the swapbox that wrote it, or a newer one"
                raise DataError(f"{self._path} has version {found}, not {self._version}", hint=hint)
            # NORMAL survives kill -9 without waiting for the disk at each commit.
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA foreign_keys = ON")
            # A process that ends without closing leaves the log, and the next one reads it all: keep it short.
            db.execute("PRAGMA wal_autocheckpoint = 250")
            if sys.version_info >= (3, 12):  # the log is emptied when it is long, not by each process that ends
                db.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)  # noqa: FBT003
        except BaseException:
            db.close()
            raise
        return db

    def _upgrade(self, db: sqlite3.Connection) -> int:
        # Turning the log on does not wait for others that do the same, so one creates and the rest look again.
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            if not _version(db):
                db.execute("PRAGMA journal_mode = WAL")
            for number, script in enumerate(self._schema[_version(db) :], _version(db) + 1):
                db.executescript(f"BEGIN IMMEDIATE;{script};PRAGMA user_version = {number};COMMIT;")
            return _version(db)
        finally:
            os.close(directory)


def _version(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def _close_before_forks(file: WalFile) -> None:
    # Weakly: the interpreter keeps these functions for ever.
    reference = ref(file)

    def hold() -> None:
        if (file := reference()) is not None:
            file.hold()

    def release() -> None:
        if (file := reference()) is not None:
            file.release()

    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=release)
