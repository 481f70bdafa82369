#!/bin/sh
# Installs what the tests need, runs the checks and all tests. With arguments: pytest with these arguments, no checks.
set -eu
cd "$(dirname "$0")"

python="${PYTHON:-python3}"
venv=.venv-test

say() { printf '%s\n' "$*" >&2; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    say "error: $python is missing or older than 3.11"
    say ""
    say "hint: on Debian or Ubuntu: apt-get install python3 python3-venv; or set PYTHON to another interpreter"
    exit 2
}

# The tests use real programs: nginx, HAProxy, wrk, and a Docker daemon of their own. No service starts when these are
# installed (RUNLEVEL=1).
needed="nginx haproxy wrk dockerd iptables ip cc"
missing=""
for program in $needed; do command -v "$program" > /dev/null || missing="$missing $program"; done
# One test compiles the gateway, which needs Python's headers. Pythons that are not the system's contain them.
"$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || missing="$missing python3-dev"
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
        say "installing what is missing:$missing"
        apt-get update -qq
        RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            nginx-light haproxy wrk docker.io iptables iproute2 gcc libc6-dev python3-dev > /dev/null
    else
        say "not installed, so some tests will be skipped:$missing (apt-get install nginx-light haproxy wrk docker.io iptables iproute2 gcc python3-dev)"
    fi
fi

# The stamp identifies what was installed: the locks and the interpreter.
wanted="$(cat requirements.lock requirements-docker.lock requirements-test.txt pyproject.toml test.sh | sha256sum) $("$python" -V)"
if [ "$(cat "$venv/stamp" 2>/dev/null)" != "$wanted" ]; then
    say "installing what the tests need into $venv"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-docker.lock
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r requirements-test.txt
    # Without its dependencies: the tests need only those that are installed already (tests/services/m3.py).
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps FlagEmbedding==1.4.2
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -e .
    printf '%s' "$wanted" > "$venv/stamp"
fi

if [ $# -eq 0 ]; then
    PATH="$PWD/$venv/bin:$PATH" scripts/check
    # Three workers on two cores, because many tests wait. Each worker has a Docker daemon of its own.
    set -- -n 3 --dist worksteal
fi
exec "$venv/bin/python" -m pytest "$@"
