// SPDX-License-Identifier: BSD-2-Clause
/* Registering and unregistering places, and what the oracle says meanwhile. */
#include "churn.h"

#include <errno.h>
#include <string.h>

/* Nobody registers while a duel goes on: its loser's handle must not become somebody else's. */
static pthread_rwlock_t no_registering = PTHREAD_RWLOCK_INITIALIZER;

int register_outside_duels(void *va, size_t len, struct dray_region **ret_region)
{
	int err;

	pthread_rwlock_rdlock(&no_registering);
	err = dray_region_register(churn.dom, va, len, 0, ret_region);
	pthread_rwlock_unlock(&no_registering);
	return err;
}

static int register_at(struct place *p, bool fixed, uint32_t flags)
{
	int err;

	if (p->read_only)
		flags |= DRAY_REGION_READ_ONLY;
	pthread_rwlock_rdlock(&no_registering);
	err = fixed ? dray_region_register_at(churn.dom, p->fixed, p->va, p->len, flags,
					      &p->region) :
		      dray_region_register(churn.dom, p->va, p->len, flags, &p->region);
	pthread_rwlock_unlock(&no_registering);
	return err;
}

static void register_locked(struct place *p, struct dice *d)
{
	bool fixed = dice_below(d, 2);
	uint32_t flags = dice_below(d, 4) ? 0 : DRAY_REGION_DONTFORK;
	size_t len = p->len;
	dray_iova_t at;
	int err;

	atomic_store(&p->changing, fixed ? p->fixed : DRAY_IOVA_NONE);
	atomic_fetch_add(&p->generation, 1);
	err = register_at(p, fixed, flags);
	if (err) {
		MUST(is_limit(err));
		p->region = NULL;
		MUST(dray_translate(churn.dom, p->va, NULL) == DRAY_IOVA_NONE);
	} else {
		at = dray_translate(churn.dom, p->va, &len);
		MUST(at != DRAY_IOVA_NONE && len == p->len && !(at & (KB4 - 1)));
		MUST(!fixed || at == p->fixed);
		MUST(read_name(&churn.prober, at, p->va) == 1);
		MUST(read_name(&churn.prober, at + p->len - 1, p->va + p->len - 1) == 1);
		atomic_store(&p->iova, at);
		COUNT(registered);
	}
	atomic_fetch_add(&p->generation, 1);
}

/* What must be so once nothing is registered, and nobody else can have the address. */
static void check_gone(struct place *p, dray_iova_t was)
{
	static const size_t at[] = { 0, 1, 2, 3 }; /* quarters */

	for (unsigned i = 0; i < 4; i++) {
		size_t off = (p->len / 4 * at[i]) & ~(KB4 - 1);

		MUST(dray_translate(churn.dom, p->va + off, NULL) == DRAY_IOVA_NONE);
		if (was != p->fixed)
			continue;
		MUST(!dray_iova_to_va(churn.dom, was + off));
		MUST(read_name(&churn.prober, was + off, p->va + off) == -EFAULT);
	}
}

/* What is known before an unregistration, and then tells whether its result can be. */
struct judge {
	dray_iova_t iova;
	uint64_t kept, ended;
};

static void judge_begin(struct judge *j, struct place *p)
{
	j->iova = atomic_load(&p->iova);
	atomic_store(&p->changing, j->iova);
	atomic_fetch_add(&p->generation, 1);
	/* Until it is known: a mapping that is at this address now may have been made otherwise. */
	atomic_store(&p->iova, DRAY_IOVA_NONE);
	j->kept = atomic_load(&p->kept);
	j->ended = atomic_load(&p->ended);
}

static void judge_end(const struct judge *j, struct place *p, bool gone)
{
	uint64_t leaving = atomic_load(&p->leaving), begun = atomic_load(&p->begun);

	if (gone) {
		MUST(j->kept <= leaving);
		p->region = NULL;
		check_gone(p, j->iova);
		COUNT(unregistered);
	} else {
		MUST(begun > j->ended);
		atomic_store(&p->iova, j->iova);
		COUNT(busy);
	}
	atomic_fetch_add(&p->generation, 1);
}

static void unregister_locked(struct place *p)
{
	struct judge j;
	int err;

	judge_begin(&j, p);
	err = dray_region_unregister(p->region);
	MUST(!err || err == -EBUSY);
	judge_end(&j, p, !err);
}

void place_turn(struct place *p, struct dice *d)
{
	if (pthread_mutex_trylock(&p->lock))
		return;
	if (p->region)
		unregister_locked(p);
	else
		register_locked(p, d);
	pthread_mutex_unlock(&p->lock);
}

void place_clear(struct place *p)
{
	if (p->region)
		unregister_locked(p);
	MUST(!p->region);
}

void place_overlap(struct place *p, struct dice *d)
{
	struct dray_region *none = NULL;
	size_t pages = p->len / KB4, first = dice_below(d, pages), n;
	dray_iova_t at;

	if (pthread_mutex_trylock(&p->lock))
		return;
	if (p->region) {
		/* Up to two pages over its end. */
		n = 1 + dice_below(d, pages + 2 - first);
		at = atomic_load(&p->iova);
		pthread_rwlock_rdlock(&no_registering);
		MUST(dray_region_register(churn.dom, p->va + first * KB4, n * KB4,
					  p->read_only ? DRAY_REGION_READ_ONLY : 0, &none) ==
		     -EEXIST);
		pthread_rwlock_unlock(&no_registering);
		MUST(!none && dray_translate(churn.dom, p->va, NULL) == at);
		COUNT(overlaps);
	}
	pthread_mutex_unlock(&p->lock);
}

