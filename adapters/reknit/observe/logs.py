"""What the proxy says while it runs: one line an event, as text or as JSON, nothing per message.

An event has a name and fields; text for people is made from them. A session is called by its
digest. Whoever else wants to know of events listens as a logging handler does: event_hook.py.
"""

import json
import logging
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache, partial
from time import localtime, strftime, time
from traceback import format_tb

from reknit_core.telemetry.seldom import Seldom
from reknit_core.wire.reasons import printable

from reknit.observe.outlet import Outlet
from reknit.settings.options import LogFormat, LogLevel

LOG = logging.getLogger("reknit")

STDERR = 2

_COUNTED = re.compile(r"%\((\w+)\)d( more)?( sessions| messages| bytes| times)?( have| wait)?\b")
_FOR_ONE = {" have": " has", " wait": " waits"}


def tell(level: int, event: str, text: str, **fields: str | int | float) -> None:
    """Log an event. `text` may name its fields: `%(session)s closes`.

    Mostly nobody but standard error wants it, as text: then it needs no record, which costs more
    than all else about it.
    """
    if LOG.isEnabledFor(level):
        if fields and _counts(text):
            text = _COUNTED.sub(lambda found: _in_number(found, fields), text)
        handlers = LOG.handlers
        if len(handlers) == 1 and isinstance(handlers[0], TextHandler) and not LOG.propagate:
            handlers[0].write(level, text % fields if fields else text)
        else:
            LOG.handle(_record(level, event, text, fields))


_FORM = vars(LOG.makeRecord(LOG.name, logging.INFO, "", 0, "", (), None))


def _record(level: int, event: str, text: str, fields: Mapping[str, object]) -> logging.LogRecord:
    """As logging makes one, without looking for the file, thread and process: nobody shows them."""
    record = logging.LogRecord.__new__(logging.LogRecord)
    created = time()
    vars(record).update(
        _FORM,
        levelno=level,
        levelname=logging.getLevelName(level),
        event=event,
        msg=text,
        args=fields or (),
        created=created,
        msecs=int(created % 1 * 1000),
    )
    return record


@cache
def _counts(text: str) -> bool:
    """Whether it has a number in it; there are few texts."""
    return _COUNTED.search(text) is not None


def _in_number(counted: re.Match[str], fields: Mapping[str, object]) -> str:
    """The words behind a number, as they are for that number."""
    field, more, noun, verb = counted.groups(default="")
    if fields.get(field) == 1:
        noun, verb = noun.removesuffix("s"), _FOR_ONE.get(verb, verb)
    return f"%({field})d{more}{noun}{verb}"


def tell_seldom(
    seldom: Seldom, kind: str, level: int, event: str, text: str, **fields: str | int | float
) -> None:
    """Log an event that strangers can cause, with its total: at `debug` where it isn't said."""
    total, is_said = seldom.count(kind)
    tell(
        level if is_said else logging.DEBUG,
        event,
        text + "; %(total)d so far",
        **fields,
        total=total,
    )


def as_document(record: logging.LogRecord) -> dict[str, object]:
    """A log record with its event's name and fields."""
    document: dict[str, object] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "event": getattr(record, "event", "error" if record.exc_info else "note"),
    }
    if hasattr(record, "worker"):
        document["worker"] = record.worker
    if isinstance(record.args, Mapping):
        document.update(record.args)
    document["message"] = record.getMessage()
    if record.exc_info and record.exc_info[1]:
        document["traceback"] = trace_of(record.exc_info[1])
    return document


def trace_of(error: BaseException) -> str:
    """Where an error comes from, and of which kind; without its text, which may quote a secret."""
    lines = [*format_tb(error.__traceback__), type(error).__qualname__]
    cause = error.__cause__ or error.__context__
    if cause is not None:
        lines = [trace_of(cause), "\nwhile this was handled:\n", *lines]
    return "".join(lines)


