#!/usr/bin/env bash
# Run everything that has to hold: format, lint, types, tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/install.sh attr busybox-static chromium chromium-driver coop-computing-tools debhelper dosfstools e2fsprogs \
  erofs-utils genisoimage iproute2 lua-sec man-db mmdebstrap mount mtools openssh-client openssl passwd procps prosody \
  python3-venv qemu-system-x86 redis-server rpm squashfs-tools strace systemd util-linux xorriso

export PATH="$PWD/.venv/bin:$PATH"
ruff format --check --quiet .
ruff check --quiet .
mypy --no-error-summary
# By hand for now: those that boot a machine (tests/system), until all of them have held in one run on a quiet one.
pytest --numprocesses 3 --dist worksteal --ignore tests/system "$@"
