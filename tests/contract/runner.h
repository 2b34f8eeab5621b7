/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs cases, each in a process of its own, and says how they went. */
#ifndef CONTRACT_RUNNER_H
#define CONTRACT_RUNNER_H

#include "contract.h"
#include "rig.h"

/*
 * Runs every case, or the one called @only, or those of the file called so. How many failed; -1:
 * there is nothing of that name.
 */
int runner_run(struct rig *rig, const char *only);

void runner_list(void);

#endif
