// SPDX-License-Identifier: Apache-2.0
#include "embed/image_secrets.hpp"

#include <boost/json.hpp>

#include "base/error.hpp"
#include "base/ids.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

std::shared_ptr<TaskOperation> hold_secret(Operations &operations, ImageSecrets &secrets, OperationSpec spec, const std::string &fingerprint,
                                           std::shared_ptr<const boost::json::object> wishes) {
  auto secret = base::random_hex(32);
  auto key = etag_of(boost::json::value(secret));
  auto project = spec.project;
  spec.class_ = "token";
  spec.description = "Image download token";
  spec.may_cancel = true;
  spec.metadata["secret"] = secret;
  return operations.hold(std::move(spec), [&](TaskOperation &op) {
    std::weak_ptr<TaskOperation> weak = op.shared_from_this();
    auto end = [all = &operations, weak] {
      if (auto o = weak.lock()) all->end(o, std::make_exception_ptr(Error(ErrorCode::cancelled, "the secret was used, taken back or ran out")));
    };
    op.on_cancel = [kept = &secrets, key, end] {
      kept->drop(key);
      end();
    };
    secrets.add(key, project, fingerprint, end, wishes);
  });
}

} // namespace incus::embed
