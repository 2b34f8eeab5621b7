// SPDX-License-Identifier: BSD-2-Clause
/*
 * Hand bytes over between CPU and device.
 *
 * 1. A coherent device that uses the buffer itself needs nothing but order: what was written before
 *    the doorbell, what is read after the completion. A slot needs its bytes copied, exactly those
 *    that are named. A device that does not look into the CPU's caches needs them written back
 *    before it reads or writes, and dropped before the CPU reads what it wrote; of a slot, the
 *    slot's lines.
 *
 * 2. Map hands all of a mapping to the device and unmap hands it back, unless the caller said that
 *    it syncs itself. A slot is filled at map all the same: what the device leaves unwritten must
 *    come back as it was.
 *
 * 3. Ranges are checked against the mapping before anything is moved. Explicit and linked mappings
 *    have no receipt; the table says what is behind their IOVA, and a slot is found by it.
 *
 * 4. Instructions: what a device wrote may be code. Where the CPU fetches instructions past its
 *    data caches, a range handed to the CPU is fetched anew.
 */
#include "map/link.h"
#include "map/map.h"
#include "base/err.h"
#include "base/rcu.h"
#include "memory/class.h"

#include <errno.h>
#include <inttypes.h>

static int check_sync(const struct dray_device *dev, const struct dray_mapping *m, size_t off,
		      size_t len, struct dray_domain **ret_dom, struct dr_receipt *ret_r)
{
	if (!dev || !m)
		return dr_fail(EINVAL, "%s is NULL", dev ? "receipt" : "device");
	*ret_dom = dr_receipt_open(m->cookie[0], m->cookie[1], ret_r);
	if (!*ret_dom)
		return dr_fail(EINVAL, "receipt is not live; sync before unmap");
	if (off > m->len || len > m->len - off)
		return dr_fail(EINVAL, "sync of 0x%zx+0x%zx in a mapping of 0x%zx bytes", off, len,
			       m->len);
	return 0;
}

/* The memory that the device sees behind a mapping: buffer or slot. */
static char *memory_of(const struct dray_domain *dom, const struct dr_receipt *r, dray_iova_t iova,
		       void *va)
{
	if (r->way == DR_WAY_BOUNCE || !va)
		return dr_pgtable_own_va(dom->io.pt, iova);
	return va;
}

static void clean(struct dray_domain *dom, const struct dr_receipt *r, dray_iova_t iova, void *va,
		  size_t off, size_t len)
{
	char *p = r->uncached && len ? memory_of(dom, r, iova, va) : NULL;

	if (p)
		dr_backend_clean(dom->io.be, p + off, len);
}

static void drop(struct dray_domain *dom, const struct dr_receipt *r, dray_iova_t iova, void *va,
		 size_t off, size_t len)
{
	char *p = r->uncached && len && r->dir != DRAY_TO_DEVICE ? memory_of(dom, r, iova, va) : NULL;

	if (p)
		dr_backend_drop(dom->io.be, p + off, len);
}

/* A sync touches the buffer, unless it is the CPU's caches alone that it would. */
static int check_class(const struct dray_domain *dom, const struct dr_receipt *r, dray_iova_t iova,
		       void *va, size_t off, size_t len)
{
	size_t all;
	char *p = va;

	if (!atomic_load_explicit(&dr_classes, memory_order_relaxed))
		return 0;
	if (r->way == DR_WAY_BOUNCE)
		p = dr_bounce_buffer(dom->bounce, r->handle, &all);
	else if (!p)
		p = r->way == DR_WAY_DIRECT ? (char *)(uintptr_t)iova :
					      dr_pgtable_own_va(dom->io.pt, iova);
	return p ? dr_memory_check_cpu(p + off, len) : 0;
}

