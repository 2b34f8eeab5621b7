/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects that keep their type for the life of the process. A pointer to a freed one still points
 * at the same kind of object, so reading its state word is always sound: a second close is told
 * apart from a first, and a thread whose last act released an object may still look whether it
 * was the last. Freed objects are reused, never given back; how many there are is the most that
 * were ever in use at once.
 */
#ifndef DR_BASE_SLAB_H
#define DR_BASE_SLAB_H

#include <pthread.h>
#include <stddef.h>

/* Every object begins with this, whatever else it holds. */
struct dr_slab_link {
	struct dr_slab_link *next; /* guarded by the slab's lock; free objects only */
};

struct dr_slab {
	pthread_mutex_t lock;
	size_t size;               /* constant */
	struct dr_slab_link *free; /* guarded by lock */
};

#define DR_SLAB_INIT(type) \
	{ .lock = PTHREAD_MUTEX_INITIALIZER, .size = sizeof(type), .free = NULL }

/* A free object, as its last user left it but for the link, or a zeroed one; NULL: no memory. */
void *dr_slab_take(struct dr_slab *slab);

void dr_slab_give(struct dr_slab *slab, void *object);

#endif
