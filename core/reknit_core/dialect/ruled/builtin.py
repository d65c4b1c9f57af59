"""The dialects that come with the proxy."""

from functools import cache
from importlib.resources import files

from reknit_core.dialect.ruled.rules import Rules
from reknit_core.dialect.ruled.rules_file import read_rules

FILES = (
    "actioncable",
    "browser-automation",
    "graphql-transport-ws",
    "graphql-ws",
    "jsonrpc",
    "ocpp",
    "socket.io",
    "sockjs",
    "vite-hmr",
    "webpack-hmr",
)


@cache
def built_in(name: str) -> Rules:
    """The dialect of that file; one of FILES."""
    file = f"{name}.toml"
    text = (files(__package__) / "files" / file).read_text(encoding="utf-8")
    return read_rules(text, file)
