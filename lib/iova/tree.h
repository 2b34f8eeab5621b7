/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A balanced tree of disjoint pieces of an address space, which finds by size the gaps between
 * them and by state the pieces themselves. It takes no lock and no memory: nodes are the
 * caller's. The theory is at the top of tree.c.
 */
#ifndef DR_IOVA_TREE_H
#define DR_IOVA_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "iova/fit.h"

/* Every field belongs to whoever guards the tree; all but the last three lines to tree.c. */
struct dr_piece {
	struct dr_piece *left, *right;
	uint64_t min_first, max_last; /* of the subtree rooted here */
	uint64_t max_gap;             /* bytes; largest gap between two pieces of the subtree */
	uint8_t height;               /* of the subtree, 1 for a leaf */
	uint16_t all_bits;            /* every bit that a piece of the subtree has */
	uint16_t bits;                /* the piece's state, in its owner's bits; never 0 */
	uint64_t first, last;         /* both inclusive */
};

/* All zero is empty. Guarded by its owner. */
struct dr_tree {
	struct dr_piece *root;
	size_t pieces;
	uint64_t visits; /* nodes looked at so far: what tests assert instead of time */
};

#define DR_TREE_ANY 0xffffu

/* Put a piece in: first, last and bits are set and it overlaps no other. */
void dr_tree_insert(struct dr_tree *t, struct dr_piece *p);

/* Take a piece out; its first, last and bits stay. */
void dr_tree_erase(struct dr_tree *t, struct dr_piece *p);

/* Give a piece in the tree another end, not past the next piece, and other bits. */
void dr_tree_change(struct dr_tree *t, struct dr_piece *p, uint64_t last, uint16_t bits);

/* The lowest piece that ends at or above @addr and has one of the bits, or NULL. */
struct dr_piece *dr_tree_next(struct dr_tree *t, uint64_t addr, uint16_t bits);

/* The highest piece that begins at or below @addr, or NULL. */
struct dr_piece *dr_tree_prev(struct dr_tree *t, uint64_t addr);

/* The piece that holds @addr, or NULL. */
struct dr_piece *dr_tree_at(struct dr_tree *t, uint64_t addr);

/*
 * The highest position for @fit in the highest gap of [first, last] that has at least @min_gap
 * bytes and takes it. A gap reaches from piece to piece, or to the edge of [first, last]. Every
 * gap that is large enough and yet takes it not is one misfit; *inout_misfits counts them down,
 * and at 0 the search ends without a result. False with misfits left: there is no such gap.
 */
bool dr_tree_find_gap(struct dr_tree *t, const struct dr_fit *fit, uint64_t min_gap,
		      size_t *inout_misfits, uint64_t first, uint64_t last, uint64_t *ret_iova);

/* Bytes of the largest gap in [first, last], in which all pieces lie. */
uint64_t dr_tree_max_gap(const struct dr_tree *t, uint64_t first, uint64_t last);

/* Order, balance, and everything kept per subtree; for tests and debug mode. */
bool dr_tree_is_valid(const struct dr_tree *t);

#endif
