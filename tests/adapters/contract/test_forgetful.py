"""An adapter that forgets what wants_read says of the other side does not pass the contract."""

import pytest
import test_contract
from contract_worlds import PROXY, SERVER, MemoryWorld, World, policy
from reknit.memory.adapter import MemoryProxy
from reknit.memory.network import MemoryNetwork, MemorySocket
from reknit.memory.transport import MemoryTransport
from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream


class ForgetfulTransport(MemoryTransport):
    """Once paused, it is read on only by what happens on its own connection."""

    def __init__(self, network: MemoryNetwork, socket: MemorySocket) -> None:
        super().__init__(network, socket)
        self._own = False
        self._paused = False

    def watch(self, *, reads: bool, writes: bool) -> None:
        if reads and self._paused and not self._own:
            return
        self._paused = not reads
        super().watch(reads=reads, writes=writes)

    def on_data(self, data: bytes) -> None:
        self._own = True
        super().on_data(data)
        self._own = False


class ForgetfulProxy(MemoryProxy):
    def transport(self, socket: MemorySocket) -> MemoryTransport:
        return ForgetfulTransport(self.network, socket)


class ForgetfulWorld(MemoryWorld):
    def proxy(self, network: MemoryNetwork, policy: Policy) -> MemoryProxy:
        return ForgetfulProxy(network, PROXY, policy, Upstream(*SERVER))


def test_its_clients_and_servers_stand_still_for_ever() -> None:
    for play in (
        test_contract.test_a_client_is_held_back_by_a_server_that_does_not_read,
        test_contract.test_a_server_is_held_back_by_a_client_that_does_not_read,
    ):
        world: World = ForgetfulWorld(policy())
        with pytest.raises(TimeoutError):
            play(world)


def test_all_else_seems_right() -> None:
    test_contract.test_the_servers_answer_and_all_messages_pass(ForgetfulWorld(policy()))
