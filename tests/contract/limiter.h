/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernel's limits, made small enough to reach. */
#ifndef CONTRACT_LIMITER_H
#define CONTRACT_LIMITER_H

#include <stddef.h>

/* How many mapping entries containers have from now on; returns what they had. */
int limiter_set_entries(int n);

/* From here on this process may lock @bytes and no more: root's right to more is given up. */
void limiter_lock_at_most(size_t bytes);

#endif
