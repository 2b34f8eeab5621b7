// SPDX-License-Identifier: BSD-2-Clause
/*
 * Memory classes.
 *
 * 1. Most memory is RAM, and nobody says so. Some is not, and looks the same to a program: another
 *    device's BAR, which the CPU may store to but never copy from as if it were memory; memory that
 *    is lent to a secure world, which the CPU may not touch at all while it is. A device may reach
 *    either; what dray must not do is touch it itself, in a bounce copy or in a sync. There is no
 *    cheap way to find out, so its owner tells.
 *
 * 2. Told ranges are in one sorted array for the process, replaced whole: a writer copies it, under
 *    the lock, with the change made, publishes the copy and frees the old one after a grace period.
 *    Neighbours of one class are one entry; RAM is no entry. Readers search the array in a read
 *    section. As long as nobody told anything there is no array, and a reader's look is one load.
 *
 * 3. A mapping keeps what it has when a class changes under it: the device reaches it as before. What
 *    changes is what dray itself does from then on; the order of a change and a copy that is under
 *    way is its owner's business.
 *
 *      look × look   share nothing that is written
 *      look × tell   the array before or after
 *      tell × tell   the lock, held over a grace period
 */
#include "memory/class.h"
#include "base/err.h"
#include "base/hooks.h"
#include "base/rcu.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

struct range {
	uintptr_t first, last;
	enum dray_memory_class class;
};

struct dr_classes {
	size_t n;            /* constant, as all of it */
	struct range r[];    /* ascending, disjoint, none RAM */
};

_Atomic(struct dr_classes *) dr_classes; /* written under lock */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The first range that ends at or above @at; c->n: none. */
static size_t find(const struct dr_classes *c, uintptr_t at)
{
	size_t low = 0, high = c->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (c->r[mid].last < at)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static enum dray_memory_class look(const struct dr_classes *c, uintptr_t first, size_t len)
{
	size_t i = c && len ? find(c, first) : 0;

	return c && len && i < c->n && c->r[i].first <= first + (len - 1) ? c->r[i].class :
									     DRAY_MEMORY_RAM;
}

enum dray_memory_class dr_memory_class_slow(const void *va, size_t len)
{
	enum dray_memory_class class;

	dr_rcu_read_lock();
	/* Acquire: who finds the array finds it whole. */
	class = look(atomic_load_explicit(&dr_classes, memory_order_acquire), (uintptr_t)va, len);
	dr_rcu_read_unlock();
	return class;
}

bool dr_memory_is_ram_now(const void *va, size_t len)
{
	enum dray_memory_class class;

	if (!atomic_load_explicit(&dr_classes, memory_order_relaxed))
		return true;
	pthread_mutex_lock(&lock);
	class = look(atomic_load_explicit(&dr_classes, memory_order_relaxed), (uintptr_t)va, len);
	pthread_mutex_unlock(&lock);
	return class == DRAY_MEMORY_RAM;
}

int dr_memory_check_cpu(const void *va, size_t len)
{
	switch (dr_memory_class(va, len)) {
	case DRAY_MEMORY_RAM:
		return 0;
	case DRAY_MEMORY_P2P:
		return dr_fail(ENOTSUP, "%p+0x%zx is another device's memory, which the CPU must not "
			       "copy; map it where no copy is needed", va, len);
	default:
		return dr_fail(ENOTSUP, "%p+0x%zx is not the CPU's to touch now; wait until it is, or "
			       "map it where no copy is needed", va, len);
	}
}

/* Append to an array under construction; what adjoins and is alike becomes one. */
static void append(struct dr_classes *c, uintptr_t first, uintptr_t last,
		   enum dray_memory_class class)
{
	struct range *before = c->n ? &c->r[c->n - 1] : NULL;

	if (before && before->class == class && before->last + 1 == first)
		before->last = last;
	else
		c->r[c->n++] = (struct range){ first, last, class };
}

/* @was with [first, last] of @class in it. */
static void merge(const struct dr_classes *was, uintptr_t first, uintptr_t last,
		  enum dray_memory_class class, struct dr_classes *c)
{
	size_t n = was ? was->n : 0, i = 0;

	for (; i < n && was->r[i].first < first; i++) {
		const struct range *r = &was->r[i];

		append(c, r->first, r->last < first ? r->last : first - 1, r->class);
		/* It may go on behind the change. */
		if (r->last > last)
			break;
	}
	if (class != DRAY_MEMORY_RAM)
		append(c, first, last, class);
	for (; i < n; i++) {
		const struct range *r = &was->r[i];

		if (r->last > last)
			append(c, r->first > last ? r->first : last + 1, r->last, r->class);
	}
}

int dray_memory_set_class(void *va, size_t len, enum dray_memory_class class_)
{
	uintptr_t first = (uintptr_t)va, last = first + (len - 1);
	struct dr_classes *was, *now;

	if (!va || !len || last < first)
		return dr_fail(EINVAL, "%p+0x%zx is no range of memory; pass one", va, len);
	if ((unsigned)class_ > DRAY_MEMORY_NO_CPU)
		return dr_fail(EINVAL, "memory class %u is unknown; use enum dray_memory_class",
			       (unsigned)class_);
	pthread_mutex_lock(&lock);
	was = atomic_load_explicit(&dr_classes, memory_order_relaxed);
	/* At the most one more of each: a range split, and the new one. */
	now = dr_alloc(sizeof(*now) + ((was ? was->n : 0) + 2) * sizeof(now->r[0]));
	if (!now) {
		pthread_mutex_unlock(&lock);
		return dr_fail(ENOMEM, "no memory for a memory class");
	}
	now->n = 0;
	merge(was, first, last, class_, now);
	if (!now->n) {
		dr_free(now);
		now = NULL;
	}
	/* Release: see dr_memory_class_slow(). */
	atomic_store_explicit(&dr_classes, now, memory_order_release);
	dr_rcu_synchronize();
	dr_free(was);
	pthread_mutex_unlock(&lock);
	return 0;
}
