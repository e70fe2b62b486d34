"""Which re-attachments count, and how long they took."""

from __future__ import annotations

import pytest

from scripts.faults.attach import Link, Span, reattach_times

OUTAGES = (Span(10.0, 12.0), Span(20.0, 21.0))
CALM = Link(born=1.0, downs=(10.1, 20.1), ups=(2.0, 12.5, 21.25), troubled=())


def test_the_time_runs_from_the_end_of_the_outage() -> None:
    assert reattach_times(OUTAGES, [CALM]) == pytest.approx([0.5, 0.25])
    assert reattach_times(OUTAGES, [CALM, CALM]) == pytest.approx([0.5, 0.25] * 2)
    assert reattach_times((), [CALM]) == []


def test_an_app_may_notice_the_loss_late() -> None:
    late = CALM._replace(downs=(12.1, 20.1))
    assert reattach_times(OUTAGES, [late]) == pytest.approx([0.5, 0.25])


@pytest.mark.parametrize(
    "link",
    [
        CALM._replace(born=10.5, downs=(10.5, 20.1)),  # began while the broker was away
        CALM._replace(downs=(9.0, 20.1)),  # had been away before
        CALM._replace(ups=(2.0, 21.25)),  # was not back before the next outage
        CALM._replace(troubled=(Span(11.0, 11.5),)),
        CALM._replace(troubled=(Span(9.0, 12.1),)),
        CALM._replace(troubled=(Span(12.4, 15.0),)),
    ],
    ids=["younger", "lost before", "not back", "troubled within", "into it", "from it on"],
)
def test_what_had_another_cause_does_not_count(link: Link) -> None:
    assert reattach_times(OUTAGES, [link]) == pytest.approx([0.25])


def test_trouble_at_another_time_does_not_matter() -> None:
    troubled = CALM._replace(troubled=(Span(5.0, 9.9), Span(12.6, 19.0)))
    assert reattach_times(OUTAGES, [troubled]) == pytest.approx([0.5, 0.25])
