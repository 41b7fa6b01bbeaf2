#!/bin/sh
# Makes .venv in the current folder and installs this project into it: ops/venv.sh runtime|dev
#
# Does nothing when what it installs from has not changed since. PYTHON names the interpreter;
# without it that of an earlier time is kept, else the newest of python3.13, python3.12, python3.11
# and python3 that will do is taken.
set -eu

level=$1
venv=.venv
python=$venv/bin/python

complain() {
    printf 'error: %s\n' "$@" >&2
    exit 1
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

can_make_venvs() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

earlier_python() { cat "$venv/.python" 2>/dev/null || true; }

# Prints the interpreter to use, or says what is missing.
find_python() {
    without_venv=
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        earlier=$(earlier_python)
        set -- ${earlier:+"$earlier"} python3.13 python3.12 python3.11 python3
    fi
    for candidate in "$@"; do
        fits "$candidate" || continue
        if can_make_venvs "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
        without_venv=${without_venv:-$candidate}
    done
    if [ -n "$without_venv" ]; then
        version=$("$without_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        complain "$without_venv has no venv module; on Debian and Ubuntu: apt install python$version-venv"
    fi
    complain "no Python 3.11, 3.12 or 3.13 found (tried: $*); install one, or name it: make PYTHON=... demo"
}

# What the installation depends on; the folder too, since a virtual environment cannot be moved.
fingerprint() {
    pwd
    printf '%s\n' "${PYTHON:-$(earlier_python)}"
    cksum pyproject.toml requirements-build.txt requirements.txt
    [ "$1" = runtime ] || cksum requirements-dev.txt
}

is_installed() {
    [ -f "$venv/.installed-$1" ] && [ "$(fingerprint "$1")" = "$(cat "$venv/.installed-$1")" ] &&
        "$python" -c '' 2>/dev/null
}

pip_install() {
    "$python" -m pip install --quiet --disable-pip-version-check --no-input "$@"
}

case $level in
    runtime) requirements=requirements.txt ;;
    dev) requirements=requirements-dev.txt ;;
    *) complain "usage: ops/venv.sh runtime|dev" ;;
esac
if is_installed "$level"; then
    exit 0
fi
if ! is_installed runtime; then
    chosen=$(find_python)
    rm -rf "$venv"
    "$chosen" -m venv "$venv"
    printf '%s\n' "$chosen" >"$venv/.python"
fi
printf 'Installing what %s lists into %s (%s) ...\n' "$requirements" "$venv" "$("$python" --version)" >&2
pip_install --only-binary :all: --require-hashes -r requirements-build.txt -r "$requirements"
pip_install --no-deps --no-build-isolation --editable .
fingerprint runtime >"$venv/.installed-runtime"
[ "$level" = runtime ] || fingerprint dev >"$venv/.installed-dev"
