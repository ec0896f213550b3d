#!/usr/bin/env bash
# Run everything that has to hold: format, lint, types, tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/install.sh busybox-static chromium chromium-driver coop-computing-tools debhelper dosfstools e2fsprogs genisoimage \
  iproute2 lua-sec mandoc mount mtools openssl passwd procps prosody python3-venv redis-server rpm strace systemd \
  util-linux xorriso

export PATH="$PWD/.venv/bin:$PATH"
ruff format --check --quiet .
ruff check --quiet .
mypy --no-error-summary
# Those that boot a machine (tests/system) are run by hand until they have held on a quiet machine.
pytest --numprocesses 4 --dist worksteal --ignore tests/system "$@"
