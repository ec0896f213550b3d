#!/usr/bin/env bash
# Run everything that has to hold: format, lint, types, tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/install.sh busybox-static chromium chromium-driver coop-computing-tools dosfstools e2fsprogs genisoimage iproute2 \
  lua-sec mount mtools openssl passwd procps prosody redis-server strace util-linux xorriso

export PATH="$PWD/.venv/bin:$PATH"
ruff format --check --quiet .
ruff check --quiet .
mypy --no-error-summary
# By hand for now: those that boot a machine (tests/system), until they have held on a quiet one, and those of the
# packages (tests/deploy; debhelper, mandoc, rpm, systemd), until manuals and completion know the controller's commands.
pytest --numprocesses 3 --dist worksteal --ignore tests/system --ignore tests/deploy "$@"
