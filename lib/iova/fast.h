/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The short way through a thread's cache: a power of two from the loaded magazine of the top zone
 * and back; and its likes for ranges that are shorter than their slots, for who found the first
 * one closed. Nothing else. No lock, no atomic read-modify-write, no line that another thread
 * writes. Whatever it does not serve it leaves untouched. Why it is sound is in cache.c.
 */
#ifndef DR_IOVA_FAST_H
#define DR_IOVA_FAST_H

#include "iova/cache.h"
#include "iova/pieces.h"
#include "iova/state.h"

/* The calling thread's, or dr_tcache_none. */
static inline struct dr_tcache *dr_this_cache(const struct dray_iova_space *s)
{
	/* Acquire only for the checker: a number's holder follows its creator through a lock. */
	return atomic_load_explicit(&s->by_thread[dr_thread_mine], memory_order_acquire);
}

/* One writer: no read-modify-write. */
static inline void dr_tally(_Atomic int64_t *counter, int64_t by)
{
	int64_t n = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, n + by, memory_order_relaxed);
}

static inline void dr_leave(struct dr_tcache *t)
{
	/* Release: what was done inside, to a stopper. */
	atomic_store_explicit(&t->busy, 0, memory_order_release);
}

static inline void dr_enter_mark(struct dr_tcache *t)
{
	atomic_store_explicit(&t->busy, 1, memory_order_relaxed);
	/* Barrier A: B makes it a real one when it matters. */
	atomic_signal_fence(memory_order_seq_cst);
}

/* False, and not inside: stopped, or a mode that has a longer way. */
static inline bool dr_enter(struct dr_tcache *t)
{
	dr_enter_mark(t);
	/* Acquire: what the last stopper did. */
	if (__builtin_expect(!atomic_load_explicit(&t->flags, memory_order_acquire), 1))
		return true;
	dr_leave(t);
	return false;
}

/* Into this thread's cache. False: somebody has stopped it; take the lock instead. */
static inline bool dr_enter_any(struct dr_tcache *t)
{
	if (atomic_load_explicit(&t->flags, memory_order_relaxed) & DR_FENCED)
		/* Sequentially consistent: barrier A where B is an ordinary one. */
		atomic_exchange_explicit(&t->busy, 1, memory_order_seq_cst);
	else
		dr_enter_mark(t);
	/* As in dr_enter(); sequentially consistent for the exchange above. */
	if (!(atomic_load_explicit(&t->flags, memory_order_seq_cst) & DR_STOPPED))
		return true;
	dr_leave(t);
	return false;
}

/* The slot for a power of two, and where it is: log2 of the power; 63 for 0. */
static inline struct dr_slot *dr_slot_fast(struct dr_tcache *t, uint64_t len, unsigned *ret_log2)
{
	unsigned log2 = (unsigned)__builtin_ctzll(len | UINT64_C(1) << 63);
	char *at = (char *)t + ((uint64_t)log2 << 6);

	/*
	 * One address for all its fields, not one for each, and where the slots begin is left to
	 * the fields' offsets: six instructions less in a pair.
	 */
	__asm__("" : "+r"(at));
	*ret_log2 = log2;
	return (struct dr_slot *)(void *)(at + offsetof(struct dr_tcache, hot));
}

/* Inside: the topmost address of the slot's loaded magazine. False, and outside: not this way. */
static inline __attribute__((always_inline)) bool
dr_take_from(const struct dray_iova_space *s, struct dr_tcache *t, struct dr_slot *slot,
	     uint64_t len, unsigned log2, uint64_t *ret_iova)
{
	uint64_t iova, *top = dr_slot_top(slot);

	if (__builtin_expect(slot->len != len || top == dr_slot_low(slot), 0)) {
		dr_leave(t);
		return false;
	}
	iova = *--top;
	dr_slot_set_top(slot, top);
	atomic_store_explicit((_Atomic uint8_t *)(s->states + (uintptr_t)(iova >> DR_STATE_SHIFT)),
			      (uint8_t)(DR_SLOT_LIVE | log2), memory_order_relaxed);
	dr_leave(t);
	*ret_iova = iova;
	return true;
}

/*
 * An address for @len bytes from the top zone. False: not this way. A slot's len is that of its
 * place or 0, so it also tells sizes apart that are no powers of two.
 */