int dr_sync_bytes(struct dray_domain *dom, const struct dr_receipt *r, dray_iova_t iova, void *va,
		  size_t off, size_t len, bool to_device)
{
	int err = check_class(dom, r, iova, va, off, len);

	if (err)
		return err;
	if (to_device) {
		if (r->way == DR_WAY_BOUNCE)
			err = dr_bounce_sync_for_device(dom->bounce, r->handle, off, len);
		if (!err)
			clean(dom, r, iova, va, off, len);
		return err;
	}
	drop(dom, r, iova, va, off, len);
	if (r->way == DR_WAY_BOUNCE)
		err = dr_bounce_sync_for_cpu(dom->bounce, r->handle, off, len);
	if (!err && va && r->dir != DRAY_TO_DEVICE)
		dr_cpu_sync_code((char *)va + off, len);
	return err;
}

void dr_sync_map(struct dray_domain *dom, const struct dr_receipt *r, dray_iova_t iova, void *va,
		 size_t len)
{
	if (!r->no_sync)
		clean(dom, r, iova, va, 0, len);
}

void dr_sync_unmap(struct dray_domain *dom, const struct dr_receipt *r, dray_iova_t iova, void *va,
		   size_t len)
{
	if (!r->no_sync)
		drop(dom, r, iova, va, 0, len);
}

/* Where a mapping's own bytes are, if anything has to be done with them; NULL: nothing has. */
static void *buffer_of(const struct dray_domain *dom, const struct dr_receipt *r, dray_iova_t iova)
{
	if (r->way == DR_WAY_BOUNCE || (!r->uncached && !dr_cpu_ops()->sync_code))
		return NULL;
	return r->way == DR_WAY_DIRECT ? (void *)(uintptr_t)iova :
					 dr_pgtable_own_va(dom->io.pt, iova);
}

int dray_sync_for_device(struct dray_device *dev, const struct dray_mapping *m, size_t off,
			 size_t len)
{
	struct dray_domain *dom = NULL;
	struct dr_receipt r;
	int err = check_sync(dev, m, off, len, &dom, &r);

	if (!err)
		err = dr_sync_bytes(dom, &r, m->iova, buffer_of(dom, &r, m->iova), off, len, true);
	/* Release: the buffer's bytes before the doorbell that tells the device of them. */
	atomic_thread_fence(memory_order_release);
	return err;
}

int dray_sync_for_cpu(struct dray_device *dev, const struct dray_mapping *m, size_t off, size_t len)
{
	struct dray_domain *dom = NULL;
	struct dr_receipt r;
	int err = check_sync(dev, m, off, len, &dom, &r);

	/* Acquire: the completion that tells of the bytes before the bytes. */
	atomic_thread_fence(memory_order_acquire);
	if (!err)
		err = dr_sync_bytes(dom, &r, m->iova, buffer_of(dom, &r, m->iova), off, len, false);
	return err;
}

/* One stretch of [iova, iova + len) that is contiguous in memory, or in one slot. */
static int sync_stretch(const struct dray_device *dev, struct dray_domain *dom, dray_iova_t iova,
			size_t len, enum dray_dir dir, bool to_device)
{
	struct dr_receipt r = {
		.dir = dir, .way = DR_WAY_MAP,
		.uncached = !atomic_load_explicit(&dev->bd->coherent, memory_order_relaxed),
	};
	size_t off = 0;
	void *va = NULL;

	if (dr_bounce_find(dom->bounce, iova, len, &r.handle, &off)) {
		r.way = DR_WAY_BOUNCE;
		iova -= off;
	} else {
		va = dray_iova_to_va(dom, iova);
	}
	return dr_sync_bytes(dom, &r, iova, va, off, len, to_device);
}

