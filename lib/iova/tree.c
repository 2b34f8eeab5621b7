// SPDX-License-Identifier: BSD-2-Clause
/*
 * Theory
 *
 * 1. Concepts. A piece is a closed range of addresses with state bits that only its owner reads.
 *    Pieces never overlap, so ordering them by their first address orders them by their last one
 *    too. A gap is what lies between two neighbouring pieces, or between a piece and the edge of
 *    whatever window the caller searches. Gaps are not stored: n pieces have at most n + 1 of them.
 *
 * 2. Balance is AVL's: the heights of a node's two subtrees differ by at most one, so the height
 *    is below 1.45 * log2(n + 2). Insertion, removal and change walk down once by recursion and
 *    put every node on the path right again on the way back. Depth is bounded by the height, 92 at
 *    the utmost for any number of pieces that a 64-bit machine could hold.
 *
 * 3. What a node keeps of its subtree: lowest and highest address, the largest gap *between* the
 *    subtree's own pieces, the union of their bits. All of it follows from the node and its two
 *    children alone (settle()). The gaps at a subtree's two edges depend on what surrounds it, so
 *    searches carry the surrounding addresses down with them: below node n inside [first, last]
 *    the left subtree lies in [first, n.first - 1] and the right one in [n.last + 1, last].
 *
 * 4. Finding by bits. A subtree that ends below the address, or whose union lacks the bits, is
 *    passed over. Only nodes on the one path towards the address can promise something and not
 *    keep it; every other subtree lies above the address as a whole, so its union tells the truth.
 *    O(log n).
 *
 * 5. Finding a gap, highest first. The right subtree is tried before the left one. A subtree
 *    whose largest gap, edges included, is below min_gap is passed over. Subtrees above the
 *    search's upper edge are never entered, and only nodes on the two paths towards the edges may
 *    promise a gap that lies outside. So the highest gap of sufficient size costs O(log n) whatever
 *    lies above the limit, and m misfits (large enough, but not where alignment or boundary want
 *    the range) cost O(m log n). The caller bounds m or does not.
 *
 * 6. Addresses up to 2^64 - 1 are ordinary. Sizes are differences of addresses inside a range, so
 *    they cannot overflow; n.first - 1 and n.last + 1 are computed only where something lies there.
 *
 * 7. Nothing here locks, allocates or fails.
 */
#include "iova/tree.h"

