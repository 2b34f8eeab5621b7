/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The caches in front of an IOVA space's tree: magazines, depot, chunks. For the files of this
 * directory only. The theory is at the top of cache.c.
 */
#ifndef DR_IOVA_CACHE_H
#define DR_IOVA_CACHE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/thread.h"
#include "iova/fit.h"
#include "iova/space.h"

/*
 * Granules in a chunk: what one leaf page table translates, 2 MiB with 4 KiB pages. It is also the
 * largest size that is cached.
 */
#define DR_CHUNK_GRANULES 512u
#define DR_CHUNK_WORDS    (DR_CHUNK_GRANULES / 64)

/* Powers of two from one granule to a whole chunk. */
#define DR_ORDERS 10u
/*
 * Other sizes that one thread caches at a time: more than a driver has kinds of odd buffers, few
 * enough that a load of every size there is cannot fill a narrow window with magazines.
 */
#define DR_SEATS   8u
#define DR_CLASSES (DR_ORDERS + DR_SEATS)

/* Windows by what devices reach: 32 bits, 39 bits (three levels of tables), the rest. */
#define DR_ZONES 3u

/*
 * Entries of a magazine: an exchange with the depot costs two locked instructions, so at 64 they
 * add less than a third of a nanosecond to a pair; twice as many gain nothing one could measure
 * and double the quota.
 */
#define DR_MAG_ENTRIES 64u

/* Segment k of the magazine table has 32 << k magazines; together about a million. */
#define DR_MAG_SEGMENTS 15u
#define DR_MAG_FIRST    32u

/*
 * Sizes are rounded up in zones above 4 GiB while chunks have at most this part of the zone: ranges
 * leave at most a 32nd of it, so 95 % can be used; 48 bits have 16 TiB before that matters.
 */
#define DR_ROUND_PART 16u

/* Records made at once: two pages of them. */
#define DR_CHUNK_SLAB 32u

/* Frees that the debug mode holds back per thread before the address may be taken again. */
#define DR_RING_ENTRIES 128u

/* Why a thread may not use the short way into its cache. */
enum {
	DR_STOPPED = 1 << 0, /* another thread is inside, or about to be */
	DR_FENCED = 1 << 1,  /* no membarrier: threads fence themselves */
	DR_DEBUG = 1 << 2,   /* racing gives are told apart, reuse is delayed */
};

/* Where a chunk is. */
enum {
	DR_CHUNK_GONE,   /* no chunk: its addresses belong to the tree */
	DR_CHUNK_OWNED,   /* a thread fills its magazines from it */
	DR_CHUNK_LISTED,  /* in lists[zone][n]: has free slots, waits for a thread */
	DR_CHUNK_FULL,    /* every slot is out */
};

/*
 * 512 granules cut into slots of n granules. The record of one stretch of addresses is made once
 * and stays until the space closes, so a pointer to it is always good; while it is gone it is
 * only a record.
 */
struct dr_chunk {
	uint64_t base; /* constant */
	/* Free slots in the chunk itself. Anybody sets, the lock's holder clears. */
	_Atomic uint64_t avail[DR_CHUNK_WORDS];
	_Atomic uint64_t *entry;                     /* constant; its place in the radix */
	_Atomic(struct dr_chunk *) next_returned;    /* who set returned; then the lock */
	atomic_bool returned;                        /* on the returned stack */
	uint8_t where;                               /* lock */
	uint8_t zone;                                /* constant */
	uint16_t n;                                  /* lock; granules in a slot */
	uint16_t slots;                              /* lock */
	struct dr_chunk *prev, *next;                /* lock; LISTED only */
	struct dr_chunk *next_record;                /* lock; every record of the space */
	bool begins_slab;                            /* constant; one block with the next */
} __attribute__((aligned(64)));

/*
 * A leaf of the radix, 512 chunks: n << 48 | chunk, or the chunk alone while it is gone. No process
 * has addresses above 48 bits unless it asks for them, and malloc does not.
 */
#define DR_ENTRY_SHIFT 48u
struct dr_gig {
	_Atomic uint64_t entry[512];
};

/*
 * A stack of free slots of one size. Whoever holds it owns all fields but next: a thread (its
 * cache), nobody (in a depot stack), or the lock's holder.
 */
