"""`reknit serve --cluster`: the store, and the other nodes."""

from collections.abc import Callable
from importlib.util import find_spec

from reknit_core.cluster.secret import Secret
from reknit_core.cluster.times import Times
from reknit_core.proxy.contexts import Contexts
from reknit_core.wire.reasons import reason_of

from reknit.settings.addresses import Listen
from reknit.settings.config import Config
from reknit.state.directory import StateError
from reknit.state.store import Home, Store
from reknit.trio.door.listeners import open_everywhere, open_listeners
from reknit.trio.proxy import Proxy


def keep_in_cluster(config: Config) -> Callable[[Contexts, Home], Store]:
    """How sessions are kept in the configured cluster. Connects to nothing. Raises StateError."""
    if find_spec("hiredis") is None:
        raise StateError("--cluster needs the package hiredis: pip install 'reknit[cluster]'")
    from reknit.cluster import book_store, connecting

    try:
        tls = connecting.make_tls(config.cluster, config.tls.cluster_ca)
    except (OSError, ValueError) as error:
        raise StateError(f"--cluster-ca: {reason_of(error)}") from None
    access = connecting.Access(config.cluster, config.cluster_password or "", tls)
    patience = config.policy.heartbeat_timeout
    times = Times(config.cluster_lease, config.cluster_alone, patience)
    return book_store.keep_in(access, config.cluster_name, _secret(config), times)


def _secret(config: Config) -> Secret:
    assert config.cluster_secret is not None  # the configuration is checked
    return Secret(config.cluster_secret)


async def join_cluster(config: Config, proxy: Proxy) -> None:
    """Listen for the other nodes, and have a way to them. Raises StateError."""
    from reknit.cluster.book_store import BookStore

    store, address = proxy.store, config.node_address
    assert isinstance(store, BookStore)
    assert address is not None
    where = config.node_listen or f"port {address.port}"
    try:
        if config.node_listen is not None:
            sockets = await open_listeners(config.node_listen)
        else:
            sockets = await open_everywhere(address.port)
    except OSError as error:
        raise StateError(f"can't listen on {where} for other nodes: {reason_of(error)}") from None
    port = address.port or sockets[0].getsockname()[1]
    proxy.join(store.node.name, _secret(config), store.keys, store.node, store.state_of, sockets)
    store.reached_at = str(Listen(address.host, port))
    store.node.peers = proxy.nodes
