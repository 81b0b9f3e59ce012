# Finds or makes a Python with torch and Coqui TTS, and writes ~/kgtts/python, which starts it. SkyPilot runs
# this on every machine that it starts; where all is there already, it takes a second.
prepare() (
    set -euo pipefail
    root="$HOME/kgtts"
    mkdir -p "$root/input" "$root/temp"
    printf '%s\n' "$KGTTS_PACKAGES" > "$root/requirements.txt"
    python="$(command -v python3 || true)"
    own="$root/env/bin/python"
    if ! has "$python" torch TTS; then
        has "$own" torch TTS || install
        python="$own"
    fi
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$python" > "$root/python"
    chmod +x "$root/python"
    "$root/python" --version
)

# Whether a Python ($1) is new enough and has the packages that are named behind it.
has() {
    [ -n "$1" ] && "$1" - "${@:2}" > /dev/null 2>&1 << 'PYTHON'
import importlib.util
import sys
assert (3, 11) <= sys.version_info < (3, 15)
assert all(importlib.util.find_spec(name) for name in sys.argv[1:])
PYTHON
}

# Makes ~/kgtts/env, on the image's own torch if it has one, since that fits its driver.
install() {
    uv="$(command -v uv || echo "$HOME/.local/bin/uv")"
    if ! [ -x "$uv" ]; then
        curl -LsSf https://astral.sh/uv/install.sh | env UV_INSTALL_DIR="$HOME/.local/bin" UV_NO_MODIFY_PATH=1 sh
    fi
    packages='import sysconfig; print(sysconfig.get_path("purelib"))'
    rm -rf "$root/env"
    : > "$root/constraints.txt"
    if has "$python" torch; then
        "$uv" venv --quiet --seed --system-site-packages --python "$python" "$root/env"
        # If the image's Python is an environment itself, its packages are not the system's.
        "$python" -c "$packages" > "$("$own" -c "$packages")/image.pth"
        "$own" -m pip freeze | grep -iE '^torch(audio|vision|codec)?==' > "$root/constraints.txt" || true
    else
        "$uv" venv --quiet --seed --python 3.12 "$root/env"
        "$uv" pip install --quiet --python "$own" --torch-backend=auto torch torchaudio
    fi
    # Coqui does not declare torchaudio, and does not start without it.
    "$own" -m pip install --quiet --constraint "$root/constraints.txt" torchaudio -r "$root/requirements.txt"
    # From torch 2.9 on, Coqui does not start without torchcodec either; for an old torch it has no use.
    "$own" -c 'import TTS' > /dev/null 2>&1 ||
        "$own" -m pip install --quiet --constraint "$root/constraints.txt" torchcodec
}

prepare