static inline bool dr_take_fast(const struct dray_iova_space *s, uint64_t len, uint64_t *ret_iova)
{
	struct dr_tcache *t = dr_this_cache(s);
	struct dr_slot *slot;
	unsigned log2;

	if (__builtin_expect(!dr_enter(t), 0))
		return false;
	slot = dr_slot_fast(t, len, &log2);
	return dr_take_from(s, t, slot, len, log2, ret_iova);
}

/* The byte of what may begin at @iova in the top zone. False: not this way. */
static inline bool dr_find_fast(const struct dray_iova_space *s, uint64_t iova,
				_Atomic uint8_t **ret_state)
{
	/* Turned, not shifted: where the lowest bits are not 0 it is beyond any last. */
	uint64_t at = iova >> DR_STATE_SHIFT | iova << (64 - DR_STATE_SHIFT);

	/* Acquire: last, and that the bytes from there on may be read. */
	if (__builtin_expect(at < atomic_load_explicit(&s->states_first, memory_order_acquire) ||
			     at > atomic_load_explicit(&s->states_last, memory_order_relaxed), 0))
		return false;
	*ret_state = (_Atomic uint8_t *)(s->states + (uintptr_t)at);
	return true;
}

/* Inside: an address onto the slot's loaded magazine. False, and outside: not this way. */
static inline __attribute__((always_inline)) bool
dr_give_to(struct dr_tcache *t, struct dr_slot *slot, _Atomic uint8_t *state, uint64_t iova,
	   uint64_t len, unsigned log2, const uint8_t from)
{
	const uint8_t used = (uint8_t)(from | log2);
	uint64_t *top = dr_slot_top(slot);

	/* The byte knows the size, and that an address begins here. */
	if (__builtin_expect(atomic_load_explicit(state, memory_order_relaxed) != used ||
			     slot->len != len || top == slot->high, 0)) {
		dr_leave(t);
		return false;
	}
	atomic_store_explicit(state, DR_SLOT_FREE, memory_order_relaxed);
	*top = iova;
	dr_slot_set_top(slot, top + 1);
	if (from == DR_SLOT_RETIRED) {
		dr_tally(&t->retired_ranges, -1);
		dr_tally(&t->retired_granules, -(int64_t)dr_slot_n(slot));
	}
	dr_leave(t);
	return true;
}

/* Back from DR_SLOT_LIVE or DR_SLOT_RETIRED. False: not this way. */
static inline bool dr_give_fast(const struct dray_iova_space *s, uint64_t iova, uint64_t len,
				const uint8_t from)
{
	_Atomic uint8_t *state;
	struct dr_tcache *t;
	struct dr_slot *slot;
	unsigned log2;

	if (__builtin_expect(!dr_find_fast(s, iova, &state), 0))
		return false;
	t = dr_this_cache(s);
	if (__builtin_expect(!dr_enter(t), 0))
		return false;
	slot = dr_slot_fast(t, len, &log2);
	return dr_give_to(t, slot, state, iova, len, log2, from);
}

/* Inside: the slot of that size says how many granules. False, and outside: not this way. */
static inline __attribute__((always_inline)) bool
dr_retire_in(struct dr_tcache *t, const struct dr_slot *slot, _Atomic uint8_t *state,
	     uint64_t len, unsigned log2)
{
	if (__builtin_expect(atomic_load_explicit(state, memory_order_relaxed) !=
			     (uint8_t)(DR_SLOT_LIVE | log2) || slot->len != len, 0)) {
		dr_leave(t);
		return false;
	}
	atomic_store_explicit(state, (uint8_t)(DR_SLOT_RETIRED | log2), memory_order_relaxed);
	dr_tally(&t->retired_ranges, 1);
	dr_tally(&t->retired_granules, dr_slot_n(slot));
	dr_leave(t);
	return true;
}

/* From live to retired. False: not this way. */
static inline bool dr_retire_fast(const struct dray_iova_space *s, uint64_t iova, uint64_t len)
{
	_Atomic uint8_t *state;
	struct dr_tcache *t;
	struct dr_slot *slot;
	unsigned log2;

	if (__builtin_expect(!dr_find_fast(s, iova, &state), 0))
		return false;
	t = dr_this_cache(s);
	if (__builtin_expect(!dr_enter(t), 0))
		return false;
	slot = dr_slot_fast(t, len, &log2);
	return dr_retire_in(t, slot, state, len, log2);
}