static void *unregister_too(void *region)
{
	return (void *)(intptr_t)dray_region_unregister(region);
}

void place_duel(struct place *p)
{
	pthread_t other;
	struct judge j;
	void *theirs;
	int mine;

	if (pthread_mutex_trylock(&p->lock))
		return;
	if (p->region) {
		pthread_rwlock_wrlock(&no_registering);
		judge_begin(&j, p);
		MUST(!pthread_create(&other, NULL, unregister_too, p->region));
		mine = dray_region_unregister(p->region);
		MUST(!pthread_join(other, &theirs));
		pthread_rwlock_unlock(&no_registering);
		MUST(!mine + !theirs <= 1);
		/* Who was late saw it gone; who was not, the other at it, or mappings. */
		MUST(!mine || mine == -EBUSY || (mine == -EINVAL && !theirs));
		MUST(!theirs || (intptr_t)theirs == -EBUSY ||
		     ((intptr_t)theirs == -EINVAL && !mine));
		judge_end(&j, p, !mine || !theirs);
		COUNT(duels);
	}
	pthread_mutex_unlock(&p->lock);
}

/* Some places as they were at one moment, if settled() then says so. */
struct view {
	struct place *place[PLACES];
	uint64_t generation[PLACES];
	unsigned n;
};

/* Look at one more. True: nobody is at it. */
static bool look(struct view *v, struct place *p, dray_iova_t *ret_iova)
{
	v->place[v->n] = p;
	v->generation[v->n] = atomic_load(&p->generation);
	*ret_iova = atomic_load(&p->iova);
	return !(v->generation[v->n++] & 1);
}

/* Has nothing changed at any of them? */
static bool settled(const struct view *v)
{
	for (unsigned i = 0; i < v->n; i++)
		if (atomic_load(&v->place[i]->generation) != v->generation[i])
			return false;
	return true;
}

/*
 * How far IOVA goes on from an address in @p, which is at @iova, without a gap. *ret_exact: not
 * only at least so far.
 */
static size_t run_from(struct view *v, struct place *p, const char *va, dray_iova_t iova,
		       size_t want, bool *ret_exact)
{
	size_t have = (size_t)(p->va + p->len - va);
	dray_iova_t next;

	*ret_exact = true;
	while (have < want && p + 1 < places + PLACES && p[1].va == p->va + p->len) {
		*ret_exact = look(v, p + 1, &next);
		if (!*ret_exact || next != iova + p->len)
			break;
		iova = next;
		have += (++p)->len;
	}
	return have < want ? have : want;
}

static void ask_place(struct place *p, char *va, size_t want)
{
	size_t off = (size_t)(va - p->va), len = want, run = 0;
	struct view v = { .n = 0 };
	dray_iova_t known, changing, got;
	bool stable = look(&v, p, &known), exact = false;
	void *back = NULL;
	int named = 0;

	changing = atomic_load(&p->changing);
	if (stable && known != DRAY_IOVA_NONE)
		run = run_from(&v, p, va, known, want, &exact);
	got = dray_translate(churn.dom, va, &len);
	if (got != DRAY_IOVA_NONE) {
		back = dray_iova_to_va(churn.dom, got);
		named = read_name(&churn.prober, got, va);
		MUST(!((got ^ (uintptr_t)va) & (KB4 - 1)));
	}
	COUNT(asks);
	if (!settled(&v))
		return;
	COUNT(answers);
	if (!stable) {
		MUST(got == DRAY_IOVA_NONE || changing == DRAY_IOVA_NONE || got == changing + off);
		return;
	}
	if (known == DRAY_IOVA_NONE) {
		MUST(got == DRAY_IOVA_NONE && len == want);
		return;
	}
	MUST(got == known + off);
	MUST(exact ? len == run : len >= run);
	MUST(back == va && named == 1);
}

void place_ask(struct dice *d)
{
	char *va = arena + dice_below(d, arena_pages * KB4);
	size_t want = 1 + dice_below(d, dice_below(d, 3) ? 3 * KB4 : 3 * MB2), len = want;
	struct place *p = place_of(va, 1);

	if (dice_below(d, 2)) {
		/* The small ones are a thousandth of the arena. */
		p = &places[dice_below(d, PLACES)];
		va = p->va + dice_below(d, p->len);
	}
	if (p) {
		ask_place(p, va, want);
		return;
	}
	MUST(dray_translate(churn.dom, va, &len) == DRAY_IOVA_NONE && len == want);
}

void stay_begin(struct stay *s, const char *va, size_t len)
{
	*s = (struct stay){ .place = place_of(va, len), .iova = DRAY_IOVA_NONE };
	if (!s->place)
		return;
	atomic_fetch_add(&s->place->begun, 1);
	s->generation = atomic_load(&s->place->generation);
	if (!(s->generation & 1))
		s->iova = atomic_load(&s->place->iova);
}

/* @off: from the place's beginning. */
void stay_settle(struct stay *s, dray_iova_t iova, size_t off, bool alone)
{
	if (!s->place)
		return;
	if (alone && s->iova != DRAY_IOVA_NONE &&
	    atomic_load(&s->place->generation) == s->generation)
		MUST(iova == s->iova + off);
	/* The region has these addresses to itself as long as it is there: see judge_begin(). */
	s->inside = atomic_load(&s->place->iova) == iova - off;
	if (s->inside) {
		atomic_fetch_add(&s->place->kept, 1);
		COUNT(inside);
	}
}

void stay_leave(struct stay *s)
{
	if (s->place && s->inside)
		atomic_fetch_add(&s->place->leaving, 1);
}

void stay_end(struct stay *s)
{
	if (s->place)
		atomic_fetch_add(&s->place->ended, 1);
	s->place = NULL;
}
