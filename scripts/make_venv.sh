#!/bin/sh
# Make a virtual environment, .venv or the one named, with pip in it. Debian and Ubuntu ship Python without ensurepip, so that
# `python3 -m venv` fails on a fresh machine; its package is installed where we may.
set -eu
PYTHON="${PYTHON:-python3}"
VENV="${1:-.venv}"

command -v "$PYTHON" >/dev/null 2>&1 || {
    echo "error: '$PYTHON' was not found. Install Python 3.11 or newer, or run: make PYTHON=/path/to/python3" >&2
    exit 1
}
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: $("$PYTHON" --version) is too old; tensorpress needs 3.11 or newer. Run: make PYTHON=/path/to/python3" >&2
    exit 1
}

venv() {
    rm -rf "$VENV"
    "$PYTHON" -m venv "$VENV"
}

if ! "$PYTHON" -c 'import ensurepip' >/dev/null 2>&1; then
    package=$("$PYTHON" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ]; then sudo=; else sudo="sudo -n"; fi
    echo "installing $package, which this Python needs to make a virtual environment"
    $sudo apt-get update -qq && $sudo apt-get install -y -qq "$package" || {
        echo "error: could not install $package. Run: sudo apt-get install $package" >&2
        exit 1
    }
fi
venv
