# shellcheck shell=sh
# Makes .venv and installs what the lock files name. Sourced by demo, test and lock, which set $root.
# Wants a POSIX shell and Python 3.11 or newer, nothing else. Progress goes to stderr.
#
# Two small files in .venv keep it honest: `comfyvn-made` is the first thing in a folder that is ours to delete;
# `comfyvn-state` says what is installed, is gone while pip works, and comes back once pip is through. A folder of ours
# without a fitting state was interrupted, moved, or locked differently: it is thrown away and made anew.

: "${root:?is set by the caller}"
unset PYTHONHOME PYTHONPATH
export PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1

step() { printf '%s\n' "$*" >&2; }

fail() {
    printf '%s: %s\n' "scripts/${0##*/}" "$*" >&2
    exit 1
}

# limited SECONDS COMMAND...: --foreground, so that Ctrl-C reaches the command too.
if timeout --foreground 5 true 2>/dev/null; then
    limited() { _seconds=$1; shift; timeout --foreground -k 10 "$_seconds" "$@"; }
elif timeout 5 true 2>/dev/null; then
    limited() { _seconds=$1; shift; timeout "$_seconds" "$@"; }
else
    limited() { shift; "$@"; }
fi

find_python() {
    for python in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
        [ -n "$python" ] || continue
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            return
        fi
    done
    fail "comfyvn needs Python 3.11 or newer, and there is none on PATH: install one, or name it with" \
        "PYTHON=/path/to/python3."
}

# make_venv FOLDER: a new virtual environment with pip; FOLDER is emptied first.
make_venv() {
    find_python
    try_venv "$1" "$python" -m venv && return
    if debian_venv_package && try_venv "$1" "$python" -m venv; then
        return
    fi
    if command -v virtualenv >/dev/null && try_venv "$1" virtualenv -q -p "$python"; then
        return
    fi
    if command -v uv >/dev/null && try_venv "$1" uv venv -q --seed --allow-existing -p "$python"; then
        return
    fi
    ! "$python" -c 'import ensurepip' >/dev/null 2>&1 || printf '%s\n' "$said" >&2
    fail "$python cannot make a virtual environment here: install its venv module (Debian and Ubuntu:" \
        "sudo apt-get install python3-venv) and run this again."
}

# try_venv FOLDER COMMAND...: leaves a whole environment or no folder; $said keeps what the command said.
try_venv() {
    _folder=$1
    shift
    rm -rf "$_folder"
    mkdir -p "$_folder" || fail "cannot make the folder $_folder."
    : >"$_folder/comfyvn-made" || fail "cannot write to $_folder."
    said=$(limited 120 "$@" "$_folder" 2>&1) && venv_works "$_folder" && return
    rm -rf "$_folder"
    return 1
}

venv_works() {
    bin=$1/bin
    [ ! -d "$1/Scripts" ] || bin=$1/Scripts  # Windows
    "$bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11) or sys.prefix == sys.base_prefix)' \
        >/dev/null 2>&1
}

# Debian and Ubuntu keep ensurepip in a package of its own: install it where we may.
debian_venv_package() {
    ! "$python" -c 'import ensurepip' >/dev/null 2>&1 && command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" = 0 ]; then
        _root=''
    elif sudo -n true >/dev/null 2>&1; then
        _root='sudo -n'
    else
        return 1
    fi
    _package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    step "Installing the system package $_package (this Python comes without ensurepip) ..."
    # $_root is zero or two words. Old lists are refreshed first; a mirror that fails may still leave usable ones.
    # shellcheck disable=SC2086
    limited 180 $_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >/dev/null 2>&1 </dev/null
    # shellcheck disable=SC2086
    if ! _apt=$(limited 300 $_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install -y --no-install-recommends -o DPkg::Lock::Timeout=120 "$_package" 2>&1 </dev/null); then
        printf '%s\n' "$_apt" >&2
        return 1
    fi
}

