#!/usr/bin/env bash
# Run everything that has to hold: format, lint, types, tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/install.sh attr busybox-static chromium chromium-driver coop-computing-tools debhelper dosfstools e2fsprogs \
  erofs-utils genisoimage iproute2 lua-sec man-db mmdebstrap mount mtools openssh-client openssl passwd procps prosody \
  python3-venv qemu-system-x86 redis-server rpm squashfs-tools strace systemd util-linux xorriso

export PATH="$PWD/.venv/bin:$PATH"
unset PYTHONDONTWRITEBYTECODE  # what is compiled is kept for the hundreds of processes that the tests start

check() {
  ruff format --check --quiet .
  ruff check --quiet .
  mypy --no-error-summary
}

if [ $# -gt 0 ]; then
  check
  pytest --numprocesses 3 --dist worksteal "$@"
  exit
fi
# The machines that tests/system boots take all that the processors have, so they come last. Their image is made meanwhile.
nice deploy/image/build.sh >/dev/null 2>&1 &
trap 'kill %1 2>/dev/null || :' EXIT
check
pytest --numprocesses 3 --dist worksteal --ignore tests/system
wait
pytest --numprocesses 2 --dist loadfile tests/system