struct dr_mag {
	_Atomic uint32_t next; /* number of the one below in a depot stack, + 1 */
	uint32_t number;       /* constant; place in the table */
	uint16_t count, cap;   /* count: stale while the magazine is loaded */
	uint64_t iova[DR_MAG_ENTRIES];
} __attribute__((aligned(128))); /* as struct dr_tcache: neighbours belong to other threads */

/* Lock-free stack: tag << 24 | number + 1 of the top one. */
struct dr_stack {
	_Atomic uint64_t head;
	_Atomic uint32_t count; /* how many; may lag behind by the exchanges under way */
} __attribute__((aligned(64)));

/*
 * One size in one zone, as one thread sees it: one line. Guarded as struct dr_tcache; what is
 * atomic is read by who counts.
 */
struct dr_slot {
	uint64_t len;            /* of the addresses; 0: not attached, or an odd size */
	_Atomic(uint64_t *) top; /* of the loaded magazine, above its last entry */
	_Atomic(uint64_t *) low; /* its first entry */
	uint64_t *high;          /* above its last possible one */
	struct dr_mag *prev;     /* never NULL: dr_mag_none when there is none, loaded likewise */
	struct dr_chunk *cur;    /* the chunk it owns, or NULL */
	/*
	 * Entries of the loaded magazine, and takes less gives through this slot: a take or a give
	 * moves one from the one to the other, so it need not count twice.
	 */
	_Atomic int64_t sum;
	_Atomic uint16_t n;      /* granules; 0: not attached, no quota */
	uint16_t cap;            /* of its magazines */
	uint16_t credit;         /* seats: misses left before another size may have it */
	_Atomic uint16_t seq;    /* odd while the loaded magazine changes */
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct dr_slot) == 64, "a pair touches one line of a thread's cache");

/* Frees held back. Guarded as struct dr_tcache. */
struct dr_ring {
	uint32_t at;
	uint64_t iova[DR_RING_ENTRIES]; /* 0: none */
};

/*
 * A thread number's caches in one space. All but the flags belongs to whoever is inside: the
 * thread that holds the number, between dr_enter() and dr_leave() or with the lock; or another
 * one with the lock that has stopped it (drain.c).
 */
struct dr_tcache {
	atomic_uint busy;  /* written by the thread */
	atomic_uint flags; /* DR_STOPPED changes with the lock, the others are constant */
	/* Takes less gives that no slot counts any more; read by all. */
	_Atomic int64_t used_ranges, used_granules;
	/* Of what is used, retired less what came back from that; the same. */
	_Atomic int64_t retired_ranges, retired_granules;
	/* Of the slots that are used, what their ranges leave over; the same. */
	_Atomic int64_t slack_granules;
	_Atomic uint64_t back_granules; /* returned to chunks without the lock */
	struct dr_ring *ring;           /* debug mode only, else NULL */
	/* Powers of two of the top zone, by log2 of the bytes: no other check is needed. */
	struct dr_slot hot[64];
	struct dr_slot slot[DR_ZONES][DR_CLASSES]; /* the others */
} __attribute__((aligned(128))); /* two lines: the adjacent-line prefetcher pairs them */

struct dr_cache {
	/* Constant after open. */
	uint64_t base;          /* of chunk 0: the window's begin, rounded down to a chunk */
	uint64_t n_chunks;      /* how many the radix can tell apart */
	uint64_t n_roots;       /* leaves of these */
	uint64_t granule_mask;
	unsigned granule_shift, chunk_shift;
	unsigned zones;
	/* Zones that round sizes up, a bit each. Changes with the lock, read by all. */
	atomic_uint rounding;
	struct dray_range zone[DR_ZONES]; /* from the top down; 0 from c->zones on */
	uint64_t round_max[DR_ZONES];     /* chunks up to which it does; 0: it never does */
	unsigned flags;         /* DR_FENCED, DR_DEBUG */
	/* Where the byte of address 0 would be; what is reserved for bytes, from base on. */
	uintptr_t states;
	void *states_block;
	size_t states_len;
	_Atomic(struct dr_gig *) *root; /* elements: set once each, by the lock's holder */

