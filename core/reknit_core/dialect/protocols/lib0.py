"""Numbers and strings as lib0 writes them: what the protocols of Yjs are made of."""

MAX_DIGITS = 9  # bytes of a number: JavaScript's are exact up to 2**53


class Lib0Error(ValueError):
    """Bytes that are none of this."""


class Lib0Reader:
    """Reads one message from its beginning."""

    __slots__ = ("_data", "pos")

    def __init__(self, data: bytes, pos: int = 0) -> None:
        self._data = data
        self.pos = pos

    @property
    def is_done(self) -> bool:
        """Whether all is read."""
        return self.pos >= len(self._data)

    def number(self) -> int:
        """An unsigned number of seven bits in each byte. Raises Lib0Error."""
        found = 0
        for place in range(MAX_DIGITS):
            if self.is_done:
                break
            byte = self._data[self.pos]
            self.pos += 1
            found |= (byte & 0x7F) << 7 * place
            if not byte & 0x80:
                return found
        raise Lib0Error

    def array(self) -> bytes:
        """Bytes, their number before them; so is a string. Raises Lib0Error."""
        size = self.number()
        end = self.pos + size
        if end > len(self._data):
            raise Lib0Error
        found = self._data[self.pos : end]
        self.pos = end
        return found


def number(value: int) -> bytes:
    """A number as lib0 writes it."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def array(value: bytes) -> bytes:
    """Bytes as lib0 writes them."""
    return number(len(value)) + value
