"""The dialects that a policy speaks of."""

from reknit_core.dialect.choice import NO_DIALECTS, Choice, Dialects
from reknit_core.dialect.registry import AUTO, NONE, registry
from reknit_core.dialect.ruled.mistakes import DialectError
from reknit_core.policy.policy import Policy
from reknit_core.policy.setting import PolicyError


def dialects_of(policy: Policy) -> Dialects:
    """Those that come with the proxy, chosen from as the policy says.

    Raises PolicyError if it names none of them. Files are read by who calls the core: who has
    dialects beside these makes a Choice of its own.
    """
    if policy.dialect == NONE:
        return NO_DIALECTS
    try:
        return Choice(registry(), policy.dialect)
    except DialectError:
        allowed = ", ".join((AUTO, NONE, *registry().names))
        raise PolicyError("dialect", policy.dialect, allowed) from None
