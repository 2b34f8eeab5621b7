/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bounce buffers: memory of dray's own that a device uses in place of a buffer which it cannot
 * reach, or must not. The theory is at the top of bounce.c, how slots are found at the top of
 * pool.c.
 */
#ifndef DR_BOUNCE_H
#define DR_BOUNCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/types.h>

#include "bounce/why.h"
#include "iospace/iospace.h"

/* Handles are below 2^this, and never 0. */
#define DR_BOUNCE_HANDLE_BITS 36

struct dr_bounce;
struct dr_bounce_pool_set;

struct dr_bounce_opts {
	size_t bytes; /* most memory of the domain's pools; 0 is 64 MiB. At least two granules */
};

/*
 * One per address space, which outlives it. Maps nothing and takes no pool memory.
 * 0; -ENOMEM; -EINVAL a ceiling beyond what handles can name.
 */
int dr_bounce_open(struct dr_iospace *io, const struct dr_bounce_opts *opts,
		   struct dr_bounce **ret_bounce);

/*
 * Unmap and free every pool, slots that are still out included. Nobody is inside, no device is
 * attached any more, the backend is still open. Not in a forked child, which has no pool memory.
 */
void dr_bounce_close(struct dr_bounce *b);

struct dr_bounce_request {
	void *va;
	size_t len;             /* not 0 */
	enum dray_dir dir;
	uint64_t mask;          /* the device's: no byte of the slot above it */
	/*
	 * 0, or the mask that every attached device has at least: a new pool goes below it when
	 * there is room, so that it serves all of them.
	 */
	uint64_t shared_mask;
	size_t min_align;       /* 0 or a power of two: the slot's IOVA is aligned to it */
	uint64_t boundary_mask; /* the slot crosses no multiple of this + 1; 0 none */
	uint64_t owner_bits;    /* dr_pte_owner_bits() of the device; always */
	enum dr_bounce_why why; /* it is copied; kept with the slot */
	bool trusted;           /* false: own granules, mapped for this call, unmapped strictly */
	bool uncached;          /* the device sees memory, not what the CPU's caches hold of it */
	bool keep_offset;       /* iova ≡ va modulo a granule, unless min_align forbids it */
	struct dr_bounce_pool_set *own; /* the device's restricted pools; NULL: the domain's */
};

/*
 * Take a slot, copy the buffer into it whatever the direction, and make it reachable.
 * 0; -ENOSPC the ceiling is reached, or no IOVA; -ENOMEM; -EMSGSIZE longer than
 * dr_bounce_max_len(), or than the boundary allows; -ENOTSUP an untrusted request where devices
 * address memory itself; or the backend's error. Slow path may wait for a grace period: not inside
 * a read section, and no lock is held that a map or unmap takes. Any thread.
 */
int dr_bounce_map(struct dr_bounce *b, const struct dr_bounce_request *req, dray_iova_t *ret_iova,
		  uint64_t *ret_handle);

/*
 * Take the slot back; an untrusted one is unreachable on return. @copy_out: bring back what a
 * device may have written, exactly the request's bytes. Never allocates, never fails, opens no read
 * section. False, and counted, when the handle is not live; false, and quarantined, when the
 * backend refused: then too nothing has to be undone.
 */
bool dr_bounce_unmap(struct dr_bounce *b, uint64_t handle, bool copy_out);

/* Is it a slot that is out? What dr_bounce_unmap() asks first; counts nothing. */
bool dr_bounce_is_live(struct dr_bounce *b, uint64_t handle);
/* The buffer that a live slot stands in for; NULL: not live. */
void *dr_bounce_buffer(struct dr_bounce *b, uint64_t handle, size_t *ret_len);

/* Why it is copied, as its request said; DR_BOUNCE_NO: not live. Any thread. */
enum dr_bounce_why dr_bounce_reason(struct dr_bounce *b, uint64_t handle);

/*
 * Hand over exactly [off, off + len) of a live slot. for_device copies in, whatever the direction;
 * for_cpu copies out what a device may have written. 0; -EINVAL not inside, or not live.
 */
int dr_bounce_sync_for_device(struct dr_bounce *b, uint64_t handle, size_t off, size_t len);
int dr_bounce_sync_for_cpu(struct dr_bounce *b, uint64_t handle, size_t off, size_t len);

