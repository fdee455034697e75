# SPDX-License-Identifier: Apache-2.0
# Sourced by tests/run: running programs, counting, what they left behind, and the parts of a run.

record() { # NAME PASSED FAILED SKIPPED SECONDS
  # Counts that could not be made out are a failure.
  case $2$3$4 in *[!0-9]* | '') set -- "$1" 0 1 0 "$5" ;; esac
  echo "$2 $3 $4 $5 $1" >>"$counts"
  printf '%-34s %5d passed %3d failed %3d skipped  %4ds\n' "$@"
}
# The smaller of a program's limit and what is left of the whole run's.
in_time() {
  local rest=$((whole_limit - SECONDS + started))
  [ "$rest" -ge 1 ] || rest=1
  if [ "$1" -lt "$rest" ]; then echo "$1"; else echo "$rest"; fi
}
# What --only and --without leave.
chosen() {
  case $1 in *"$only"*) ;; *) return 1 ;; esac
  [ -z "$without" ] || case $1 in *"$without"*) return 1 ;; esac
}
step() { printf '%-34s %41ds\n' "$1" "$2"; }

cleanup() {
  local pid
  for pid in $(jobs -p); do kill -KILL -- "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null; done
  wait 2>/dev/null
  rm -rf --one-file-system "$work"
}

finish() {
  local p f s
  read -r p f s < <(awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }' "$counts")
  echo "Took $((SECONDS - started)) seconds; logs are in build/test-logs; seed $INCUS_TEST_SEED"
  awk '$2 > 0 { $1 = $3 = $4 = ""; print "failed:" $0 }' "$counts" | sed 's/  */ /g'
  if [ "$p" = 0 ] && [ "$f" = 0 ]; then f=1; echo "no test ran"; fi
  trap - EXIT
  cleanup
  echo "$p passed, $f failed, $s skipped"
  [ "$f" = 0 ]
  exit
}

# The kernel objects that a test could leave outside its namespaces: cgroups, loop devices, mounts.
kernel_objects() {
  find /sys/fs/cgroup -mindepth 1 -type d \( -name '*incus*' -o -name '*lxc*' \) 2>/dev/null | sed 's/^/cgroup /'
  losetup -n -O NAME,BACK-FILE 2>/dev/null | grep -F -e "$work" -e incus | sed 's/^/loop /'
  awk '{ print "mount " $5 }' /proc/self/mountinfo | grep -F -e "$work" -e incus
  grep -l -s -F -e "$work" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 | while read -r pid; do
    [ "$pid" = $$ ] || [ "$pid" = "$BASHPID" ] || echo "process $pid $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)"
  done
}

# A cgroup that a living process of somebody else uses is not a leftover of ours: everything of ours is dead by now.
unused_only() {
  local kind what
  while read -r kind what; do
    case $kind in
      cgroup) [ -d "$what" ] && [ -z "$(find "$what" -name cgroup.procs -exec cat {} + 2>/dev/null | head -1)" ] && echo "$kind $what" ;;
      process) [ -d "/proc/${what%% *}" ] && echo "$kind $what" ;;
      *) echo "$kind $what" ;;
    esac
  done
}

# run_program NAME KIND LIMIT CMD...: in namespaces of its own, with private /tmp and /var/tmp; then looks for leftovers.
run_program() {
  local name=$1 kind=$2 limit=$3 log=$LOGS/$1.log at=$SECONDS rc=0 dir p f s left
  shift 3
  chosen "$name" || return 0
  limit=$((limit * ${INCUS_TEST_SLOW:-1}))
  limit=$(in_time "$limit")
  dir=$(mktemp -d "$work/t.XXXXXX")
  kernel_objects | sort >"$work/before"
  INCUS_TEST_MARK=$work timeout -k 10 "$limit" tests/support/ns -t "$dir" "$@" >"$log" 2>&1 </dev/null || rc=$?
  local source=$log
  if [ "$kind" = junit ]; then source=$junit; fi
  read -r p f s < <(/usr/bin/python3 tests/support/count.py "$kind" "$source" "$rc")
  record "$name" "$p" "$f" "$s" $((SECONDS - at))
  [ -z "${reports:-}" ] || sanitizer_reports "$name"
  if [ "$f" != 0 ]; then
    case $rc in 124 | 137) echo "--- $name did not end within $limit seconds" ;; *) echo "--- $name ended with $rc; the end of its output:" ;; esac
    grep -E -A12 'ERROR|FATAL|FAILED|Sanitizer' "$log" | head -60
    tail -25 "$log"
    echo "---"
  fi
  # In every cgroup tree the official daemon leaves the group that liblxc makes for it; ours takes it along, which all other programs show.
  case $name in conformance_official | official-cli) find /sys/fs/cgroup -depth -type d -name lxc.pivot -exec rmdir {} + 2>/dev/null ;; esac
  local i
  for i in 1 2 3 4 5 6; do
    left=$(comm -13 "$work/before" <(kernel_objects | sort) | unused_only)
    left+=$(find "$dir" -mindepth 2 -maxdepth 2 ! -name pytest-of-root -printf '\nfile %f') # pytest keeps that on purpose
    [ -n "$left" ] || break
    sleep 0.5
  done
  if [ -n "$left" ]; then
    record "$name: leaves nothing" 0 1 0 0
    echo "--- $name left behind:"
    echo "$left" | head -20
    echo "---"
  else
    echo "1 0 0 0 $name: leaves nothing" >>"$counts"
  fi
  rm -rf --one-file-system "$dir"
}

