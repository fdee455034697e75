// SPDX-License-Identifier: Apache-2.0
// The language of image templates: what images use of that of Django. A template computes a text from values that it is given and reaches nothing else:
// there are no files, processes or clocks in it, and time and size are limited, because whoever makes an image writes it.
#pragma once
#include <boost/json.hpp>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace incus::image {

using TemplateFunction = std::function<boost::json::value(const std::vector<boost::json::value> &)>;

struct TemplateContext {
  boost::json::object values; ///< by name; what is not there is empty
  std::map<std::string, TemplateFunction, std::less<>> functions;
};

/// The text that comes of a template. Tags: if, for, set, with, firstof, comment, verbatim, autoescape (nothing is escaped), templatetag; the filters are in
/// template_filters.cpp. Throws invalid_argument naming the line and what is wrong there, too_large past 16 MiB or a million steps.
std::string render_template(std::string_view text, const TemplateContext &context);

} // namespace incus::image