class TextFormatter(logging.Formatter):
    """Time, unless who reads it has his own, worker if it is one, level, message.

    What peers wrote into a message can't begin another line.
    """

    def __init__(self, worker: int | None = None, *, timed: bool = True) -> None:
        super().__init__()
        self._who = "" if worker is None else f"[{worker}] "
        self._timed = timed
        self._second = (0, "", "")

    def format(self, record: logging.LogRecord) -> str:
        """A line; an error has more."""
        line = self.line(record.levelno, record.getMessage(), record.created)
        error = record.exc_info[1] if record.exc_info else None
        return line if error is None else f"{line}\n{trace_of(error)}"

    def line(self, level: int, text: str, created: float) -> str:
        """A line of that level, made at that time (seconds since 1970)."""
        time = f"{self._time(created)} " if self._timed else ""
        return f"{time}{self._who}{logging.getLevelName(level)} {printable(text)}"

    def _time(self, created: float) -> str:
        """The local time (ISO 8601), in milliseconds; thousands of lines may share a second."""
        second = int(created)
        known, as_text, offset = self._second
        if second != known:
            as_text, offset = strftime("%Y-%m-%dT%H:%M:%S %z", localtime(second)).split()
            offset = f"{offset[:3]}:{offset[3:]}"
            self._second = second, as_text, offset
        return f"{as_text}.{int((created - second) * 1000):03d}{offset}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The whole record."""
        return json.dumps(as_document(record))


def is_journal(descriptor: int, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether it leads to systemd's journal, which has the time by itself; see systemd.exec(5)."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _priority(level: int) -> str:
    """The level as the journal reads it from the beginning of a line; see sd-daemon(3)."""
    return next(text for least, text in _PRIORITIES if level >= least)


_PRIORITIES = (
    (logging.CRITICAL, "<2>"),
    (logging.ERROR, "<3>"),
    (logging.WARNING, "<4>"),
    (logging.INFO, "<6>"),
    (logging.NOTSET, "<7>"),
)


class OutletHandler(logging.Handler):
    """Puts what is logged into an outlet, in its formatter's form."""

    def __init__(self, level: LogLevel, formatter: logging.Formatter, descriptor: int) -> None:
        super().__init__(level.name)
        self._is_journal = is_journal(descriptor)
        self.setFormatter(formatter)
        self.outlet = Outlet(descriptor, self._note)

    def emit(self, record: logging.LogRecord) -> None:
        """Put a record."""
        try:
            line = self._encode(record)
        except Exception:
            self.handleError(record)
        else:
            self.outlet.put(line)

    def _encode(self, record: logging.LogRecord) -> bytes:
        return self._bytes(record.levelno, self.format(record))

    def _bytes(self, level: int, text: str) -> bytes:
        if self._is_journal:  # each of its lines is an entry
            priority = _priority(level)
            text = priority + text.replace("\n", f"\n{priority}")
        return text.encode(errors="backslashreplace") + b"\n"

    def _note(self, lost: int) -> bytes:
        text, fields = "%(number)d lines were lost: nobody took them", {"number": lost}
        return self._encode(_record(logging.WARNING, "log_lost", text, fields))


class TextHandler(OutletHandler):
    """Puts lines of text into an outlet."""

    def __init__(self, level: LogLevel, descriptor: int, worker: int | None) -> None:
        self._lines = TextFormatter(worker, timed=not is_journal(descriptor))
        super().__init__(level, self._lines, descriptor)

    def write(self, level: int, text: str) -> None:
        """Put a line of that level, as if a record had it."""
        if level >= self.level:
            self.outlet.put(self._bytes(level, self._lines.line(level, text, time())))


def log_to_stderr(
    level: LogLevel,
    form: LogFormat = LogFormat.TEXT,
    descriptor: int = STDERR,
    worker: int | None = None,
) -> Outlet:
    """The logger `reknit` writes to standard error from that level on, through the outlet.

    `worker`: which one of several this process is; it stands in every event.
    """
    handler = (
        OutletHandler(level, JsonFormatter(), descriptor)
        if form is LogFormat.JSON
        else TextHandler(level, descriptor, worker)
    )
    if worker is not None:
        LOG.addFilter(partial(_sign, worker))
    LOG.handlers = [handler]
    LOG.setLevel(level.name)
    LOG.propagate = False
    return handler.outlet


def _sign(worker: int, record: logging.LogRecord) -> bool:
    record.worker = worker
    return True


def count_lost_lines() -> int:
    """How many lines of the log could not be written since this process began."""
    return sum(each.outlet.lost for each in LOG.handlers if isinstance(each, OutletHandler))
