"""Sessions in a dialect over simulated hours: servers die and forget, and no client notices.

Clients ask numbered requests while connections are cut, the server dies and comes back in many
ways, or is mute for a while. Clients that lose their connection forget at times, too, as a page
does that is loaded again: they come back with their id, and begin anew. In the end all is left in
peace: then every request that a client knows of is answered, and every subscription lives.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from random import Random

from reknit_core.commands import Command, Dial, Transitioned
from reknit_core.lifecycle import State, Trigger
from reknit_core.policy.policy import Delivery, Policy
from reknit_core.policy.upstream import Upstream

from reknit.memory.adapter import MemoryProxy
from reknit.memory.network import Conditions, MemoryNetwork, MemorySocket
from reknit.verify.simulation.auditor import Auditor
from reknit.verify.simulation.languages import Language
from reknit.verify.simulation.scene import PROXY, SERVER
from reknit.verify.simulation.speakers import Answerer, Talker
from reknit.verify.simulation.stack import Cut, Stack

PARTING = 10.0  # seconds in which a server's connection ends, once its client has another
LONGEST_THOUGHT = 4.0  # seconds: less than a server that is told may take (spoken_policy())
PEACE = 300.0  # seconds at the end in which nothing goes wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenPlan:
    """What happens. Times in seconds, random ones by their mean."""

    sessions: int = 50
    duration: float = 3600.0
    ask_every: float = 10.0
    cut_every: float = 200.0
    """Between two cuts of one session's connection to the server."""
    leave_every: float = 400.0
    """Between two losses of one client's connection; 0: none."""
    forget: float = 0.3
    """How likely a client that has lost its connection has forgotten all but its id."""
    restart_every: float = 300.0
    outage: float = 5.0
    think: float = 0.5
    """How long a server takes for an answer."""
    conditions: Conditions = Conditions(
        latency=(0.0005, 0.05), capacity=16384, partial=0.1, part=50
    )
    harsh: bool = False
    """Whether a server may vanish without a word, die within one, or be back and answer nothing:
    then a client may have to begin anew."""


@dataclass(slots=True)
class SpokenResult:
    """What it came to: `begun` counts sessions, `repeated` requests that a server heard again.

    `asked`: but for those which clients have forgotten. `anew`: how often a client that had
    forgotten all began on its connection, `elsewhere`: after a Close of 1012.
    """

    asked: int = 0
    answered: int = 0
    repeated: int = 0
    begun: int = 0
    anew: int = 0
    elsewhere: int = 0
    events: int = 0
    deaths: int = 0
    triggers: Counter[Trigger] = field(default_factory=Counter)
    states: Counter[State] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


def spoken_policy() -> Policy:
    """Nothing runs out but the time in which a new server must answer."""
    return Policy(
        delivery=Delivery.AT_LEAST_ONCE,
        retry_interval=0.5,
        retry_limit=10**6,
        client_grace=1000.0,
        handshake_wait=1000.0,
        connect_timeout=5.0,
        confirm_after=1.0,
        heartbeat_interval=30.0,
        heartbeat_timeout=5.0,
    )


def converse(seed: int, language: Language, plan: SpokenPlan) -> SpokenResult:
    """Run a whole simulation."""
    return Spoken(seed, language, plan).run()


