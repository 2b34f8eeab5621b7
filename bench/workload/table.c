// SPDX-License-Identifier: BSD-2-Clause
/*
 * The workloads: sizes, depths, order and seeds. Every bench and every baseline reads this table,
 * so a figure's name says exactly what was done.
 *
 * A thread's sequence follows from the seed and the thread's number, never from time or addresses.
 * Shares are of 1,024 draws.
 */
#include "workload.h"

#include <string.h>

/* One page. */
static const struct workload_size pages_1[] = { { 1024, 1, 1 }, { 0 } };

/* Sequential streams: 128 KiB, now and then 512 KiB to 1 MiB. */
static const struct workload_size streams[] = {
	{ 896, 32, 32 }, { 64, 128, 128 }, { 32, 192, 192 }, { 32, 256, 256 }, { 0 },
};

/* Six page orders alike, and 1 % larger than what the kernel caches. */
static const struct workload_size orders[] = {
	{ 169, 1, 1 },   { 169, 2, 2 },   { 169, 4, 4 }, { 169, 8, 8 },
	{ 169, 16, 16 }, { 169, 32, 32 }, { 10, 33, 512 }, { 0 },
};

/* Block I/O: 50, 15, 12, 10, 8, 4 and 1 %. */
static const struct workload_size mixed[] = {
	{ 512, 1, 1 }, { 154, 2, 2 },   { 123, 3, 3 }, { 102, 4, 4 },
	{ 82, 8, 8 },  { 41, 16, 16 }, { 10, 32, 32 }, { 0 },
};

/* Any page count: nothing is a power of two on purpose. */
static const struct workload_size any[] = { { 512, 1, 8 }, { 384, 1, 32 }, { 128, 1, 64 }, { 0 } };

/* Regions of 64 MiB to 1 GiB. */
static const struct workload_size regions[] = {
	{ 512, 16384, 16384 }, { 384, 65536, 65536 }, { 128, 262144, 262144 }, { 0 },
};

const struct workload_size workload_long_lived[] = {
	{ 169, 1, 1 },   { 169, 2, 2 },   { 169, 4, 4 }, { 169, 8, 8 },
	{ 169, 16, 16 }, { 169, 32, 32 }, { 10, 33, 512 }, { 0 },
};
const uint64_t workload_long_lived_seed = 0x11fe;

/* 64 B to 64 KiB in up to 17 fragments: most packets are small, some are offloaded segments. */
const struct workload_size workload_sent[] = {
	{ 640, 1, 1 }, { 128, 2, 2 }, { 128, 3, 16 }, { 128, 17, 17 }, { 0 },
};

/* Everything that the burst does not ask for. */
const struct workload_size workload_skew[] = {
	{ 256, 2, 2 }, { 256, 4, 4 }, { 256, 8, 8 }, { 256, 16, 16 }, { 0 },
};

#define BELOW_4G   UINT64_C(0xffffffff)
#define BELOW_512G UINT64_C(0x7fffffffff)

const struct workload workloads[] = {
	{ "W0", "one warm pair of 4K, last in first out",
	  WORKLOAD_PAIR, 0xd0, pages_1, 1, 1, 1, { 0, 0 } },
	{ "W1", "NVMe 4K random, 4 queues of 128, freed as they complete",
	  WORKLOAD_RANDOM, 0xd1, pages_1, 4, 128, 8, { 0, 0 } },
	{ "W2", "128K sequential, 32 deep, and 512K to 1M",
	  WORKLOAD_FIFO, 0xd2, streams, 1, 32, 4, { 0, 0 } },
	{ "W3", "six page orders and 1 % larger, random victim of 256",
	  WORKLOAD_RANDOM, 0xd3, orders, 1, 256, 1, { 0, 0 } },
	{ "W4", "network: receive ring of 1024 4K and sent packets of 1 to 17 pages, FIFO",
	  WORKLOAD_RINGS, 0xd4, pages_1, 1, 1024, 16, { 0, 0 } },
	{ "W5", "4K to 128K (50/15/12/10/8/4/1 %), random victim of 256",
	  WORKLOAD_RANDOM, 0xd5, mixed, 1, 256, 1, { 0, 0 } },
	{ "W6", "few huge regions, 64M to 1G: the allocator's share of it",
	  WORKLOAD_RANDOM, 0xd6, regions, 1, 16, 1, { 0, 0 } },
	{ "W7", "ageing: sizes of W3, frees held back, a timer gives back, threads move",
	  WORKLOAD_HELD, 0xd7, orders, 1, 256, 1, { 0, 0 } },
	{ "W8", "bursts of 20,000 x 4K over caches full of other sizes",
	  WORKLOAD_BURST, 0xd8, pages_1, 1, 20000, 1, { 0, 0 } },
	{ "W9", "4096 long-lived, and a FIFO of 512 of any page count",
	  WORKLOAD_AGED, 0xd9, any, 1, 512, 1, { 0, 0 } },
	{ "W10", "4K taken on one thread, given back on another",
	  WORKLOAD_REMOTE, 0xda, pages_1, 1, 1024, 1, { 0, 0 } },
	{ "W11", "sizes of W3, random victim of --live N (40000)",
	  WORKLOAD_RANDOM, 0xdb, orders, 1, 0, 1, { 0, 0 } },
	{ "W12", "32- and 39-bit devices in one domain, sizes of W3, random victim of 256",
	  WORKLOAD_RANDOM, 0xdc, orders, 1, 256, 1, { BELOW_4G, BELOW_512G } },
	{ 0 },
};

const struct workload *workload_find(const char *name)
{
	for (const struct workload *w = workloads; w->name; w++)
		if (!strcmp(w->name, name))
			return w;
	return NULL;
}

void workload_draws(const struct workload_size *sizes, uint32_t ret_pages[WORKLOAD_DRAWS])
{
	unsigned at = 0;

	for (; sizes->share; sizes++) {
		uint64_t span = sizes->max - sizes->min + 1;

		for (uint32_t i = 0; i < sizes->share && at < WORKLOAD_DRAWS; i++)
			ret_pages[at++] = sizes->min + (uint32_t)(i * span / sizes->share);
	}
	/* Shares that were rounded down leave a few draws to the commonest size. */
	for (unsigned from = 0; at < WORKLOAD_DRAWS; from++)
		ret_pages[at++] = ret_pages[from];
}
