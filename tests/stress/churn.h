/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registered memory while everything around it comes and goes: theory
 *
 * 1. Rounds. Each opens a domain, lets a crowd of short-lived threads at it, and closes it when all
 *    of them have come and gone. Rounds differ: lazy or strict to begin with, guarded, in debug
 *    mode, on the software IOMMU or on the scripted kernel of tests/fake; with room for everything,
 *    or with so few IOVAs, mapping entries or lockable bytes that the limit is reached all the
 *    time. A refusal must name the limit, and everything goes on.
 *
 * 2. Memory. An arena of pages of several kinds (private, shared, large, read-only), in it places
 *    that are registered as a whole and taken back, and pages that never are. Every page begins
 *    with its name, which nobody ever changes, and has a cell for each thread that lives at a time;
 *    only that thread writes it, itself or through a device. A device that reads a name at an IOVA
 *    therefore says what is behind it, and a thread that finds in its cell what a device was told
 *    to write there knows that both are on the same page.
 *
 * 3. The oracle of lookups. Each place has a generation, odd while somebody registers or
 *    unregisters it, and says where it is. Who asks looks at the generation before and after: if it
 *    is even and the same, the table's answer must be the oracle's, to the byte, in both
 *    directions; if odd, it is the old answer, or none.
 *
 * 4. The oracle of counts. A mapping inside a place is counted four times: before the map (begun),
 *    after it if its IOVA is the region's (kept), before its unmap if so (leaving), and after its
 *    unmap (ended). An unregistration that succeeds has found everyone leaving that was kept when
 *    it began; one that is refused has met somebody that had begun before its end and not ended
 *    before its beginning. As long as a mapping is out, the device reaches the page through it.
 *
 * 5. Addresses. A place is registered where the domain likes or at its own address, which nobody
 *    else uses: then, after it was unregistered, nothing is there.
 *
 * 6. Children. A process in which all this is under way is forked: the child is refused whatever it
 *    tries, and what it unmaps and closes stays its parent's. Another child runs a program that has
 *    a domain of its own.
 *
 * 7. What follows from the seed is what each thread is about to do, not in which order. Nothing
 *    depends on time but when the last round begins. A run in which something never happened goes
 *    on until it has.
 */
#ifndef STRESS_CHURN_H
#define STRESS_CHURN_H

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

#define SLOTS   6u /* threads at a time */
#define DEVICES 2u

/* Where places may be registered at addresses of their own; the arena's layout, once more. */
#define FIXED_BASE UINT64_C(0x100000000)

struct player {
	struct dray_device *dev;
	const char *name;
};

/* What happened, all rounds together. */
struct churn_counts {
	atomic_ulong maps, lists, inside, checks, asks, answers;
	atomic_ulong registered, unregistered, busy, overlaps, duels, many;
	atomic_ulong threads, switches, visits, own_domains, children, programs;
	atomic_ulong no_iova, no_entries, no_memlock;
};

struct churn {
	uint64_t seed;
	unsigned seconds;
	/* Of the round, constant while its threads run. */
	struct dray_domain *dom;
	struct player devices[DEVICES]; /* only go where they are sent */
	struct player prober;           /* goes where it may be refused */
	struct player visitor;          /* comes and goes; dev is not used */
	bool scripted;                  /* the IOMMU is the scripted kernel's */
	bool limited;                   /* something runs out all the time */
	struct churn_counts counts;
};

extern struct churn churn;

/* One thread of the crowd. */
struct life {
	struct dice dice;
	unsigned slot; /* its cells; nobody else alive has the number */
};

/* Ends the program. Callable in a forked child. */
_Noreturn void churn_fail(const char *file, int line, const char *what);

