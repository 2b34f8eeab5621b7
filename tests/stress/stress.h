/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Everything at once, on the software IOMMU: theory
 *
 * 1. Threads of several kinds work on two long-lived domains and on short-lived ones of their own,
 *    for a given number of operations each. What they do follows from the seed; in which order they
 *    do it does not, so a seed repeats the load, not the run.
 *
 * 2. Each thread checks its own work by what the devices see. A device access that should work must
 *    work and carry the right bytes; one through a mapping that is gone must fault and move nothing.
 *    The first failed check ends the program with the seed.
 *
 * 3. Rogue devices write all the time wherever mappings come and go. What they write to while a
 *    mapping lives is theirs to write; once its unmap has returned, the buffer must never change.
 *
 * 4. Afterwards everything must add up: maps = unmaps + leaks, nothing mapped, nothing damaged, the
 *    structures valid, no fault on a device that never did wrong.
 */
#ifndef STRESS_H
#define STRESS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/dray.h>
#include <dray/sim.h>

#include "dice.h"

#define KB4 ((size_t)4096)
#define MB2 ((size_t)2 << 20)

/* Where thread n of the windowed ones maps, at addresses of its choice. */
#define WINDOW_BASE  UINT64_C(0x100000000)
#define WINDOW_SIZE  ((uint64_t)8 * MB2)
#define WINDOW_SLOTS 4u /* mappings, at multiples of WINDOW_SIZE / WINDOW_SLOTS */

struct stress {
	uint64_t seed;
	unsigned ops;              /* of each thread */
	unsigned mappers, windows; /* threads of these kinds */
	struct dray_domain *dom;   /* where most of it happens */
	struct dray_domain *other; /* where devices are moved to */
	atomic_bool stop;          /* the working threads are done; for those without a count */
	atomic_ulong device_leaks; /* mappings left to the close of a device in dom */
	atomic_ulong opened;       /* times that the contested device was had */
	atomic_ulong refused, reached; /* rogue accesses */
};

struct dice dice_of(const struct stress *s, unsigned thread);

/* Ends the program. */
_Noreturn void stress_fail(const char *file, int line, const char *what);

#define MUST(cond)                                                  \
	do {                                                        \
		if (!(cond))                                        \
			stress_fail(__FILE__, __LINE__, #cond);     \
	} while (0)

struct worker {
	struct stress *s;
	unsigned number; /* of all threads */
	unsigned index;  /* among those of its kind */
};

/* mappers.c: automatic addresses, mapped here, unmapped here or by the next thread. */
void *mapper_run(void *worker);
void mappers_open(struct stress *s);
void mappers_close(struct stress *s);

/* rogues.c: addresses of choice, under fire. */
void *window_run(void *worker);
void *rogue_run(void *worker);
void rogues_open(struct stress *s);
void rogues_close(struct stress *s);

/* movers.c: devices and domains that come, move and go. */
void *mover_run(void *worker);
void *opener_run(void *worker);
void *closer_run(void *worker);

/* modes.c: a lazy domain, and everything that changes whether it is. */
void modes_open(struct stress *s);
void modes_close(struct stress *s);
void *packer_run(void *worker);
void *switcher_run(void *worker);
void *visitor_run(void *worker);

#endif
