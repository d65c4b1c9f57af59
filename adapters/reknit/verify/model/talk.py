"""What the reference model knows of sessions with a dialect, told as simply as can be.

It follows one protocol, graphql-transport-ws, of which it knows three things: that a client gets
one answer to each `connection_init` of its own; that who is away has its Pongs said for it; that a
new server hears again what was said before; and that a client which comes back and begins again
gets a server that knows nothing, unless somebody counts. Of what it may not hear again, and of
other dialects, it knows nothing.
"""

import re

from reknit_core.dialect.speech import Message
from reknit_core.lifecycle import State
from reknit_core.script.phrases import describe
from reknit_core.side import Side
from reknit_core.wire.messages import message_frame

from reknit.verify.model import traffic
from reknit.verify.model.end import End
from reknit.verify.model.phases import CLIENT_AWAY, SERVER_AWAY, Lifecycle

PROTOCOL = "graphql-transport-ws"
BEGINS = 'message "{\\"type\\":\\"connection_init\\"}"'
_BEGINS = BEGINS.removesuffix('}"')  # with a token behind it, or without
_ANSWER = 'message "{\\"type\\":\\"connection_ack\\"}"'
_PING = 'message "{\\"type\\":\\"ping\\"}"'
_FRAMES = re.compile(r"( in \d+ parts)?( compressed)?$")
_PONG = b'{"type":"pong"}'


class Talk:
    """What becomes of the messages of one session."""

    def __init__(self) -> None:
        self.dialect = ""  # its name, once one is chosen
        self.anew: int | None = None
        """Which of its messages is a client's new beginning, while its server knows the old one."""
        self.is_new = False  # whether it has begun anew, and no server has accepted since
        self.counts = False  # whether a side has said how many messages it has received
        self._begun = 0  # how often the client has begun
        self._answered = 0  # how many answers to that it has had
        self._returned = False  # whether it has come back since

    def returned(self, received: int | None) -> None:
        """The client is back, and what it said that nobody has read is gone."""
        self._returned = True
        self.anew = None
        self.counts |= received is not None

    def begins_elsewhere(self, life: Lifecycle, client: End) -> bool:
        """Whether a client that begins anew can't do so within the session."""
        counts = self.counts or life.server_is_proxy or life.ends_with_server
        return counts or not client.takes_all

    def falls_back(self, life: Lifecycle, client: End) -> bool:
        """Whether the session ends because its client begins anew: what it said then is gone."""
        if self.anew is None or not self.begins_elsewhere(life, client):
            return False
        del client.outgoing.sent[self.anew :]
        life.final = True
        return True

    def accepted(self, received: int | None, *, opening: bool) -> int | None:
        """A server accepts: how many messages it has had by its own count, if that counts."""
        self.is_new = False
        if opening:
            return None
        self.counts |= received is not None
        return received

    def begin_anew(self, life: Lifecycle, client: End) -> None:
        """Another server is sought, which knows nothing of what was said before."""
        if self.anew is None or self.begins_elsewhere(life, client):
            raise traffic.BrokenError("a client begins anew, and can't do so within the session")
        client.outgoing.begin_at(self.anew)
        client.incoming.begin_at(client.incoming.taken)
        for end in (client, client.other):
            end.made = end.outgoing.first
        life.begin_anew()
        self.anew = None
        self.is_new = True
        self._returned = False
        self._begun, self._answered = 1, 0

    def sent(self, end: End, count: int, state: State) -> None:
        """That end has sent all its messages behind the first `count`: some never pass."""
        if self.dialect != PROTOCOL:
            return
        outgoing = end.outgoing
        new, outgoing.sent[count:] = outgoing.sent[count:], []
        for message in new:
            away = CLIENT_AWAY if end.side is Side.SERVER else SERVER_AWAY
            if said(message.phrase) == _PING and state in away:
                wire = message_frame(end.side, Message(_PONG, True))
                phrase = f"message {describe(_PONG)}"
                end.other.outgoing.send(traffic.Message(wire, phrase))
                end.other.made += 1
            elif self._is_had(end, message.phrase):
                pass
            else:
                if message.phrase.startswith(_BEGINS) and end.side is Side.CLIENT:
                    again = self._begun and self._returned and self.anew is None
                    self.anew = len(outgoing.sent) if again else self.anew
                    self._begun += 1
                self._answered += said(message.phrase) == _ANSWER
                outgoing.send(message)
        if end.side is Side.SERVER:  # its answers show what it has had
            end.incoming.confirm_up_to(end.incoming.next)

    def _is_had(self, end: End, phrase: str) -> bool:
        """Whether the client has an answer to all that it has begun with, and this is one more."""
        is_answer = end.side is Side.SERVER and said(phrase) == _ANSWER
        return is_answer and self._answered >= max(1, self._begun)

    def is_said_again(self, end: End, phrase: str) -> bool:
        """Whether an end gets what it, or the one before it, has had already."""
        incoming = end.incoming
        if not self.dialect or end.side is Side.CLIENT or incoming.next != incoming.resumed:
            return False
        following = incoming.sent[incoming.next : incoming.next + 1]
        if following and following[0].phrase == phrase:
            return False
        had = incoming.sent[: incoming.next]
        return any(said(message.phrase) == said(phrase) for message in had)


def said(phrase: str) -> str:
    """What a message says, in whatever frames."""
    return _FRAMES.sub("", phrase)