#define MUST(cond)                                                  \
	do {                                                        \
		if (!(cond))                                        \
			churn_fail(__FILE__, __LINE__, #cond);      \
	} while (0)

#define COUNT(what) atomic_fetch_add_explicit(&churn.counts.what, 1, memory_order_relaxed)

/* --- churn_round.c: a domain, and whose it is --- */

void round_open(struct dice *d);
void round_close(void);
/* Be the device. 0, -EFAULT. */
int player_read(const struct player *p, dray_iova_t iova, void *buf, size_t len);
int player_write(const struct player *p, dray_iova_t iova, const void *buf, size_t len);
/* Is this a limit that this round reaches, and does the message name it? Counts it. */
bool is_limit(int err);

/* --- churn_arena.c: the memory --- */

struct place {
	char *va;           /* constant, as the next three */
	size_t len;
	bool read_only;     /* for devices and at va; the CPU writes it elsewhere */
	dray_iova_t fixed;  /* its own address */

	pthread_mutex_t lock;         /* held by who registers or unregisters it */
	struct dray_region *region;   /* guarded by lock; NULL: not registered */
	/* Written under lock, read by anybody. */
	_Atomic uint64_t generation;  /* odd: it is being registered or unregistered */
	_Atomic dray_iova_t iova;     /* DRAY_IOVA_NONE: not registered */
	_Atomic dray_iova_t changing; /* while odd: where it is or will be; NONE: anywhere */
	/* Written by anybody: see 4. */
	_Atomic uint64_t begun, kept, leaving, ended;
};

#define PLACES 13u
extern struct place places[PLACES];

extern char *arena;
extern size_t arena_pages;
extern char *arena_many; /* beside it; nobody looks for names there */

void arena_open(void);
/* The place that all of [va, va + len) is in; NULL: there is none. */
struct place *place_of(const char *va, size_t len);
/* Where the CPU may write what is at @va. */
char *cpu_at(char *va);
bool is_read_only(const char *va, size_t len);
/* A thread's cell in the page of @va. */
#define CELL 16u
char *cell_of(char *va, unsigned slot);
/* Does a device that reads @iova, on the page of @va, read its name? 0, 1, or -EFAULT. */
int read_name(const struct player *p, dray_iova_t iova, const char *va);

/* --- churn_places.c: registering, and the oracle --- */

/* Register the place if it is not, or take it back if it is, unless somebody is at it. */
void place_turn(struct place *p, struct dice *d);
/* Take it back, with nobody else there. */
void place_clear(struct place *p);
/* What overlaps it is refused. */
void place_overlap(struct place *p, struct dice *d);
/* Two threads unregister it at once. */
void place_duel(struct place *p);
/* dray_region_register(), for memory in no place. */
int register_outside_duels(void *va, size_t len, struct dray_region **ret_region);
/* Where is some address, and what is there? */
void place_ask(struct dice *d);

/* A mapping's stay in a place: see 4. */
struct stay {
	struct place *place; /* NULL: in none */
	uint64_t generation;
	dray_iova_t iova;    /* where it must be, if the generation stays; NONE: anywhere */
	bool inside;         /* it is where the region is */
};

void stay_begin(struct stay *s, const char *va, size_t len);
/* @alone: it is no part of a list. */
void stay_settle(struct stay *s, dray_iova_t iova, size_t off, bool alone);
void stay_leave(struct stay *s);
void stay_end(struct stay *s);

/* --- churn_maps.c: mappings, on their way from thread to thread --- */

#define LIST 4u

struct parcel {
	enum dray_dir dir;
	unsigned n, segments; /* elements; 0: empty, 1: a mapping */
	struct dray_mapping m;
	struct dray_sg sg[LIST];
	struct stay stay[LIST];
};

/* False: a limit was reached; the parcel is empty. */
bool parcel_fill(struct parcel *p, struct dice *d, bool list);
void parcel_empty(struct parcel *p, struct dice *d);
/* Both ways, by the device and by the CPU, in this thread's cells. */
void parcel_check(const struct parcel *p, struct life *l);
/* Leave it to somebody else; what is there is unmapped, or taken along. */
void shelf_swap(struct parcel *p, struct dice *d);
void shelf_clear(struct dice *d);

/* --- churn_lives.c, churn_forks.c: what a thread lives for --- */

void live_by_mapping(struct life *l);
void live_by_switching(struct life *l);
void live_by_visiting(struct life *l);
void live_by_duels(struct life *l);
void live_by_many(struct life *l);
/* Take back what it registered. */
void many_clear(void);
void live_by_own_domains(struct life *l);
void live_by_forking(struct life *l);
/* What a child's program does: exit status. */
int own_program(void);

#endif
