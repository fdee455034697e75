// SPDX-License-Identifier: Apache-2.0
// Linked into the helper programs of a build with sanitizers: they are started without an environment and with nobody at their standard error,
// and put their root elsewhere. What a sanitizer has to say goes to a file that is open from the first moment; tests/run looks into it.
#include <fcntl.h>
#include <unistd.h>

extern "C" {
// No leaks: looking for them at the end needs rights that a helper has given up.
const char *__asan_default_options() { return "abort_on_error=1:detect_leaks=0:strict_string_checks=1"; }
const char *__ubsan_default_options() { return "print_stacktrace=1:halt_on_error=1:abort_on_error=1"; }
const char *__tsan_default_options() { return "halt_on_error=1:abort_on_error=1"; }
}

#ifdef INCUS_SANITIZER_REPORT
namespace {
/// Their standard error is /dev/null, or a pipe that their standard output holds too.
[[gnu::constructor]] void open_report() {
  int fd = ::open(INCUS_SANITIZER_REPORT, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return;
  ::dup3(fd, 2, O_CLOEXEC);
  ::close(fd);
}
} // namespace
#endif
