"""Loads base voices that Coqui's trainer cannot: bare weights, and weights for other letters.

The trainer (0.4.0) wants the keys `model`, `step` and `epoch`. If the vocabulary has changed, it leaves the
whole text embedding out, or takes its rows for other letters if there happen to be as many. Here each letter
keeps its own row, and so does each speaker of a voice that has several.
"""

import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from kernel_template.host.coqui import Trainer
from kernel_template.host.report import Reporter
from kernel_template.text.tokens import ROLES

_WRAPPERS = ("state_dict", "model_state_dict", "generator", "net_g")  # Other keys that hold weights.
_EMBEDDINGS = ("emb.weight", "embedding.weight")
_SPEAKERS = "emb_g.weight"
_NAMES_BEFORE = ("module.", "model.", "net_g.", "generator.")  # Of DDP, Lightning and others.
_LEAST_FITTING = 0.25  # Of the generator's numbers. The original VITS has a fifth under the same names.
_SHOWN = 12  # New letters that are named.


class WrongVoiceError(Exception):
    """A checkpoint is not of the model that is trained."""


class BaseVoice:
    """The checkpoint that a training begins from.

    Args:
        config: the base voice's config.json, for a checkpoint that does not hold it.
        reporter: the log and the report.
        quiet: whether another process prints these messages already.
    """

    def __init__(self, config: str | None, reporter: Reporter, *, quiet: bool) -> None:
        self._config = Path(config) if config else None
        self._reporter = reporter
        self._quiet = quiet

    def prepared(self, state: Any, trainer: Trainer) -> Any:
        """Return a loaded checkpoint as the trainer needs it."""
        state = self._with_keys(state)
        if isinstance(state, Mapping) and isinstance(state.get("model"), Mapping):
            self._fit_names(state, trainer)
            self._keep_letters(state, trainer)
            self._keep_speakers(state, trainer)
        return state

    def _with_keys(self, state: Any) -> Any:
        if not isinstance(state, Mapping) or {"model", "step", "epoch"} <= state.keys():
            return state
        weights = state.get("model")
        if weights is None:
            weights = next((state[key] for key in _WRAPPERS if isinstance(state.get(key), Mapping)), None)
        if weights is None and any(isinstance(value, torch.Tensor) for value in state.values()):
            weights = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
        if weights is None:
            return state
        if not self._quiet:
            self._reporter.say("the base voice's checkpoint has weights only; the training begins at step 0")
        return {
            "step": 0,
            "epoch": 0,
            **{key: state[key] for key in ("config",) if key in state},
            "model": weights,
        }

    def _fit_names(self, state: Any, trainer: Trainer) -> None:
        """Remove what a wrapper put before each name, and refuse the weights of another model.

        Raises:
            WrongVoiceError: nearly nothing in it is the model's, so the voice would be trained from noise.
        """
        wanted = {name: value for name, value in trainer.model.state_dict().items() if name[:5] != "disc."}
        weights = state["model"]

        def fitting(start: int) -> int:
            names = {str(name)[start:]: value for name, value in weights.items()}
            return sum(value.numel() for name, value in wanted.items() if _fits(names.get(name), value))

        best = max((0, *(len(name) for name in _NAMES_BEFORE if _all_begin(weights, name))), key=fitting)
        if best:
            state["model"] = {str(name)[best:]: value for name, value in weights.items()}
        share = fitting(best) / max(1, sum(value.numel() for value in wanted.values()))
        if weights and share < _LEAST_FITTING:
            raise WrongVoiceError(
                f"only {share:.0%} of the model's weights are in the base voice's checkpoint, which has "
                f"{', '.join(list(map(str, weights))[:3])} …"
            )

    def _keep_letters(self, state: Any, trainer: Trainer) -> None:
        new = getattr(getattr(trainer.model, "tokenizer", None), "characters", None)
        old = self._vocabulary(state, trainer)
        if new is None or old is None or list(old.vocab) == list(new.vocab):
            return
        rows = {letter: index for index, letter in enumerate(old.vocab)}
        for role in ROLES:  # These may be written otherwise and still mean the same.
            mine, theirs = getattr(new, role, None), getattr(old, role, None)
            if mine and theirs in rows:
                rows.setdefault(mine, rows[theirs])
        weights, wanted = dict(state["model"]), trainer.model.state_dict()
        mapped = False
        for name, value in state["model"].items():
            target = wanted.get(name)
            if (
                target is None
                or not str(name).endswith(_EMBEDDINGS)
                or (value.shape[0], target.shape[0]) != (len(old.vocab), len(new.vocab))
                or value.shape[1:] != target.shape[1:]
            ):
                continue
            merged = target.detach().clone().cpu()
            for index, letter in enumerate(new.vocab):
                if letter in rows:
                    merged[index] = value[rows[letter]]
            weights[name] = merged
            mapped = True
        if mapped:
            state["model"] = weights
            self._say(list(new.vocab), rows, set(old.vocab) - set(new.vocab))

    def _keep_speakers(self, state: Any, trainer: Trainer) -> None:
        """Give each speaker the row that they had; a new one begins as the average of all."""
        value, target = state["model"].get(_SPEAKERS), trainer.model.state_dict().get(_SPEAKERS)
        new = getattr(getattr(trainer.model, "speaker_manager", None), "name_to_id", None)
        if value is None or target is None or not new or value.shape[1:] != target.shape[1:]:
            return
        old = self._speakers(state)
        if not old and len(value) != len(target):
            old = {name: row for name, row in new.items() if row < len(value)}  # As Coqui itself takes them.
        if not old or old == dict(new) or max(old.values()) >= len(value) or max(new.values()) >= len(target):
            return
        merged = target.detach().clone().cpu()
        for name, row in new.items():
            merged[row] = value[old[name]] if name in old else value.mean(dim=0)
        state["model"] = {**state["model"], _SPEAKERS: merged}
        fresh = [name for name in new if name not in old]
        if not self._quiet:
            self._reporter.say(
                f"the base voice has {len(new) - len(fresh)} of the {len(new)} speakers, who keep their "
                "weights; the others begin as the average of all its speakers"
            )

    def _speakers(self, state: Any) -> dict[str, int]:
        """Return the rows of the base voice's speakers by their names; empty if they are unknown."""
        for values in (self._own_config(), state.get("config")):
            if not isinstance(values, Mapping):
                continue
            if isinstance(names := values.get("speakers"), list) and names:
                return {str(name): row for row, name in enumerate(names)}
            args = values.get("model_args")
            for place in (values, args if isinstance(args, Mapping) else {}):
                named = place.get("speakers_file") or place.get("speaker_file")
                if not isinstance(named, str) or self._config is None:
                    continue
                path = self._config.parent / named.replace("\\", "/").rpartition("/")[2]
                with contextlib.suppress(Exception):  # Not there, or something else.
                    text = path.read_text(encoding="utf-8") if path.suffix == ".json" else None
                    rows = (
                        json.loads(text) if text else torch.load(path, map_location="cpu", weights_only=True)
                    )
                    return {str(name): int(row) for name, row in rows.items()}
        return {}

    def _own_config(self) -> Any:
        if self._config is not None:
            with contextlib.suppress(OSError, ValueError):
                return json.loads(self._config.read_text(encoding="utf-8-sig"))
        return None

    def _say(self, vocabulary: list[str], rows: Mapping[str, int], gone: set[str]) -> None:
        if self._quiet:
            return
        fresh = [letter for letter in vocabulary if letter not in rows]
        shown = " ".join(fresh[:_SHOWN]) + (" …" if len(fresh) > _SHOWN else "")
        self._reporter.warn(
            f"The vocabulary is not the base voice's: {len(fresh)} of its {len(vocabulary)} letters are new"
            f"{f' ({shown})' if fresh else ''}, and {len(gone)} of the base voice's are not used. In the "
            f"text "
            f"embedding the rows of the {len(vocabulary) - len(fresh)} others are kept; new letters begin "
            f"untrained."
        )

    def _vocabulary(self, state: Any, trainer: Trainer) -> Any:
        """Return the characters of the checkpoint's own configuration; None if they are unknown."""
        values = state.get("config")
        if not isinstance(values, Mapping):
            values = self._own_config()
        tokenizer: Any = sys.modules.get("TTS.tts.utils.text.tokenizer")
        if not isinstance(values, Mapping) or not values.get("characters") or tokenizer is None:
            return None
        with contextlib.suppress(Exception):  # A configuration of another release.
            config: Any = type(trainer.config)()
            config.from_dict(dict(values))
            return tokenizer.TTSTokenizer.init_from_config(config)[0].characters
        return None


def _fits(value: Any, wanted: torch.Tensor) -> bool:
    """Whether a weight can be loaded, or its rows can (letters and speakers)."""
    if not isinstance(value, torch.Tensor):
        return False
    return value.numel() == wanted.numel() or (value.dim() > 1 and value.shape[1:] == wanted.shape[1:])


def _all_begin(weights: Mapping[Any, Any], start: str) -> bool:
    return bool(weights) and all(str(name).startswith(start) for name in weights)
