"""Reading the trainer's output in all its forms."""

import re
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_template.events import Event, ProgressEvent
from kernel_template.train.progress import ProgressParser, TrainerEvent, file_step

# trainer 0.4.0, colours included: totals are printed less one.
COLOURED = """
\x1b[4m\x1b[1m > EPOCH: 0/1\x1b[0m
 --> /kaggle/working/training/vits-November-22-2026_07+31AM-0000000

\x1b[1m > TRAINING (2026-11-22 07:31:40) \x1b[0m

\x1b[1m   --> TIME: 2026-11-22 07:31:47 -- STEP: 0/2 -- GLOBAL_STEP: 0\x1b[0m
     | > loss_mel: 140.12542724609375  (140.12542724609375)
     | > grad_norm_0: tensor(28.9038, device='cuda:0') (tensor(21.8210, device='cuda:0'))
     | > step_time: 0.6256  (0.6255640983581543)

\x1b[1m   --> TIME: 2026-11-22 07:31:48 -- STEP: 1/2 -- GLOBAL_STEP: 1\x1b[0m
     | > loss_mel: 130.0  (135.5)
     | > amp_scaler: 512.0  (600.5)

\x1b[1m > EVALUATION \x1b[0m

\x1b[1m   --> STEP: 0\x1b[0m
     | > loss_mel: 99.0  (99.0)

  \x1b[1m--> EVAL PERFORMANCE\x1b[0m
     | > avg_loss_mel:\x1b[92m 125.13352966308594 \x1b[0m(-4.7518768310546875)
     | > avg_loss_kl:\x1b[91m 2.5 \x1b[0m(+0.25)

 > BEST MODEL : /kaggle/working/training/vits/best_model_3.pth

\x1b[4m\x1b[1m > EPOCH: 1/1\x1b[0m
"""

# trainer 0.0.36 as people keep it: no colours, no indentation, with other things between the lines.
KEPT = """
> EPOCH: 45/50
> TRAINING (2024-11-04 01:02:03)
--> TIME: 2024-11-04 01:02:04 -- STEP: 24/630 -- GLOBAL_STEP: 877025
| > loss_mel: 20.5 (21.25)
UserWarning: stft will soon require something
| > loss_disc: 2.75 (2.5)
আমার সোনার বাংলা, আমি তোমায় ভালোবাসি।
 12%|#2        | 75/630 [00:44<05:20,  1.73it/s]
--> TIME: 2024-11-04 01:02:22 -- STEP: 49/630 -- GLOBAL_STEP: 877050
| > loss_mel: 19.5 (20.75)
> CHECKPOINT : out/100-th epoch আ/checkpoint_877050.pth
--> EVAL PERFORMANCE
| > avg_loss_mel: 18.5 (-0.5)
"""


def as_dict(event: TrainerEvent) -> dict[str, Any]:
    """Return an event as a dictionary with its name."""
    name = event.name if isinstance(event, Event) else type(event).__name__
    return {"event": str(name), **asdict(event)}


def feed(text: str, parser: ProgressParser, *, step_s: float = 1.0) -> list[dict[str, Any]]:
    """Return all events of a text whose lines come `step_s` seconds apart."""
    events: list[dict[str, Any]] = []
    now = 0.0
    for line in text.splitlines():
        now += step_s
        events += map(as_dict, parser.feed(line, now))
    return [*events, *map(as_dict, parser.finish(now))]


def test_coloured_output_of_the_current_trainer() -> None:
    """Steps, evaluations, epoch ends and best models are read, with means and corrected totals."""
    events = feed(COLOURED, ProgressParser(epochs=2))
    assert [event["event"] for event in events] == ["progress", "progress", "eval", "epoch", "Saving"]
    first, second, evaluation, epoch, saving = events
    assert first["losses"] == {
        "loss_mel": 140.12542724609375,
        "grad_norm_0": 21.821,
        "step_time": 0.6255640983581543,
    }
    assert (first["epoch"], first["epochs"], first["step"], first["steps_per_epoch"]) == (0, 2, 0, 3)
    assert first["eta_s"] is None
    assert second["losses"] == {"loss_mel": 135.5, "amp_scaler": 600.5}
    assert evaluation == {
        "event": "eval",
        "epoch": 0,
        "global_step": 3,
        "losses": {"avg_loss_mel": 125.13352966308594, "avg_loss_kl": 2.5},
    }
    assert epoch["losses"] == second["losses"]
    assert epoch["epochs"] == 2
    assert saving["path"].endswith("best_model_3.pth")
    assert (saving["global_step"], saving["best"]) == (3, True)


