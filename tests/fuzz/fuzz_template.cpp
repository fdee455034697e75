// SPDX-License-Identifier: Apache-2.0
// The language of image templates: any text is rendered, the same each time, or refused for a reason of its own, soon and within its size.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "image/template.hpp"
#include "incus/error.hpp"

using namespace incus;

namespace {

image::TemplateContext context() {
  image::TemplateContext c;
  c.values = {{"instance", {{"name", "web"}, {"privileged", "false"}}}, {"devices", {{"eth0", {{"type", "nic"}}}}}, {"list", {"b", 1, 2.5, nullptr}}, {"count", 3}};
  c.functions["config_get"] = [](const std::vector<boost::json::value> &a) { return a.empty() ? boost::json::value() : a.back(); };
  return c;
}

std::string render(std::string_view text) {
  static const auto with = context();
  try {
    return "=" + image::render_template(text, with);
  } catch (const Error &e) {
    if (e.code() != ErrorCode::invalid_argument && e.code() != ErrorCode::too_large) std::abort();
    if (std::string_view(e.what()).substr(0, 5) != "line ") std::abort();
    return e.what();
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  if (size > 4096) return 0;
  std::string_view text(reinterpret_cast<const char *>(data), size);
  auto once = render(text);
  if (once.size() > (16 << 20) + 1) std::abort();
  if (text.find('{') == text.npos && once.substr(1) != text) std::abort();
  if (render(text) != once) std::abort();
  return 0;
}
