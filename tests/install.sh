# shellcheck shell=bash
# Source this from the top folder: `. tests/install.sh PACKAGE…` installs Debian packages that are missing and the
# virtual environment .venv with this checkout in it.

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

install_packages() {
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ "${#missing[@]}" -eq 0 ] && return
  echo "installing ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}

install_environment() {
  # Made anew whenever what it depends on has changed.
  local wanted
  wanted=$(sha256sum pyproject.toml)
  [ -f .venv/made-from ] && [ "$(cat .venv/made-from)" = "$wanted" ] && return
  python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
  echo "installing the Python packages into .venv"
  python3 -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check --editable '.[test,controller]'
  echo "$wanted" >.venv/made-from
}

install_packages "$@"
install_environment
