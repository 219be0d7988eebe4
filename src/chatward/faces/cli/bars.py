"""Progress of training on the console."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bars:
    """Live progress of training on *console*; plain lines, one an epoch, where it isn't a terminal."""

    def __init__(self, console: Any) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = console
        self._progress: Progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("macro F1 {task.fields[score]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._stage = ""
        self._loss = math.nan

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start(self, stage: str, steps: int, done: int) -> None:
        self._finish()
        self._stage = stage
        resumed = f" (resumed at step {done})" if done else ""
        self._task = self._progress.add_task(stage + resumed, total=steps, loss="-", score="-")
        self._progress.update(self._task, completed=done)
        if not self._console.is_terminal:
            self._console.print(f"{stage}: {steps} steps{resumed}", highlight=False)

    def step(self, loss: float) -> None:
        self._loss = loss
        if self._task is not None:
            self._progress.update(self._task, advance=1, loss="-" if math.isnan(loss) else f"{loss:.3f}")

    def epoch(self, number: int, figures: dict[str, float]) -> None:
        score = f"{100 * figures['macro_f1']:.1f}" if figures else "-"
        if self._task is not None:
            self._progress.update(self._task, score=score)
        if not self._console.is_terminal:
            told = f", macro F1 {score}" if figures else ""
            self._console.print(f"{self._stage}: epoch {number}, loss {self._loss:.3f}{told}", highlight=False)

    def _finish(self) -> None:
        if self._task is not None:
            task = self._progress.tasks[-1]
            self._progress.update(self._task, total=task.completed)
            self._progress.stop_task(self._task)
