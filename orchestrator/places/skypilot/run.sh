# One session of the run: it continues from the newest whole checkpoint of the sessions before it. SkyPilot runs
# this on every machine, and again on new ones when machines are taken away.
root="$HOME/kgtts"
case "$KGTTS_RESULTS" in
    "~/"*) results="$HOME/${KGTTS_RESULTS#"~/"}" ;;
    *) results="$KGTTS_RESULTS" ;;
esac
export KGTTS_KAGGLE_ROOT="$root"
export KGTTS_SERIES="$results/$KGTTS_RUN"
export KGTTS_WORKING="$root/working"
export KGTTS_NODES="${SKYPILOT_NUM_NODES:-1}"
export KGTTS_NODE="${SKYPILOT_NODE_RANK:-0}"
KGTTS_HEAD="$(printf '%s\n' "${SKYPILOT_NODE_IPS:-127.0.0.1}" | head -n 1)"
export KGTTS_HEAD
rm -rf "$KGTTS_WORKING" # What an earlier session left on this machine is in the results.
mkdir -p "$KGTTS_SERIES" "$KGTTS_WORKING"
"$root/python" "$root/program/kernel.py"
code=$?

# 130: the session was told to stop, and saved. Above: a signal killed it. Both pass, so it shall be started again
# (75, see recover_on_exit_codes); but not for ever, if the run gets no further. 1: it would only fail again.
if [ "$code" -ge 128 ]; then
    echo "The session ended with $code."
    "$root/python" - "$KGTTS_SERIES" "$KGTTS_NODE" << 'PYTHON'
import json
import sys
from contextlib import suppress
from pathlib import Path
series, step, before, times = Path(sys.argv[1]), 0, -1, 0
for state in series.glob("session-*/state.json"):
    with suppress(OSError, ValueError, KeyError, TypeError):
        step = max(step, json.loads(state.read_text())["global_step"] or 0)
note = series / f".kgtts-restarts-{sys.argv[2]}"
with suppress(OSError, ValueError):
    before, times = map(int, note.read_text().split())
times = times + 1 if step == before else 1
note.write_text(f"{step} {times}\n")
if times >= 3:
    sys.exit(f"That was the third time in a row without a new checkpoint behind step {step}, so the job ends here.")
PYTHON
    code=$(($? ? 1 : 75))
fi
(exit "$code") # Not `exit`: SkyPilot's own lines follow.
