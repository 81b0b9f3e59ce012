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
"$root/python" "$root/kernel.py"
code=$?
# 130: the session was told to stop, and saved. Above: a signal killed it. Both pass, so SkyPilot starts it again
# (recover_on_exit_codes). With 1 the training failed for a reason that would only come again.
if [ "$code" -ge 128 ]; then
    echo "The session ended with $code; SkyPilot starts the next one."
    exit 75
fi
exit "$code"
