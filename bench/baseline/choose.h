/* SPDX-License-Identifier: BSD-2-Clause */
/* A fixed choice in place of the automatic one, in a domain that is open: for comparing the two. */
#ifndef BENCH_CHOOSE_H
#define BENCH_CHOOSE_H

#include <stddef.h>

#include <dray/domain.h>

/* As if the domain had been opened with this bounce_threshold. Mappings may be out. */
void bench_choose(struct dray_domain *dom, size_t bounce_threshold);

#endif
