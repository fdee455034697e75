/* SPDX-License-Identifier: Apache-2.0 */
/** \file
 * Everything of the C face. Begin with the conventions in types.h.
 */
#ifndef INCUS_INCUS_H
#define INCUS_INCUS_H

#include <incus/backup.h>
#include <incus/error.h>
#include <incus/event.h>
#include <incus/file.h>
#include <incus/host.h>
#include <incus/image.h>
#include <incus/instance.h>
#include <incus/operation.h>
#include <incus/profile.h>
#include <incus/project.h>
#include <incus/snapshot.h>
#include <incus/storage.h>
#include <incus/types.h>
#include <incus/volume.h>

#endif
