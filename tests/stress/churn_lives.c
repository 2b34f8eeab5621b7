// SPDX-License-Identifier: BSD-2-Clause
/* What a thread lives for, but for forking: a few steps, and then it exits. */
#include "churn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HELD 3u /* parcels in hand */

static void work(struct life *l, struct parcel *p)
{
	struct dice *d = &l->dice;

	if (!p->n) {
		if (parcel_fill(p, d, dice_below(d, 4) == 0))
			parcel_check(p, l);
		return;
	}
	switch (dice_below(d, 4)) {
	case 0:
		parcel_check(p, l);
		break;
	case 1:
		shelf_swap(p, d);
		parcel_check(p, l);
		break;
	default:
		parcel_empty(p, d);
	}
}

void live_by_mapping(struct life *l)
{
	struct dice *d = &l->dice;
	struct parcel held[HELD] = { 0 };
	uint64_t steps = 50 + dice_below(d, 400);

	for (uint64_t i = 0; i < steps; i++) {
		uint64_t what = dice_below(d, 100);

		if (what < 8)
			place_turn(&places[dice_below(d, PLACES)], d);
		else if (what < 10)
			place_overlap(&places[dice_below(d, PLACES)], d);
		else if (what < 40)
			place_ask(d);
		else
			work(l, &held[dice_below(d, HELD)]);
	}
	/* Some of what this thread counted, queued and cached is left to others. */
	for (unsigned i = 0; i < HELD; i++) {
		if (dice_below(d, 2))
			shelf_swap(&held[i], d);
		parcel_empty(&held[i], d);
	}
}

void live_by_switching(struct life *l)
{
	for (unsigned i = 0; i < 20; i++) {
		switch (dice_below(&l->dice, 4)) {
		case 0:
			MUST(!dray_domain_set_invalidation(churn.dom, DRAY_LAZY));
			break;
		case 1:
			MUST(!dray_domain_set_invalidation(churn.dom, DRAY_STRICT));
			break;
		case 2:
			MUST(!dray_flush(churn.dom));
			break;
		default:
			MUST(!dray_poll(churn.dom));
		}
		COUNT(switches);
		place_ask(&l->dice);
	}
}

static pthread_mutex_t visit_lock = PTHREAD_MUTEX_INITIALIZER;

/* A device that comes late sees all that is registered. */
void live_by_visiting(struct life *l)
{
	struct player guest = churn.visitor;

	pthread_mutex_lock(&visit_lock);
	MUST(!dray_device_open(churn.dom, guest.name, NULL, &guest.dev));
	for (unsigned i = 0; i < PLACES; i++) {
		struct place *p = &places[(i + l->slot) % PLACES];
		dray_iova_t at;

		if (pthread_mutex_trylock(&p->lock))
			continue;
		at = atomic_load(&p->iova);
		if (at != DRAY_IOVA_NONE && !churn.scripted) {
			MUST(read_name(&guest, at, p->va) == 1);
			MUST(read_name(&guest, at + p->len - KB4, p->va + p->len - KB4) == 1);
		}
		pthread_mutex_unlock(&p->lock);
	}
	dray_device_close(guest.dev);
	pthread_mutex_unlock(&visit_lock);
	COUNT(visits);
}

void live_by_duels(struct life *l)
{
	for (unsigned i = 0; i < 2 * PLACES; i++) {
		struct place *p = &places[dice_below(&l->dice, PLACES)];

		place_turn(p, &l->dice);
		place_duel(p);
	}
}

/* So many that threads' counts have to move to longer arrays, with mappings out. */
#define MANY 160u

static pthread_mutex_t many_lock = PTHREAD_MUTEX_INITIALIZER;
/* Guarded by many_lock, both. */
static struct dray_region *many[MANY];
static unsigned n_many;

void live_by_many(struct life *l)
{
	struct dray_device *dev = churn.devices[l->slot % DEVICES].dev;

	pthread_mutex_lock(&many_lock);
	/* The scripted kernel has no entries for them. */
	while (!churn.scripted && n_many < MANY) {
		char *page = arena_many + n_many * KB4;
		struct dray_mapping m;
		int err = register_outside_duels(page, KB4, &many[n_many]);

		if (err) {
			MUST(is_limit(err));
			break;
		}
		n_many++;
		COUNT(many);
		MUST(!dray_map(dev, page + 1, KB4 - 1, DRAY_TO_DEVICE, 0, &m));
		MUST(m.iova == dray_translate(churn.dom, page + 1, NULL));
		MUST(dray_region_unregister(many[n_many - 1]) == -EBUSY);
		dray_unmap(dev, &m);
		if (n_many == MANY / 2)
			break;
	}
	pthread_mutex_unlock(&many_lock);
}

void many_clear(void)
{
	while (n_many)
		MUST(!dray_region_unregister(many[--n_many]));
}

struct own {
	struct dray_domain *dom;
	struct dray_region *region[2];
};

static void *unregister_one(void *arg)
{
	struct own *o = arg;

	MUST(!dray_region_unregister(o->region[0]));
	return NULL;
}

/* Closed while its regions go, by this thread and another: the last of all frees it. */
void live_by_own_domains(struct life *l)
{
	struct dray_domain_opts opts = { .size = sizeof(opts), .backend = DRAY_BACKEND_SIM };
	char *mem = aligned_alloc(KB4, 4 * KB4), *got = mem + 3 * KB4, name[] = "sim1x";
	struct own o;
	pthread_t other;

	MUST(mem);
	name[4] = (char)('0' + l->slot);
	memset(mem, (int)l->slot + 1, 3 * KB4);
	for (unsigned i = 0; i < 8; i++) {
		bool close_late = dice_below(&l->dice, 2);
		struct dray_device *dev;
		struct dray_mapping m;

		opts.invalidation = (uint32_t)dice_below(&l->dice, 2);
		MUST(!dray_domain_open(&opts, &o.dom));
		MUST(!dray_device_open(o.dom, name, NULL, &dev));
		for (unsigned k = 0; k < 2; k++)
			MUST(!dray_region_register(o.dom, mem + k * KB4, KB4, 0, &o.region[k]));
		MUST(!dray_map(dev, mem + 7, KB4 - 7, DRAY_BIDIRECTIONAL, 0, &m));
		MUST(dray_region_unregister(o.region[0]) == -EBUSY);
		MUST(!dray_sim_read(dev, m.iova, got, KB4 - 7));
		MUST(!memcmp(mem + 7, got, KB4 - 7));
		dray_unmap(dev, &m);
		MUST(!pthread_create(&other, NULL, unregister_one, &o));
		if (!close_late)
			dray_device_close(dev);
		dray_domain_close(o.dom);
		MUST(!dray_region_unregister(o.region[1]));
		if (close_late)
			dray_device_close(dev);
		MUST(!pthread_join(other, NULL));
		COUNT(own_domains);
	}
	free(mem);
}
