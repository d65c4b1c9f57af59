"""The dialects that a policy speaks of."""

from reknit_core.dialect.choice import AUTO, NO_DIALECTS, NONE, Choice, Dialects
from reknit_core.dialect.registry import registry
from reknit_core.dialect.ruled.rules_file import DialectError
from reknit_core.policy.policy import Policy, PolicyError


def dialects_of(policy: Policy) -> Dialects:
    """Those that come with the proxy, chosen from as the policy says.

    Raises PolicyError if it names none of them.
    """
    if policy.dialect == NONE:
        return NO_DIALECTS
    try:
        return Choice(registry(), policy.dialect)
    except DialectError:
        allowed = ", ".join((AUTO, NONE, *registry().names))
        raise PolicyError("dialect", policy.dialect, allowed) from None
