#!/usr/bin/env bash
# Makes a µCernVM-like machine: deploy/image/build.sh [FOLDER]
#
#   vmlinuz        the kernel of Debian's linux-image-cloud-amd64
#   initrd.img     the initial RAM disk with ucvm-agent's bootloader (deploy/initramfs)
#   root.squashfs  Debian with the agent, which stands in for a snapshot of CernVM-FS
#
# Needs root, mmdebstrap, squashfs-tools, and a Python of the version that the image has ($PYTHON), since pip compiles
# the libraries for the one that it runs in. What is made is kept by content in $UCVM_CACHE; without FOLDER, the last
# line printed is where. docs/image.md tells how to start it.
set -euo pipefail
cd "$(dirname "$0")/../.."

suite=bookworm
packages=systemd-sysv,udev,dbus,libpam-systemd,openssh-server,python3,iproute2,e2fsprogs,kmod,login,passwd
packages+=,initramfs-tools,zstd,cpio,busybox,linux-image-cloud-amd64
# UCVM_IMAGE=cloud-init puts that in instead of starting the agent, for a comparison.
content=${UCVM_IMAGE:-agent}
agent_units=ucvm-agent
if [ "$content" = cloud-init ]; then
  packages+=,cloud-init
  agent_units=
fi
services="dynamodb ec2 s3 secretsmanager ssm sts autoscaling cloudformation sso sso-oidc"  # that the agent speaks to
python=${PYTHON:-python3}
cache=${UCVM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ucvm-agent}
limit=$((40 * 1000 * 1000))
mkdir -p "$cache"

digest() { cat | sha256sum | cut -c1-16; }

# Each of these makes a file or folder at $1; what is there is right, since it was moved there as a whole.
make_base() {
  mmdebstrap --quiet --variant=minbase --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$1" >&2
}

make_libraries() {
  "$python" -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]))' |
    "$python" -m pip install --quiet --disable-pip-version-check --target "$1" --requirement /dev/stdin >&2
  local service
  for service in "$1"/botocore/data/*/; do
    case " $services " in *" $(basename "$service") "*) ;; *) rm -rf "$service" ;; esac
  done
}

make_image() {
  local root=$1/tree
  mkdir -p "$root"
  tar -x -C "$root" -f "$base" --exclude='./dev/*'
  rm -rf "$root"/boot/initrd* "$root"/{initrd.img,vmlinuz}* "$root"/etc/ssh/ssh_host_* "$root"/var/cache/apt/*.bin
  mkdir -p "$root/usr/lib/ucvm-agent" "$root/cvmfs"
  cp -a "$libraries/." "$root/usr/lib/ucvm-agent"
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target "$root/usr/lib/ucvm-agent" . >&2
  printf '#!/bin/sh\nPYTHONPATH=/usr/lib/ucvm-agent MALLOC_ARENA_MAX=1 exec python3 -m ucvm_agent "$@"\n' >"$root/usr/bin/ucvm-agent"
  chmod 755 "$root/usr/bin/ucvm-agent"
  cp -r deploy/initramfs/. "$root/etc/initramfs-tools"
  cp -r deploy/image/root/. "$root"
  : >"$root/etc/machine-id"
  echo localhost >"$root/etc/hostname"
  echo 'nameserver 10.0.2.3' >"$root/etc/resolv.conf"
  chroot "$root" systemctl --quiet enable systemd-networkd ssh $agent_units
  chroot "$root" systemctl --quiet set-default multi-user.target
  # A snapshot is renewed as a whole, not package by package in each machine.
  chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer
  local kernel
  kernel=$(basename "$root"/boot/vmlinuz-*)
  chroot "$root" mkinitramfs -o /boot/initrd.img "${kernel#vmlinuz-}" >&2
  mv "$root/boot/initrd.img" "$1"
  cp "$root/boot/$kernel" "$1/vmlinuz"
  rm -rf "$root"/boot/* "$root"/tmp/*
  # LZ4 unpacks quickly; a snapshot of CernVM-FS is not on this disk anyway.
  mksquashfs "$root" "$1/root.squashfs" -quiet -no-progress -comp lz4 -noappend >&2
  rm -rf "$root"
}

# Prints where it is, and makes it first if it is not there.
kept() {
  local name=$1 make=$2
  if [ ! -e "$cache/$name" ]; then
    rm -rf "$cache/.$name"
    "$make" "$cache/.$name"
    mv "$cache/.$name" "$cache/$name"
  fi
  echo "$cache/$name"
}

exec 9>"$cache/lock"
flock 9
find "$cache" -maxdepth 1 \( -name 'image-*' -o -name '.image-*' \) -mtime +2 -exec rm -rf {} +
base=$(kept "base-$(echo "$suite $packages" | digest).tar" make_base)
libraries=$(kept "libraries-$({ sed -n '/^dependencies/,/^]/p' pyproject.toml; echo "$services"; "$python" -V; } | digest)" make_libraries)
state=$({ echo "$content $base $libraries"; find pyproject.toml ucvm_agent contextualizers deploy -type f ! -name '*.pyc' -print0 |
  sort -z | xargs -0 sha256sum; } | digest)
image=$(kept "image-$state" make_image)

for file in vmlinuz initrd.img root.squashfs; do printf '%-14s %6.1f MB\n' "$file" "$(stat -c %s "$image/$file")e-6" >&2; done
total=$(cat "$image/vmlinuz" "$image/initrd.img" | wc -c)
printf '%-14s %6.1f MB, at most %.0f MB\n' "kernel, initrd" "${total}e-6" "${limit}e-6" >&2
[ "$total" -le "$limit" ]
if [ $# -gt 0 ]; then
  mkdir -p "$1"
  cp "$image"/* "$1"
else
  echo "$image"
fi
