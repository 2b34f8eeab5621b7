/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of lib/bounce share: slots, areas, pools, sets. Theory: bounce.c and pool.c. */
#ifndef DR_BOUNCE_POOL_H
#define DR_BOUNCE_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bits.h"
#include "base/thread.h"
#include "bounce/bounce.h"

/* Small enough that a 2 KiB network frame wastes nothing, large enough for a short bitmap. */
#define DR_SLOT_SHIFT 11
#define DR_SLOT_SIZE  ((size_t)1 << DR_SLOT_SHIFT)
/*
 * An ordinary area is 256 KiB: eight threads have one each in the first pool, and its bitmap is two
 * words. A large area is for requests that do not fit into that; 2 MiB covers what storage devices
 * take in one command.
 */
#define DR_AREA_SLOTS  128u
#define DR_LARGE_SLOTS 1024u
/* A large page, so that an IOMMU translates a pool with one entry. */
#define DR_POOL_BYTES ((size_t)2 << 20)
/* Pools of a set; a pool is never less than 1/32 of the ceiling unless memory was short. */
#define DR_SET_POOLS 64u
#define DR_POOL_IDS  256u
#define DR_DEFAULT_CEILING ((size_t)64 << 20)

/* A handle: life (8) | pool (8, not 0) | first slot (20). */
#define DR_HANDLE_SLOT_BITS 20
#define DR_HANDLE_LIFE_SHIFT 28

/* What is known of one request, kept at its first slot. */
struct dr_slot {
	/*
	 * life << 1 | live. Written by the slot's owner; read by dr_bounce_find() in any thread,
	 * and by whoever shows a handle. Release when it becomes live: the fields below come first.
	 */
	_Atomic uint32_t tag;
	_Atomic uint32_t len;    /* as tag; bytes of the request */
	_Atomic uint64_t iova;   /* as tag; of its first byte */
	char *va;                /* the owner's; the buffer */
	uint32_t off;            /* the owner's; of the first byte in the first slot */
	uint16_t n;              /* the owner's; slots */
	_Atomic uint16_t owner;  /* as tag; number of the device */
	uint8_t dir;             /* the owner's */
	_Atomic uint8_t why;     /* as tag; enum dr_bounce_why */
};

/* A run of slots that no request leaves. One cache line pair, or several, of its own. */
struct dr_area {
	_Atomic uint32_t high;   /* highest slot ever taken + 1; any thread */
	_Atomic uint32_t epoch;  /* of the last claim; any thread */
	_Atomic uint64_t used[]; /* a bit for each slot; set by who claims, cleared by who frees */
};

struct dr_pool {
	unsigned id;                     /* constant */
	size_t room;                     /* constant; slots that the arrays have room for */
	struct dr_slot *slot;            /* constant array */
	_Atomic uint16_t *back;          /* constant array: slots back to a request's first one */
	char *areas;                     /* constant; what area_at() steps through */

	/*
	 * Written under the bounce's lock while the pool is in no set: published with it, constant
	 * until a grace period after it has left.
	 */
	struct dr_bounce_pool_set *set;
	char *va;                        /* granule-aligned memory */
	size_t bytes;
	dray_iova_t iova;                /* permanent pools: of va */
	bool permanent;                  /* mapped as a whole, else request by request */
	bool large;
	unsigned slots, n_areas, area_slots, area_stride;
	unsigned home_mask;              /* thread number to area */

	/* Guarded by the bounce's lock. */
	bool linked;                     /* in a set */
	struct dr_pool *next;            /* spare, going or lost pools */
};

struct dr_bounce_pool_set {
	_Atomic(struct dr_pool *) pool[DR_SET_POOLS]; /* written under the lock; read under RCU */
	_Atomic unsigned n_pools;        /* highest index in use + 1; as pool */
	size_t ceiling;                  /* constant */
	size_t max_len;                  /* constant; fits wherever in a granule it begins */
	size_t pool_bytes;               /* constant; of a pool, where memory allows */
	/* Guarded by the bounce's lock. */
	size_t bytes;                    /* of all pools */
	uint64_t high_water;             /* the most before a pool went; see dr_bounce_stats */
	struct dr_pool *reserved;        /* a device's own set: its first pool's records */
	bool left;                       /* the device it is for is elsewhere */
	struct dr_bounce_pool_set *next;
};

/* Where pool memory lies, ascending. Published whole; only pool words are cleared in place. */
struct dr_bounce_index {
	unsigned n;
	struct dr_bounce_place {
		uintptr_t first, last;
		_Atomic(struct dr_pool *) pool; /* NULL: gone; cleared under the lock */
	} place[];
};

struct dr_bounce {
	struct dr_iospace *io;           /* constant */
	bool direct;                     /* constant; devices address memory itself */
	size_t granule;                  /* constant */

