/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCENARIOS_H
#define SCENARIOS_H
#include <incus/incus.h>
#ifdef __cplusplus
extern "C" {
#endif
const char *scenario_program(const char *uri, const char *image, const char *folder);
const char *scenario_refusals(const char *folder);
#ifdef __cplusplus
}
#endif
#endif