static int sync_iova(struct dray_device *dev, dray_iova_t iova, size_t len, enum dray_dir dir,
		     bool to_device)
{
	struct dray_domain *dom;
	uint64_t granule;
	int err = dr_device_domain(dev, &dom);

	if (err)
		return err;
	if ((unsigned)dir > DRAY_FROM_DEVICE)
		return dr_fail(EINVAL, "direction %u is unknown; use enum dray_dir", (unsigned)dir);
	if (len && iova + len - 1 < iova)
		return dr_fail(ERANGE, "0x%" PRIx64 "+0x%zx passes the last address", iova, len);
	granule = dom->io.granule_mask + 1;
	/* All of it is mapped, or nothing is moved. */
	for (dray_iova_t at = iova; len && at <= iova + len - 1;) {
		if (!dray_iova_to_va(dom, at))
			return dr_fail(EINVAL, "nothing is mapped at 0x%" PRIx64 "; sync what is",
				       at);
		at = (at & ~(granule - 1)) + granule;
		if (!at)
			break;
	}
	if (len && to_device)
		dr_link_sync_copies(dom, iova, len, true);
	/* What is linked shares no granule with another piece, so a granule is one stretch. */
	for (size_t done = 0; done < len;) {
		size_t room = (size_t)(granule - ((iova + done) & (granule - 1)));
		size_t now = len - done < room ? len - done : room;

		err = sync_stretch(dev, dom, iova + done, now, dir, to_device);
		if (err)
			return err;
		done += now;
	}
	if (len && !to_device && dir != DRAY_TO_DEVICE)
		dr_link_sync_copies(dom, iova, len, false);
	return 0;
}

int dray_sync_iova_for_device(struct dray_device *dev, dray_iova_t iova, size_t len,
			      enum dray_dir dir)
{
	int err = sync_iova(dev, iova, len, dir, true);

	/* Release: as dray_sync_for_device(). */
	atomic_thread_fence(memory_order_release);
	return err;
}

int dray_sync_iova_for_cpu(struct dray_device *dev, dray_iova_t iova, size_t len, enum dray_dir dir)
{
	/* Acquire: as dray_sync_for_cpu(). */
	atomic_thread_fence(memory_order_acquire);
	return sync_iova(dev, iova, len, dir, false);
}

/* The domain of a mapped list; NULL, and said, if it is none. */
static struct dray_domain *list_domain(const struct dray_sg *sg, unsigned n)
{
	struct dray_domain *dom;

	if (!sg || !n) {
		dr_fail(EINVAL, "the list is %s", sg ? "empty" : "NULL");
		return NULL;
	}
	dom = dr_receipt_open(sg[0].cookie[0], sg[0].cookie[1], NULL);
	if (!dom)
		dr_fail(EINVAL, "the list is not mapped; sync before unmap");
	return dom;
}

/* One direction of sync for each element that is copied or not coherent. */
static int sync_list(struct dray_device *dev, struct dray_sg *sg, unsigned n, bool to_device)
{
	struct dray_domain *dom = list_domain(sg, n);
	int err = 0;

	if (!dev)
		return dr_fail(EINVAL, "device is NULL");
	if (!dom)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++)
		if (!dr_receipt_is(sg[i].cookie[1]))
			return dr_fail(EINVAL, "element %u is not mapped; pass the count that was "
				       "mapped", i);
	for (unsigned i = 0; i < n && !err; i++) {
		struct dr_receipt r;

		dr_receipt_unpack(sg[i].cookie[1], &r);
		err = dr_sync_bytes(dom, &r, i ? sg[i].cookie[0] : sg[0].iova, sg[i].va, 0,
				    sg[i].len, to_device);
	}
	return err;
}

int dray_sync_sg_for_device(struct dray_device *dev, struct dray_sg *sg, unsigned n)
{
	int err = sync_list(dev, sg, n, true);

	/* Release: the buffers' bytes before the doorbell that tells the device of them. */
	atomic_thread_fence(memory_order_release);
	return err;
}

int dray_sync_sg_for_cpu(struct dray_device *dev, struct dray_sg *sg, unsigned n)
{
	/* Acquire: the completion that tells of the bytes before the bytes. */
	atomic_thread_fence(memory_order_acquire);
	return sync_list(dev, sg, n, false);
}
