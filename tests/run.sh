#!/usr/bin/env bash
# Run everything that has to hold: format, lint, types, tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/install.sh busybox-static chromium chromium-driver coop-computing-tools debhelper dosfstools e2fsprogs \
  genisoimage iproute2 lua-sec man-db mount mtools openssl passwd procps prosody python3-venv redis-server rpm strace \
  systemd util-linux xorriso

export PATH="$PWD/.venv/bin:$PATH"
ruff format --check --quiet .
ruff check --quiet .
mypy --no-error-summary
# By hand for now: those that boot a machine (tests/system), until they have held on a quiet one.
pytest --numprocesses 3 --dist worksteal --ignore tests/system "$@"
