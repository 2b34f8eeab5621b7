/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a receipt's second cookie says; the first one is its domain.
 *
 *   bits  0..9    the device's owner number in the domain
 *        10..11   direction
 *        12       DRAY_MAP_NO_SYNC: nothing is copied or synced unless the caller asks
 *        13       exposes more of a granule than the buffer (counted: see domain/trust.c)
 *        14..15   the way
 *        16..51   the way's own: see enum dr_way
 *        52       the device does not see the CPU's caches
 *        53..63   that it is a receipt at all
 */
#ifndef DR_MAP_RECEIPT_H
#define DR_MAP_RECEIPT_H

#include <stdbool.h>
#include <stdint.h>

#include <dray/types.h>

/* How a buffer is reached, and what its handle is. */
enum dr_way {
	DR_WAY_MAP,    /* its granules are mapped for this call; granules << 1 | a guard follows */
	DR_WAY_REGION, /* they have been all along; the region's index */
	DR_WAY_BOUNCE, /* copied; the slot */
	DR_WAY_DIRECT, /* nothing translates; 0 */
};

#define DR_HANDLE_BITS 36

struct dr_receipt {
	unsigned owner;
	enum dray_dir dir;
	enum dr_way way;
	bool no_sync, partial, uncached;
	uint64_t handle;
};

#define DR_RECEIPT_MAGIC   UINT64_C(0x6bd)
#define DR_RECEIPT_PARTIAL (UINT64_C(1) << 13)

static inline uint64_t dr_receipt_pack(const struct dr_receipt *r)
{
	return r->owner | (uint64_t)r->dir << 10 | (uint64_t)r->no_sync << 12 |
	       (uint64_t)r->partial << 13 | (uint64_t)r->way << 14 | r->handle << 16 |
	       (uint64_t)r->uncached << 52 | DR_RECEIPT_MAGIC << 53;
}

static inline bool dr_receipt_is(uint64_t cookie)
{
	return cookie >> 53 == DR_RECEIPT_MAGIC;
}

/*
 * Of granules mapped for this call, for a device that sees the caches, without a guard? One
 * comparison, where unpacking takes 20 instructions.
 */
static inline bool dr_receipt_is_plain(uint64_t cookie)
{
	_Static_assert(!DR_WAY_MAP, "its bits are 0");
	return (cookie & (UINT64_C(0xfff) << 52 | 7 << 14)) == DR_RECEIPT_MAGIC << 53;
}

/* Of registered memory? */
static inline bool dr_receipt_is_region(uint64_t cookie)
{
	return (cookie & (UINT64_C(0x7ff) << 53 | 3 << 14)) ==
	       (DR_RECEIPT_MAGIC << 53 | DR_WAY_REGION << 14);
}

static inline uint64_t dr_receipt_handle(uint64_t cookie)
{
	return cookie >> 16 & ((UINT64_C(1) << DR_HANDLE_BITS) - 1);
}

/* The cookie of an element behind the one that has this, in the same block of a list. */
static inline uint64_t dr_receipt_inside(uint64_t cookie)
{
	return cookie & ~(((UINT64_C(1) << DR_HANDLE_BITS) - 1) << 16 | DR_RECEIPT_PARTIAL);
}

/* False: no receipt. */
static inline bool dr_receipt_unpack(uint64_t cookie, struct dr_receipt *ret_r)
{
	*ret_r = (struct dr_receipt){
		.owner = cookie & 0x3ff,
		.dir = (enum dray_dir)(cookie >> 10 & 3),
		.no_sync = cookie >> 12 & 1,
		.partial = cookie >> 13 & 1,
		.way = (enum dr_way)(cookie >> 14 & 3),
		.uncached = cookie >> 52 & 1,
		.handle = cookie >> 16 & ((UINT64_C(1) << DR_HANDLE_BITS) - 1),
	};
	return dr_receipt_is(cookie);
}

#endif
