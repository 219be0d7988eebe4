"""What a model says of a match's chat: each line's label, and sums per player and team. Lines are judged, never people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from chatward.faces.match.match import TEAM, TEAMS, Line, Match
from chatward.faces.match.names import Names
from chatward.schema import LABELS

if TYPE_CHECKING:
    from chatward.detection.detector import Detector
    from chatward.schema import Prediction, Threshold, Word

ANSWERED_WITHIN: Final = 30
"""Seconds after a line within which the next by another player is shown as its answer."""
MOST_EXPLAINED: Final = 200
"""Words are marked in so many of the flagged lines: the first of the match, and the most severe ones."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A line and what the model says of it.

    number: from 1, in order of time. prediction: None for the chat wheel, and for a line with nothing to be seen in it. flagged: at or above the model's
    threshold (`Report.threshold`). words: those that raise the level, the greatest first; empty where none was looked for or found.
    answers: number of the last typed line by another player within `ANSWERED_WITHIN` seconds before that this one's writer could see; None for none. That is by
    time, not by meaning.
    """

    line: Line
    number: int
    prediction: Prediction | None = None
    flagged: bool = False
    words: tuple[Word, ...] = ()
    answers: int | None = None

    @property
    def label(self) -> str:
        """One of `LABELS`; empty where the line wasn't judged."""
        return self.prediction.label if self.prediction else ""


@dataclass(slots=True)
class Sums:
    """Counts of lines: typed and of the chat wheel; of the typed ones those labelled mild and toxic, and those flagged.

    worst: the most severe of those labelled or flagged; None where there is none.
    """

    lines: int = 0
    wheel: int = 0
    mild: int = 0
    toxic: int = 0
    flagged: int = 0
    worst: Judged | None = None

    def add(self, judged: Judged) -> None:
        """Count one line."""
        if judged.line.wheel is not None:
            self.wheel += 1
            return
        self.lines += 1
        self.mild += judged.label == LABELS[1]
        self.toxic += judged.label == LABELS[2]
        self.flagged += judged.flagged
        if (judged.flagged or judged.label in LABELS[1:]) and severity(judged) > severity(self.worst):
            self.worst = judged


@dataclass(frozen=True, slots=True)
class Report:
    """A judged match. players: sums in the order of `Match.players`; teams: of each of `TEAMS`. total: of all, those who didn't play included.

    threshold: from which severity a line is flagged; None where the model holds none, and mild and toxic lines are flagged. model: its fingerprint.
    """

    match: Match
    names: Names
    lines: tuple[Judged, ...]
    threshold: Threshold | None
    model: str
    players: tuple[Sums, ...] = field(default=())
    teams: dict[str, Sums] = field(default_factory=dict)
    total: Sums = field(default_factory=Sums)

    @property
    def first(self) -> Judged | None:
        """The first flagged line of the match; None where there is none."""
        return next((judged for judged in self.lines if judged.flagged), None)

    def worst(self, most: int) -> list[Judged]:
        """Return up to *most* flagged lines, the most severe first."""
        return sorted((j for j in self.lines if j.flagged), key=severity, reverse=True)[:most]


def flagged_means(threshold: Threshold | None) -> str:
    """Return a sentence that says what it takes for a line to be flagged."""
    if threshold is None:
        return "Flagged: each line labelled mild or toxic, as this model holds no threshold for a budget of wrong flags."
    return (
        f"Flagged: sure enough that this model wrongly flags about {threshold.budget:g} of 1,000 clean lines; "
        "a label alone is wrong more often."
    )


def severity(judged: Judged | None) -> float:
    """Return the severity of a line's prediction (`Prediction.severity`); -1 where it has none."""
    return judged.prediction.severity if judged and judged.prediction else -1.0


def judge(match: Match, detector: Detector, hide_names: bool = False) -> Report:
    """Judge the typed lines of *match*; those of the chat wheel are phrases that the game wrote, and aren't."""
    typed = [line.wheel is None and bool(line.text.strip()) for line in match.lines]
    predictions = iter(
        detector.predict([line.text for line, is_typed in zip(match.lines, typed, strict=True) if is_typed])
    )
    threshold = detector.threshold
    lines: list[Judged] = []
    for number, (line, is_typed) in enumerate(zip(match.lines, typed, strict=True), 1):
        if not is_typed:
            lines.append(Judged(line, number))
            continue
        found = next(predictions)
        flagged = threshold.flags(found) if threshold else found.label != LABELS[0]
        lines.append(Judged(line, number, found, flagged, answers=_answered(match, lines, line)))
    flagged_lines = [judged for judged in lines if judged.flagged]
    # The first of the match is shown above all others.
    rest = sorted(flagged_lines[1:], key=severity, reverse=True)
    explained = [*flagged_lines[:1], *rest][:MOST_EXPLAINED]
    for judged in explained:
        words = tuple(detector.explain(judged.line.text).because())
        lines[judged.number - 1] = Judged(
            judged.line, judged.number, judged.prediction, True, words, judged.answers
        )
    return _summed(match, Names(match, hide_names), lines, threshold, detector.fingerprint)


def summed(players: Iterable[Sums]) -> Sums:
    """Return the sums of several."""
    total = Sums()
    for one in players:
        total.lines += one.lines
        total.wheel += one.wheel
        total.mild += one.mild
        total.toxic += one.toxic
        total.flagged += one.flagged
        total.worst = max(total.worst, one.worst, key=severity)
    return total


def reasons(judged: Judged, names: Names) -> list[Word]:
    """Return the words of a line that raise its level, the greatest first, but for those that a hidden name hides."""
    masks = names.masks(judged.line.text)
    return [w for w in judged.words if all(w.end <= start or end <= w.start for start, end, _ in masks)]


def pieces(judged: Judged, names: Names) -> Iterator[tuple[str, float]]:
    """Yield the text of a line in pieces, each with how much it raises the level (`Word.contribution`), 0 where it doesn't; names masked where they are hidden."""
    text = judged.line.text
    masks = [] if judged.line.wheel is not None else names.masks(text)
    marks = [(start, end, instead, 0.0) for start, end, instead in masks]
    marks += [(w.start, w.end, text[w.start : w.end], w.contribution) for w in reasons(judged, names)]
    done = 0
    for start, end, shown, raises in sorted(marks):
        if start > done:
            yield text[done:start], 0.0
        yield shown, raises
        done = end
    if done < len(text):
        yield text[done:], 0.0


def _answered(match: Match, before: list[Judged], line: Line) -> int | None:
    own = match.players[line.speaker]
    for judged in reversed(before):
        if line.at is None or judged.line.at is None or line.at - judged.line.at > ANSWERED_WITHIN:
            return None
        other = match.players[judged.line.speaker]
        seen = judged.line.channel != TEAM or other.team == own.team
        if judged.prediction and judged.line.speaker != line.speaker and seen:
            return judged.number
    return None


def _summed(match: Match, names: Names, lines: list[Judged], threshold: Threshold | None, model: str) -> Report:
    players = tuple(Sums() for _ in match.players)
    for judged in lines:
        players[judged.line.speaker].add(judged)
    teams = {
        team: summed(sums for player, sums in zip(match.players, players, strict=True) if player.team == team)
        for team in TEAMS
    }
    return Report(match, names, tuple(lines), threshold, model, players, teams, summed(players))
