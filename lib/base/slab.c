// SPDX-License-Identifier: BSD-2-Clause
#include "base/slab.h"
#include "base/hooks.h"

/* Objects start on a cache line of their own: their first words are read by every thread. */
#define LINE 64

void *dr_slab_take(struct dr_slab *slab)
{
	struct dr_slab_link *object;

	pthread_mutex_lock(&slab->lock);
	object = slab->free;
	if (object)
		slab->free = object->next;
	pthread_mutex_unlock(&slab->lock);
	if (object)
		return object;
	return dr_hooks->alloc((slab->size + LINE - 1) / LINE * LINE, LINE);
}

void dr_slab_give(struct dr_slab *slab, void *object)
{
	struct dr_slab_link *link = object;

	pthread_mutex_lock(&slab->lock);
	link->next = slab->free;
	slab->free = link;
	pthread_mutex_unlock(&slab->lock);
}
