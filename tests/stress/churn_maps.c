// SPDX-License-Identifier: BSD-2-Clause
/* Mappings of buffers in the arena, inside places, across their borders and elsewhere. */
#include "churn.h"

#include <errno.h>
#include <string.h>

#define SHELF 6u

/* Mapped by one thread, to be unmapped by another. Whoever has a parcel in hand has it alone. */
static pthread_mutex_t shelf_lock = PTHREAD_MUTEX_INITIALIZER;
static struct parcel shelf[SHELF]; /* guarded by shelf_lock */

static struct dray_device *any_device(struct dice *d)
{
	return churn.devices[dice_below(d, DEVICES)].dev;
}

/* A buffer somewhere: mostly small, and mostly where places are small or meet. */
static void choose_buffer(struct dice *d, char **ret_va, size_t *ret_len)
{
	size_t at = dice_below(d, arena_pages * KB4), len = 1 + dice_below(d, 3 * KB4);
	const struct place *p = &places[dice_below(d, PLACES)];

	switch (dice_below(d, 8)) {
	case 0:
		break;
	case 1:
		/* Over the end of a place. */
		at = (size_t)(p->va + p->len - arena) - 1 - dice_below(d, KB4);
		len = KB4 + dice_below(d, 2 * KB4);
		break;
	case 2:
		/* All of it, less some bytes. */
		at = (size_t)(p->va - arena) + dice_below(d, KB4 - 1);
		len = (size_t)(p->va + p->len - arena) - at - dice_below(d, 2);
		break;
	default:
		at = (size_t)(p->va - arena) + dice_below(d, p->len);
		if (len > (size_t)(p->va + p->len - arena) - at && dice_below(d, 8))
			len = (size_t)(p->va + p->len - arena) - at;
	}
	if (at + len > arena_pages * KB4)
		len = arena_pages * KB4 - at;
	*ret_va = arena + at;
	*ret_len = len ? len : 1;
}

static void choose_elements(struct parcel *p, struct dice *d)
{
	for (unsigned i = 0; i < p->n; i++) {
		char *va;

		choose_buffer(d, &va, &p->sg[i].len);
		/* One that adjoins the one before; both are one run where they are mapped. */
		if (i && dice_below(d, 3) == 0) {
			char *end = (char *)p->sg[i - 1].va + p->sg[i - 1].len;

			if (p->sg[i].len <= (size_t)(arena + arena_pages * KB4 - end))
				va = end;
		}
		p->sg[i].va = va;
	}
}

static dray_iova_t iova_of(const struct parcel *p, unsigned e)
{
	size_t before = 0;

	if (p->n == 1 && !p->segments)
		return p->m.iova;
	for (unsigned i = 0; i < e; i++)
		before += p->sg[i].len;
	for (unsigned i = 0; i < p->segments; i++) {
		if (before < p->sg[i].dma_len) {
			MUST(p->sg[e].len <= p->sg[i].dma_len - before);
			return p->sg[i].iova + before;
		}
		before -= p->sg[i].dma_len;
	}
	MUST(!"an element is in no segment");
	return DRAY_IOVA_NONE;
}

static int map_it(struct parcel *p, struct dice *d, bool list)
{
	int err;

	if (!list)
		return dray_map(any_device(d), p->sg[0].va, p->sg[0].len, p->dir, 0, &p->m);
	err = dray_map_sg(any_device(d), p->sg, p->n, p->dir, 0);
	MUST(err && err <= (int)p->n);
	if (err < 0)
		return err;
	p->segments = (unsigned)err;
	return 0;
}

static void end_stays(struct parcel *p)
{
	for (unsigned i = 0; i < p->n; i++)
		stay_end(&p->stay[i]);
	*p = (struct parcel){ 0 };
}

