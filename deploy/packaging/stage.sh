#!/usr/bin/env bash
# Lay out all that the packages hold beneath a folder, as it lies beneath / later.
#
#   stage.sh FOLDER
#
# The program comes with its libraries in a virtual environment: parts of it are started by path and by module, and have
# to find what they import. PYTHON is the interpreter of the machines that it is for; /usr/bin/python3 unless it is set.
# Wheels are kept in ~/.cache/ucvm-agent (XDG_CACHE_HOME), so that only the first time needs a network.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
folder=$(mkdir -p "$1" && cd "$1" && pwd)
python=$(readlink -f "${PYTHON:-/usr/bin/python3}")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ucvm-agent
wheels=$cache/wheels-$({ "$python" -VV && cat "$top/pyproject.toml" "$0"; } | sha256sum | cut -c 1-16)
home=/usr/lib/ucvm-agent

# The services of AWS that are asked; botocore describes four hundred.
services=(s3 secretsmanager ssm sts)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

pip() { "$python" "$(echo "$wheels"/pip-*.whl)/pip" --quiet --disable-pip-version-check "$@"; }

fetch_wheels() {
  echo "fetching the libraries into $wheels" >&2
  "$python" -m venv "$work/venv"
  "$work/venv/bin/pip" --quiet --disable-pip-version-check wheel --use-pep517 --wheel-dir "$work/wheels" \
    "$top[controller]" hatchling pip argparse-manpage shtab
  rm "$work"/wheels/ucvm_agent-*.whl
  mkdir -p "$cache"
  cp -rT "$work/wheels" "$wheels.$$"
  # Somebody else may have been faster.
  mv -T "$wheels.$$" "$wheels" 2>/dev/null || rm -rf "${wheels:?}.$$"
}

install_program() {
  "$python" -m venv --without-pip "$folder$home"
  rm -rf "$folder$home"/{include,lib64} "$folder$home"/bin/[aA]ctivate*
  sed -i '/^command/d' "$folder$home/pyvenv.cfg" # it would name the folder
  local site
  site=$(echo "$folder$home"/lib/python3.*/site-packages)
  pip wheel --no-deps --no-index --find-links "$wheels" --wheel-dir "$work" "$top"
  pip install --no-index --find-links "$wheels" --find-links "$work" --no-compile --root-user-action ignore \
    --target "$site" 'ucvm-agent[controller]'
  rm -rf "$site/bin"
  prune "$site"
  # A start never looks whether they are up to date, since package managers change the times of files.
  "$python" -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$folder" -p / "$site"
}

prune() { # leave out what nothing here uses
  local kept=()
  printf -v kept '! -name %s ' "${services[@]}"
  # shellcheck disable=SC2086 # words
  find "$1/botocore/data" -mindepth 1 -maxdepth 1 -type d $kept -exec rm -rf {} +
  rm -rf "$1"/boto3/{data,examples}
  find "$1" -type d -name tests -prune -exec rm -rf {} +
  find "$1" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' \) -delete
}

install_command() { # NAME MODULE WHAT-FOR: with what is made of its command line
  local completion=$folder/usr/share/bash-completion/completions manual=$folder/usr/share/man/man8
  mkdir -p "$folder/usr/bin" "$completion" "$manual"
  printf '#!%s/bin/python3 -I\nfrom %s import main\n\nmain()\n' "$home" "$2" >"$folder/usr/bin/$1"
  chmod 755 "$folder/usr/bin/$1"
  describe "$here/completion.py" "$2" >"$completion/$1"
  describe -c 'from argparse_manpage.cli import main; main()' --module "$2" --function parser --prog "$1" \
    --description "$3" --format single-commands-section --manual-section 8 --manual-title 'System administration' \
    --include "$here/$1.man" >"$manual/$1.8"
  install -D -m 644 "$top/deploy/systemd/$1.sysusers.conf" "$folder/usr/lib/sysusers.d/$1.conf"
}

describe() { # …: Python with the program, and with the tools that describe it
  local tools=("$wheels"/{argparse_manpage,shtab}-*.whl)
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=${tools[0]}:${tools[1]} "$folder$home/bin/python3" "$@"
}

[ -d "$wheels" ] || fetch_wheels
install_program
install_command ucvm-agent ucvm_agent.cli.main 'contextualization and orchestration agent of a virtual machine'
install_command ucvm-controller ucvm_agent.controller.cli 'hands out jobs and contexts to virtual machines, and watches them'
install -D -m 644 -t "$folder/usr/lib/systemd/system" "$top"/deploy/systemd/*.{service,target}
install -D -m 644 "$top/deploy/systemd/ucvm-agent.tmpfiles.conf" "$folder/usr/lib/tmpfiles.d/ucvm-agent.conf"
install -D -m 644 "$top/deploy/systemd/ucvm-agent.preset" "$folder/usr/lib/systemd/system-preset/80-ucvm-agent.preset"
install -D -m 644 "$here/agent.toml" "$folder/etc/ucvm-agent/agent.toml"
install -d "$folder/etc/ucvm-agent/contextualizers.d"
# The recipe for the initial RAM disk of a machine like µCernVM's; whoever wants one copies it to /etc/initramfs-tools.
install -d "$folder/usr/share/ucvm-agent"
cp -r "$top/deploy/initramfs" "$folder/usr/share/ucvm-agent"
