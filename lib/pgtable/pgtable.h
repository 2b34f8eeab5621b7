/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mapping table of a domain: a radix page table in the second-level format of VT-d, 4 levels
 * of 512 entries, leaves of 4 KiB, 2 MiB and 1 GiB. It is what the software IOMMU walks, what
 * iova_to_va answers from, and what a VFIO backend replays to a device attached later. The theory
 * is at the top of pgtable.c.
 */
#ifndef DR_PGTABLE_H
#define DR_PGTABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/types.h>

/*
 * What an entry holds. Hardware ignores bits 10, 52..61 and 63, and 62 where no device has a TLB of
 * its own: they are ours to use.
 */
#define DR_PTE_READ       (UINT64_C(1) << 0)
#define DR_PTE_WRITE      (UINT64_C(1) << 1)
#define DR_PTE_LARGE      (UINT64_C(1) << 7)  /* a leaf above level 1 */
#define DR_PTE_START      (UINT64_C(1) << 10) /* the first leaf of a mapping */
/*
 * A mapping made by several dr_pgtable_set() calls is in as many pieces. CONTINUE is asked of the
 * call for every piece but the first, and kept in that piece's first leaf; LAST marks the last leaf
 * of each piece. So the owner of a range can tell from its own entries whether it cuts a piece.
 */
#define DR_PTE_LAST       (UINT64_C(1) << 62)
#define DR_PTE_CONTINUE   (UINT64_C(1) << 63)
#define DR_PTE_ADDR       UINT64_C(0x000ffffffffff000)
#define DR_PTE_OWNER_SHIFT 52
#define DR_PTE_OWNER      (UINT64_C(0x3ff) << DR_PTE_OWNER_SHIFT)

/* Owners: the domain itself (explicit mappings, regions), or a device's index in its domain. */
#define DR_OWNER_DOMAIN 0u
#define DR_OWNER_REGION 1u
#define DR_OWNER_MAX    1023u

#define DR_PT_LEVELS    4
#define DR_PT_ADDR_BITS 48
#define DR_PT_PAGE_SIZES (UINT64_C(1) << 12 | UINT64_C(1) << 21 | UINT64_C(1) << 30)

static inline uint64_t dr_pte_owner_bits(unsigned owner)
{
	return (uint64_t)owner << DR_PTE_OWNER_SHIFT;
}

static inline unsigned dr_pte_owner(uint64_t pte)
{
	return (unsigned)((pte & DR_PTE_OWNER) >> DR_PTE_OWNER_SHIFT);
}

struct dr_pgtable;

/* One whole mapping, as it was set; @va is where its first piece is. Or one piece. */
struct dr_pt_mapping {
	dray_iova_t iova;
	void *va;
	size_t len;
	uint64_t bits; /* DR_PTE_READ | DR_PTE_WRITE | owner */
};

/* One walk. */
struct dr_pt_walk {
	uint64_t entry[DR_PT_LEVELS]; /* root first */
	unsigned levels;              /* how many were read */
	unsigned page_shift;          /* 12, 21 or 30 where a leaf was found, else 0 */
	uint64_t pte;                 /* the leaf, else 0 */
};

/* @page_sizes: which leaf sizes may be used; bit 12 always. 0, -ENOMEM. */
int dr_pgtable_open(uint64_t page_sizes, struct dr_pgtable **ret_pt);

/* Free everything at once. No walker, no owner may be left. */
void dr_pgtable_close(struct dr_pgtable *pt);

/*
 * Reserve: have every table that dr_pgtable_set() of the same range will need. The caller owns the
 * IOVAs. Tables stay when a later step fails; they are reused or freed with the domain.
 * 0, -ENOMEM.
 */
int dr_pgtable_prepare(struct dr_pgtable *pt, dray_iova_t iova, const void *va, size_t len);

/*
 * Publish one mapping of a prepared, empty range, with the largest leaves that the congruence of
 * @iova and @va allows. @bits: DR_PTE_READ, DR_PTE_WRITE, owner; with DR_PTE_CONTINUE no START
 * is set, so that a mapping made in several calls is one. Never fails, never allocates.
 * Granule-aligned. A walker that sees an entry sees what its owner wrote before this call.
 */
void dr_pgtable_set(struct dr_pgtable *pt, dray_iova_t iova, void *va, size_t len, uint64_t bits);

/* Both in one, for who has nothing to do in between. 0; -ENOMEM, nothing is published. */
int dr_pgtable_map(struct dr_pgtable *pt, dray_iova_t iova, void *va, size_t len, uint64_t bits);

/*
 * Clear the one small leaf at @iova if it is a whole piece; false: it is none, or larger, or only a
 * part, and nothing was done. What dr_pgtable_is_cut() and dr_pgtable_clear() do, for most unmaps.
 */
