/* SPDX-License-Identifier: BSD-2-Clause */
/* A fixed number of operations, looked at in windows: see iova_age.c. */
#ifndef BENCH_IOVA_AGE_H
#define BENCH_IOVA_AGE_H

#include "bench/iova.h"

/* So that each window of each thread has a batch, and its percentiles some sense. */
#define IOVA_AGE_MIN_OPS 100000

/*
 * Do about @ops operations in each case, all its threads together, and fill in its result, sight
 * and series. Returns an exit code.
 */
int iova_age(struct iova_case *cases, unsigned n, uint64_t ops);

#endif
