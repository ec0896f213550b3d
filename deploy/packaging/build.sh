#!/usr/bin/env bash
# Build the packages from this checkout, and print their sizes.
#
#   build.sh [--fast] FOLDER [deb] [rpm]
#
# It needs python3-venv, and debhelper or rpm (Debian's packages). What is built runs on machines with the same minor
# version of Python: PYTHON=/usr/bin/python3.11 chooses another one than /usr/bin/python3. Libraries are kept as stage.sh
# says. With --fast nothing is compressed.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
fast=
if [ "${1:-}" = --fast ]; then
  fast=1
  shift
fi
folder=$(mkdir -p "${1:?where to?}" && cd "$1" && pwd)
kinds=("${@:2}")
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$top/ucvm_agent/__init__.py")
PYTHON=$(readlink -f "${PYTHON:-/usr/bin/python3}")
# The time of the commit, so that the same commit makes the same package.
SOURCE_DATE_EPOCH=$(git -C "$top" log -1 --format=%ct 2>/dev/null || date +%s)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
TREE=$work/tree
export PYTHON SOURCE_DATE_EPOCH TREE

build_deb() {
  local source=$work/ucvm-agent-$version
  mkdir "$source"
  cp -r "$here/debian" "$source"
  cat >"$source/debian/changelog" <<END
ucvm-agent ($version) unstable; urgency=medium

  * See CHANGELOG.md.

 -- The ucvm-agent developers <ucvm-agent@localhost>  $(date --rfc-email --utc --date "@$SOURCE_DATE_EPOCH")
END
  (cd "$source" && DEB_COMPRESSION=${fast:+-Znone} debian/rules binary)
  mv "$work"/*.deb "$folder"
}

build_rpm() {
  local payload=w6.xzdio
  [ -z "$fast" ] || payload=w.ufdio
  rpmbuild -bb --define "_topdir $work/rpm" --define "_rpmdir $folder" --define "_binary_payload $payload" \
    --define "_build_name_fmt %%{NAME}-%%{VERSION}.%%{ARCH}.rpm" \
    --define "tree $TREE" --define "ucvm_version $version" --define "python $PYTHON" "$here/ucvm-agent.spec"
}

"$here/stage.sh" "$TREE"
echo "$(du -sm "$TREE" | cut -f 1) MB installed"
for kind in "${kinds[@]:-deb}"; do
  "build_$kind" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
  ls -l --block-size=K "$folder"/*"$version"*."$kind" | awk '{ print $5, $NF }'
done
