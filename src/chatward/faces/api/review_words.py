"""What the review page says, whatever the language: times, shares, counts and actions in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """One language of the page. In braces stand the names that `str.format` fills in.

    labels: what the three levels are called, in the order of `chatward.schema.LABELS`. done, would, counted: what was done, what would have been in quiet days, and to how many messages, by each of `chatward.schema.ACTIONS`.
    groups: title and explanation of each part of the queue, in its order. units: singular and plural of ``"s"``, ``"min"``, ``"h"`` and ``"day"``. decimal: the decimal mark; percent: what follows a
    percentage. given: what a verdict is called once it stands. problems: title and explanation of what may go wrong, by its code.
    """

    code: str
    language: str
    review: str
    space: str
    skip: str
    sign_out: str
    waits_one: str
    waits_many: str
    download: str
    groups: tuple[tuple[str, str], ...]
    labels: tuple[str, str, str]
    probability_of: str
    done: Mapping[str, str]
    would: Mapping[str, str]
    counted: Mapping[str, str]
    card: str
    text_not_kept: str
    empty_text: str
    more: str
    truncated: str
    hidden: str
    appeal: str
    why: str
    rule: str
    who: str
    somebody: str
    unknown: str
    channel: str
    keep: str
    keep_hint: str
    overturn: str
    overturn_hint: str
    relabel: str
    relabel_hint: str
    note: str
    note_hint: str
    details: str
    keys: str
    legend: str
    more_waiting: str
    first_page: str
    nothing: str
    nothing_hint: str
    decided: str
    look_again: str
    given: Mapping[str, str]
    change: str
    decision: str
    back: str
    facts: Mapping[str, str]
    verdicts: str
    no_verdict: str
    stands: str
    by: str
    review_it: str
    review_again: str
    meanwhile: str
    sign_in: str
    signed_out: str
    key: str
    key_hint: str
    key_wrong: str
    to_queue: str
    try_again: str
    problems: Mapping[str, tuple[str, str]]
    problem: str
    just_now: str
    ago: str
    units: Mapping[str, tuple[str, str]]
    yes: str
    no: str
    decimal: str
    percent: str

    def waits(self, count: int) -> str:
        """Return how many messages wait."""
        return self.waits_one if count == 1 else self.waits_many.format(count=grouped(count))

    def time(self, seconds: int) -> str:
        """Return a time in the largest unit that it is whole in: ``"10 min"``, ``"90 s"``, ``"7 days"``."""
        for length, unit in ((86400, "day"), (3600, "h"), (60, "min")):
            if seconds >= length and seconds % length == 0:
                return self._counted(seconds // length, unit)
        return self._counted(seconds, "s")

    def since(self, seconds: float) -> str:
        """Return how long ago something was, in its largest unit."""
        for length, unit in ((86400, "day"), (3600, "h"), (60, "min")):
            if seconds >= length:
                return self.ago.format(time=self._counted(int(seconds // length), unit))
        return self.just_now

    def action(self, name: str, seconds: int | None, enforced: bool) -> str:
        """Return what was done, or in quiet days would have been. seconds: of a timeout, else None."""
        told = (self.done if enforced else self.would)[name]
        return told.format(time=self.time(seconds) if seconds else "").strip()

    def share(self, probability: float) -> str:
        """Return *probability* (0 to 1) as a percentage with one decimal; never a rounded 0 or 100 that claims certainty."""
        number = "<0.1" if probability < 0.0005 else ">99.9" if probability > 0.9995 else f"{probability:.1%}"
        return number.removesuffix("%").replace(".", self.decimal) + self.percent

    def number(self, value: float, digits: int) -> str:
        return f"{value:.{digits}f}".replace(".", self.decimal)

    def _counted(self, count: int, unit: str) -> str:
        return f"{grouped(count)}\N{NO-BREAK SPACE}{self.units[unit][count != 1]}"


def grouped(number: int) -> str:
    """Return *number* with a narrow no-break space between thousands, which is read the same in both languages."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
