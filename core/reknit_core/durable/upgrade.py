"""The form before this one, made into this one: what was released last can be taken over from.

When the form changes after a release, `BEFORE` counts up, and this says again what is new.
"""

from typing import Any

import msgspec

from reknit_core.leg.leg_forms import FrozenLeg
from reknit_core.session.forms import FrozenContext

BEFORE = 3
"""The version of the form that the last release wrote."""


def upgraded(form: dict[str, Any]) -> FrozenContext:
    """A form of the version BEFORE as one of today's. Raises msgspec.ValidationError."""
    try:
        for side in ("client", "server"):
            leg = form[side]
            leg["probe"] = {
                "number": leg["probe"],
                "mark": leg.pop("probe_mark"),
                "ping": leg.pop("ping"),
                "sent_at": leg.pop("probed"),
                "missed": leg.pop("missed"),
                "loaded": False,
                "transit": None,
                "confirm_at": leg.pop("confirm_at"),
            }
            both = {name: leg.pop(name) for name in FrozenLeg.__struct_fields__}
            form[side] = {"leg": both, **leg}
        form["server"] |= {"wall": None, "until": form.pop("opening_until")}
        form["server"]["retry"] |= {"refusals": 0, "reason": ""}
        form["ending"] = {
            "grace": form.pop("grace_until"),
            "close": form.pop("close_until"),
            "parting": form.pop("parting"),
            "recovers": form.pop("recover"),
        }
        form["telling"] = None
        form["course"] = {
            "began": form["now"],
            "address": "",
            "status": 0,
            "cause": "",
            "client": None,
            "server": None,
        }
        form["pinned"] |= {"_host": "", "named": True, "pared": False, "anew": False}
        form["pinned"] |= {"client_is_proxy": False, "server_is_proxy": False}
        form["pinned"] |= {"server_counts": True, "token": None}
    except (KeyError, TypeError) as error:
        raise msgspec.ValidationError(f"no form of version {BEFORE}: {error}") from None
    return msgspec.convert(form, FrozenContext)
