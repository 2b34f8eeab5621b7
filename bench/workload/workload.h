/* SPDX-License-Identifier: BSD-2-Clause */
/* What an IOVA allocator is asked for, and in which order: W0 to W12. The table is table.c. */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A page here is the granule of every contender. */
#define WORKLOAD_PAGE_SHIFT 12

/* Drawn sizes come from a table of this many entries, a power of two. */
#define WORKLOAD_DRAWS 1024u

/* How the ranges that a thread holds come and go; run.h has a loop for each. */
enum workload_shape {
	WORKLOAD_PAIR,   /* one range, taken and given back */
	WORKLOAD_RANDOM, /* random victims of a queue are given back and replaced */
	WORKLOAD_FIFO,   /* the oldest are */
	WORKLOAD_RINGS,  /* two rings in turn, both strictly FIFO */
	WORKLOAD_AGED,   /* FIFO, and now and then a random long-lived one */
	WORKLOAD_HELD,   /* random victims, given back when a queue is full, or by a timer */
	WORKLOAD_BURST,  /* all are taken, then all are given back */
	WORKLOAD_REMOTE, /* one thread takes, another gives back */
};

/* Of WORKLOAD_DRAWS draws, @share are of sizes from @min to @max pages, spread evenly. */
struct workload_size {
	uint32_t share, min, max;
};

struct workload {
	const char *name, *what;
	enum workload_shape shape;
	uint64_t seed;
	const struct workload_size *sizes; /* ends with a share of 0 */
	unsigned queues; /* a power of two; a victim's neighbours are of the same queue */
	unsigned depth;  /* ranges in each queue of each thread; 0: as many as --live says */
	unsigned batch;  /* from 1 to this many are given back together */
	uint64_t lasts[2]; /* each request has one of these limits; 0 is none */
};

/* Ends with a NULL name. */
extern const struct workload workloads[];

/* What is held beside a workload (--live) is of the sizes of this one. */
extern const struct workload_size workload_long_lived[];
extern const uint64_t workload_long_lived_seed;

/* Of WORKLOAD_AGED: how many are long-lived, and one in how many operations replaces one. */
#define WORKLOAD_AGED_LIVE  4096u
#define WORKLOAD_AGED_EVERY 64u

/* Of WORKLOAD_RINGS: pages of a packet that is sent, and how many packets wait. */
extern const struct workload_size workload_sent[];
#define WORKLOAD_SENT_DEPTH 256u

/* Of WORKLOAD_HELD: why they are what they are is told in run.h, 5. */
#define WORKLOAD_HELD_BACK 256u        /* entries of a hold-back queue */
#define WORKLOAD_CPUS      256u        /* how many queues there are, those of all threads */
#define WORKLOAD_TURN      64u         /* operations that one CPU does in a row */
#define WORKLOAD_TICK      (1u << 18)  /* operations of all threads from tick to tick */
#define WORKLOAD_MOVE      (1u << 15)  /* operations after which a thread changes its CPU */
#define WORKLOAD_PAUSE     (1u << 23)  /* operations after which it pauses */
#define WORKLOAD_PAUSE_US  12000u      /* a little more than from tick to tick, 10 ms */

/* Of WORKLOAD_BURST: before it, thread 0 takes and gives back so many ranges of workload_skew. */
#define WORKLOAD_SKEW 20000u
extern const struct workload_size workload_skew[];

/* Of a depth of 0 when --live does not say. */
#define WORKLOAD_LIVE_DEFAULT 40000u

/* The workload of this name, or NULL. */
const struct workload *workload_find(const char *name);

/* splitmix64: the next of a sequence that @state alone decides. */
static inline uint64_t workload_next(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Spread @sizes over the draws: ret_pages[random % WORKLOAD_DRAWS] is a size in pages. */
void workload_draws(const struct workload_size *sizes, uint32_t ret_pages[WORKLOAD_DRAWS]);

#ifdef __cplusplus
}
#endif
#endif
