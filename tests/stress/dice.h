/* SPDX-License-Identifier: BSD-2-Clause */
/* One thread's random numbers: they follow from the run's seed and the thread's number. */
#ifndef STRESS_DICE_H
#define STRESS_DICE_H

#include <stdint.h>

struct dice {
	uint64_t state;
};

static inline struct dice dice_start(uint64_t seed, uint64_t thread)
{
	/* Odd, and far apart: xorshift has no use for 0. */
	return (struct dice){ (seed + thread) * UINT64_C(0x9e3779b97f4a7c15) | 1 };
}

/* A number in [0, n). */
static inline uint64_t dice_below(struct dice *d, uint64_t n)
{
	d->state ^= d->state >> 12;
	d->state ^= d->state << 25;
	d->state ^= d->state >> 27;
	return d->state * UINT64_C(2685821657736338717) % n;
}

#endif
