// SPDX-License-Identifier: Apache-2.0
// Images of other servers, over HTTPS.
#pragma once
#include <chrono>

#include "image/transfer.hpp"

namespace incus::remote {

struct TransferLimits {
  std::chrono::milliseconds connect = std::chrono::seconds(10); ///< until a connection stands
  std::chrono::milliseconds silence = std::chrono::seconds(30); ///< of the other side
  std::chrono::milliseconds grace = std::chrono::seconds(60);   ///< from then on `rate` must be reached
  std::uint64_t rate = 1024;                                    ///< bytes a second, from the beginning
  int redirections = 5;
};

std::shared_ptr<image::Transfer> image_transfer(const TransferLimits &limits = {}, const base::Proxies &proxies = {});
image::Transfers image_transfers();

/// Parts of "https://HOST[:PORT][/PATH]"; throws invalid_argument.
struct WebAddress {
  std::string host, port, path; ///< the path with its query, "/" when there is none
  std::string text() const;
};
WebAddress parse_web_address(const std::string &url);
/// Where a redirection from `from` leads; throws forbidden when it is none that may be followed.
WebAddress redirected(const WebAddress &from, const std::string &location);

} // namespace incus::remote
