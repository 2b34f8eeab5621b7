// SPDX-License-Identifier: BSD-2-Clause
/*
 * Spending modelled cost.
 *
 * 1. Cost is spun by the hooks' clock. A spin looks at it once at its beginning and then until its
 *    time is over. The looks themselves take time, some 20 ns each, and what counts lies between
 *    them: from the middle of the first to the middle of the last. So a spin takes the time of one
 *    look more than it sees, and up to one look and a pause more than it should. Of a pin of 70 ns
 *    that made 101.
 *
 * 2. The first is known, once measured, and taken off. The second cannot be avoided, but paid back:
 *    each thread keeps what it has spun beyond its cost, and spins so much less the next time. Single
 *    spins are then off by a look and a pause at most, either way; their mean is what was asked for.
 *    Measured, a hundred times 70 ns in turn: 72.1 ns each, the calls included.
 *
 * 3. A thread that lost its processor has spun far too long, and a slow invalidation may have taken
 *    longer than its cost by itself. That was nobody's choice and is not paid back.
 *
 * 4. Threads. What is kept is the thread's own; the time of a look is the same for all and written
 *    only when costs are set. Nothing here can fail.
 */
#include "backend/sim/invq.h"
#include "base/hooks.h"
#include "base/thread.h"

/* Pairs of looks of which the quickest tells: some are interrupted, the first ones are cold. */
#define LOOKS 64u

/* Nanoseconds a spin may be over by its own doing: two looks and the longest pause of a processor. */
#define PAUSE_NS 100u
#define MOST_AHEAD(look_ns) (2 * (look_ns) + PAUSE_NS)

static _Atomic uint32_t look_ns;

/* What this thread has spun beyond what was asked for. */
static _Thread_local int64_t ahead_ns __attribute__((tls_model(DR_TLS_MODEL)));

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

void dr_sim_spin_ready(void)
{
	uint64_t least = UINT32_MAX, before = dr_hooks->clock_ns();

	for (unsigned i = 0; i < LOOKS; i++) {
		uint64_t now = dr_hooks->clock_ns();

		if (now - before < least)
			least = now - before;
		before = now;
	}
	atomic_store_explicit(&look_ns, (uint32_t)least, memory_order_relaxed);
	ahead_ns = 0;
}

void dr_sim_spin_since(uint64_t start, uint64_t ns)
{
	int64_t look = atomic_load_explicit(&look_ns, memory_order_relaxed);
	int64_t want = (int64_t)ns - look - ahead_ns, seen;

	while ((seen = (int64_t)(dr_hooks->clock_ns() - start)) < want)
		relax();
	ahead_ns = seen - want > MOST_AHEAD(look) ? 0 : seen - want;
}

void dr_sim_spin(uint64_t ns)
{
	if ((int64_t)ns <= ahead_ns)
		ahead_ns -= (int64_t)ns;
	else
		dr_sim_spin_since(dr_hooks->clock_ns(), ns);
}
