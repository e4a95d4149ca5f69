#!/bin/sh
# Install Debian's chromium with apt when it may; otherwise say that tests will be skipped.
set -u

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    timeout 300 sh -c "apt-get update && apt-get install --yes --no-install-recommends chromium" >/dev/null 2>&1
fi
command -v chromium >/dev/null || echo "chromium is not installed: the tests of the report in a browser will be skipped"
