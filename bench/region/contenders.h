/* SPDX-License-Identifier: BSD-2-Clause */
/* Ways to find what is registered at an address: each is one of these. */
#ifndef BENCH_REGION_CONTENDERS_H
#define BENCH_REGION_CONTENDERS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* @n ranges of @len bytes, @stride apart from @base on. All the memory is made up. */
struct world {
	uint64_t base, stride, len;
	uint32_t n;
};

struct contender {
	const char *name;
	void *(*open)(const struct world *w);
	void (*close)(void *ctx);
	/* @n lookups of one address. */
	uint64_t (*hot)(void *ctx, const struct world *w, uint64_t n);
	/* @n lookups of addresses at random, from *inout_random on. */
	uint64_t (*random)(void *ctx, const struct world *w, uint64_t n, uint64_t *inout_random);
};

extern const struct contender *const contenders[]; /* ends with NULL */

/*
 * Pairs of a map and an unmap of 4 KiB that cross a page, inside a region: region calls alone, and
 * public calls.
 */
struct pairs;
struct pairs *pairs_open(void);
void pairs_close(struct pairs *p);
void pairs_counted(struct pairs *p, uint64_t n);
void pairs_public(struct pairs *p, uint64_t n);

/* One region of a page comes and goes, @n times, among those of @ctx, which is dray's. */
void churn(void *ctx, const struct world *w, uint64_t n);

#ifdef __cplusplus
}
#endif
#endif
