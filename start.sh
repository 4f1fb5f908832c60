#!/usr/bin/env bash
# Makes a virtual environment beside this file the first time, installs what is needed, and starts the server.
#     ./start.sh [flags of app.py]
# PYTHON names the interpreter (3.11 to 3.13), VENV the folder. TORCH_INDEX is the package index that torch comes from:
# for a machine without a graphics card name PyTorch's index of CPU builds, which are smaller.
set -euo pipefail
cd "$(dirname "$0")"

venv=${VENV:-.venv}
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
if ! cmp -s requirements.txt "$venv/installed.txt"; then
    if [ -n "${TORCH_INDEX:-}" ]; then
        "$venv/bin/python" -m pip install --disable-pip-version-check --index-url "$TORCH_INDEX" "$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.txt)"
    fi
    "$venv/bin/python" -m pip install --disable-pip-version-check -r requirements.txt
    cp requirements.txt "$venv/installed.txt"
fi
exec "$venv/bin/python" app.py "$@"
