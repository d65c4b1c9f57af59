"""A proxy's dialects, and what the log says of those that others wrote."""

from collections.abc import Iterable
from logging import ERROR, WARNING

from reknit_core.policy.policy import Policy
from reknit_core.telemetry.seldom import Seldom

from reknit.observe.logs import tell_seldom
from reknit.settings.dialects import LoadedDialects


def load_dialects(policy: Policy, own: Iterable[object] = ()) -> LoadedDialects:
    """What the policy names, among the program's `own` too. Raises DialectError."""
    by_source = {f"dialects[{place}]": dialect for place, dialect in enumerate(own)}
    seldom = Seldom()

    def report(source: str, what: str) -> None:
        text = "the dialect of %(source)s %(what)s: its session ends with its server"
        tell_seldom(seldom, source, ERROR, "dialect_broken", text, source=source, what=what)

    def remark(source: str, what: str) -> None:
        text = "%(source)s: a client's message %(what)s: it means nothing to the dialect"
        tell_seldom(seldom, source, WARNING, "dialect_no_key", text, source=source, what=what)

    return LoadedDialects(policy.dialect, by_source, report, remark)