	/*
	 * By number + 1, which is what a thread has at hand; the first is of those without one.
	 * Element: dr_tcache_none, then set once by the thread that has the number, with the lock;
	 * read by all.
	 */
	_Atomic(struct dr_tcache *) by_thread[DR_THREADS + 1];
	struct dr_stack full[DR_ZONES][DR_ORDERS];
	struct dr_stack empty;
	_Atomic(struct dr_chunk *) returned;      /* stack; pushed by all, taken whole */
	_Atomic(struct dr_mag *) seg[DR_MAG_SEGMENTS]; /* element: set once, with the lock */

	/* Of the slots that have magazines now: both magazines, full. */
	_Atomic uint64_t quota_granules;

	/* The rest: the space's lock. */
	unsigned threads;        /* numbers that have a cache are below it */
	struct dr_tcache *spare; /* made ahead for a thread that only gives */
	/* Taken from chunks less what was returned with the lock. */
	uint64_t out_granules;
	/* Corrections to the sums over threads: gives without a cache, moves to the tree. */
	int64_t used_ranges, used_granules;
	int64_t retired_ranges, retired_granules, slack_granules;
	uint64_t lost_granules;  /* in quarantined slots: out, and not used */
	uint32_t mags;          /* magazines made */
	struct dr_chunk *lists[DR_ZONES][DR_CHUNK_GRANULES + 1];
	struct dr_chunk *records;
	struct dr_chunk *slab;   /* records not used yet, slab_left of them */
	unsigned slab_left;
	uint64_t peak_granules;  /* used at the utmost, as far as growth has seen */
	uint64_t population_peak;
	uint64_t chunks, n_records;
	uint64_t zone_chunks[DR_ZONES];  /* those of each */
	uint64_t refills, trims, drains, splits;
	struct dray_iova_space *next_space; /* the list of open spaces and its lock */
};

extern struct dr_mag dr_mag_none;
/*
 * Whose cache is none: always stopped, so the short way need not tell it apart. Nothing of it is
 * used but its flags, and busy, which threads without a cache write for nobody.
 */
extern struct dr_tcache dr_tcache_none;

/* Are chunks cut into slots of n granules? */
static inline bool dr_cache_has_size(uint64_t n)
{
	/*
	 * Powers of two, and what leaves at most an eighth of a chunk unused; others live in the
	 * tree, so that no window is wasted on them.
	 */
	return n && n <= DR_CHUNK_GRANULES &&
	       (!(n & (n - 1)) || DR_CHUNK_GRANULES % n <= DR_CHUNK_GRANULES / 8);
}

/* The next power of two, for 1 to DR_CHUNK_GRANULES. */
static inline unsigned dr_round_up(uint64_t n)
{
	return 1u << (63 - __builtin_clzll(2 * n - 1));
}

/* Granules of the slots that serve n granules there, 0 if none do. */
static inline unsigned dr_slot_size(const struct dr_cache *c, unsigned zone, uint64_t n)
{
	if (n - 1 >= DR_CHUNK_GRANULES)
		return 0;
	if (n & (n - 1) && atomic_load_explicit(&c->rounding, memory_order_relaxed) >> zone & 1)
		return dr_round_up(n);
	return dr_cache_has_size(n) ? (unsigned)n : 0;
}

/* The zone of a cached address; of any other some zone, below DR_ZONES. */
static inline unsigned dr_zone_of(const struct dr_cache *c, uint64_t iova)
{
	unsigned z = 0;

	/* As dr_zone_below(), without a branch; nothing cached lies below the lowest zone. */
	for (unsigned i = 0; i + 1 < DR_ZONES; i++)
		z += iova < c->zone[i].first;
	return z;
}

/* Magazine entries of n granules: up to a chunk's worth, at least four. */
static inline uint16_t dr_mag_cap(unsigned n)
{
	unsigned cap = DR_CHUNK_GRANULES / n;

	return (uint16_t)(cap > DR_MAG_ENTRIES ? DR_MAG_ENTRIES : cap < 4 ? 4 : cap);
}

/* Where a size's slot is: its order, or the seat that sizes which are no power of two share. */
static inline unsigned dr_class_of(uint64_t n)
{
	if (!(n & (n - 1)))
		return (unsigned)__builtin_ctzll(n);
	return DR_ORDERS + ((uint32_t)n * 0x9e3779b1u >> 29);
}

