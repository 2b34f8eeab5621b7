// SPDX-License-Identifier: BSD-2-Clause
/* Everything here looks at granules one by one. That is the point of it. */
#include "oracle.h"

#include <errno.h>
#include <string.h>

void oracle_open(struct oracle *o, uint64_t granule, struct dray_range window)
{
	memset(o, 0, sizeof(*o));
	o->base = window.first;
	o->granule = granule;
	o->n = (unsigned)((window.last - window.first) / granule) + 1;
}

uint64_t oracle_addr(const struct oracle *o, unsigned i)
{
	return o->base + i * o->granule;
}

static bool is_free(const struct cell *c)
{
	return c->use == NOBODY && !c->resv && !c->hw;
}

/* All but freedom: alignment, limit, boundary, and the granule at 0. */
static bool suits(const struct oracle *o, const struct dr_iova_request *req, unsigned first)
{
	uint64_t iova = oracle_addr(o, first);
	uint64_t last = iova + (req->len - 1);

	if (!iova || last > req->last || iova % req->align != req->phase)
		return false;
	if (!req->boundary_mask || req->boundary_mask == UINT64_MAX)
		return true;
	return iova / (req->boundary_mask + 1) == last / (req->boundary_mask + 1);
}

bool oracle_allows(const struct oracle *o, const struct dr_iova_request *req, uint64_t iova)
{
	unsigned first = (unsigned)((iova - o->base) / o->granule);
	unsigned n = (unsigned)(req->len / o->granule);

	if (iova < o->base || (iova - o->base) % o->granule || first >= o->n || n > o->n - first)
		return false;
	for (unsigned i = first; i < first + n; i++)
		if (!is_free(&o->cell[i]))
			return false;
	return suits(o, req, first);
}

bool oracle_highest(const struct oracle *o, const struct dr_iova_request *req, uint64_t *ret_iova)
{
	uint64_t n = req->len / o->granule;
	uint64_t run = 0;

	for (unsigned i = o->n; i-- > 0;) {
		run = is_free(&o->cell[i]) ? run + 1 : 0;
		if (run >= n && suits(o, req, i)) {
			*ret_iova = oracle_addr(o, i);
			return true;
		}
	}
	return false;
}

static void enter(struct oracle *o, unsigned first, unsigned n, bool fixed)
{
	for (unsigned i = first; i < first + n; i++)
		o->cell[i].use = fixed ? FIXED : AUTO;
	o->live[o->n_live++] = (struct live){.first = first, .n = n, .fixed = fixed};
	o->counts.live_ranges++;
	o->counts.live_bytes += n * o->granule;
}

void oracle_take(struct oracle *o, uint64_t iova, uint64_t len)
{
	enter(o, (unsigned)((iova - o->base) / o->granule), (unsigned)(len / o->granule), false);
}

int oracle_take_fixed(struct oracle *o, unsigned first, unsigned last)
{
	for (unsigned i = first; i <= last; i++)
		if (o->cell[i].use != NOBODY || o->cell[i].hw ||
		    o->cell[i].resv == 1 + DR_RESV_HOLE)
			return -EEXIST;
	enter(o, first, last - first + 1, true);
	return 0;
}

static struct live *find(const struct oracle *o, uint64_t iova, uint64_t len, bool retired)
{
	for (unsigned i = 0; i < o->n_live; i++)
		if (oracle_addr(o, o->live[i].first) == iova && o->live[i].n * o->granule == len &&
		    o->live[i].retired == retired)
			return (struct live *)&o->live[i];
	return NULL;
}

/* A range that is retired or live into another state. */
static bool turn(struct oracle *o, uint64_t iova, uint64_t len, bool retired, enum oracle_use use)
{
	struct live *l = find(o, iova, len, retired);

	if (!l) {
		o->counts.bad_frees++;
		return false;
	}
	for (unsigned i = l->first; i < l->first + l->n; i++)
		o->cell[i].use = (uint8_t)use;
	if (retired) {
		o->counts.retired_bytes -= len;
	} else {
		o->counts.live_ranges--;
		o->counts.live_bytes -= len;
	}
	if (use == RETIRED) {
		l->retired = true;
		o->counts.retired_bytes += len;
		return true;
	}
	*l = o->live[--o->n_live];
	if (use == QUARANTINED)
		o->counts.quarantined_bytes += len;
	return true;
}

