#!/usr/bin/env bash
# Makes a µCernVM-like machine: deploy/image/build.sh [FOLDER]
#
#   vmlinuz        the kernel of Debian's linux-image-cloud-amd64
#   initrd.img     the initial RAM disk with ucvm-agent's bootloader (deploy/initramfs)
#   root.squashfs  Debian with the agent, which stands in for a snapshot of CernVM-FS
#   ucvm-controller.deb
#                  what makes such a machine a controller as well
#
# Needs root on Debian 12, mmdebstrap, squashfs-tools, and what deploy/packaging/build.sh needs for a Debian package. What
# is made is kept by content in ~/.cache/ucvm-agent (XDG_CACHE_HOME); without FOLDER, the last line printed is where.
# docs/image.md tells how to start it.
set -euo pipefail
cd "$(dirname "$0")/../.."

suite=bookworm
packages=systemd-sysv,systemd-resolved,udev,dbus,libpam-systemd,openssh-server,python3,ca-certificates,iproute2
packages+=,e2fsprogs,kmod,login,passwd,initramfs-tools,zstd,cpio,busybox,linux-image-cloud-amd64
# UCVM_IMAGE=cloud-init puts that in as well, for a comparison.
[ "${UCVM_IMAGE:-agent}" = agent ] || packages+=,$UCVM_IMAGE
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ucvm-agent
limit=$((40 * 1000 * 1000))
mkdir -p "$cache"

digest() { sha256sum | cut -c1-16; }

# Each of these makes a file or folder at $1; what is there is right, since it was moved there as a whole.
make_base() {
  mmdebstrap --quiet --variant=minbase --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$1" >&2
}

make_package() { deploy/packaging/build.sh --fast "$1" deb >&2; }

make_image() {
  local root=$1/tree kernel
  mkdir -p "$root"
  tar -x -C "$root" -f "$base" --exclude='./dev/*'
  rm -rf "$root"/boot/initrd* "$root"/{initrd.img,vmlinuz}* "$root"/etc/ssh/ssh_host_* "$root"/var/cache/apt/*.bin
  mkdir -p "$root/cvmfs"
  cp -r deploy/image/root/. "$root"
  cp "$package"/ucvm-agent_*.deb "$root/tmp/agent.deb"
  cp "$package"/ucvm-controller_*.deb "$1/ucvm-controller.deb"
  in_image dpkg --install --force-unsafe-io /tmp/agent.deb >&2
  cp -r "$root/usr/share/ucvm-agent/initramfs/." "$root/etc/initramfs-tools"
  : >"$root/etc/machine-id"
  echo localhost >"$root/etc/hostname"
  in_image systemctl --quiet enable systemd-networkd ssh
  in_image systemctl --quiet set-default multi-user.target
  # A snapshot is renewed as a whole, not package by package in each machine.
  in_image systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer
  kernel=$(basename "$root"/boot/vmlinuz-*)
  in_image mkinitramfs -o /boot/initrd.img "${kernel#vmlinuz-}" >&2
  mv "$root/boot/initrd.img" "$1"
  cp "$root/boot/$kernel" "$1/vmlinuz"
  rm -rf "$root"/boot/* "$root"/tmp/*
  # LZ4 unpacks quickly; a snapshot of CernVM-FS is not on this disk anyway.
  mksquashfs "$root" "$1/root.squashfs" -quiet -no-progress -comp lz4 -noappend >&2
  rm -rf "$root"
}

# Runs a program in the tree; what is mounted for it goes with it.
in_image() {
  # shellcheck disable=SC2016 # for the inner shell
  unshare --mount --propagation private sh -euc 'mount --bind /dev "$0/dev"; mount -t proc proc "$0/proc"; exec chroot "$0" "$@"' "$root" "$@"
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
find "$cache" -maxdepth 1 \( -name 'image-*' -o -name '.image-*' -o -name 'package-*' \) -mtime +2 -exec rm -rf {} +
base=$(kept "base-$(echo "$suite $packages" | digest).tar" make_base)
sources=$(find pyproject.toml ucvm_agent contextualizers deploy -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum | digest)
package=$(kept "package-$sources" make_package)
image=$(kept "image-$(echo "$base $sources" | digest)" make_image)

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