/* The number's cache, or NULL. */
static inline struct dr_tcache *dr_tcache_at(const struct dr_cache *c, unsigned number)
{
	/* Acquire: it is complete. */
	struct dr_tcache *t = atomic_load_explicit(&c->by_thread[number + 1],
						   memory_order_acquire);

	return t == &dr_tcache_none ? NULL : t;
}

static inline struct dr_slot *dr_slot_of(const struct dr_cache *c, struct dr_tcache *t,
					 unsigned zone, unsigned class)
{
	return !zone && class < DR_ORDERS ? &t->hot[class + c->granule_shift] :
					    &t->slot[zone][class];
}

static inline uint16_t dr_slot_n(const struct dr_slot *slot)
{
	return atomic_load_explicit(&slot->n, memory_order_relaxed);
}

static inline uint64_t *dr_slot_top(const struct dr_slot *slot)
{
	return atomic_load_explicit(&slot->top, memory_order_relaxed);
}

static inline void dr_slot_set_top(struct dr_slot *slot, uint64_t *top)
{
	atomic_store_explicit(&slot->top, top, memory_order_relaxed);
}

static inline uint64_t *dr_slot_low(const struct dr_slot *slot)
{
	return atomic_load_explicit(&slot->low, memory_order_relaxed);
}

/* Entries of the loaded magazine. */
static inline unsigned dr_slot_count(const struct dr_slot *slot)
{
	return (unsigned)(dr_slot_top(slot) - dr_slot_low(slot));
}

/* The loaded magazine. */
static inline struct dr_mag *dr_slot_mag(const struct dr_slot *slot)
{
	return (struct dr_mag *)((char *)dr_slot_low(slot) - offsetof(struct dr_mag, iova));
}

int dr_cache_open(struct dray_iova_space *s, bool debug);
void dr_cache_close(struct dray_iova_space *s);

/* --- depot.c: magazines that no thread holds --- */

struct dr_mag *dr_mag_at(const struct dr_cache *c, uint32_t number);
/* Any thread, inside its cache or with the lock. */
void dr_stack_push(const struct dr_cache *c, struct dr_stack *stack, struct dr_mag *mag);
struct dr_mag *dr_stack_pop(const struct dr_cache *c, struct dr_stack *stack);
/* An empty magazine of the depot or a new one; NULL: no memory, or the table is full. */
struct dr_mag *dr_mag_get_locked(struct dr_cache *c);
/* One more empty magazine for the depot, if @more granules a piece are too few for all. */
void dr_mag_stock_locked(struct dr_cache *c, uint64_t more);
/* Everything in it back to the chunks; how many granules that were. */
uint64_t dr_mag_pour(struct dr_cache *c, struct dr_mag *mag);
/* Granules in full magazines. */
uint64_t dr_depot_granules(const struct dr_cache *c);
/* Keep the population rule when @more granules are about to leave their chunks. */
void dr_depot_trim_locked(struct dray_iova_space *s, uint64_t more);
/*
 * Live and retired together, and retired alone; ranges and granules. What is used is whole slots,
 * slack that part of them which their ranges leave over; what is retired is ranges.
 */
struct dr_cache_sums {
	int64_t used_ranges, used_granules;
	int64_t retired_ranges, retired_granules;
	int64_t slack_granules;
};
void dr_cache_sum_locked(const struct dr_cache *c, struct dr_cache_sums *ret_sums);
/* What the population rule allows with this peak and the quota there is, in granules. */
uint64_t dr_depot_limit_locked(const struct dr_cache *c, uint64_t peak);
uint64_t dr_cache_out_locked(const struct dr_cache *c);

/* --- chunk.c: where addresses come from --- */

/* Set the slot's bit: one atomic, from anywhere. The byte says FREE already. */
void dr_chunk_return(struct dr_cache *c, uint64_t iova);
/* Look at every chunk that changed since the last time. */
void dr_chunks_settle_locked(struct dray_iova_space *s);
/* Fill the slot's empty loaded magazine. How many entries; 0: no room, or no memory. */
unsigned dr_chunks_fill_locked(struct dray_iova_space *s, unsigned zone, struct dr_slot *slot);
/* A thread is done with its chunk. */
void dr_chunk_disown_locked(struct dray_iova_space *s, struct dr_chunk *chunk);
/* Slots in the chunk itself. */
unsigned dr_chunk_free_slots(const struct dr_chunk *chunk);
/* Make pieces of what is used or quarantined, gaps of the rest. -ENOMEM. Stopped and drained. */
int dr_chunk_split_locked(struct dray_iova_space *s, struct dr_chunk *chunk);

