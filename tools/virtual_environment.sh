#!/bin/sh
# Make or update the virtual environment of a source tree.
#
# Usage: tools/virtual_environment.sh PYTHON FOLDER [cpu]
#
# With cpu, torch and torchvision come from PyTorch's index of builds without CUDA, both from there: a torch of one index
# and a torchvision of another do not load together.
#
# An environment whose last installation did not finish is thrown away: a package that was half unpacked when the
# installation was killed looks installed to pip.
set -eu

python=$1
venv=$2
torch=${3:-}
cpu_index=https://download.pytorch.org/whl/cpu
unfinished=$venv/.unfinished

fail() {
    echo "error: $*" >&2
    exit 1
}

# Python's venv needs ensurepip, which Debian keeps in a package of its own.
require_ensurepip() {
    ! "$python" -c 'import ensurepip, venv' 2>/dev/null || return 0
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing $package"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update && apt-get install --yes --no-install-recommends "$package"; } || true
    fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make virtual environments; on Debian and Ubuntu: sudo apt-get install $package"
}

case $torch in
    "" | cpu) ;;
    *) fail "got TORCH=$torch, expected cpu or nothing" ;;
esac

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$("$python" --version) is too old, Python >= 3.10 is needed; name another: make PYTHON=python3.12"

if [ -e "$unfinished" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    require_ensurepip
    echo "Making the virtual environment $venv"
    "$python" -m venv --clear "$venv"
fi
touch "$unfinished"
if [ "$torch" = cpu ]; then
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --index-url "$cpu_index" torch torchvision ||
        fail "no torch without CUDA from $cpu_index; without TORCH=cpu it comes from PyPI"
fi
echo "Installing interpose_sfm and what it needs; the first time this takes a few minutes and some 7 GB of disk"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
# The published code of pose networks, for their tests. Its metadata asks for viewers that want an old numpy, so it comes
# without them.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps mini-dust3r==0.1.2 depth-anything-3==0.1.1
rm "$unfinished"
