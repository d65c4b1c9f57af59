"""What a flood of strangers makes the log say: little, and with the totals."""

from reknit_core.telemetry.seldom import Seldom


def test_of_each_kind_the_1st_2nd_4th_and_8th_time_is_said() -> None:
    seldom = Seldom()
    said = {kind: [seldom.count(kind) for _ in range(20)] for kind in ("a", "b")}
    for totals in said.values():
        assert [total for total, is_said in totals if is_said] == [1, 2, 4, 8, 16]
        assert [total for total, _ in totals] == list(range(1, 21))
