// SPDX-License-Identifier: BSD-2-Clause
/*
 * Two-step mapping: a window of IOVAs, filled piece by piece.
 *
 * 1. A window is one live IOVA range for as long as it is open, and holds its domain like a receipt.
 *    Its pieces are in a list sorted by offset, which share no granule. A piece is up to three
 *    mappings: its whole granules, and its first and last granule, where they are copied.
 *
 * 2. Ends. A granule that holds more than the piece is mapped as it is in a trusted domain, and
 *    counted as one that exposes something (domain/trust.c). Where it must not be, a granule of
 *    dray's own stands in: zero but for the piece's bytes. They are copied in when the piece is added
 *    and whenever it is synced for the device; copied out when it is synced for the CPU and when it
 *    is removed, unless the device could only read.
 *
 * 3. Add: look for room, take the copies' memory, map front to back, enter the piece into the list.
 *    Undone in reverse. Remove: unmap, strictly, then copy out, then free. What a backend refuses to
 *    unmap stays in the list, unusable, with its memory; the window is quarantined when it is closed.
 *
 * 4. Locks. link->lock serialises calls on one link, over ioctls. The domain's list of links, through
 *    which a sync by IOVA finds copies, has link_lock, taken before a link's. Two threads:
 *
 *                    | add, remove, sync   sync by IOVA      close
 *      add, remove   | one at a time       one at a time     caller's error
 *      sync by IOVA  |                     one at a time     the list's lock
 */
#define _GNU_SOURCE
#include "map/link.h"
#include "map/map.h"
#include "base/err.h"
#include "base/hooks.h"
#include "base/rcu.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

/* One mapping of a piece. Its IOVA is that of its place in the window. */
struct part {
	size_t off, len; /* whole granules of the window; len 0: there is none */
	char *memory;    /* what is mapped there */
	bool copy;       /* memory is dray's own */
};

enum { HEAD, BODY, TAIL, PARTS };

/* Constant once it is in the list, but for next and stuck, which have the link's lock. */
struct piece {
	struct piece *next;
	size_t off, len;
	char *va;
	enum dray_dir dir;
	bool partial;             /* counted as exposing something */
	bool stuck;               /* the backend would not let go of it */
	enum dr_bounce_why why;   /* its ends are copied */
	struct part part[PARTS];
};

struct dray_link {
	struct dray_device *dev;  /* constant */
	struct dray_domain *dom;  /* constant */
	unsigned owner;           /* constant */
	uint32_t flags;           /* constant */
	bool uncached;            /* constant */
	dray_iova_t iova;         /* constant */
	size_t len, guard;        /* constant; whole granules */
	pthread_mutex_t lock;
	struct piece *pieces;     /* guarded by lock */
	struct dray_link *next;   /* guarded by dom->link_lock */
};

static void enlist(struct dray_link *link)
{
	pthread_mutex_lock(&link->dom->link_lock);
	link->next = link->dom->links;
	link->dom->links = link;
	pthread_mutex_unlock(&link->dom->link_lock);
}

static void delist(struct dray_link *link)
{
	struct dray_link **p;

	pthread_mutex_lock(&link->dom->link_lock);
	for (p = &link->dom->links; *p != link; p = &(*p)->next)
		;
	*p = link->next;
	pthread_mutex_unlock(&link->dom->link_lock);
}

static int reserve(struct dray_link *link, const struct dr_call *call)
{
	struct dr_span s = { .len = link->len };
	int err;

	if (call->dom->type == DRAY_DOMAIN_BLOCKED)
		return dr_fail(EPERM, "the domain is BLOCKED; link in a PAGING domain");
	if (call->dom->type == DRAY_DOMAIN_IDENTITY)
		return dr_fail(ENOTSUP, "an IDENTITY domain has no addresses to reserve; use "
			       "dray_map()");
	err = dr_check_segment(call->dev, link->len);
	if (err)
		return err;
	err = dr_place(call->dom, call->dev, &s, link->len, 0, &link->iova);
	for (unsigned tries = 0; err && dr_way_retry(call, err, false, &tries);)
		err = dr_place(call->dom, call->dev, &s, link->len, 0, &link->iova);
	return err;
}