# sum_of PATH...: one word that changes when a file below these paths (relative to $root) does; what is made there
# does not count.
sum_of() {
    (cd "$root" && find "$@" \( -name __pycache__ -o -name node_modules -o -path src/comfyvn/server/static \) -prune \
        -o -type f -exec cksum {} +) |
        LC_ALL=C sort | cksum | tr -s ' \t' '-'
}

# identity: what .venv must match to be taken as it is.
identity() {
    "$bin/python" -c 'import sys, sysconfig; print("%s %d.%d" % (sysconfig.get_platform(), *sys.version_info[:2]), end=" ")'
    printf '%s %s\n' "$(sum_of requirements)" "$venv"
}

read_state() {
    have_identity='' have_packages='' have_project=''
    [ ! -f "$state" ] || { read -r have_identity; read -r have_packages; read -r have_project; } <"$state"
}

write_state() {
    printf '%s\n%s\n%s\n' "$(identity)" "$have_packages" "$have_project" >"$state.new" && mv "$state.new" "$state"
}

# open_venv: .venv exists, works and is to be believed; whatever is missing from it, the state says.
open_venv() {
    read_state
    if venv_works "$venv"; then
        [ "$have_identity" != "$(identity)" ] || return 0
        if [ ! -e "$venv/comfyvn-made" ]; then  # the maker's own: used, never deleted
            have_packages='' have_project='' again=--force-reinstall
            return
        fi
    elif [ -e "$venv" ] && [ ! -e "$venv/comfyvn-made" ]; then
        fail "$venv is there, but has no Python 3.11 with pip in it, and these scripts did not make it: move it away."
    fi
    step "Making the virtual environment .venv ..."
    make_venv "$venv"
    have_packages='' have_project=''
}

# install WHAT ARGUMENT...: pip, with no state on disk while it works.
install() {
    _what=$1
    shift
    step "Installing $_what ..."
    rm -f "$state" || fail "cannot write to $venv: does it belong to another user? Delete it, or run this as that user."
    limited 900 "$bin/python" -m pip install -qq "$@" </dev/null ||
        fail "could not install $_what (see above). Run this again when that is mended; it starts afresh."
}

# set_up core wheel | set_up dev editable: what was asked for is in .venv. Editable serves for wheel, dev for core.
set_up() {
    venv=$root/.venv state=$root/.venv/comfyvn-state again=''
    if command -v flock >/dev/null && exec 9<"$root/pyproject.toml"; then
        flock -n 9 || { step "Waiting for another run that is setting up .venv ..."; flock 9; }
    fi
    open_venv
    case $1,$have_packages in
    core,core | *,dev) ;;
    core,*)
        install "the pinned packages (requirements/core.txt)" $again --require-hashes \
            -r "$root/requirements/core.txt" -r "$root/requirements/build.txt"
        have_packages=core
        write_state
        ;;
    *)
        install "the pinned packages (requirements/dev.txt)" $again --require-hashes -r "$root/requirements/dev.txt"
        have_packages=dev
        write_state
        ;;
    esac
    _editable="editable $(sum_of pyproject.toml hatch_build.py)"
    _wheel="wheel $(sum_of pyproject.toml hatch_build.py src web)"
    case $2,$have_project in
    *,"$_editable" | wheel,"$_wheel") ;;
    wheel,*)
        if [ -n "$("$bin/python" "$root/hatch_build.py")" ]; then
            install "Node for the Studio's page (requirements/node.txt)" --require-hashes \
                -r "$root/requirements/node.txt"
        fi
        install "comfyvn" --no-deps --no-build-isolation --force-reinstall "$root"
        have_project=$_wheel
        write_state
        ;;
    *)
        install "comfyvn, editable" --no-deps --no-build-isolation --force-reinstall -e "$root"
        have_project=$_editable
        write_state
        ;;
    esac
    exec 9<&-
}
