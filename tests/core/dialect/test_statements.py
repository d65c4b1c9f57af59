"""What has changed in the statements, as a journal writes it down."""

from random import Random

from reknit_core.dialect.speech import Key, Message, Statement
from reknit_core.dialect.statements import Statements


def applied(rows: list[list[object]], gone: list[list[object]], new: list[list[object]]) -> object:
    """As a reader of a journal does it."""
    known = {tuple(row[0]): row for row in rows}  # type: ignore[arg-type]
    for key in gone:
        known.pop(tuple(key), None)
    known.update((tuple(row[0]), row) for row in new)  # type: ignore[misc]
    return [*known.values()]


def test_changes_applied_to_what_was_give_what_is() -> None:
    random = Random(1)
    for _ in range(200):
        statements = Statements(1 << 20)
        again = Statement(("again",), Message(b"the very same", True))
        for end in range(30):
            if random.random() < 0.2 or not end:
                before, rows = statements.all(), statements.freeze()
            key: Key = ("kind", random.randrange(6))
            match random.randrange(6):
                case 0 | 1:
                    said = Message(b"%d" % end, True)
                    in_place = random.random() < 0.5
                    statements.keep(Statement(key, said), end, in_place=in_place)
                case 2:
                    statements.settle(key)
                case 3:
                    kept = statements.get(key)
                    if kept is not None:
                        statements.answer(kept.unanswered)
                case 4:
                    statements.take_back(key, end)
                    statements.heard(end - random.randrange(3))
                case 5:
                    statements.keep(again, end)
            gone, new = statements.since(before)
            assert applied(rows, gone, new) == statements.freeze()
