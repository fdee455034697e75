// SPDX-License-Identifier: Apache-2.0
// Images on other servers: how they are found, fetched and sent. What speaks to servers stands in a room above this one (remote/), which hands a
// maker of transfers to the engine.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <incus/image.hpp>

#include "base/fd.hpp"
#include "base/proxy.hpp"

namespace incus::image {

/// A server, and who we are to it: nobody, or the holder of a secret.
struct ServerPlace {
  std::string server;       ///< https://HOST[:PORT]
  std::string certificate;  ///< PEM by which it is known; empty: by certificate authorities
  std::string project;      ///< empty: the default one
  std::string secret;
};

struct ImageFiles {
  base::Fd image, rootfs;   ///< the second is empty for a unified image
};

/// What a web server says stands behind a URL.
struct WebImage {
  std::string fingerprint, url;
};

/// A file without a name, for what comes.
using Spool = std::function<base::Fd()>;
/// Bytes done, of how many (0: not known); what it throws ends the transfer.
using Moved = std::function<void(std::uint64_t, std::uint64_t)>;

/// One image's way between two servers. Nothing that the other side says is believed: fingerprints are checked for their form, sizes are limits, and
/// whoever stores what came checks the hash of the whole.
class Transfer {
public:
  virtual ~Transfer() = default;
  /// The image of that name (alias, fingerprint or its unique beginning; with a secret: the fingerprint). `type` empty: any.
  virtual ImageInfo find(const ServerPlace &at, const std::string &name, const std::string &type) = 0;
  /// Its files, at most `limit` bytes.
  virtual ImageFiles fetch(const ServerPlace &at, const std::string &fingerprint, std::int64_t limit, const Spool &spool, const Moved &moved) = 0;
  virtual WebImage resolve(const std::string &url, const std::string &architectures) = 0;
  /// `from`: the URL that led to `url`; that is a redirection and may lead to public addresses only, unless `from` was private already.
  virtual base::Fd fetch_url(const std::string &from, const std::string &url, std::int64_t limit, const Spool &spool, const Moved &moved) = 0;
  /// Sends an image that `to` expects under the secret, and waits until it is stored there.
  virtual void push(const ServerPlace &to, const std::string &fingerprint, const std::string &filename, const std::optional<std::vector<std::string>> &profiles,
                    const ImageFiles &files, const Moved &moved) = 0;
  /// From any thread: what runs fails soon, and what is begun later.
  virtual void cancel() = 0;
};
/// Makes one that goes through these proxies, or those of the environment.
using Transfers = std::function<std::shared_ptr<Transfer>(const base::Proxies &)>;

} // namespace incus::image
