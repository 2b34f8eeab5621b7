// SPDX-License-Identifier: BSD-2-Clause
/*
 * DMA: what a device's reads and writes do to memory.
 *
 * 1. A transfer is cut at granules. Each granule is one access: counted in (invq.h), translated by
 *    the IOTLB or a walk, checked, copied, counted out. So bytes before a fault have moved, and an
 *    invalidation waits for a granule at most.
 *
 * 2. To the program, memory changes as under a real device: behind the compiler's back, but not in
 *    any order. Naturally aligned pieces of up to 8 bytes are moved by one load or store each,
 *    ascending, every store with release: who reads a later byte of a transfer and finds it new
 *    finds every earlier byte new as well. A completion entry whose phase bit is in its last word
 *    is therefore seen whole.
 *
 * 3. Sanitizers are kept out of the copy (unseen.h): a device reaches every byte of a granule.
 *    Where devices do not look into the CPU's caches it moves bytes of an image instead (image.c).
 *
 * 4. What can fail: any access, with a fault record. Nothing else: DMA takes no lock but that of
 *    the images and never allocates (but for a thread's first read section). Memory that was unmapped from the process
 *    while it was mapped for the device crashes the process, where real hardware, which had pinned
 *    it, would go on in pages of nobody.
 */
#include "backend/sim/image.h"
#include "backend/sim/invq.h"
#include "backend/sim/iotlb.h"
#include "backend/sim/unseen.h"
#include "base/err.h"
#include "base/process.h"
#include "base/rcu.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define GRANULE UINT64_C(4096) /* the unit of an access; the smallest page of every profile */

static _Atomic(const struct dr_sim_seam *) current_seam;

const struct dr_sim_seam *dr_sim_seam(void)
{
	/* Acquire: the seam is found as it was set. */
	return atomic_load_explicit(&current_seam, memory_order_acquire);
}

void dr_sim_set_seam(const struct dr_sim_seam *seam)
{
	atomic_store_explicit(&current_seam, seam, memory_order_release);
}

/* Memory holds objects of whatever type the program gave it. */
typedef uint64_t __attribute__((may_alias)) word64;
typedef uint32_t __attribute__((may_alias)) word32;
typedef uint16_t __attribute__((may_alias)) word16;
typedef uint8_t __attribute__((may_alias)) word8;

/* One naturally aligned piece between @mem, the device's view, and @buf, the caller's. */
#define MOVE(type)                                                                   \
	do {                                                                         \
		type word;                                                           \
		if (to_memory) {                                                     \
			memcpy(&word, buf, sizeof(word));                            \
			__atomic_store_n((type *)mem, word, __ATOMIC_RELEASE);       \
		} else {                                                             \
			word = __atomic_load_n((const type *)mem, __ATOMIC_ACQUIRE); \
			memcpy(buf, &word, sizeof(word));                            \
		}                                                                    \
		mem += sizeof(word);                                                 \
		buf += sizeof(word);                                                 \
		len -= sizeof(word);                                                 \
	} while (0)

/* See 2 and 3. Acquire on reads: the mirror image, for a program that writes ascending. */
DR_UNSEEN static void copy(char *mem, char *buf, size_t len, bool to_memory)
{
	while (len >= 8 && !((uintptr_t)mem & 7))
		MOVE(word64);
	while (len) {
		uintptr_t at = (uintptr_t)mem;

		if (len >= 8 && !(at & 7))
			MOVE(word64);
		else if (len >= 4 && !(at & 3))
			MOVE(word32);
		else if (len >= 2 && !(at & 1))
			MOVE(word16);
		else
			MOVE(word8);
	}
}

struct transfer {
	struct dr_sim_device *dev;
	uint32_t access;       /* DRAY_SIM_READ or DRAY_SIM_WRITE */
	uint64_t need;         /* the same as a permission bit */
	const struct dr_sim_seam *seam;
	struct dr_sim *space;  /* of the access under way */
	uint32_t reason;       /* why it failed */
	unsigned level;        /* at which level, 0 where no table was read */
};

static bool refuse(struct transfer *t, uint32_t reason, unsigned level)
{
	t->reason = reason;
	t->level = level;
	return false;
}

/*
 * The IOTLB answers from what it read before. While it does, the table has the same entry or, from
 * an unmap until its flush has ended, none; another live one means that the IOVA came back too
 * early. The flush waits for this access, so that the look is never too late.
 */
static void check_reuse(struct dr_sim *s, dray_iova_t iova, uint64_t cached)
{
	unsigned shift;
	uint64_t now;

	if (atomic_load_explicit(&s->flags, memory_order_relaxed) & DRAY_SIM_NOCHECK)
		return;
	dr_rcu_read_lock();
	now = dr_pgtable_lookup(s->base.pt, iova, &shift);
	dr_rcu_read_unlock();
	if (now && now != cached)
		atomic_fetch_add_explicit(&s->stale_reuses, 1, memory_order_relaxed);
}

