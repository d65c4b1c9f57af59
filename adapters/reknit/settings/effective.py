"""The settings that hold, and where each comes from: as a TOML file with remarks."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from reknit.settings.config import NEEDS, Config, Layer
from reknit.settings.option import Option
from reknit.settings.options import OPTIONS

DEFAULT = "default"
WIDTH = 44  # characters before a remark


def settings_of(config: Config, given: Layer) -> Iterator[str]:
    """A line for each option. What is secret, or not set, is a remark only.

    To read the lines as a file gives the same settings, but for secrets.
    """
    for name, option in OPTIONS.items():
        source = given[name].label if name in given else DEFAULT
        needed = OPTIONS.get(NEEDS.get(name, ""))
        if needed is not None and not _value(config, needed.name):
            setting = f"# {name}: only with {needed.flag}"
        else:
            setting = _setting(option, _value(config, name))
        yield f"{setting:<{WIDTH}}  # {source}"


def _value(config: Config, name: str) -> object:
    if name == "upstream":
        return config.upstreams
    return next(
        getattr(part, name) for part in (config, config.policy, config.tls) if hasattr(part, name)
    )


def _setting(option: Option, value: object) -> str:
    if value is None or value in ("", ()):
        return f"# {option.name}: {option.default or 'none'}"
    if option.is_secret:
        return f"# {option.name}: not shown"
    if option.name == "on_event":  # its path may be all that others need to send there
        parts = urlsplit(str(value))
        return f"# {option.name}: {parts.scheme}://{parts.netloc}/..."
    if isinstance(value, tuple):
        return f"{option.name} = [{', '.join(_literal(option, each) for each in value)}]"
    return f"{option.name} = {_literal(option, value)}"


def _literal(option: Option, value: object) -> str:
    """The value in TOML."""
    shown = option.shown(value)
    if option.quantity is None and isinstance(value, bool | int | float):
        return shown
    return f'"{"".join(map(_escaped, shown))}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08X}"
