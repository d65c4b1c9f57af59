"""Seconds and bytes as people write them: `90s`, `5m`, `4MiB`; without a unit in the plain one."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is measured, and the units in which people may say it, each in terms of the plain one.

    `metavar` stands in the help, `units` in errors; a value is shown in the `shown` ones only.
    """

    metavar: str
    plain: str
    sizes: Mapping[str, Fraction]
    shown: tuple[str, ...]
    units: str
    made: Callable[[Fraction], float]

    def parse(self, text: str) -> float:
        """Read a number with a unit or without. Raises ValueError, OverflowError."""
        found = re.fullmatch(r"([0-9.]+(?:e[+-]?[0-9]{1,2})?)\s*([a-z]*)", text.strip().lower())
        if found is None:
            raise ValueError(text)
        sizes = {unit.lower(): size for unit, size in self.sizes.items()}
        unit = found[2] or self.plain.lower()
        if unit not in sizes:
            raise ValueError(text)
        return self.made(Fraction(found[1]) * sizes[unit])

    def read(self, value: object, low: float, high: float | None) -> float:
        """A number, or text as parse() takes it, within these limits. Raises as parse() does."""
        if isinstance(value, str):
            number = self.parse(value)
        elif type(value) is int or (type(value) is float and isfinite(value)):
            number = self.made(Fraction(value))
        else:
            raise ValueError(value)
        if number < low or (high is not None and number > high):
            raise ValueError(value)
        return number

    def show(self, value: float) -> str:
        """As parse() reads it: a whole number of the largest unit that allows it."""
        exact = Fraction(str(value))
        for unit in self.shown:
            count = exact / self.sizes[unit]
            if count and count.denominator == 1:
                return f"{count}{unit}"
        return f"{value:g}{self.plain}"

    def range(self, low: float, high: float | None) -> str:
        """What is allowed, in short."""
        if high is None:
            return f"{self.show(low)} or more"
        return f"{self.show(low)} to {self.show(high)}"

    def allowed(self, limits: str) -> str:
        """What is allowed within these limits, in words."""
        return f"{limits} ({self.units})"


def _whole(value: Fraction) -> int:
    if value.denominator != 1:
        raise ValueError(value)
    return value.numerator


SECONDS = Quantity(
    "TIME",
    "s",
    {
        "ms": Fraction(1, 1000),
        "s": Fraction(1),
        "m": Fraction(60),
        "h": Fraction(3600),
        "d": Fraction(86400),
    },
    ("d", "h", "m", "s", "ms"),
    "in ms, s, m, h or d; without a unit in seconds",
    float,
)

BYTES = Quantity(
    "SIZE",
    "B",
    {
        "B": Fraction(1),
        **{f"{prefix}iB": Fraction(1024**n) for n, prefix in enumerate("KMGT", 1)},
        **{f"{prefix}B": Fraction(1000**n) for n, prefix in enumerate("kMGT", 1)},
    },
    ("TiB", "GiB", "MiB", "KiB"),
    "in B, KiB, MiB, GiB, TiB, or kB, MB, GB, TB; without a unit in bytes",
    _whole,
)

QUANTITIES = {"seconds": SECONDS, "bytes": BYTES}
"""By the unit in which the policy has them."""
