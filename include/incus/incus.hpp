// SPDX-License-Identifier: Apache-2.0
/// \file
/// Everything of the C++ face.
#pragma once
#include <incus/backup.hpp>
#include <incus/error.hpp>
#include <incus/event.hpp>
#include <incus/host.hpp>
#include <incus/image.hpp>
#include <incus/instance.hpp>
#include <incus/operation.hpp>
#include <incus/profile.hpp>
#include <incus/project.hpp>
#include <incus/server.hpp>
#include <incus/snapshot.hpp>
#include <incus/storage.hpp>
#include <incus/types.hpp>
#include <incus/volume.hpp>