class Spoken:
    """The network with its proxy and its server that forgets, and what happens to them."""

    def __init__(self, seed: int, language: Language, plan: SpokenPlan) -> None:
        self.language = language
        self.random = Random(seed)  # noqa: S311 (a simulation must be repeatable)
        self.network = MemoryNetwork(self.random, plan.conditions, None)
        self.talkers: dict[str, Talker] = {}  # by connection id
        self.answerers: dict[Answerer, None] = {}  # in the order in which they came
        self.is_mute = False
        self.plan = plan
        self._cuts = [how for how in Cut if plan.harsh or how is not Cut.VANISH]
        self._peace = False
        self._result = SpokenResult()
        policy = spoken_policy()
        self._auditor = Auditor(self.network, policy, lambda _: True)
        self.network.listen(SERVER, self._accept)
        self._proxy = MemoryProxy(self.network, PROXY, policy, Upstream(*SERVER), self._observe)
        self._talkers = [Talker(self, f"t{number}") for number in range(plan.sessions)]

    def run(self) -> SpokenResult:
        """From the first request to the last answer."""
        plan = self.plan
        for talker in self._talkers:
            self.later(5.0, partial(self._live, talker))
        self.later(plan.restart_every, self._restart)
        self.network.run(plan.duration)
        self._peace = True
        self.network.run(plan.duration + PEACE)
        return self._judge()

    def later(self, mean: float, action: Callable[[], None]) -> None:
        """Do that after a random time (seconds)."""
        self.network.after(self.random.expovariate(1 / mean), action)

    def thinks(self) -> float:
        """How long a server takes for an answer (seconds)."""
        return min(self.random.expovariate(1 / self.plan.think), LONGEST_THOUGHT)

    def note(self, what: str) -> None:
        """Something is not as it must be."""
        self._result.broken.append(f"@{self.network.now:.3f} {what}")

    def began_anew(self, *, elsewhere: bool) -> None:
        """A client that had forgotten all has begun its session anew, or has to in another one."""
        self._result.elsewhere += elsewhere
        self._result.anew += not elsewhere

    def ended(self, reason: str) -> None:
        """A client was closed with 1012."""
        if not self.plan.harsh:
            self.note(f"a client must begin anew: {reason}")

    def cut(self, words: list[bytes]) -> Iterator[bytes]:
        """As messages: whole, or anywhere in the stream."""
        if not self.language.is_cut:
            yield from words
            return
        stream = b"".join(words)
        while stream:
            size = self.random.choice((1, 3, 7, len(stream), len(stream)))
            yield stream[:size]
            stream = stream[size:]

    # -- What happens ------------------------------------------------------------------------------

    def _live(self, talker: Talker) -> None:
        plan = self.plan
        talker.begin()
        self._again(plan.ask_every, talker.ask)
        self._again(plan.cut_every, partial(self._cut_server, talker))
        if plan.leave_every:
            self._again(plan.leave_every, lambda: talker.lose(self.random.choice(tuple(Cut))))
        self._again(plan.ask_every, partial(self._tell, talker))

    def _again(self, every: float, action: Callable[[], None]) -> None:
        """Until there is peace."""

        def once() -> None:
            if not self._peace:
                action()
                self.later(every, once)

        self.later(every, once)

    def _answerer(self, talker: Talker) -> Answerer | None:
        own = (each for each in self.answerers if each.session == talker.session)
        return next((each for each in own if each.stack.open), None)

    def _cut_server(self, talker: Talker) -> None:
        answerer = self._answerer(talker)
        if answerer is not None:
            self._result.deaths += 1
            answerer.stack.cut(self.random.choice(self._cuts))

    def _tell(self, talker: Talker) -> None:
        answerer = self._answerer(talker)
        if answerer is not None:
            answerer.event()

    def _restart(self) -> None:
        """The server dies with all that it knows, and comes back in one of many ways."""
        if self._peace:
            return
        how = self.random.choice(self._cuts)
        self.network.refuse(SERVER)
        self._result.deaths += len(self.answerers)
        for answerer in [*self.answerers]:
            answerer.stack.cut(how)
        if self.random.random() < 0.3:
            self.network.swallow(SERVER)
        self.later(self.plan.outage, self._come_back)
        self.later(self.plan.restart_every, self._restart)

    def _come_back(self) -> None:
        self.network.listen(SERVER, self._accept)
        if self.plan.harsh and self.random.random() < 0.5:
            self.is_mute = True
            self.later(self.plan.outage, self._speak)

    def _speak(self) -> None:
        """It is mute no more; connections that it had meanwhile stay so, and die."""
        self.is_mute = False
        for answerer in [*self.answerers]:
            if answerer.is_mute:
                answerer.stack.cut(Cut.RESET)

    def _accept(self, socket: MemorySocket) -> None:
        Stack(socket, self._asked)

    def _asked(self, stack: Stack, line: str, headers: dict[str, str]) -> None:
        session = headers["x-connection-id"]
        talker = self.talkers[session]
        formers = [each for each in self.answerers if each.session == session]
        self.network.after(PARTING, partial(self._look_for, formers))
        answerer = Answerer(self, stack, talker, session, is_told="x-reconnect" in headers)
        stack.application = answerer
        self.answerers[answerer] = None
        stack.answer(headers, {"Sec-WebSocket-Protocol": self.language.subprotocol})

    def _look_for(self, formers: list[Answerer]) -> None:
        """Their client has another server: they must have seen an end."""
        for each in formers:
            if each in self.answerers:
                self.note(f"a server still has a connection that {each.session} has left")

    def _observe(self, name: str, command: Command) -> None:
        self._auditor.observe(name, command)
        match command:
            case Dial(attempt=0):
                self.talkers[name].gets_another_server()
            case Transitioned(trigger=Trigger.SESSION_ENDED):
                self.talkers[name].is_ended()

    # -- In the end --------------------------------------------------------------------------------

    def _judge(self) -> SpokenResult:
        result = self._result
        self._look_for([each for each in self.answerers if each.session != each.talker.session])
        for talker in self._talkers:
            diary = talker.diary
            before = diary.events
            self._tell(talker)
            self.network.run(self.network.now + 5.0)
            if diary.events != before + 1:
                self.note(f"{talker.session} has a subscription that is dead")
            result.asked += len(diary.answered) + len(diary.unanswered)
            result.answered += len(diary.answered)
            result.repeated += sum(diary.done.values()) - len(diary.done)
            result.events += diary.events
            for number in diary.unanswered:
                self.note(f"{talker.session} has no answer to {number}")
            for number, times in diary.answered.items():
                if times > 1 and not self.plan.harsh:
                    self.note(f"{talker.session} has {times} answers to {number}")
            for number in range(1, diary.asked + 1):
                is_known = number > diary.lives[-1] or diary.answered[number]
                if is_known and not diary.done[number]:
                    self.note(f"no server has heard request {number} of {talker.session}")
            for what in diary.wrong:
                self.note(f"{talker.session}: {what}")
        result.begun = len(self.talkers)
        result.triggers, result.states = self._auditor.triggers, self._auditor.states
        result.broken += self._auditor.broken
        return result