/* --- seat.c: a thread's cache, its slots, its exit --- */

/* The number's cache, made if need be; NULL: no number, no memory. */
struct dr_tcache *dr_tcache_get_locked(struct dr_cache *c, unsigned number);
/* The same for a give: nothing is allocated. */
struct dr_tcache *dr_tcache_adopt_locked(struct dr_cache *c, unsigned number);
/* Begin to use a free slot for n granules; magazines come later. */
void dr_slot_attach(struct dr_cache *c, struct dr_slot *slot, unsigned n);
/* Change the loaded magazine; what the old one has is in its count. */
void dr_slot_load(struct dr_slot *slot, struct dr_mag *mag);
/* Takes less gives through it. */
int64_t dr_slot_used(const struct dr_slot *slot);
/* Inverse: everything back to depot and chunks. */
void dr_slot_detach_locked(struct dray_iova_space *s, struct dr_tcache *t, unsigned zone,
			   unsigned class);
void dr_tcache_empty_locked(struct dray_iova_space *s, struct dr_tcache *t);
/* The thread's slot for slots of n granules; NULL: another size has the seat. */
struct dr_slot *dr_slot_get_locked(struct dray_iova_space *s, struct dr_tcache *t, unsigned zone,
				   unsigned n);
/* Slots for an empty loaded magazine. False: no room in the zone, or no memory. */
bool dr_slot_grow_locked(struct dray_iova_space *s, unsigned zone, struct dr_slot *slot);
void dr_spaces_add(struct dray_iova_space *s);
void dr_spaces_remove(struct dray_iova_space *s);

/* --- drain.c: other threads' caches --- */

/* Keep every thread out of its cache until dr_go_locked(). False: the kernel refused. */
bool dr_stop_locked(struct dr_cache *c);
void dr_go_locked(struct dr_cache *c);
/* Does the kernel order other threads for us? Asked once for the process. */
bool dr_stop_is_remote(void);
/* No chunk in the way in [first, last]. 0; -EEXIST something live overlaps; -ENOMEM. */
int dr_cache_clear_locked(struct dray_iova_space *s, uint64_t first, uint64_t last,
			  bool quarantined_too);
/* The tree has no room: what the caches hold. 0: it has now; -ENOSPC; -ENOMEM. */
int dr_cache_make_room_locked(struct dray_iova_space *s, const struct dr_fit *fit, uint64_t last);
/* Any slot in [first, last] that is used or quarantined? */
bool dr_cache_any_used_locked(struct dray_iova_space *s, uint64_t first, uint64_t last);

/* --- hold.c: gaps that a flusher takes for the time of a call, false without caches too --- */

/* [first, last] lies in one chunk. */
bool dr_cache_hold_locked(struct dray_iova_space *s, uint64_t first, uint64_t last);
/* Inverse; false: nothing exactly like it is held. */
bool dr_cache_unhold_locked(struct dray_iova_space *s, uint64_t first, uint64_t len);
bool dr_cache_is_held_locked(const struct dray_iova_space *s, uint64_t first, uint64_t len);

/* --- census.c --- */

/* Does a chunk say that it is live? False tells nothing. */
bool dr_cache_is_live(const struct dray_iova_space *s, dray_iova_t iova, size_t len);
/* @from: bits of DR_PIECE_OWNED, as of the piece that it would be without caches. */
bool dr_cache_quarantine_locked(struct dray_iova_space *s, dray_iova_t iova, size_t len,
				uint16_t from);
void dr_cache_add_counts_locked(const struct dray_iova_space *s, struct dr_iova_counts *inout);
uint64_t dr_cache_quarantined_locked(const struct dray_iova_space *s);
/* Blocks of memory that the caches keep until close; for tests. */
unsigned dr_cache_blocks(const struct dray_iova_space *s);
/* No thread without a cache gives meanwhile. */
bool dr_cache_is_valid_locked(struct dray_iova_space *s);

#endif
