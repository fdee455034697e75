# SPDX-License-Identifier: Apache-2.0
# Sourced by tests/run: installs what building and testing need on Debian 12 and 13. Package names that differ between the
# two are chosen by what apt offers.

apt_updated=0
apt_quiet() {
  DEBIAN_FRONTEND=noninteractive timeout -k 10 1200 apt-get -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >>"$LOGS/install.log" 2>&1
}
apt_update() {
  apt_quiet update || apt_quiet update || { tail -20 "$LOGS/install.log" >&2; die "apt-get update failed, see $LOGS/install.log"; }
  apt_updated=1
}
is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
is_offered() { [ -n "$(apt-cache show --no-all-versions "$1" 2>/dev/null | head -1)" ]; }

# The first of several names that is installed, else the first that apt offers.
choose() {
  local p
  for p; do is_installed "$p" && { echo "$p"; return; }; done
  for p; do is_offered "$p" && { echo "$p"; return; }; done
  return 1
}

# Debian 12 has Boost.JSON 1.83 only in its backports. The suite is added from the archive that apt uses already.
add_backports() {
  local codename uri
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  [ "$codename" = bookworm ] || return 0
  uri=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' | awk '$2 == "bookworm" { print $1; exit }')
  [ -n "$uri" ] || die "apt has no source for bookworm; add one to /etc/apt/sources.list.d"
  echo "deb $uri bookworm-backports main" >/etc/apt/sources.list.d/libincus-backports.list
  apt_update
}

packages_build='g++ meson ninja-build ccache mold pkg-config libfmt-dev libsqlite3-dev libyaml-cpp-dev libarchive-dev zlib1g-dev liblzma-dev libbz2-dev libssl-dev
  libnl-3-dev libnl-route-3-dev libbtrfsutil-dev libacl1-dev libzstd-dev libcli11-dev doctest-dev python3 python3-dev pybind11-dev python3-pybind11'
packages_test='busybox-static squashfs-tools lxcfs iproute2 util-linux procps mount libcap2-bin attr acl xz-utils zstd bzip2 binutils
  python3-pytest python3-pytest-xdist mypy sqlite3 e2fsprogs btrfs-progs xfsprogs kmod'
packages_debootstrap='debootstrap ca-certificates'
packages_fuzz='clang llvm'
packages_lab='qemu-system-x86 e2fsprogs debootstrap'

# install_packages GROUP...: groups are the lists above.
install_packages() {
  local g p list='' wanted='' missing='' boost lxc
  for g; do p=packages_$g; list="$list ${!p}"; done
  command -v apt-get >/dev/null || { echo "No apt-get here: building with what is installed." >&2; return 0; }
  for p in $list; do is_installed "$p" || missing="$missing $p"; done
  boost=$(choose libboost-json1.83-dev || true)
  lxc=$(choose lxc-dev liblxc-dev || true)
  if [ -z "$missing" ] && [ -n "$boost" ] && is_installed "$boost" && is_installed "${boost/json/url}" && [ -n "$lxc" ] && is_installed "$lxc"; then return 0; fi
  apt_update
  boost=$(choose libboost-json1.83-dev || true)
  if [ -z "$boost" ]; then
    add_backports
    boost=$(choose libboost-json1.83-dev libboost-json-dev) || die "apt offers no Boost.JSON 1.83"
  fi
  lxc=$(choose lxc-dev liblxc-dev) || die "apt offers no liblxc headers"
  for p in $missing "$boost" "${boost/json/url}" "$lxc"; do
    if is_offered "$p" || is_installed "$p"; then wanted="$wanted $p"; else echo "apt does not offer $p; going on without it" >&2; fi
  done
  echo "Installing:$wanted"
  # Services that come along (lxcfs) are not wanted on the machine: a policy file refuses their start during this step.
  local policy=/usr/sbin/policy-rc.d ours=0
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && ours=1
  fi
  local rc=0
  # shellcheck disable=SC2086
  apt_quiet install -y --no-install-recommends $wanted || rc=$?
  [ "$ours" = 0 ] || rm -f "$policy"
  [ "$rc" = 0 ] || { tail -30 "$LOGS/install.log" >&2; die "apt-get install failed, see $LOGS/install.log"; }
}
