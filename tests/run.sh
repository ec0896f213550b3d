#!/usr/bin/env bash
# Run everything that has to hold: format, lint, types, tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/install.sh busybox-static coop-computing-tools dosfstools e2fsprogs genisoimage iproute2 lua-sec mmdebstrap mount \
  mtools openssh-client openssl passwd procps prosody qemu-system-x86 redis-server squashfs-tools strace util-linux xorriso

export PATH="$PWD/.venv/bin:$PATH"
ruff format --check --quiet .
ruff check --quiet .
mypy --no-error-summary
pytest --numprocesses 4 --dist worksteal -m "not system" "$@"
# Two machines at a time, and nothing beside them: emulated ones are slow enough.
[ $# -gt 0 ] || pytest --numprocesses 2 --dist worksteal -m system tests/system
