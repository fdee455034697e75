// SPDX-License-Identifier: Apache-2.0
// Linked into the helper programs of a build with sanitizers: they are started without an environment and with nobody at their standard error,
// and put their root elsewhere. What a sanitizer has to say goes to a file that is open from the first moment; tests/run looks into it.
#include <cstdint>
#include <fcntl.h>
#include <sanitizer/common_interface_defs.h>

#include <unistd.h>

extern "C" {
// No leaks: looking for them at the end needs rights that a helper has given up.
const char *__asan_default_options() { return "abort_on_error=1:detect_leaks=0:strict_string_checks=1"; }
const char *__ubsan_default_options() { return "print_stacktrace=1:halt_on_error=1:abort_on_error=1"; }
const char *__tsan_default_options() { return "halt_on_error=1:abort_on_error=1"; }
}

namespace {
[[gnu::constructor]] void open_report() {
  int fd = ::open(INCUS_SANITIZER_REPORT, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return;
  // Where no table of descriptors of the helper's own begins.
  int high = ::fcntl(fd, F_DUPFD_CLOEXEC, 900);
  ::close(fd);
  if (high >= 0) __sanitizer_set_report_fd(reinterpret_cast<void *>(static_cast<std::intptr_t>(high)));
}
} // namespace