# programs DIR: the executables of a build folder.
programs() { find "$1" -maxdepth 1 -type f -perm -u+x ! -name '*.so*' 2>/dev/null | sort; }

# doctest_programs BUILD FOLDER PREFIX LIMIT
doctest_programs() {
  local program
  for program in $(programs "$1/tests/$2"); do
    run_program "$3$(basename "$program")" doctest "$4" "$root/$program" --no-colors=true
  done
}
use_build() { # the environment that programs of a build directory run in
  export INCUS_LIBEXEC=$root/$1/bin
}

part_unit() {
  use_build build
  doctest_programs build unit '' 300
}
part_conformance() {
  use_build build
  local program
  for program in $(programs build/tests/conformance); do
    case $program in */conformance_official | */conformance_unix | */conformance_https) continue ;; esac # parts of their own
    run_program "$(basename "$program")" doctest 600 "$root/$program" --no-colors=true
  done
}
part_integration() {
  use_build build
  local limit=900
  [ "$full" = 0 ] || limit=7200
  local program
  for program in $(programs build/tests/integration); do
    case $program in */rest | */files | */daemon) continue ;; esac # in the part served
    run_program "integration-$(basename "$program")" doctest "$limit" "$root/$program" --no-colors=true
  done
}
# Clients of a daemon: everything that goes through a socket of ours, and the files of instances.
part_served() {
  use_build build
  local program
  for program in build/tests/integration/rest build/tests/integration/files build/tests/integration/daemon build/tests/conformance/conformance_unix build/tests/conformance/conformance_https; do
    run_program "served-$(basename "$program")" doctest 900 "$root/$program" --no-colors=true
  done
  run_pytest served-python tests/python/test_remote.py 600
}
part_capi() {
  use_build build
  local d
  for d in capi c; do [ ! -d "build/tests/$d" ] || doctest_programs build "$d" "$d-" 600; done
}
part_python() {
  use_build build
  [ -d tests/python ] || return 0
  local at=$SECONDS rc=0
  if chosen python-mypy; then
    (cd "$work" && MYPYPATH=$root/build/python timeout -k 10 300 /usr/bin/python3 -m mypy --strict --cache-dir "$work/mypy" \
      -p incus) >"$LOGS/python-mypy.log" 2>&1 || rc=$?
    if [ "$rc" = 0 ]; then record python-mypy 1 0 0 $((SECONDS - at)); else
      record python-mypy 0 1 0 $((SECONDS - at))
      tail -20 "$LOGS/python-mypy.log"
    fi
  fi
  PYTEST_ADDOPTS="--ignore=$root/tests/python/test_remote.py" run_pytest python tests/python 900
}
# run_pytest NAME FOLDER LIMIT
run_pytest() {
  junit=$work/$1.xml
  run_program "$1" junit "$3" env PYTHONPATH="$root/build/python" PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m pytest -q \
    -p no:cacheprovider "$root/$2" --junitxml="$junit"
}
part_examples() {
  use_build build
  if [ -d tests/examples ]; then run_pytest examples tests/examples 900; fi
}
# The command of this tree with the daemon of this tree.
part_cli() {
  use_build build
  PYTEST_ADDOPTS="--ignore=$root/tests/cli/test_cli.py --ignore=$root/tests/cli/test_backups_official.py --ignore=$root/tests/cli/test_backups_official_streams.py --deselect=$root/tests/cli/test_images.py::test_from_and_to_the_official_daemon" run_pytest cli tests/cli 900
}
# What compares with the official daemon and client, which must be installed (tests/bench/run does that).
part_official() {
  use_build build
  [ -x /usr/libexec/incus/incusd ] || { record official 0 1 0 0; echo "--- the official daemon is not installed"; return; }
  run_program conformance_official doctest 900 "$root/build/tests/conformance/conformance_official" --no-colors=true
  PYTEST_ADDOPTS="--ignore=$root/tests/cli/test_ours.py --ignore=$root/tests/cli/test_transient.py --ignore=$root/tests/cli/test_image_tasks.py --ignore=$root/tests/cli/test_backups.py --ignore=$root/tests/cli/test_backup_streams.py" run_pytest official-cli tests/cli 900
}
part_docs() {
  if [ -d tests/docs ]; then run_pytest docs tests/docs 60; fi
}

