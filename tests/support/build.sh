# SPDX-License-Identifier: Apache-2.0
# Sourced by tests/run: builds with ccache and mold, and places what was built where it runs without install.

# build_tree DIR [MESON OPTIONS...]; only_targets, a pattern, chooses some of its programs.
build_tree() {
  local dir=$1 log
  shift
  log=$LOGS/$(basename "$dir").log
  local cc=${CC:-gcc} cxx=${CXX:-g++} jobs cmd=(/usr/bin/meson setup)
  command -v ccache >/dev/null && cc="ccache ${cc#ccache }" cxx="ccache ${cxx#ccache }"
  [ -x /usr/bin/meson ] || { echo "meson is not installed" >&2; return 1; }
  # A directory of another place or compiler is made anew; a usable one only gets its options set again.
  if [ -e "$dir/build.ninja" ]; then
    /usr/bin/meson configure "$dir" -Dwerror=true "$@" >"$log" 2>&1 || rm -rf "$dir/meson-private" "$dir/build.ninja"
  fi
  if [ ! -e "$dir/build.ninja" ]; then
    local ld=()
    command -v mold >/dev/null && ld=(CC_LD=mold CXX_LD=mold)
    # Some machines have another Python first in PATH; Debian's meson and modules belong to /usr/bin/python3.
    env CC="$cc" CXX="$cxx" "${ld[@]}" timeout -k 10 300 "${cmd[@]}" "$dir" -Dwerror=true "$@" >"$log" 2>&1 ||
      { tail -40 "$log" >&2; echo "configuring $dir failed, see $log" >&2; return 1; }
  fi
  jobs=$(nproc)
  local free
  free=$(awk '/MemAvailable/ { print int($2 / 1500000) }' /proc/meminfo)
  [ "$free" -ge 1 ] || free=1
  [ "$jobs" -le "$free" ] || jobs=$free
  local targets=()
  [ -z "${only_targets:-}" ] || mapfile -t targets < <(ninja -C "$dir" -t targets all | grep -E "^($only_targets): c(pp)?_LINKER" | cut -d: -f1)
  timeout -k 10 2700 ninja -C "$dir" -j "$jobs" "${targets[@]}" >>"$log" 2>&1 ||
    { grep -E 'error|FAILED|Error|undefined' -A4 "$log" | head -60 >&2; tail -5 "$log" >&2; echo "building $dir failed, see $log" >&2; return 1; }
}

# place_links DIR: fills DIR/bin with links to libraries, helpers, test programs and examples. (The build itself fills DIR/python.)
place_links() {
  local dir=$root/$1 f name sub
  mkdir -p "$dir/bin"
  find "$dir/bin" -maxdepth 1 -type l -delete 2>/dev/null
  for f in "$dir"/libincus/libincus.so*; do
    [ -f "$f" ] && case $f in *.p | *.symbols) ;; *) ln -sf "../libincus/$(basename "$f")" "$dir/bin/" ;; esac
  done
  while IFS= read -r f; do
    name=$(basename "$f")
    sub=${f#"$dir"/}
    case $sub in
      bin/* | meson-*) continue ;;
      tests/integration/* | tests/unit/* | tests/conformance/*) name=test-$name ;;
    esac
    ln -sf "../$sub" "$dir/bin/$name"
  done < <(find "$dir" -type f -perm -u+x ! -name '*.so*' ! -path '*/meson-private/*' ! -path '*.p/*' ! -path '*/bin/*' ! -path '*/python/incus/*')
}
