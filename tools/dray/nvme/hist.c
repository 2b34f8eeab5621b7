// SPDX-License-Identifier: BSD-2-Clause
#include "nvme/hist.h"

#include <stddef.h>

#define BUCKETS (sizeof(((struct nvme_hist *)0)->bucket) / sizeof(uint64_t))

/* Bits above the six that choose the bucket inside a power of two. */
static unsigned shift_of(uint64_t value)
{
	return value < NVME_HIST_SUB ? 0 : 63u - 6u - (unsigned)__builtin_clzll(value);
}

static size_t index_of(uint64_t value)
{
	unsigned shift = shift_of(value);

	if (value < NVME_HIST_SUB)
		return (size_t)value;
	return (size_t)(shift + 1) * NVME_HIST_SUB + (size_t)(value >> shift) - NVME_HIST_SUB;
}

static uint64_t value_of(size_t index)
{
	size_t row = index / NVME_HIST_SUB;

	if (!row)
		return index;
	return (uint64_t)(NVME_HIST_SUB + index % NVME_HIST_SUB) << (row - 1);
}

void nvme_hist_add(struct nvme_hist *h, uint64_t value)
{
	h->count++;
	h->sum += value;
	if (value > h->max)
		h->max = value;
	h->bucket[index_of(value)]++;
}

void nvme_hist_merge(struct nvme_hist *h, const struct nvme_hist *from)
{
	h->count += from->count;
	h->sum += from->sum;
	if (from->max > h->max)
		h->max = from->max;
	for (size_t i = 0; i < BUCKETS; i++)
		h->bucket[i] += from->bucket[i];
}

uint64_t nvme_hist_permille(const struct nvme_hist *h, unsigned permille)
{
	/* How many values lie at or below the one wanted, rounded up, at least one. */
	uint64_t want = (h->count * permille + 999) / 1000, seen = 0;

	if (!h->count)
		return 0;
	if (!want)
		want = 1;
	for (size_t i = 0; i < BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= want)
			return value_of(i);
	}
	return h->max;
}
