#!/bin/sh
# ./run.sh [GPU_TYPE] [flags of `embedfleet up`]: installs into .venv once, then serves embeddings on :8001 and
# reranking on :8002. A second run starts at once and needs no network. pip's settings apply to the installation, so it
# also works from a folder of wheels (docs/operating.md).
#
# .venv is a link to the current environment, .venv-run-NUMBER. A new environment is made beside it, and the link is
# changed when the new one is complete, so that a working environment is never lost. Each process locks the mark of its
# environment (cli/environment.py); a later run removes environments that no process has locked.
set -eu
root="$(dirname "$(readlink -f "$0")")"
cd "$root"
. scripts/environment

venv=.venv
mark=made-by-run.sh

# Sets `python` to the interpreter that PYTHON names, otherwise to the first here that is new enough.
find_python() {
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3 python3.14 python3.13 python3.12 python3.11; fi
    for python in "$@"; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
    done
    die "${PYTHON:-python3} is missing or older than 3.11" \
        "on Debian or Ubuntu: apt-get install python3 python3-venv; or set PYTHON to a newer interpreter"
}

# One run.sh installs at a time. The kernel releases the lock when this shell and its children have ended.
try_lock() {
    touch .venv-lock 2> /dev/null || return 1
    exec 9> .venv-lock
    "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2> /dev/null
}

lock() {
    try_lock && return
    [ -w .venv-lock ] || die "$root cannot be written" "run this as its owner"
    say "another run.sh installs here: waiting for it"
    "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' 2> /dev/null || die "$root/.venv-lock cannot be locked" \
        "is this folder on a file system without locks?"
}

unlock() { exec 9>&-; }

# Prints what still works after an installation failed.
what_is_left() {
    [ ! -x "$venv/bin/embedfleet" ] ||
        printf '%s' "; what was installed before still works: $venv/bin/embedfleet up"
}

install_lock() {
    # The lock file is complete and pip checks the hash of each package; it resolves and builds nothing.
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$2" ||
        die "the packages of $2 could not be installed" \
            "is there a network, or a package index? docs/operating.md says how to install without one$(what_is_left)"
}

install_docker() {
    install_lock "$1" requirements-docker.lock
    cksum < requirements-docker.lock > "$1/stamp-docker"
}

# Succeeds if an environment works and has the locked packages. The stamp begins with the checksum of the lock file.
fits() {
    works "$1" || return 1
    case "$(cat "$1/stamp")" in "$wanted" | "$wanted "*) ;; *) return 1 ;; esac
    [ ! -e "$1/stamp-docker" ] || [ "$(cat "$1/stamp-docker")" = "$(cksum < requirements-docker.lock)" ]
}

free_name() {
    number=1
    while [ -e ".venv-run-$number" ]; do number=$((number + 1)); done
    printf '.venv-run-%s' "$number"
}

# Makes .venv a link to an environment, in one atomic step.
make_current() {
    printf '%s\n' "$root/$venv/bin/embedfleet" > "$1/$mark"
    mkdir -p "$1/bin"
    ln -sfn ../../scripts/start "$1/bin/embedfleet"
    rm -f .venv-link
    ln -s "$1" .venv-link
    "$python" -c 'import os; os.replace(".venv-link", ".venv")'
}

# Renames an environment that an earlier version of this script made in place of the link.
adopt() {
    [ -d "$venv" ] && [ ! -L "$venv" ] || return 0
    earlier="$(free_name)"
    mv "$venv" "$earlier"
    point_to_source "$earlier"
    make_current "$earlier"
}

# Makes an environment run the project from its folder.
point_to_source() {
    file="$(source_file "$1")" && [ -d "$(dirname "$file")" ] && printf '%s\n' "$root/src" > "$file" || return 0
}