bool oracle_give(struct oracle *o, uint64_t iova, uint64_t len)
{
	return turn(o, iova, len, false, NOBODY);
}

bool oracle_quarantine(struct oracle *o, uint64_t iova, uint64_t len)
{
	return turn(o, iova, len, false, QUARANTINED);
}

bool oracle_retire(struct oracle *o, uint64_t iova, uint64_t len)
{
	return turn(o, iova, len, false, RETIRED);
}

bool oracle_give_retired(struct oracle *o, uint64_t iova, uint64_t len)
{
	return turn(o, iova, len, true, NOBODY);
}

bool oracle_quarantine_retired(struct oracle *o, uint64_t iova, uint64_t len)
{
	return turn(o, iova, len, true, QUARANTINED);
}

bool oracle_is_gap(const struct oracle *o, unsigned first, unsigned last)
{
	for (unsigned i = first; i <= last; i++)
		if (!is_free(&o->cell[i]))
			return false;
	return true;
}

void oracle_hold(struct oracle *o, unsigned first, unsigned last)
{
	enter(o, first, last - first + 1, false);
	o->live[o->n_live - 1].held = true;
}

bool oracle_is_held(const struct oracle *o, uint64_t iova, uint64_t len)
{
	const struct live *l = find(o, iova, len, false);

	return l && l->held;
}

int oracle_resv(struct oracle *o, unsigned first, unsigned last, enum dr_iova_resv kind)
{
	for (unsigned i = first; i <= last; i++)
		if (o->cell[i].use != NOBODY)
			return -EEXIST;
	for (unsigned i = first; i <= last; i++)
		o->cell[i].resv = (uint8_t)(1 + kind);
	return 0;
}

int oracle_unresv(struct oracle *o, unsigned first, unsigned last)
{
	for (unsigned i = first; i <= last; i++)
		if ((o->cell[i].use == FIXED || o->cell[i].use == RETIRED) && o->cell[i].resv)
			return -EBUSY;
	for (unsigned i = first; i <= last; i++)
		o->cell[i].resv = 0;
	return 0;
}

static bool is_usable(const struct oracle *o, const struct dray_range *usable, unsigned n,
		      unsigned i)
{
	uint64_t first = oracle_addr(o, i), last = first + (o->granule - 1);

	for (unsigned k = 0; k < n; k++)
		if (usable[k].first <= first && last <= usable[k].last)
			return true;
	return false;
}

int oracle_set_usable(struct oracle *o, const struct dray_range *usable, unsigned n)
{
	for (unsigned i = 0; i < o->n; i++)
		if ((o->cell[i].use == AUTO || o->cell[i].use == FIXED ||
		     o->cell[i].use == RETIRED) &&
		    !is_usable(o, usable, n, i))
			return -EEXIST;
	for (unsigned i = 0; i < o->n; i++)
		o->cell[i].hw = !is_usable(o, usable, n, i);
	return 0;
}

bool oracle_is_live(const struct oracle *o, uint64_t iova, uint64_t len, bool *ret_fixed)
{
	const struct live *l = find(o, iova, len, false);

	if (l)
		*ret_fixed = l->fixed;
	return l;
}

bool oracle_any_live(const struct oracle *o, unsigned first, unsigned last)
{
	for (unsigned i = first; i <= last; i++)
		if (o->cell[i].use != NOBODY)
			return true;
	return false;
}

bool oracle_nth_hole(const struct oracle *o, unsigned n, struct dray_range *ret_hole)
{
	bool before = false;
	unsigned seen = 0;

	for (unsigned i = 0; i < o->n; i++) {
		bool hole = o->cell[i].hw || o->cell[i].resv == 1 + DR_RESV_HOLE;

		if (hole && !before)
			seen++;
		if (hole && seen == n + 1) {
			if (!before)
				ret_hole->first = oracle_addr(o, i);
			ret_hole->last = oracle_addr(o, i) + (o->granule - 1);
		}
		before = hole;
	}
	return seen > n;
}
