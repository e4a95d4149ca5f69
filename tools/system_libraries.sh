#!/bin/sh
# Make sure that the shared libraries which the wheels expect from the system can be loaded.
#
# Usage: tools/system_libraries.sh PYTHON
#
# Installs what is missing with apt when it may, and otherwise says what to install.
set -eu

python=$1

# library:Debian package:who needs it
libraries="
libEGL.so.1:libegl1:open3d
libGL.so.1:libgl1:open3d,opencv
libX11.so.6:libx11-6:open3d
libgomp.so.1:libgomp1:open3d
libidn2.so.0:libidn2-0:open3d
libudev.so.1:libudev1:open3d
libusb-1.0.so.0:libusb-1.0-0:open3d
libglib-2.0.so.0:libglib2.0-0:opencv
libgthread-2.0.so.0:libglib2.0-0:opencv
libxcb.so.1:libxcb1:opencv
"

# Prints the lines of $libraries that the dynamic loader of $python cannot load.
missing_libraries() {
    "$python" - $libraries <<'PYTHON'
import ctypes
import sys

for line in sys.argv[1:]:
    try:
        ctypes.CDLL(line.split(":")[0])
    except OSError:
        print(line)
PYTHON
}

[ "$(uname -s)" = Linux ] || exit 0
command -v "$python" >/dev/null || {
    echo "error: no Python interpreter '$python'; install python3 (>= 3.10) or name another: make PYTHON=python3.12" >&2
    exit 1
}
missing=$(missing_libraries)
[ -n "$missing" ] || exit 0

packages=$(echo "$missing" | cut -d: -f2 | sort -u | tr '\n' ' ')
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing system libraries: $packages"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    { apt-get update && apt-get install --yes --no-install-recommends $packages; } || true
    missing=$(missing_libraries)
    [ -n "$missing" ] || exit 0
fi

{
    echo "error: these system libraries are missing (library: Debian package: needed by):"
    echo "$missing" | sed 's/^/  /; s/:/: /g'
    echo "Install them, on Debian and Ubuntu with:"
    echo "  sudo apt-get update && sudo apt-get install $packages"
    echo "then run make again."
} >&2
exit 1