static unsigned height_of(const struct dr_piece *n)
{
	return n ? n->height : 0;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* What @n keeps of its subtree, from itself and its children. */
static void settle(struct dr_piece *n)
{
	const struct dr_piece *l = n->left, *r = n->right;

	n->height = (uint8_t)(1 + max_u64(height_of(l), height_of(r)));
	n->all_bits = n->bits;
	n->min_first = n->first;
	n->max_last = n->last;
	n->max_gap = 0;
	if (l) {
		n->all_bits |= l->all_bits;
		n->min_first = l->min_first;
		n->max_gap = max_u64(l->max_gap, n->first - l->max_last - 1);
	}
	if (r) {
		n->all_bits |= r->all_bits;
		n->max_last = r->max_last;
		n->max_gap = max_u64(n->max_gap, max_u64(r->max_gap, r->min_first - n->last - 1));
	}
}

static struct dr_piece *rotate_right(struct dr_piece *n)
{
	struct dr_piece *top = n->left;

	n->left = top->right;
	top->right = n;
	settle(n);
	settle(top);
	return top;
}

static struct dr_piece *rotate_left(struct dr_piece *n)
{
	struct dr_piece *top = n->right;

	n->right = top->left;
	top->left = n;
	settle(n);
	settle(top);
	return top;
}

/* The root of @n's subtree after one of its children's heights changed by one. */
static struct dr_piece *balance(struct dr_piece *n)
{
	if (height_of(n->left) > height_of(n->right) + 1) {
		if (height_of(n->left->right) > height_of(n->left->left))
			n->left = rotate_left(n->left);
		return rotate_right(n);
	}
	if (height_of(n->right) > height_of(n->left) + 1) {
		if (height_of(n->right->left) > height_of(n->right->right))
			n->right = rotate_right(n->right);
		return rotate_left(n);
	}
	settle(n);
	return n;
}

static struct dr_piece *insert_in(struct dr_tree *t, struct dr_piece *n, struct dr_piece *p)
{
	if (!n)
		return p;
	t->visits++;
	if (p->first < n->first)
		n->left = insert_in(t, n->left, p);
	else
		n->right = insert_in(t, n->right, p);
	return balance(n);
}

void dr_tree_insert(struct dr_tree *t, struct dr_piece *p)
{
	p->left = NULL;
	p->right = NULL;
	settle(p);
	t->root = insert_in(t, t->root, p);
	t->pieces++;
}

/* Take the lowest piece out of the subtree at @n. */
static struct dr_piece *pop_lowest(struct dr_tree *t, struct dr_piece *n,
				   struct dr_piece **ret_lowest)
{
	t->visits++;
	if (!n->left) {
		*ret_lowest = n;
		return n->right;
	}
	n->left = pop_lowest(t, n->left, ret_lowest);
	return balance(n);
}

static struct dr_piece *erase_in(struct dr_tree *t, struct dr_piece *n, const struct dr_piece *p)
{
	struct dr_piece *heir, *right;

	t->visits++;
	if (p->first < n->first) {
		n->left = erase_in(t, n->left, p);
		return balance(n);
	}
	if (p->first > n->first) {
		n->right = erase_in(t, n->right, p);
		return balance(n);
	}
	if (!n->left)
		return n->right;
	if (!n->right)
		return n->left;
	right = pop_lowest(t, n->right, &heir);
	heir->left = n->left;
	heir->right = right;
	return balance(heir);
}

void dr_tree_erase(struct dr_tree *t, struct dr_piece *p)
{
	t->root = erase_in(t, t->root, p);
	t->pieces--;
}

static void resettle_path(struct dr_tree *t, struct dr_piece *n, const struct dr_piece *p)
{
	t->visits++;
	if (p->first < n->first)
		resettle_path(t, n->left, p);
	else if (p->first > n->first)
		resettle_path(t, n->right, p);
	settle(n);
}

void dr_tree_change(struct dr_tree *t, struct dr_piece *p, uint64_t last, uint16_t bits)
{
	p->last = last;
	p->bits = bits;
	resettle_path(t, t->root, p);
}

static struct dr_piece *next_in(struct dr_tree *t, struct dr_piece *n, uint64_t addr, uint16_t bits)
{
	struct dr_piece *found;

	if (!n || n->max_last < addr || !(n->all_bits & bits))
		return NULL;
	t->visits++;
	found = next_in(t, n->left, addr, bits);
	if (found)
		return found;
	if (n->last >= addr && n->bits & bits)
		return n;
	return next_in(t, n->right, addr, bits);
}

struct dr_piece *dr_tree_next(struct dr_tree *t, uint64_t addr, uint16_t bits)
{
	return next_in(t, t->root, addr, bits);
}

struct dr_piece *dr_tree_prev(struct dr_tree *t, uint64_t addr)
{
	struct dr_piece *n = t->root, *prev = NULL;

	while (n) {
		t->visits++;
		if (n->first <= addr)
			prev = n;
		n = n->first <= addr ? n->right : n->left;
	}
	return prev;
}

struct dr_piece *dr_tree_at(struct dr_tree *t, uint64_t addr)
{
	struct dr_piece *n = t->root;

	while (n && (addr < n->first || addr > n->last)) {
		t->visits++;
		n = addr < n->first ? n->left : n->right;
	}
	return n;
}

/* What stays the same while one search walks down. */
struct search {
	struct dr_tree *t;
	const struct dr_fit *fit;
	uint64_t min_gap;
	size_t *misfits;
	uint64_t *ret_iova;
};

/* No gap of the subtree at @n, inside [first, last], can be larger. */
static uint64_t gap_bound(const struct dr_piece *n, uint64_t first, uint64_t last)
{
	uint64_t bound = n->max_gap;

	if (n->min_first > first)
		bound = max_u64(bound, n->min_first - first);
	if (n->max_last < last)
		bound = max_u64(bound, last - n->max_last);
	return bound;
}

/*
 * Search the gaps of [first, last], first <= last, where no piece but those below @n can be. Some
 * of those may lie outside: at most along the two paths towards the caller's edges.
 */
static bool search_in(const struct search *q, const struct dr_piece *n, uint64_t first,
		      uint64_t last)
{
	if (last - first < q->min_gap - 1)
		return false;
	if (!n) {
		if (dr_fit_place(q->fit, first, last, q->ret_iova))
			return true;
		--*q->misfits;
		return false;
	}
	q->t->visits++;
	if (gap_bound(n, first, last) < q->min_gap)
		return false;
	if (n->last < last && search_in(q, n->right, max_u64(first, n->last + 1), last))
		return true;
	if (n->first > first && *q->misfits)
		return search_in(q, n->left, first, n->first <= last ? n->first - 1 : last);
	return false;
}

bool dr_tree_find_gap(struct dr_tree *t, const struct dr_fit *fit, uint64_t min_gap,
		      size_t *inout_misfits, uint64_t first, uint64_t last, uint64_t *ret_iova)
{
	const struct search q = {
		.t = t,
		.fit = fit,
		.min_gap = min_gap,
		.misfits = inout_misfits,
		.ret_iova = ret_iova,
	};

	return first <= last && *inout_misfits && search_in(&q, t->root, first, last);
}

uint64_t dr_tree_max_gap(const struct dr_tree *t, uint64_t first, uint64_t last)
{
	uint64_t whole = last - first;

	if (t->root)
		return gap_bound(t->root, first, last);
	return whole < UINT64_MAX ? whole + 1 : whole;
}

static bool is_valid_in(const struct dr_piece *n, size_t *inout_pieces)
{
	struct dr_piece copy;

	if (!n)
		return true;
	++*inout_pieces;
	if (n->first > n->last || !n->bits)
		return false;
	if (!is_valid_in(n->left, inout_pieces) || !is_valid_in(n->right, inout_pieces))
		return false;
	if ((n->left && n->left->max_last >= n->first) ||
	    (n->right && n->right->min_first <= n->last))
		return false;
	if (height_of(n->left) > height_of(n->right) + 1 ||
	    height_of(n->right) > height_of(n->left) + 1)
		return false;
	copy = *n;
	settle(&copy);
	return copy.height == n->height && copy.all_bits == n->all_bits &&
	       copy.min_first == n->min_first && copy.max_last == n->max_last &&
	       copy.max_gap == n->max_gap;
}

bool dr_tree_is_valid(const struct dr_tree *t)
{
	size_t pieces = 0;

	return is_valid_in(t->root, &pieces) && pieces == t->pieces;
}