	/*
	 * Growing and giving back, one at a time. Held over backend calls and grace periods; never
	 * taken in a read section, nor by unmap or sync.
	 */
	pthread_mutex_t lock;
	/* Pools by number. Each is set once, under the lock, and keeps its type until close. */
	_Atomic(struct dr_pool *) by_id[DR_POOL_IDS];
	_Atomic(struct dr_bounce_index *) index; /* written under lock; read under RCU */
	_Atomic unsigned permanent;      /* permanent pools; written under lock */
	_Atomic bool sealed;             /* none may come; written under lock, read under RCU */
	_Atomic uint32_t epoch;          /* counts trims that looked; written under lock */
	struct dr_bounce_pool_set shared;
	struct dr_bounce_pool_set *sets; /* guarded by lock; shared is one of them */
	struct dr_pool *spare, *lost;    /* guarded by lock */
	unsigned n_ids;                  /* guarded by lock */
	uint64_t high_water;             /* guarded by lock; the most before a set went */
	uint64_t trimmed_ns;             /* guarded by lock */

	/* Rare events; any thread. */
	_Atomic uint64_t grows, shrinks, failures, bad_handles, lost_bytes;
};

/* A request, worked out: what slots it takes. */
struct dr_want {
	size_t len;              /* bytes of the request */
	size_t n;                /* slots */
	uint64_t align, phase;   /* in slots: first slot's address % align == phase */
	size_t off;              /* of the request's first byte in its first slot */
	uint64_t mask, shared_mask, boundary_mask; /* permanent pools */
	size_t pool_align;       /* a pool that begins at this has a place for the request */
	bool permanent;
};

static inline struct dr_area *dr_area_at(const struct dr_pool *p, unsigned i)
{
	return (struct dr_area *)(void *)(p->areas + (size_t)i * p->area_stride);
}

static inline bool dr_want_is_large(const struct dr_want *w)
{
	return w->phase + w->n > DR_AREA_SLOTS;
}

/* --- bounce.c -------------------------------------------------------------------------------- */

/* Take back a live slot. False: the backend refused, and the slot is lost. */
bool dr_slot_unmap(struct dr_bounce *b, struct dr_pool *p, unsigned slot, bool copy);

/* --- pool.c: slots of one pool, no lock ------------------------------------------------------- */

/* Bytes that the areas of a pool of @slots may take, whatever their size. */
size_t dr_areas_bytes(size_t slots);

/* Cut a pool into areas, all free. The caller has it alone. */
void dr_pool_cut(struct dr_pool *p, size_t bytes, bool large);

/* Claim slots for @w in @p; false: no place. *ret_slot: index in the pool. */
bool dr_pool_claim(struct dr_pool *p, const struct dr_want *w, uint32_t epoch, unsigned *ret_slot);

void dr_pool_free(struct dr_pool *p, unsigned slot, size_t n);

/* Claim every slot, so that nobody gets one any more; false: one is out, nothing has changed. */
bool dr_pool_claim_all(struct dr_pool *p);
void dr_pool_free_all(struct dr_pool *p);

/* Slots that are taken, whether by requests or lost. */
size_t dr_pool_used(const struct dr_pool *p);
uint64_t dr_pool_high_bytes(const struct dr_pool *p);
bool dr_pool_was_used_since(const struct dr_pool *p, uint32_t epoch);

/* --- memory.c: what a pool is made of; the bounce's lock is held ------------------------------ */

/*
 * Memory for a pool, mapped if it is permanent. @last: highest address of its last byte. On failure
 * p->va is NULL, or memory that the backend did not let go of.
 */
int dr_pool_make(struct dr_bounce *b, struct dr_pool *p, size_t bytes, const struct dr_want *w,
		 uint64_t last);
/* False: the backend refused, and the memory must stay. */
bool dr_pool_unmake(struct dr_bounce *b, struct dr_pool *p);

/* --- set.c: growing and giving back ----------------------------------------------------------- */

/* A slot from any pool of the set there is. Opens its own read section. */
bool dr_set_claim(struct dr_bounce *b, struct dr_bounce_pool_set *set, const struct dr_want *w,
		  struct dr_pool **ret_pool, unsigned *ret_slot);

/* The same, with a new pool if need be. 0; -EAGAIN permanent pools are not allowed now; errors. */
int dr_set_grow(struct dr_bounce *b, struct dr_bounce_pool_set *set, const struct dr_want *w,
		struct dr_pool **ret_pool, unsigned *ret_slot);

void dr_set_init(struct dr_bounce *b, struct dr_bounce_pool_set *set, size_t ceiling);

/*
 * Records of one pool, which come back to the set when that goes, and end with the set. 0; -ENOMEM;
 * -ENOSPC no pool numbers left.
 */
int dr_set_reserve_locked(struct dr_bounce *b, struct dr_bounce_pool_set *set);
void dr_set_unreserve_locked(struct dr_bounce *b, struct dr_bounce_pool_set *set);

/*
 * Take pools out of every set, or of one: those that @pick says. Never allocates. Those that have
 * slots out stay. Returns how many went.
 */
unsigned dr_set_retire_locked(struct dr_bounce *b, struct dr_bounce_pool_set *only,
			      bool (*pick)(const struct dr_bounce *b, const struct dr_pool *p,
					   const void *ctx),
			      const void *ctx);

/* A pool leaves its set with slots out; its memory, mapped or not, stays until close. */
void dr_set_abandon_locked(struct dr_bounce *b, struct dr_pool *p);

/* Bytes up to the highest slots taken, of the pools there are now. */
uint64_t dr_set_high_bytes_locked(const struct dr_bounce_pool_set *set);

/* Every pool's memory has been unmade or given up: free the rest. */
void dr_bounce_free(struct dr_bounce *b);

#endif
