"""Opening handshakes without the shortcut: the long way, by wsproto."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from reknit_core.wire.heads import shortcut


@contextmanager
def wsproto_alone() -> Iterator[None]:
    """Without the shortcut; a compiled module takes it all the same."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("read_request", "read_answer", "written_request", "written_answer"):
            patch.setattr(shortcut, name, lambda *_: None)
        yield