/*
 * The slot of the power of two above @len, which is none; NULL: none is attached. Where that would
 * be 2^64 the slot of 2^0 is looked at, which never is.
 */
static inline struct dr_slot *dr_slot_short(struct dr_tcache *t, uint64_t len)
{
	unsigned log2 = (64u - (unsigned)__builtin_clzll(len | 1)) & 63;
	struct dr_slot *slot = &t->hot[log2];

	return slot->len == UINT64_C(1) << log2 ? slot : NULL;
}

/* As dr_take_fast(), for a length that is no power of two. */
static inline bool dr_take_short(const struct dray_iova_space *s, uint64_t len, uint64_t *ret_iova)
{
	struct dr_tcache *t = dr_this_cache(s);
	const struct dr_cache *c = s->cache;
	_Atomic uint8_t *state;
	struct dr_slot *slot;
	uint64_t iova, *top;
	unsigned n;

	if (!c || !(atomic_load_explicit(&c->rounding, memory_order_relaxed) & 1) ||
	    len & c->granule_mask || !dr_enter(t))
		return false;
	slot = dr_slot_short(t, len);
	if (!slot || dr_slot_top(slot) == dr_slot_low(slot)) {
		dr_leave(t);
		return false;
	}
	top = dr_slot_top(slot) - 1;
	iova = *top;
	dr_slot_set_top(slot, top);
	n = (unsigned)(len >> c->granule_shift);
	state = (_Atomic uint8_t *)(s->states + (uintptr_t)(iova >> DR_STATE_SHIFT));
	dr_short_set(state, n);
	atomic_store_explicit(state, DR_SLOT_LIVE | DR_SLOT_SHORT, memory_order_relaxed);
	dr_tally(&t->slack_granules, dr_slot_n(slot) - (int64_t)n);
	dr_leave(t);
	*ret_iova = iova;
	return true;
}

/* Is it the first byte of a slot that has a range of exactly @len bytes, in state @from? */
static inline bool dr_is_short(const struct dray_iova_space *s, const _Atomic uint8_t *state,
			       uint64_t len, uint8_t from)
{
	return atomic_load_explicit(state, memory_order_relaxed) == (from | DR_SLOT_SHORT) &&
	       (uint64_t)dr_short_n(state) << s->cache->granule_shift == len;
}

/* As dr_give_fast(), for what dr_take_short() takes. */
static inline bool dr_give_short(const struct dray_iova_space *s, uint64_t iova, uint64_t len,
				 const uint8_t from)
{
	_Atomic uint8_t *state;
	struct dr_tcache *t;
	struct dr_slot *slot;
	uint64_t *top;
	int64_t n;

	if (!dr_find_fast(s, iova, &state))
		return false;
	t = dr_this_cache(s);
	if (!dr_enter(t))
		return false;
	slot = dr_slot_short(t, len);
	if (!slot || !dr_is_short(s, state, len, from) || dr_slot_top(slot) == slot->high) {
		dr_leave(t);
		return false;
	}
	n = dr_short_n(state);
	atomic_store_explicit(state, DR_SLOT_FREE, memory_order_relaxed);
	dr_short_set(state, 0);
	top = dr_slot_top(slot);
	*top = iova;
	dr_slot_set_top(slot, top + 1);
	dr_tally(&t->slack_granules, n - dr_slot_n(slot));
	if (from == DR_SLOT_RETIRED) {
		dr_tally(&t->retired_ranges, -1);
		dr_tally(&t->retired_granules, -n);
	}
	dr_leave(t);
	return true;
}

/* As dr_retire_fast(), for what dr_take_short() takes. */
static inline bool dr_retire_short(const struct dray_iova_space *s, uint64_t iova, uint64_t len)
{
	_Atomic uint8_t *state;
	struct dr_tcache *t;

	if (!dr_find_fast(s, iova, &state))
		return false;
	t = dr_this_cache(s);
	if (!dr_enter(t))
		return false;
	if (!dr_is_short(s, state, len, DR_SLOT_LIVE)) {
		dr_leave(t);
		return false;
	}
	atomic_store_explicit(state, DR_SLOT_RETIRED | DR_SLOT_SHORT, memory_order_relaxed);
	dr_tally(&t->retired_ranges, 1);
	dr_tally(&t->retired_granules, dr_short_n(state));
	dr_leave(t);
	return true;
}

#endif