def test_plain_output_kept_from_an_older_trainer() -> None:
    """Without colours and indentation the same events are read, with totals as printed."""
    parser = ProgressParser(epochs=50)
    events = feed(KEPT, parser)
    assert [event["event"] for event in events] == ["progress", "progress", "Saving", "eval", "epoch"]
    assert events[0]["losses"] == {"loss_mel": 21.25, "loss_disc": 2.5}
    assert (events[0]["epoch"], events[0]["steps_per_epoch"], events[0]["global_step"]) == (45, 630, 877025)
    assert events[2]["path"] == "out/100-th epoch আ/checkpoint_877050.pth"
    assert events[3]["losses"] == {"avg_loss_mel": 18.5}
    assert events[3]["global_step"] == 877050 + 630 - 49


def test_colours_make_no_difference() -> None:
    """The same text without its control sequences gives the same events."""
    bare = re.sub(r"\x1b\[\d+m", "", COLOURED)
    assert feed(bare, ProgressParser(epochs=2)) == feed(COLOURED, ProgressParser(epochs=2))


def test_eta_is_what_is_left_at_the_pace_so_far() -> None:
    """After 10 steps in 20 seconds, the remaining 80 steps of 90 take 160 seconds."""
    parser = ProgressParser(epochs=3)
    lines = [
        (0.0, "> EPOCH: 0/3"),
        (100.0, "--> TIME: 2026-11-22 07:31:47 -- STEP: 0/30 -- GLOBAL_STEP: 0"),
        (100.0, "| > loss: 1.0"),
        (100.0, ""),
        (120.0, "--> TIME: 2026-11-22 07:31:57 -- STEP: 10/30 -- GLOBAL_STEP: 10"),
        (120.0, "| > loss: 1.0"),
        (120.0, ""),
    ]
    events = [event for now, line in lines for event in parser.feed(line, now)]
    assert [event.eta_s for event in events if isinstance(event, ProgressEvent)] == [None, 160.0]


def test_epoch_time_of_the_trainer_is_believed() -> None:
    """If the trainer prints an epoch's time and means, those are used."""
    text = (
        "> EPOCH: 0/4\n--> TRAIN PERFORMACE -- EPOCH TIME: 12.34 sec -- GLOBAL_STEP: 8\n"
        "     | > avg_loss: 3.5\n\n  --> EVAL PERFORMANCE\n     | > avg_loss: 3.0 (+0.0)\n\n"
    )
    evaluation, epoch = feed(text, ProgressParser(epochs=4))
    assert (epoch["seconds"], epoch["losses"]) == (12.34, {"avg_loss": 3.5})
    assert evaluation["global_step"] == 8


def test_epoch_time_is_measured_otherwise() -> None:
    """Without it, the time from the header to the evaluation is used."""
    parser = ProgressParser(epochs=4)
    parser.feed("> EPOCH: 0/4", 10.0)
    parser.feed("--> EVAL PERFORMANCE", 25.5)
    parser.feed("| > avg_loss: 1.0 (+0.0)", 25.5)
    assert as_dict(parser.feed("", 26.0)[1])["seconds"] == 16.0


def test_a_loss_that_is_not_a_number_is_told_once() -> None:
    """A NaN loss is an event of its own; a gradient norm that overflows is not."""
    block = (
        "--> TIME: x -- STEP: 0/3 -- GLOBAL_STEP: 7\n| > loss_mel: nan (nan)\n| > grad_norm_0: inf (inf)\n\n"
    )
    events = feed(block * 2, ProgressParser(epochs=1))
    assert [event["event"] for event in events] == ["NotFinite", "progress", "progress"]
    assert events[0] == {"event": "NotFinite", "name": "loss_mel", "value": "nan", "global_step": 7}
    assert events[1]["losses"] == {}


def test_an_unknown_number_of_epochs_is_taken_from_the_log() -> None:
    """Without a number of epochs, the parser uses the printed one."""
    parser = ProgressParser()
    feed("> EPOCH: 3/50", parser)
    assert (parser.epoch, parser.epochs) == (3, 50)


@pytest.mark.parametrize(
    ("name", "step"),
    [("checkpoint_12.pth", 12), ("a_3/best_model_007.pth", 7), ("best_model.pth", None), ("x_1.pt", None)],
)
def test_step_in_a_file_name(name: str, step: int | None) -> None:
    """The number before .pth is the step."""
    assert file_step(name) == step


_PIECES = st.sampled_from(
    [
        "> EPOCH: 0/1",
        "--> TIME: x -- STEP: 1/3 -- GLOBAL_STEP: 99999999999999999999",
        "| > loss: 1e999 (1e-999)",
        "| > loss: tensor( (",
        "| > : ()",
        "--> EVAL PERFORMANCE",
        " > CHECKPOINT : .pth",
        " > BEST MODEL : \x00.pth",
        "\x1b[",
        "",
    ]
)


@given(st.lists(st.one_of(_PIECES, st.text()), max_size=30))
def test_rubbish_never_raises(lines: list[str]) -> None:
    """Whatever a training prints, the parser continues."""
    feed("\n".join(lines), ProgressParser(epochs=2))
