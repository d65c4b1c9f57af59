"""Close codes (RFC 6455, section 7.4; IANA's registry; 4400 to 4499 are the proxy's own).

Each with who sends it here. The proxy also passes on any other code that a peer sends.
"""

GOING_AWAY = 1001
"""To the server: its client did not return, or left. To both: the proxy stops. A client that
sends it is lost rather than done."""

PROTOCOL_ERROR = 1002
"""To a peer whose frames break the protocol."""

NO_STATUS = 1005
"""Never on the wire: a Close frame without a code."""

ABNORMAL = 1006
"""Never on the wire: a connection that ended without a Close frame."""

INVALID_DATA = 1007
"""To a peer whose Close frame has a reason that is no UTF-8."""

MESSAGE_TOO_BIG = 1009
"""To a peer whose message is over the limit."""

SERVICE_RESTART = 1012
"""To clients: the proxy drains, or the session can't go on and the client may begin anew. A server
that sends it is lost rather than done."""

TRY_AGAIN_LATER = 1013
"""To a client whose server stays away."""

BAD_GATEWAY = 1014
"""Registered, but unknown to wsproto 1.3.2. A server that sends it is lost rather than done."""

TLS_FAILED = 1015
"""Never on the wire: a TLS handshake that failed."""

NOT_YOURS = 4403
"""To a client that can't read a status, in place of 403: it may not resume this session."""

UNKNOWN = 4404
"""To a client that can't read a status, in place of 404: no such session."""

TAKEN_OVER = 4409
"""To a client: a newer connection has come with the same connection id."""

GAP = 4410
"""To both: a peer that counts named a message that can't be gone on from."""

OVERFLOW = 4413
"""To both: a queue is full, and the policy is to end the session then."""

NEVER_SENT = frozenset((NO_STATUS, ABNORMAL, TLS_FAILED))
"""What stands for the absence of a code, and may not go onto the wire (RFC 6455, 7.4.1)."""
