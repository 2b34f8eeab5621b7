/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of an IOVA space: states of its pieces, how they change, and the records they are
 * kept in. For the files of this directory only. The theory is at the top of space.c.
 */
#ifndef DR_IOVA_PIECES_H
#define DR_IOVA_PIECES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "iova/space.h"
#include "iova/tree.h"

/* State bits of a piece: three layers. A piece without any is none: its addresses are a gap. */
enum {
	/* Who uses it: at most one of these three and RETIRED. */
	DR_PIECE_AUTO = 1 << 0,  /* live, dr_iova_take() chose the address */
	DR_PIECE_FIXED = 1 << 1, /* live, dr_iova_take_fixed() was told it */
	DR_PIECE_QUAR = 1 << 2,  /* was live, never again */
	/* A live or retired range begins here; pieces that adjoin and lack it continue it. */
	DR_PIECE_HEAD = 1 << 3,
	/* What callers reserved: at most one of the two. */
	DR_PIECE_HOLE = 1 << 4,
	DR_PIECE_WINDOW = 1 << 5, /* for fixed addresses */
	/* What the hardware cannot translate, whatever callers reserved. */
	DR_PIECE_HW = 1 << 6,
	/* A chunk of the caches, which know more (chunk.c); alone but for DR_PIECE_HEAD. */
	DR_PIECE_CHUNK = 1 << 7,
	/* Was live, will be given back: the fourth of who uses it. It keeps its HEAD. */
	DR_PIECE_RETIRED = 1 << 8,

	DR_PIECE_LIVE = DR_PIECE_AUTO | DR_PIECE_FIXED,
	/* Runs that begin at a HEAD. */
	DR_PIECE_OWNED = DR_PIECE_LIVE | DR_PIECE_RETIRED,
	DR_PIECE_USED = DR_PIECE_OWNED | DR_PIECE_QUAR,
	DR_PIECE_RESV = DR_PIECE_HOLE | DR_PIECE_WINDOW,
	DR_PIECE_NOBODY = DR_PIECE_HOLE | DR_PIECE_HW,
};

/*
 * Unused records kept for the next calls, so that a steady load of take and give does not visit
 * malloc: enough for a burst of frees, 4 KiB at the utmost.
 */
#define DR_SPARE_PIECES 64u

struct dr_tcache;

struct dray_iova_space {
	/* What the short way reads (fast.h). Set at open: caches by thread; where bytes are. */
	_Atomic(struct dr_tcache *) *by_thread;
	uintptr_t states;
	/*
	 * Addresses of the top zone whose bytes may be read, by DR_STATE_SHIFT: first only ever
	 * goes down, with the lock, and last is set before it, once. At open there are none.
	 */
	_Atomic uint64_t states_first, states_last;
	uint64_t top_last;        /* set at open: the last address of the top zone */
	struct dr_cache *cache;   /* set at open; NULL: every call goes to the tree */
	struct dray_range window; /* set at open; whole granules */
	uint64_t granule;         /* set at open */
	/* Apart from what every call reads. */
	pthread_mutex_t lock __attribute__((aligned(128)));
	struct dr_tree tree;          /* lock */
	struct dr_piece *spare;       /* lock; chained by right */
	size_t spares;                /* lock; between calls at most DR_SPARE_PIECES */
	struct dr_iova_counts counts; /* lock; live ones of the tree, the rest of all */
};

/* A place for @fit in the tree's gaps, no byte above @last. */
bool dr_iova_find_room_locked(struct dray_iova_space *s, const struct dr_fit *fit, dray_iova_t last,
			      dray_iova_t *ret_iova);

/* dr_iova_take() past the caches. */
int dr_iova_take_plain(struct dray_iova_space *s, const struct dr_iova_request *req,
		       dray_iova_t *ret_iova);
/*
 * A range in state @from (bits of DR_PIECE_OWNED) into state @to: 0 is free. What caches hold for
 * a flusher counts as live. False, and counted: there is no such range.
 */
bool dr_iova_turn_plain(struct dray_iova_space *s, dray_iova_t iova, size_t len, uint16_t from,
			uint16_t to);

/*
 * Have at least @n spare records. 0; -ENOMEM with a message, and what was had so far is spare.
 */
int dr_pieces_reserve_locked(struct dray_iova_space *s, size_t n);

/*
 * Inverse of dr_pieces_reserve_locked(), whether that succeeded or not: give back what is spare
 * beyond the bound.
 */
void dr_pieces_unreserve_locked(struct dray_iova_space *s);

/* How many records dr_pieces_mark_locked() over [first, last] takes at most. */
size_t dr_pieces_needed_locked(struct dray_iova_space *s, uint64_t first, uint64_t last);

/*
 * Make a piece of a whole or part of a gap, from one reserved record. It is not merged with its
 * neighbours: the caller knows that it differs from them, as the head of a live range always does.
 */
struct dr_piece *dr_pieces_add_locked(struct dray_iova_space *s, uint64_t first, uint64_t last,
				      uint16_t bits);

/*
 * Clear, then set bits of every address in [first, last]. DR_PIECE_HEAD in @set goes to the lowest
 * piece alone. @set has some other bit. Records are reserved: dr_pieces_needed_locked().
 */
void dr_pieces_mark_locked(struct dray_iova_space *s, uint64_t first, uint64_t last, uint16_t clear,
			   uint16_t set);

/*
 * Clear bits in [first, last]. Takes at most two records, and none where no piece that has one of
 * the bits reaches over an edge of the range.
 */
void dr_pieces_clear_locked(struct dray_iova_space *s, uint64_t first, uint64_t last,
			    uint16_t clear);

/* May the right one of two neighbours be merged into the left one? */
bool dr_pieces_are_one(const struct dr_piece *left, const struct dr_piece *right);

/* What stands in the way, in words, for messages. */
const char *dr_piece_name(const struct dr_piece *p);

/* [first, last] is whole granules inside the window. 0; -EINVAL; -ERANGE; with a message. */
int dr_iova_check_range(const struct dray_iova_space *s, uint64_t first, uint64_t last);

#endif