int dray_link_open(struct dray_device *dev, size_t len, uint32_t flags, struct dray_link **ret_link)
{
	struct dray_link *link;
	struct dr_call call;
	uint64_t mask;
	int err;

	if (!ret_link)
		return dr_fail(EINVAL, "ret_link is NULL; pass where the link goes");
	if (!len)
		return dr_fail(EINVAL, "length is 0; reserve at least one byte");
	if (flags & ~(DRAY_MAP_NO_SYNC | DRAY_MAP_NO_BOUNCE))
		return dr_fail(EINVAL, "link flags 0x%x are unknown; use DRAY_MAP_*", flags);
	err = dr_call_begin(dev, DRAY_BIDIRECTIONAL, flags, &call);
	if (err)
		return err;
	dr_rcu_read_unlock();
	mask = call.dom->io.granule_mask;
	link = dr_alloc(sizeof(*link));
	if (!link) {
		err = dr_fail(ENOMEM, "no memory for a link");
		goto no_link;
	}
	*link = (struct dray_link){
		.dev = dev, .dom = call.dom, .owner = call.owner, .flags = flags,
		.uncached = call.uncached, .len = (len + mask) & ~mask,
		.guard = dr_guard_len(call.dom),
	};
	if (!link->len)
		err = dr_fail(ENOSPC, "0x%zx bytes are more than there are addresses", len);
	else
		err = reserve(link, &call);
	if (err)
		goto no_room;
	pthread_mutex_init(&link->lock, NULL);
	dr_device_hold(dev);
	enlist(link);
	*ret_link = link;
	return 0;

no_room:
	dr_free(link);
no_link:
	dr_call_fail(&call);
	return err;
}

dray_iova_t dray_link_iova(const struct dray_link *link)
{
	return link ? link->iova : DRAY_IOVA_NONE;
}

/* --- a piece --- */

/* The granules of the window that [off, off + len) touches. */
static struct part granules(const struct dray_link *link, size_t off, size_t len)
{
	uint64_t mask = link->dom->io.granule_mask;
	size_t first = off & ~mask;

	return (struct part){ .off = first, .len = ((off + len + mask) & ~mask) - first };
}

/* The place in the list for granules [off, off + len); NULL: they are in use. */
static struct piece **find_room_locked(struct dray_link *link, struct part g)
{
	struct piece **p;

	for (p = &link->pieces; *p; p = &(*p)->next) {
		struct part have = granules(link, (*p)->off, (*p)->len);

		if (have.off >= g.off + g.len)
			break;
		if (have.off + have.len > g.off)
			return NULL;
	}
	return p;
}

/*
 * Cut a piece into parts. @copies: its ends may not be mapped as they are. A piece inside one
 * granule is a head alone.
 */
static void cut(const struct dray_link *link, struct piece *pc, bool copies)
{
	size_t granule = (size_t)link->dom->io.granule_mask + 1;
	struct part g = granules(link, pc->off, pc->len);
	bool head = copies && (pc->off & (granule - 1));
	bool tail = copies && ((pc->off + pc->len) & (granule - 1));

	if (g.len == granule && (head || tail)) {
		pc->part[HEAD] = (struct part){ .off = g.off, .len = granule, .copy = true };
		return;
	}
	if (head)
		pc->part[HEAD] = (struct part){ .off = g.off, .len = granule, .copy = true };
	if (tail)
		pc->part[TAIL] = (struct part){
			.off = g.off + g.len - granule, .len = granule, .copy = true,
		};
	pc->part[BODY] = (struct part){
		.off = g.off + pc->part[HEAD].len,
		.len = g.len - pc->part[HEAD].len - pc->part[TAIL].len,
	};
	pc->part[BODY].memory = pc->va - pc->off + pc->part[BODY].off;
}

/* The piece's bytes in a part: where in the part, where in the buffer, how many. */
static size_t bytes_in(const struct piece *pc, const struct part *pt, size_t *ret_in_part,
		       size_t *ret_in_piece)
{
	size_t first = pt->off > pc->off ? pt->off : pc->off;
	size_t end = pt->off + pt->len < pc->off + pc->len ? pt->off + pt->len :
							     pc->off + pc->len;

	*ret_in_part = first - pt->off;
	*ret_in_piece = first - pc->off;
	return end - first;
}

