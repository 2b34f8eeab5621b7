/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Times, kept as a histogram of fixed size. Buckets are exact below 64 and then 64 to every power
 * of two, so a percentile is at most 1/64 too low, and recording is an addition.
 */
#ifndef NVME_HIST_H
#define NVME_HIST_H

#include <stdint.h>

#define NVME_HIST_SUB 64u

struct nvme_hist {
	uint64_t count, sum, max;
	uint64_t bucket[(64 - 6 + 1) * NVME_HIST_SUB];
};

void nvme_hist_add(struct nvme_hist *h, uint64_t value);

/* Add all of @from to @h. */
void nvme_hist_merge(struct nvme_hist *h, const struct nvme_hist *from);

/* The value that @permille of 1000 values do not exceed, by its bucket's lower end; 0 if empty. */
uint64_t nvme_hist_permille(const struct nvme_hist *h, unsigned permille);

static inline double nvme_hist_mean(const struct nvme_hist *h)
{
	return h->count ? (double)h->sum / (double)h->count : 0;
}

#endif