/* The leaf behind @iova, from the IOTLB or the tables. */
static bool find_leaf(struct transfer *t, dray_iova_t iova, uint64_t *ret_pte, unsigned *ret_shift)
{
	struct dr_sim *s = t->space;
	struct dr_pt_walk walk;
	uint64_t generation;

	if (dr_iotlb_lookup(s->id, iova, ret_pte, ret_shift)) {
		atomic_fetch_add_explicit(&s->hits, 1, memory_order_relaxed);
		check_reuse(s, iova, *ret_pte);
		return true;
	}
	atomic_fetch_add_explicit(&s->misses, 1, memory_order_relaxed);
	generation = dr_iotlb_generation();
	dr_rcu_read_lock();
	dr_pgtable_device_walk(s->base.pt, iova, &walk);
	dr_rcu_read_unlock();
	if (!walk.pte)
		return refuse(t, DRAY_SIM_FAULT_NOT_PRESENT, DR_PT_LEVELS + 1 - walk.levels);
	if (t->seam && t->seam->walked)
		t->seam->walked(t->seam->ctx);
	if (!dr_iotlb_fill(s->id, iova, walk.pte, walk.page_shift, generation))
		atomic_fetch_add_explicit(&s->dropped_fills, 1, memory_order_relaxed);
	*ret_pte = walk.pte;
	*ret_shift = walk.page_shift;
	return true;
}

static bool translate(struct transfer *t, dray_iova_t iova, char **ret_mem)
{
	unsigned shift = 0;
	uint64_t pte = 0;

	/* Acquire: with the context comes its space. */
	t->space = atomic_load_explicit(&t->dev->space, memory_order_acquire);
	if (!t->space || t->space->base.type == DRAY_DOMAIN_BLOCKED)
		return refuse(t, DRAY_SIM_FAULT_BLOCKED, 0);
	if (t->space->base.type == DRAY_DOMAIN_IDENTITY) {
		*ret_mem = (char *)(uintptr_t)iova;
		return true;
	}
	if (iova >> DR_PT_ADDR_BITS)
		return refuse(t, DRAY_SIM_FAULT_APERTURE, 0);
	if (!find_leaf(t, iova, &pte, &shift))
		return false;
	if (!(pte & t->need))
		return refuse(t, DRAY_SIM_FAULT_PERMISSION, (shift - 12) / 9 + 1);
	*ret_mem = (char *)(uintptr_t)((pte & DR_PTE_ADDR) |
				       (iova & ((UINT64_C(1) << shift) - 1)));
	return true;
}

/* The bytes of an access, or half of them. */
static void move(const struct transfer *t, char *mem, char *buf, size_t len)
{
	bool to_memory = t->access == DRAY_SIM_WRITE;

	if (t->space->profile->snoops || !dr_image_move(t->space, mem, buf, len, to_memory))
		copy(mem, buf, len, to_memory);
}

/* One access: inside one granule. */
static bool access_granule(struct transfer *t, dray_iova_t iova, char *buf, size_t len)
{
	unsigned parity = dr_access_begin(t->dev);
	char *mem;
	bool ok = translate(t, iova, &mem);

	if (ok && t->seam && t->seam->copying) {
		move(t, mem, buf, len / 2);
		t->seam->copying(t->seam->ctx);
		move(t, mem + len / 2, buf + len / 2, len - len / 2);
	} else if (ok) {
		move(t, mem, buf, len);
	}
	dr_access_end(t->dev, parity);
	return ok;
}

static int fault(const struct transfer *t, dray_iova_t iova)
{
	static const char *const why[] = {
		[DRAY_SIM_FAULT_NOT_PRESENT] = "nothing is mapped there",
		[DRAY_SIM_FAULT_PERMISSION] = "the mapping's direction does not allow it",
		[DRAY_SIM_FAULT_APERTURE] = "the tables translate 48 bits",
		[DRAY_SIM_FAULT_BLOCKED] = "the device is in a BLOCKED domain, or in none",
	};

	dr_fault_record(t->dev, iova, t->access, t->reason, t->level);
	return dr_fail(EFAULT, "DMA %s of IOVA 0x%" PRIx64 " faulted: %s (level %u)",
		       t->access == DRAY_SIM_WRITE ? "write" : "read", iova, why[t->reason],
		       t->level);
}

static int transfer(struct transfer *t, dray_iova_t iova, char *buf, size_t len)
{
	if (t->dev->process != dr_process_id())
		return dr_fail(EPERM, "this process was forked after the device was opened; open a "
			       "domain and a device of its own");
	if (len && iova + len - 1 < iova)
		return dr_fail(EINVAL, "0x%" PRIx64 "+0x%zx passes the last address", iova, len);
	t->seam = dr_sim_seam();
	while (len) {
		size_t piece = (size_t)(GRANULE - (iova & (GRANULE - 1)));

		if (piece > len)
			piece = len;
		if (!access_granule(t, iova, buf, piece))
			return fault(t, iova);
		iova += piece;
		buf += piece;
		len -= piece;
	}
	return 0;
}

int dr_sim_dma_read(struct dr_backend_device *bd, dray_iova_t iova, void *buf, size_t len)
{
	struct transfer t = {
		.dev = dr_sim_device_of(bd), .access = DRAY_SIM_READ, .need = DR_PTE_READ,
	};

	return transfer(&t, iova, buf, len);
}

int dr_sim_dma_write(struct dr_backend_device *bd, dray_iova_t iova, const void *buf, size_t len)
{
	struct transfer t = {
		.dev = dr_sim_device_of(bd), .access = DRAY_SIM_WRITE, .need = DR_PTE_WRITE,
	};

	/* Only read from when writing to memory. */
	return transfer(&t, iova, (char *)(uintptr_t)buf, len);
}