/* Bring the bytes of [off, off + len) of the window into, or out of, a piece's copies. */
static void copy(const struct dray_link *link, const struct piece *pc, size_t off, size_t len,
		 bool to_device)
{
	for (unsigned i = 0; i < PARTS; i++) {
		const struct part *pt = &pc->part[i];
		size_t in_part, in_piece, n, skip;

		if (!pt->copy)
			continue;
		n = bytes_in(pc, pt, &in_part, &in_piece);
		skip = off > pc->off + in_piece ? off - (pc->off + in_piece) : 0;
		if (skip >= n || off + len <= pc->off + in_piece)
			continue;
		if (pc->off + in_piece + n > off + len)
			n = off + len - pc->off - in_piece;
		n -= skip;
		if (to_device) {
			memcpy(pt->memory + in_part + skip, pc->va + in_piece + skip, n);
			if (link->uncached)
				dr_backend_clean(link->dom->io.be, pt->memory + in_part + skip, n);
		} else if (pc->dir != DRAY_TO_DEVICE) {
			if (link->uncached)
				dr_backend_drop(link->dom->io.be, pt->memory + in_part + skip, n);
			memcpy(pc->va + in_piece + skip, pt->memory + in_part + skip, n);
		}
	}
}

/* Memory for the copies; zeroed, so that a device sees nothing but the piece. */
static int take_copies(struct piece *pc)
{
	for (unsigned i = 0; i < PARTS; i++) {
		struct part *pt = &pc->part[i];

		if (!pt->copy)
			continue;
		pt->memory = dr_hooks->mmap(NULL, pt->len, PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (pt->memory == MAP_FAILED) {
			pt->memory = NULL;
			return dr_fail(ENOMEM, "no memory for a copy of a buffer's end");
		}
	}
	return 0;
}

/* All of them, zeroes included, to where a device looks that does not see the CPU's caches. */
static void clean_copies(const struct dray_link *link, const struct piece *pc)
{
	for (unsigned i = 0; i < PARTS && link->uncached; i++)
		if (pc->part[i].copy)
			dr_backend_clean(link->dom->io.be, pc->part[i].memory, pc->part[i].len);
}

static void give_copies(struct piece *pc)
{
	for (unsigned i = 0; i < PARTS; i++)
		if (pc->part[i].copy && pc->part[i].memory)
			dr_hooks->munmap(pc->part[i].memory, pc->part[i].len);
}

/* Unmap parts [0, end); false when the backend refused one. */
static bool unmap_parts(struct dray_link *link, struct piece *pc, unsigned end)
{
	bool ok = true;

	for (unsigned i = 0; i < end; i++)
		if (pc->part[i].len && dr_act_unmap(&link->dom->io, link->iova + pc->part[i].off,
						    pc->part[i].len))
			ok = false;
	return ok;
}

/* *ret_stuck: something is still mapped, so the piece has to stay. */
static int map_parts(struct dray_link *link, struct piece *pc, bool *ret_stuck)
{
	uint64_t bits = dr_dir_bits(pc->dir) | dr_pte_owner_bits(link->owner);
	bool refused = false;
	int err = 0;
	unsigned i;

	for (i = 0; i < PARTS; i++) {
		struct part *pt = &pc->part[i];

		if (!pt->len)
			continue;
		err = dr_act_map(&link->dom->io, link->iova + pt->off, pt->memory, pt->len, bits,
				 &refused);
		if (err)
			break;
	}
	*ret_stuck = refused;
	if (err && !unmap_parts(link, pc, i))
		*ret_stuck = true;
	return err;
}

static int check_add(const struct dray_link *link, size_t off, const void *va, size_t len,
		     enum dray_dir dir)
{
	int err;

	if (!link)
		return dr_fail(EINVAL, "link is NULL; open one first");
	if (dr_domain_is_forked(link->dom))
		return dr_fail(EPERM, "this process was forked after the link was opened");
	err = dr_map_check(va, len, dir, 0);
	if (err)
		return err;
	if (off > link->len || len > link->len - off)
		return dr_fail(EINVAL, "0x%zx+0x%zx is outside the window of 0x%zx bytes", off, len,
			       link->len);
	if ((off ^ (uintptr_t)va) & link->dom->io.granule_mask)
		return dr_fail(EINVAL, "offset 0x%zx and buffer %p differ inside a granule; keep "
			       "the offset", off, va);
	return 0;
}

/* Decide about the ends in one read section with the count: see domain/trust.c. */
static int choose_ends(struct dray_link *link, struct piece *pc)
{
	struct dray_domain *dom = link->dom;
	bool partial = dr_is_partial(dom, pc->va, pc->len), copies;

	dr_rcu_read_lock();
	if (partial && !dr_domain_is_trusted(dom))
		pc->why = DR_BOUNCE_EDGE;
	else if (partial && link->uncached && dr_cpu_is_partial(pc->va, pc->len))
		pc->why = DR_BOUNCE_LINE;
	copies = pc->why != DR_BOUNCE_NO;
	pc->partial = partial && !copies;
	if (pc->partial)
		dr_partial_begin(dom);
	dr_rcu_read_unlock();
	cut(link, pc, copies);
	if (copies && ((link->flags & DRAY_MAP_NO_BOUNCE) || (dom->flags & DRAY_DOMAIN_NO_BOUNCE)))
		return dr_fail(ENOTSUP, "the ends of buffer %p+0x%zx would have to be copied, which "
			       "is forbidden; align it or clear NO_BOUNCE", pc->va, pc->len);
	return 0;
}

static void insert_locked(struct piece **at, struct piece *pc)
{
	pc->next = *at;
	*at = pc;
}

static int add_locked(struct dray_link *link, struct piece *pc)
{
	struct piece **at = find_room_locked(link, granules(link, pc->off, pc->len));
	int err;

	if (!at)
		return dr_fail(EEXIST, "0x%zx+0x%zx touches a granule of a piece that is there; "
			       "remove it first", pc->off, pc->len);
	err = choose_ends(link, pc);
	if (!err)
		err = take_copies(pc);
	if (!err) {
		copy(link, pc, pc->off, pc->len, true);
		/* The zeroes around them too, before the device can look at what was there. */
		clean_copies(link, pc);
		err = map_parts(link, pc, &pc->stuck);
		/* What waits for a flush holds entries and locked memory. */
		if ((err == -ENOSPC || err == -ENOMEM) && !pc->stuck &&
		    dr_domain_relieve(link->dom))
			err = map_parts(link, pc, &pc->stuck);
	}
	/* The cache of the software IOMMU knows a page from its mapping on. */
	if (!err)
		clean_copies(link, pc);
	if (!err || pc->stuck)
		insert_locked(at, pc);
	if (err && !pc->stuck)
		give_copies(pc);
	if (err && pc->partial)
		dr_partial_end(link->dom);
	return err;
}

int dray_link_add(struct dray_link *link, size_t off, void *va, size_t len, enum dray_dir dir)
{
	enum dr_bounce_why why;
	struct piece *pc;
	int err = check_add(link, off, va, len, dir);

	if (err)
		return err;
	pc = dr_alloc(sizeof(*pc));
	if (!pc)
		return dr_fail(ENOMEM, "no memory for a piece of a link");
	*pc = (struct piece){ .off = off, .len = len, .va = va, .dir = dir };
	dr_counters_ready(&link->dom->io.counters);
	pthread_mutex_lock(&link->lock);
	err = add_locked(link, pc);
	/* Once the lock is given back another thread may remove it. */
	why = pc->why;
	if (!err && link->uncached && !(link->flags & DRAY_MAP_NO_SYNC))
		dr_backend_clean(link->dom->io.be, va, len);
	pthread_mutex_unlock(&link->lock);
	dr_count(&link->dom->io.counters, err ? DR_MAP_FAILURES : DR_MAPS, 1);
	if (!err && why)
		dr_count(&link->dom->io.counters, (enum dr_counter)(DR_BOUNCE_WHY + (int)why), 1);
	if (err && !pc->stuck)
		dr_free(pc);
	return err;
}

int dray_link_sync(struct dray_link *link, size_t off, size_t len)
{
	size_t at = off;
	int err = 0;

	if (!link)
		return dr_fail(EINVAL, "link is NULL; open one first");
	if (dr_domain_is_forked(link->dom))
		return dr_fail(EPERM, "this process was forked after the link was opened");
	if (off > link->len || len > link->len - off)
		return dr_fail(EINVAL, "sync of 0x%zx+0x%zx in a window of 0x%zx bytes", off, len,
			       link->len);
	pthread_mutex_lock(&link->lock);
	for (struct piece *pc = link->pieces; pc && at < off + len; pc = pc->next)
		if (!pc->stuck && pc->off <= at && pc->off + pc->len > at)
			at = pc->off + pc->len;
	if (at < off + len)
		err = dr_fail(EINVAL, "nothing was added at 0x%zx of the window; add it before it "
			      "is synced", at);
	for (struct piece *pc = link->pieces; pc && !err; pc = pc->next) {
		if (pc->stuck || pc->off >= off + len || pc->off + pc->len <= off)
			continue;
		copy(link, pc, off, len, true);
		if (link->uncached)
			dr_backend_clean(link->dom->io.be, pc->va, pc->len);
	}
	pthread_mutex_unlock(&link->lock);
	/* Release: the pieces' bytes before the doorbell that tells the device of them. */
	atomic_thread_fence(memory_order_release);
	return err;
}

/* False: it has to stay in the list. */
static bool remove_piece(struct dray_link *link, struct piece *pc)
{
	if (pc->stuck)
		return false;
	if (link->uncached && pc->dir != DRAY_TO_DEVICE && !(link->flags & DRAY_MAP_NO_SYNC))
		dr_backend_drop(link->dom->io.be, pc->va, pc->len);
	pc->stuck = !unmap_parts(link, pc, PARTS);
	if (!(link->flags & DRAY_MAP_NO_SYNC))
		copy(link, pc, pc->off, pc->len, false);
	if (pc->partial)
		dr_partial_end(link->dom);
	dr_count(&link->dom->io.counters, DR_UNMAPS, 1);
	if (pc->stuck)
		return false;
	give_copies(pc);
	dr_free(pc);
	return true;
}

static void remove_locked(struct dray_link *link, size_t off, size_t len)
{
	for (struct piece **p = &link->pieces, *pc; (pc = *p);) {
		struct piece *next = pc->next;

		if (pc->off >= off + len || pc->off + pc->len <= off) {
			p = &pc->next;
			continue;
		}
		if (pc->off < off || pc->off + pc->len > off + len) {
			dr_count(&link->dom->io.counters, DR_BAD_UNMAPS, 1);
			dr_log(&link->dom->io.log, LOG_ERR, "0x%zx+0x%zx cuts the piece at 0x%zx+"
			       "0x%zx of a link, which stays; remove it whole", off, len, pc->off,
			       pc->len);
			p = &pc->next;
			continue;
		}
		if (remove_piece(link, pc))
			*p = next;
		else
			p = &pc->next;
	}
}

void dray_link_remove(struct dray_link *link, size_t off, size_t len)
{
	if (!link || !len || dr_domain_is_forked(link->dom))
		return;
	if (len > SIZE_MAX - off)
		len = SIZE_MAX - off;
	pthread_mutex_lock(&link->lock);
	remove_locked(link, off, len);
	pthread_mutex_unlock(&link->lock);
}

void dray_link_close(struct dray_link *link)
{
	struct dray_domain *dom;
	struct dray_device *dev;

	if (!link || dr_domain_is_forked(link->dom))
		return;
	dom = link->dom;
	dev = link->dev;
	delist(link);
	pthread_mutex_lock(&link->lock);
	remove_locked(link, 0, link->len);
	pthread_mutex_unlock(&link->lock);
	dr_act_release(&dom->io, link->iova, link->len + link->guard, link->pieces != NULL);
	/* The memory of what is stuck stays: a device may write to it. */
	for (struct piece *pc = link->pieces, *next; pc; pc = next) {
		next = pc->next;
		dr_free(pc);
	}
	pthread_mutex_destroy(&link->lock);
	dr_free(link);
	dr_domain_leave(dom);
	dr_device_unhold(dev);
}

void dr_link_sync_copies(struct dray_domain *dom, dray_iova_t iova, size_t len, bool to_device)
{
	pthread_mutex_lock(&dom->link_lock);
	for (struct dray_link *link = dom->links; link; link = link->next) {
		if (link->iova >= iova + len || iova >= link->iova + link->len)
			continue;
		pthread_mutex_lock(&link->lock);
		for (struct piece *pc = link->pieces; pc; pc = pc->next) {
			dray_iova_t first = iova > link->iova ? iova : link->iova;

			if (!pc->stuck)
				copy(link, pc, (size_t)(first - link->iova),
				     (size_t)(iova + len - first), to_device);
		}
		pthread_mutex_unlock(&link->lock);
	}
	pthread_mutex_unlock(&dom->link_lock);
}

enum dr_bounce_why dr_link_reason(struct dray_domain *dom, dray_iova_t iova)
{
	enum dr_bounce_why why = DR_BOUNCE_NO;

	pthread_mutex_lock(&dom->link_lock);
	for (struct dray_link *link = dom->links; link && !why; link = link->next) {
		size_t off = (size_t)(iova - link->iova);

		if (iova < link->iova || off >= link->len)
			continue;
		pthread_mutex_lock(&link->lock);
		for (struct piece *pc = link->pieces; pc; pc = pc->next)
			for (unsigned i = 0; i < PARTS && !pc->stuck; i++)
				if (pc->part[i].copy && off >= pc->off && off - pc->off < pc->len &&
				    off - pc->part[i].off < pc->part[i].len)
					why = pc->why;
		pthread_mutex_unlock(&link->lock);
	}
	pthread_mutex_unlock(&dom->link_lock);
	return why;
}
