#!/bin/sh
# Install COLMAP's command line with apt when it may; otherwise say that a test will be skipped.
set -u

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    timeout 300 sh -c "apt-get update && apt-get install --yes --no-install-recommends colmap" >/dev/null 2>&1
fi
command -v colmap >/dev/null || echo "COLMAP's command line is not installed: the test that needs it will be skipped"
