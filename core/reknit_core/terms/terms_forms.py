"""On what terms a session stands, as data."""

from msgspec import field

from reknit_core.form import Form
from reknit_core.wire.deflate import Parameters


class FrozenBinding(Form):
    """To whom a session belongs: see Binding."""

    names: tuple[str, ...]
    key: bytes
    digest: bytes
    handed: int
    proven: int


class FrozenPinned(Form):
    """What its first handshake has pinned: see Pinned."""

    connection_id: str
    binding: FrozenBinding
    host: str = field(name="_host")
    target: str = field(name="_target")
    headers: bytes = field(name="_headers")
    subprotocols: tuple[str, ...] = field(name="_subprotocols")
    offers: tuple[str, ...] = field(name="_offers")
    named: bool
    pared: bool
    agreed: bool
    subprotocol: str | None
    compression: Parameters | None
    reconnect_info: str | None
    client_is_proxy: bool
    server_is_proxy: bool
    server_counts: bool
    token: str | None
    anew: bool
