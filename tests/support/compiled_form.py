"""Whether the core is compiled: then no test can plant a fault in it by replacing a function."""

import pytest
from reknit_core.wire import handshake

COMPILED = not str(handshake.__file__).endswith(".py")

REPLACES_A_FUNCTION = pytest.mark.skipif(COMPILED, reason="a compiled function can't be replaced")