# export_sanitizers BUILD: what they report goes to files, because daemons and helpers have nobody at their standard error.
export_sanitizers() {
  reports=$root/$1/sanitizer-reports
  rm -rf "$reports"
  mkdir -p "$reports"
  export ASAN_OPTIONS=detect_leaks=1:abort_on_error=1:strict_string_checks=1:detect_stack_use_after_return=1:log_path=$reports/report
  export LSAN_OPTIONS=suppressions=$root/tests/support/lsan.supp:print_suppressions=0:log_path=$reports/report
  export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:log_path=$reports/report
  export TSAN_OPTIONS=suppressions=$root/tests/support/tsan.supp:halt_on_error=0:second_deadlock_stack=1:log_path=$reports/report
}
# After a program: whatever any process of it reported is a failure.
sanitizer_reports() {
  local name=$1 file
  for file in "$reports"/*; do
    [ -s "$file" ] || continue
    record "$name: sanitizers" 0 1 0 0
    echo "--- $(basename "$file") of $name:"
    head -c 6000 "$file"
    echo "---"
    cat "$file" >>"$LOGS/$name.log"
  done
  rm -f "$reports"/*
}
part_sanitize() {
  local at=$SECONDS program
  # Not optimised: compiling is what takes long here. Only what runs in it; the programs that kill at every step are too slow for it.
  local chosen_targets='tests/unit/unit|tests/integration/(enospc|files|image|lxc_adopt|lxc_runtime|observe|open|rest|storage|trust|trust_rows)'
  [ "$full" = 0 ] || chosen_targets='tests/(unit|integration)/[^/]*'
  if ! only_targets="$chosen_targets|tests/conformance/conformance_unix|subprojects/incusd/incusd|libincus/helper/.*" build_tree build-asan \
    -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=0 -Dpython=false; then
    record build-asan 0 1 0 $((SECONDS - at))
    return
  fi
  place_links build-asan
  # The helper that forks guests is not ours to sanitize (it runs liblxc); those that read archives and serve files are.
  [ ! -e build/libincus/helper/incus-lxc ] || ln -sf "$root/build/libincus/helper/incus-lxc" build-asan/bin/incus-lxc
  record build-asan 1 0 0 $((SECONDS - at))
  (
    export_sanitizers build-asan
    use_build build-asan
    doctest_programs build-asan unit asan- 600
    for program in $(programs build-asan/tests/integration) build-asan/tests/conformance/conformance_unix; do
      # What --all built once is not run by less.
      case $full$program in 0*/kill*) continue ;; esac
      run_program "asan-$(basename "$program")" doctest 1200 "$root/$program" --no-colors=true
    done
  )
}
part_tsan() {
  local at=$SECONDS program
  if ! only_targets='tests/unit/unit|tests/integration/(rest|trust)|tests/conformance/conformance_(memory|dir)|libincus/helper/.*' build_tree build-tsan \
    -Db_sanitize=thread -Db_lundef=false -Doptimization=0 -Dpython=false; then
    record build-tsan 0 1 0 $((SECONDS - at))
    return
  fi
  place_links build-tsan
  for program in incus-lxc incusd; do # what is not to be sanitized, or not built here
    [ ! -e "build/bin/$program" ] || ln -sf "$(readlink -f "build/bin/$program")" build-tsan/bin/
  done
  record build-tsan 1 0 0 $((SECONDS - at))
  (
    export_sanitizers build-tsan
    use_build build-tsan
    doctest_programs build-tsan unit tsan- 600
    for program in build-tsan/tests/integration/rest build-tsan/tests/integration/trust build-tsan/tests/conformance/conformance_memory build-tsan/tests/conformance/conformance_dir; do
      run_program "tsan-$(basename "$program")" doctest 900 "$root/$program" --no-colors=true
    done
  )
}
part_fuzz() {
  if [ -x tests/fuzz/run ]; then run_script fuzz $((fuzz_seconds * 8 + 1200)) tests/fuzz/run --coverage "$fuzz_seconds"; fi
}
# Parts that are scripts of their own and print the same last line.
run_script() {
  local name=$1 limit=$2 at=$SECONDS rc=0 p f s
  shift 2
  chosen "$name" || return 0
  limit=$(in_time "$limit")
  timeout -k 30 "$limit" "$@" >"$LOGS/$name.log" 2>&1 </dev/null || rc=$?
  read -r p f s < <(/usr/bin/python3 tests/support/count.py plain "$LOGS/$name.log" "$rc")
  record "$name" "$p" "$f" "$s" $((SECONDS - at))
  [ "$f" = 0 ] || tail -40 "$LOGS/$name.log"
}
part_lab() {
  if [ "$full" = 1 ]; then run_script lab 7200 env INCUS_LAB_LIMIT=7000 tests/lab/run --all; else run_script lab 2400 tests/lab/run; fi
}
part_debian13() { run_script debian13 3600 tests/support/debian13; }
part_bench() { timeout -k 30 3600 tests/bench/run; }