build() {
    made="$(free_name)"
    say "installing into $venv (once, about half a minute)"
    # The mark comes first, so that an unfinished environment is recognised as ours and as in use.
    mkdir "$made"
    : > "$made/$mark"
    "$python" -m venv "$made" >&2 ||
        die "$python cannot make a virtual environment" "on Debian or Ubuntu: apt-get install python3-venv"
    install_lock "$made" requirements.lock
    # An environment with the packages for containers keeps them.
    [ ! -e "$venv/stamp-docker" ] || install_docker "$made"
    point_to_source "$made"
    printf '%s' "$wanted" > "$made/stamp"
    make_current "$made"
}

# Provides an environment that fits: an existing one, one that another run.sh made while we waited, or a new one.
settle() {
    if [ -e "$venv" ] && [ ! -e "$venv/$mark" ]; then
        die "$venv is there and was not made by run.sh" "move it away"
    fi
    find_python
    lock
    adopt
    for each in "$venv" .venv-run-*; do
        if fits "$each"; then
            [ "$each" = "$venv" ] || make_current "$each"
            return
        fi
    done
    sweep
    build
}

# Prints the environments that are not current.
others() {
    for each in .venv-run-*; do
        [ ! -e "$each" ] || [ "$each" -ef "$venv" ] || printf '%s\n' "$each"
    done
}

# Removes, under the lock, environments that no process has locked. It does not run right after the link has changed,
# because a process that starts now may have read the link before.
sweep() {
    # shellcheck disable=SC2046 # their names have no blanks
    "$python" -c '
import fcntl, os, shutil, sys
def is_locked(folder):
    try:
        fcntl.flock(os.open(f"{folder}/{sys.argv[1]}", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return not isinstance(error, FileNotFoundError)
    return False
for folder in sys.argv[2:]:
    if not is_locked(folder):
        shutil.rmtree(folder, ignore_errors=True)
' "$mark" $(others) || say "an earlier environment could not be removed; it does no harm"
}

wanted="$(cksum < requirements.lock)"
python="$venv/bin/python"
if [ ! -L "$venv" ] || ! fits "$venv"; then
    settle
elif [ -n "$(others)" ] && try_lock; then
    sweep
fi
unlock

case "${1:-}" in
    "" | -*) ;;
    *)
        gpu="$1"
        shift
        set -- --gpu "$gpu" "$@"
        ;;
esac

# Succeeds if the settings or the machine need the packages for containers, which are left out otherwise.
needs_docker() {
    scripts/start up --needs-docker "$@" > /dev/null 2>&1 || [ $? -ne 10 ] || return 0
    return 1
}
if [ -e requirements-docker.lock ] && [ ! -e "$venv/stamp-docker" ] && needs_docker "$@"; then
    python="$venv/bin/python"
    lock
    if [ ! -e "$venv/stamp-docker" ]; then
        say "installing the packages for containers into $venv (once)"
        install_docker "$venv"
    fi
    unlock
fi

# Succeeds if the settings let gateways be compiled, and one of them is a process.
needs_compiler() {
    scripts/start up --needs-compiler "$@" > /dev/null 2>&1 || [ $? -ne 10 ] || return 0
    return 1
}

# Takes compiled code of a wheel, or fetches the compiler with which the fleet compiles in the background.
prepare_compiled() {
    "$venv/bin/python" -m scripts.compiled_code prepare > /dev/null || [ $? -ne 10 ] || {
        needs_compiler "$@" || return 0
        say "fetching the compiler for the gateway (once, some seconds)"
        ! fetch_compiler "$venv" 2> /dev/null || return 0
        rm -rf .venv-compile
        say "it cannot be had from here, so gateways run interpreted and take more CPU time; scripts/compile tries again"
        printf '%s' "$(scripts/sources) $library" > .compiled-unfetched
    }
}
if works "$venv" && ! has_compiled; then
    python="$venv/bin/python"
    if try_lock; then  # else this folder is read-only, or another run.sh does it
        prepare_compiled "$@"
        unlock
    fi
fi

exec scripts/start up "$@"
