"""The stage that measures the voice after the training. A failure is a warning; it never costs the session.

It runs in the session's own process once all ranks are gone, so nothing of the training can change or wait.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from kernel_template.context import SessionContext
from kernel_template.contract import (
    BEST_SCORE_PREFIX,
    BY_TRAINER,
    MEASURES,
    OWN_PREFIX,
    Scored,
    Scores,
    ScoresState,
    Speaker,
    Stage,
)
from kernel_template.events import ScoresEvent
from kernel_template.finish.export import free_bytes
from kernel_template.finish.voice_program import tagged_record
from kernel_template.scores.book import best_step, folder_of, scores_before, set_name
from kernel_template.scores.held_out import choose, read_candidates
from kernel_template.scores.program import NO_TIME, ScoringPlan, Voice
from kernel_template.start.inputs import Inputs
from kernel_template.start.install import add_packages
from kernel_template.tools.espeak import with_espeak
from kernel_template.tools.files import human_seconds, human_size, json_bytes
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.process import ChildPlan, StopCause
from kernel_template.train.checkpoints import Checkpoint
from kernel_template.train.command import training_environment

_LEAST_S = 5.0  # Not worth beginning with less.
_INSTALL_SHARE = 0.4  # Of the time for scores.
_GRACE_S = 0.5  # The program has nothing to save.
_KEEP_FREE = 200_000_000  # Bytes for the exported voice, samples and state.json.


@dataclass(slots=True)
class _Run:
    """One run of the program: what it measured, and what it said otherwise."""

    scored: list[Scored] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ScoresStage:
    """Measures the base voice and the checkpoints that are kept, and chooses the best one by run.best_by."""

    context: SessionContext

    def recall(self) -> None:
        """Take over what the sessions before measured, so that it is kept even if this one is killed."""
        context, resumed = self.context, self.context.record.resumed
        before = scores_before(resumed.state.get("scores"), resumed.global_step) if resumed else None
        if before is None and not context.settings["scores"]["enabled"]:
            return
        scores = before or scores_before({}, 0)
        assert scores is not None
        scores["best_by"] = context.settings["scores"]["best_by"]
        context.record.scores = scores

    def run(self, inputs: Inputs) -> None:
        """Measure, and choose."""
        context, scores = self.context, self.context.record.scores
        if not context.settings["scores"]["enabled"] or scores is None:
            return
        with context.report.stage(Stage.SCORES, "Scores"):
            began = context.report.elapsed
            limit = context.budget.scores_left()
            scores["limit_s"] = round(limit, 2)
            try:
                self._measure(scores, inputs, limit)
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                scores["state"] = ScoresState.FAILED
                scores["why"] = f"{type(error).__name__}: {error}"
            scores["seconds"] = round(context.report.elapsed - began, 2)
            if scores["state"] == ScoresState.FAILED:
                context.report.warn(f"The voice was not measured: {scores['why']}.")
            elif scores["state"] == ScoresState.SKIPPED:
                context.report.say(f"The voice is not measured: {scores['why']}.")
            elif scores["why"]:
                context.report.say(f"Not all was measured: {scores['why']}.")
            try:
                self._choose(scores)
            except OSError as error:
                context.report.warn(f"The best checkpoint by {scores['best_by']} could not be kept: {error}.")

    def _measure(self, scores: Scores, inputs: Inputs, limit: float) -> None:
        context, asked = self.context, self.context.settings["scores"]
        candidates = read_candidates(context.paths.held_out)
        scores["state"] = ScoresState.SKIPPED
        if not candidates:
            scores["why"] = (
                "there are no recordings to measure it by: the Trainer got no evaluation samples, "
                "or all of them are trained on too"
            )
            return
        sentences, sounds = choose(candidates, asked["sentences"], scores["sentences"])
        scores["sentences"] = sentences
        of_set = set_name(sentences)
        voices = list(self._voices(scores, inputs, of_set))
        if not voices:
            scores["state"], scores["why"] = ScoresState.MADE, None
            return
        if limit < _LEAST_S:
            scores["why"] = (
                f"{100 * asked['share']:g} % of the session's time (scores.share) are {limit:.0f} s, too few"
            )
            return
        left = limit - self._install(limit)
        context.report.say(
            f"{len(sentences)} sentences that nothing was trained on, {len(voices)} voices, within "
            f"{human_seconds(left)}"
        )
        found = self._run({"sentences": sentences, "sounds": sounds, "voices": voices}, of_set, left)
        for item in found.scored:
            kept = cast("Scored", {key: value for key, value in item.items() if key != "sentences"})
            if item["of"] == Speaker.STEP:
                others = [old for old in scores["steps"] if old["global_step"] != item["global_step"]]
                scores["steps"] = sorted([*others, kept], key=lambda old: old["global_step"] or 0)
            elif item["of"] == Speaker.BASE:
                scores["base"] = kept
            else:
                scores["recordings"] = kept
        scores["state"] = ScoresState.MADE if not found.skipped else ScoresState.PARTLY
        if not found.scored:
            scores["state"] = ScoresState.FAILED
        if any(NO_TIME in item for item in found.skipped):
            found.skipped.append(f"more than scores.share = {asked['share']:g} gives it more time")
        scores["why"] = "; ".join(found.skipped) or None
        for reason, names in _reasons(found.scored).items():
            context.report.say(f"Not measured: {', '.join(names)}, since {reason}.")

    def _voices(self, scores: Scores, inputs: Inputs, of_set: str) -> Iterator[Voice]:
        """Who is still to be measured, those first that say most: newest, recordings, base, best, others."""
        context = self.context
        done = {item["global_step"] for item in scores["steps"] if item["set"] == of_set}
        by_step: dict[int, Checkpoint] = {}
        for item in sorted(context.checkpoints.whole(), key=lambda item: item.best):
            by_step.setdefault(item.global_step, item)
        best = max((item.global_step for item in by_step.values() if item.best), default=None)
        steps = sorted(by_step, reverse=True)
        order = [*steps[:1], *(step for step in steps[1:] if step == best), *steps[1:]]
        asked = [by_step[step] for step in dict.fromkeys(order) if step not in done]
        voices = [self._voice(Speaker.STEP, item, self._config(item)) for item in asked]
        once: list[Voice] = []
        if scores["recordings"] is None or scores["recordings"]["set"] != of_set:
            once.append(self._voice(Speaker.RECORDINGS))
        if scores["base"] is None or scores["base"]["set"] != of_set:
            base = Checkpoint(inputs.checkpoint, 0, best=False)
            once.append(self._voice(Speaker.BASE, base, inputs.config))
        yield from voices[:1]
        yield from once
        yield from voices[1:]

    def _voice(self, of: Speaker, checkpoint: Checkpoint | None = None, config: Path | None = None) -> Voice:
        paths = self.context.paths
        step = checkpoint.global_step if checkpoint is not None else None
        return {
            "of": of,
            "global_step": step,
            "config": str(config) if config is not None else None,
            "checkpoint": str(checkpoint.path) if checkpoint is not None else None,
            "name": paths.relative(checkpoint.path) if checkpoint is not None else None,
            "letters": str(paths.letters) if of is Speaker.STEP else None,
            "folder": str(paths.scored / folder_of(of, step)),
        }

    def _config(self, checkpoint: Checkpoint) -> Path:
        folder = self.context.outputs.run_folder(checkpoint)
        return folder / "config.json" if folder is not None else self.context.paths.config

    def _install(self, limit: float) -> float:
        """Install the models' packages; what is missing is said later. Returns the seconds that it took."""
        context, packages = self.context, self.context.settings["scores"]["packages"]
        began = context.report.elapsed
        try:
            add_packages(context, packages, limit_s=limit * _INSTALL_SHARE, alone=True)
        except KernelFailure as failure:
            context.report.say(f"  {failure.message}")
        return context.report.elapsed - began

    def _run(self, parts: dict[str, Any], of_set: str, left: float) -> _Run:
        """Let the program speak and measure."""
        context, tools, found = self.context, self.context.tools, _Run()
        plan = cast(
            "ScoringPlan",
            {**parts, "recogniser": context.settings["scores"]["recogniser"], "limit_s": round(left, 2)},
        )
        file = context.paths.temp / "scores.json"
        tools.write(file, json_bytes(plan))

        def on_line(text: str, *, is_bar: bool) -> None:
            if (record := tagged_record(text, "scored")) is not None:
                found.scored.append(self._take(record, of_set))
            elif (record := tagged_record(text, "skipped")) is not None:
                found.skipped.append(f"{_title(record['of'], record['global_step'])} ({record['why']})")
            elif text.strip() and not is_bar:
                found.lines.append(text.strip())

        gpu = context.settings["accelerator"] is not None
        own = with_espeak(tools.env, context.paths.temp / "bin")
        env = tools.programs.environment(training_environment(own, gpu=gpu))
        command = tools.programs.command("scores.program", str(file))
        end = context.run_child(ChildPlan(command, env, context.paths.temp, left, _GRACE_S), on_line)
        done = {item["folder"] for item in found.scored}
        missed = [
            voice for voice in plan["voices"] if context.paths.relative(Path(voice["folder"])) not in done
        ]
        for voice in missed:  # Some sounds of a voice are worse than none.
            shutil.rmtree(voice["folder"], ignore_errors=True)
        if end.stop_cause is not None:
            late = end.stop_cause is StopCause.TIME_LIMIT
            why = NO_TIME if late else "the session was told to stop"
            found.skipped = [f"{_title(item['of'], item['global_step'])} ({why})" for item in missed]
        elif end.returncode != 0:
            last = (found.lines or ["it printed nothing"])[-1][:300]
            found.skipped.append(f"the program ended with exit code {end.returncode}: {last}")
        return found

    def _take(self, record: dict[str, Any], of_set: str) -> Scored:
        """Report what was measured of a voice."""
        context = self.context
        place = context.paths.scored / folder_of(record["of"], record["global_step"])
        scored = cast(
            "Scored",
            {
                **record,
                "session": context.settings["run"]["session"],
                "set": of_set,
                "folder": context.paths.relative(place),
            },
        )
        context.report.event(ScoresEvent(scored))
        values = ", ".join(
            f"{name.replace('_', ' ')} {mean['mean']:.3g} {unit}".rstrip() + f" (± {mean['spread']:.2g})"
            for name, (unit, _) in MEASURES.items()
            if (mean := scored["means"].get(name)) is not None
        )
        context.report.say(f"  {_title(scored['of'], scored['global_step'])}: {values}")
        return scored

    def _choose(self, scores: Scores) -> None:
        """Keep the best checkpoint by run.best_by under a name that the trainer does not delete."""
        context, by = self.context, scores["best_by"]
        whole = context.checkpoints.whole()
        marked = [item for item in whole if item.by_score]
        if by == BY_TRAINER:
            for item in marked:  # Of an earlier session with another run.best_by.
                item.path.unlink(missing_ok=True)
            return
        there = {item.global_step: item for item in whole}
        best = best_step(scores["steps"], by, set_name(scores["sentences"]), list(there))
        if best is None:
            context.report.warn(
                f"No checkpoint could be measured by run.best_by = {by}: "
                + ("the best one so far stays." if marked else "the trainer's own best model is taken.")
            )
            return
        chosen = there[best.global_step]
        target = chosen.path.with_name(f"{BEST_SCORE_PREFIX}{best.global_step}.pth")
        if not target.exists():
            self._keep(chosen.path, target, marked)
        for item in marked:
            if item.path != target:
                item.path.unlink(missing_ok=True)
        name = context.paths.relative(target)
        scores["best"] = {"by": by, "value": best.value, "global_step": best.global_step, "checkpoint": name}
        context.report.say(
            f"The best checkpoint by {by} is that of step {best.global_step} ({best.value:.3g})."
        )

    def _keep(self, source: Path, target: Path, marked: Sequence[Checkpoint]) -> None:
        """Give a checkpoint a second name; on a disk without links, copy it.

        Raises:
            OSError: there is no room for a copy.
        """
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
        room = free_bytes(self.context.paths.working, self.context.settings["disk"]["limit_bytes"])
        room += sum(item.path.stat().st_size for item in marked)
        needed = source.stat().st_size
        if needed + _KEEP_FREE > room:
            raise OSError(
                f"it needs {human_size(needed)}, but only {human_size(max(room, 0))} may be written"
            )
        part = target.with_name(f"{OWN_PREFIX}{target.name}.part")
        shutil.copyfile(source, part)
        part.replace(target)


def _title(of: str, step: int | None) -> str:
    titles = {Speaker.RECORDINGS: "the recordings", Speaker.BASE: "the base voice"}
    return titles.get(Speaker(of), f"step {step}")


def _reasons(scored: Sequence[Scored]) -> dict[str, list[str]]:
    """Why measures are missing, each reason once, with the measures that it concerns."""
    reasons: dict[str, list[str]] = {}
    for item in scored:
        for name, why in item["missing"].items():
            names = reasons.setdefault(why, [])
            if name not in names:
                names.append(name.replace("_", " "))
    return {why: list(dict.fromkeys(names)) for why, names in reasons.items()}