/*
 * The live slot that holds [iova, iova + len), and where in its buffer that begins. Takes no lock,
 * writes no shared line; opens its own read section.
 */
bool dr_bounce_find(struct dr_bounce *b, dray_iova_t iova, size_t len, uint64_t *ret_handle,
		    size_t *ret_off);

/*
 * Is [iova] pool memory that stands in for no buffer at the moment? It is mapped, but nobody's. As
 * dr_bounce_find().
 */
bool dr_bounce_is_spare(struct dr_bounce *b, dray_iova_t iova);

/*
 * Longest request that can be served, wherever in a granule its buffer begins. 0: none at all.
 * @own: by a device's restricted pools; NULL: by the domain's.
 */
size_t dr_bounce_max_len(const struct dr_bounce *b, const struct dr_bounce_pool_set *own,
			 bool trusted);

/* Is a permanent pool mapped now? Any thread. */
bool dr_bounce_is_present(const struct dr_bounce *b);

/*
 * Before an untrusted device attaches: unmap every permanent pool and map none from here on;
 * trusted requests are then served like untrusted ones, until dr_bounce_allow_pools().
 * 0; -EBUSY a slot of one is out, nothing has changed. Waits for grace periods.
 */
int dr_bounce_retire_idle(struct dr_bounce *b);
void dr_bounce_allow_pools(struct dr_bounce *b);

/*
 * Give back pools that nobody has used for a second. Cheap when there is nothing to do; may wait
 * for a grace period: from slow paths only.
 */
void dr_bounce_trim(struct dr_bounce *b);

/*
 * Take back every slot of one owner without copying out, as when its device closes. @fn, unless
 * NULL, is told of each before. Returns how many. Nobody maps for this owner any more.
 */
unsigned dr_bounce_unmap_owner(struct dr_bounce *b, uint64_t owner_bits,
			       void (*fn)(void *ctx, dray_iova_t iova, size_t len), void *ctx);

/* Has an owner a slot that ends above the mask? A hint where its maps go on meanwhile. */
bool dr_bounce_out_above(struct dr_bounce *b, uint64_t owner_bits, uint64_t mask);

/*
 * Pools for one device alone: @bytes at most, whole granules. The first one's records are taken at
 * once, so that the others cannot leave it without; nothing is mapped before its first use. 0;
 * -EINVAL less than two granules, or beyond what handles can name; -ENOMEM; -ENOSPC no pool numbers
 * left.
 */
int dr_bounce_own_open(struct dr_bounce *b, size_t bytes, struct dr_bounce_pool_set **ret_own);
/* Every slot of it has been taken back. NULL is fine. */
void dr_bounce_own_close(struct dr_bounce *b, struct dr_bounce_pool_set *own);

/*
 * Its device has left for another address space: what is out stays where it is, pools that nobody
 * uses go, now or when they are idle. dr_bounce_own_return(): it is back. NULL is fine, for both.
 */
void dr_bounce_own_leave(struct dr_bounce *b, struct dr_bounce_pool_set *own);
void dr_bounce_own_return(struct dr_bounce *b, struct dr_bounce_pool_set *own);

struct dr_bounce_stats {
	uint64_t ceiling_bytes;  /* most of the set's pools */
	uint64_t mapped_bytes;   /* of permanent pools */
	uint64_t private_bytes;  /* memory kept for slots that are mapped call by call */
	uint64_t used_bytes;     /* of slots that are out, whole slots or granules */
	/*
	 * Bytes up to the highest slot ever taken, summed over areas: at least the most that was
	 * ever in use at once.
	 */
	uint64_t high_water_bytes;
	uint64_t pools, slots_out;
	uint64_t maps, copied_in_bytes, copied_out_bytes;
	uint64_t grows, shrinks, failures, bad_handles, lost_bytes;
};

/*
 * A sum over moments of the call. @own NULL: every pool of the domain, and the ceiling of those that
 * devices share. Takes the pools' lock.
 */
void dr_bounce_stats(struct dr_bounce *b, const struct dr_bounce_pool_set *own,
		     struct dr_bounce_stats *ret_stats);

/* Every invariant; for tests and debug mode, with nobody inside. */
bool dr_bounce_is_valid(struct dr_bounce *b);

#endif
