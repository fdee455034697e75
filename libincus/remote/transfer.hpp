// SPDX-License-Identifier: Apache-2.0
// Bytes between descriptors and the server.
#pragma once
#include "remote/operation.hpp"

namespace incus::remote {

/// Sends what a descriptor holds from where it stands: a file with its size, anything else in chunks.
void body_from_descriptor(Outgoing &request, int fd);
/// An image's files as the body of an upload; `rootfs` is -1 for a unified one.
void body_from_image(Outgoing &request, int image, int rootfs);
/// The answer's bytes. Short ones are there when this returns; of long ones the reader gets what comes, then the end, or ECONNRESET when the
/// server left early.
std::vector<api::Reply::Body> bodies_of(const ClientPtr &client, Pool::Lease lease, const Head &head);

} // namespace incus::remote