bool parcel_fill(struct parcel *p, struct dice *d, bool list)
{
	int err;

	*p = (struct parcel){
		.n = list ? 1 + (unsigned)dice_below(d, LIST) : 1,
		.dir = (enum dray_dir)dice_below(d, 3),
	};
	choose_elements(p, d);
	for (unsigned i = 0; i < p->n; i++)
		if (is_read_only(p->sg[i].va, p->sg[i].len))
			p->dir = DRAY_TO_DEVICE;
	for (unsigned i = 0; i < p->n; i++)
		stay_begin(&p->stay[i], p->sg[i].va, p->sg[i].len);
	err = map_it(p, d, list);
	if (err) {
		MUST(is_limit(err));
		end_stays(p);
		return false;
	}
	for (unsigned i = 0; i < p->n; i++) {
		const struct place *pl = p->stay[i].place;

		if (pl)
			stay_settle(&p->stay[i], iova_of(p, i),
				    (size_t)((char *)p->sg[i].va - pl->va), !list);
	}
	if (list)
		COUNT(lists);
	else
		COUNT(maps);
	return true;
}

void parcel_empty(struct parcel *p, struct dice *d)
{
	if (!p->n)
		return;
	for (unsigned i = 0; i < p->n; i++)
		stay_leave(&p->stay[i]);
	if (p->segments)
		dray_unmap_sg(any_device(d), p->sg, p->n);
	else
		dray_unmap(any_device(d), &p->m);
	MUST(!p->m.cookie[0] && !p->sg[0].cookie[0]);
	end_stays(p);
}

/* This thread's cell in the page of @at, if all of it is in [va, va + len). */
static char *cell_in(char *at, char *va, size_t len, const struct life *l)
{
	char *cell = cell_of(at, l->slot);

	return cell >= va && cell + CELL <= va + len ? cell : NULL;
}

/* The CPU writes and the device reads, then the other way round. */
static void check_cell(const struct parcel *p, dray_iova_t iova, char *cell, struct life *l)
{
	const struct player *dev = &churn.devices[dice_below(&l->dice, DEVICES)];
	uint64_t put[2] = { dice_below(&l->dice, UINT64_MAX), l->slot }, got[2] = { 0 };
	bool refused = is_read_only(cell, 1);

	memcpy(cpu_at(cell), put, sizeof(put));
	if (p->dir != DRAY_FROM_DEVICE) {
		MUST(!player_read(dev, iova, got, sizeof(got)));
		MUST(!memcmp(got, put, sizeof(put)));
	}
	put[0]++;
	if (p->dir != DRAY_TO_DEVICE) {
		MUST(!player_write(dev, iova, put, sizeof(put)));
		MUST(!memcmp(cpu_at(cell), put, sizeof(put)));
	} else if (refused) {
		MUST(player_write(&churn.prober, iova, put, sizeof(put)) == -EFAULT);
		MUST(!memcmp(cpu_at(cell), got, sizeof(got)));
	}
	COUNT(checks);
}

void parcel_check(const struct parcel *p, struct life *l)
{
	for (unsigned i = 0; i < p->n; i++) {
		char *va = p->sg[i].va, *last = va + p->sg[i].len - 1;
		dray_iova_t iova = iova_of(p, i);
		/* A page at either end; the next one, where the end is behind the cell. */
		char *cells[4] = {
			cell_in(va, va, p->sg[i].len, l),
			cell_in(va + KB4, va, p->sg[i].len, l),
			cell_in(last - KB4, va, p->sg[i].len, l),
			cell_in(last, va, p->sg[i].len, l),
		};

		MUST(iova % KB4 == (uintptr_t)va % KB4);
		MUST(dray_iova_to_va(churn.dom, iova) == va);
		MUST(dray_iova_to_va(churn.dom, iova + p->sg[i].len - 1) == last);
		for (unsigned c = 0; c < 4; c++)
			if (cells[c])
				check_cell(p, iova + (size_t)(cells[c] - va), cells[c], l);
	}
}

void shelf_swap(struct parcel *p, struct dice *d)
{
	unsigned at = (unsigned)dice_below(d, SHELF);
	struct parcel was;

	pthread_mutex_lock(&shelf_lock);
	was = shelf[at];
	shelf[at] = *p;
	pthread_mutex_unlock(&shelf_lock);
	*p = was;
}

void shelf_clear(struct dice *d)
{
	for (unsigned i = 0; i < SHELF; i++)
		parcel_empty(&shelf[i], d);
}