bool dr_pgtable_clear_one(struct dr_pgtable *pt, dray_iova_t iova);

/*
 * Clear a range that covers whole mappings (gaps are fine) and return how many bytes were present.
 * Tables that the range covers whole are unlinked; they wait for a flush where something caches.
 * Never fails, never allocates.
 */
size_t dr_pgtable_clear(struct dr_pgtable *pt, dray_iova_t iova, size_t len);

/*
 * Around an invalidation of [@first, @last]: begin before it is asked for, end, with what begin
 * returned, when it is over. Tables unlinked inside before the begin wait for a grace period only
 * from then on. Each costs one load when nothing was unlinked. Never fail, never allocate.
 */
uint64_t dr_pgtable_flush_begin(struct dr_pgtable *pt);
void dr_pgtable_flush_end(struct dr_pgtable *pt, dray_iova_t first, dray_iova_t last,
			  uint64_t flush);

/*
 * Devices cache what they read here, so unlinked tables wait for a flush that covers them. Before
 * the first mapping.
 */
void dr_pgtable_set_cached(struct dr_pgtable *pt);

#ifndef __cplusplus /* which has no _Atomic */
/*
 * Devices whose walks do not look into the CPU's caches see an entry once it has been cleaned: taken
 * from @cached to @memory, @n entries, with release, each. NULL: that and nothing else. Before the
 * first mapping. 0, -ENOMEM, with nothing changed.
 */
typedef void dr_pt_clean_fn(const _Atomic uint64_t *cached, _Atomic uint64_t *memory, unsigned n);
int dr_pgtable_set_apart(struct dr_pgtable *pt, dr_pt_clean_fn *clean);

/* What is done with NULL. */
void dr_pgtable_clean(const _Atomic uint64_t *cached, _Atomic uint64_t *memory, unsigned n);
#endif

/* Use leaves of these sizes from now on, bit 12 always. Before the first mapping. */
void dr_pgtable_limit_sizes(struct dr_pgtable *pt, uint64_t page_sizes);

/* The leaf of the caller's own range that maps @iova; needs no read section. False: none. */
bool dr_pgtable_own_leaf(const struct dr_pgtable *pt, dray_iova_t iova, dray_iova_t *ret_first,
			 size_t *ret_len);

/* The same, as a device walks: where tables are apart, what has been cleaned. */
void dr_pgtable_device_walk(const struct dr_pgtable *pt, dray_iova_t iova,
			    struct dr_pt_walk *ret_walk);

/* The host address behind @iova in the caller's own range, or NULL; needs no read section. */
void *dr_pgtable_own_va(const struct dr_pgtable *pt, dray_iova_t iova);

/* Does a range that the caller owns begin or end inside a piece? Needs no read section. */
bool dr_pgtable_is_cut(const struct dr_pgtable *pt, dray_iova_t iova, size_t len);

/*
 * Free the tables that wait for nothing but a grace period, after waiting for one if there are any.
 * Called outside read sections.
 */
void dr_pgtable_reclaim(struct dr_pgtable *pt);

/* Are enough tables free to go that a reclaim is worth its grace period? Any thread. */
bool dr_pgtable_wants_reclaim(const struct dr_pgtable *pt);

/* The leaf that maps @iova and its page shift, or 0. Inside a read section; takes no lock. */
uint64_t dr_pgtable_lookup(const struct dr_pgtable *pt, dray_iova_t iova, unsigned *ret_shift);

/* The same walk, shown level by level. Inside a read section. */
void dr_pgtable_walk(const struct dr_pgtable *pt, dray_iova_t iova, struct dr_pt_walk *ret_walk);

/* The host address behind @iova, or NULL. Opens its own read section. */
void *dr_pgtable_va(const struct dr_pgtable *pt, dray_iova_t iova);

/*
 * The first whole mapping that begins in [@from, @last]; false when there is none. Absent tables
 * are skipped in one step each, empty ones by reading them once. Opens its own read section; a
 * mapping that another thread changes meanwhile may be missed or seen cut, so callers that must not
 * miss one keep its owner away.
 */
bool dr_pgtable_next(const struct dr_pgtable *pt, dray_iova_t from, dray_iova_t last,
		     struct dr_pt_mapping *ret_mapping);

/* The same for pieces: what one dr_pgtable_set() call made, contiguous in memory too. */
bool dr_pgtable_next_piece(const struct dr_pgtable *pt, dray_iova_t from, dray_iova_t last,
			   struct dr_pt_mapping *ret_piece);

/* Bytes of tables, those that wait for reclaim included. */
uint64_t dr_pgtable_bytes(const struct dr_pgtable *pt);

/* Every invariant of the structure; for tests and debug mode, with no writer at work. */
bool dr_pgtable_is_valid(const struct dr_pgtable *pt);

#endif
