"""What a form is: an object of a session as data, for another process.

Each class of a session has `frozen()`, which gives its form, and takes one back in again. The
forms stand beside the classes; durable/ makes bytes of them.
"""

from typing import NewType

import msgspec

Moment = NewType("Moment", float)
"""Seconds on the clock of the process that froze it; on another clock it is shifted."""


class Form(msgspec.Struct, forbid_unknown_fields=True):
    """What is kept of an object."""
