/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A spinlock for a few instructions that are hardly ever contended. Acquire and release order what
 * the lock guards. Looks before it asks, so that waiters share the line; after a while it lets
 * another thread run, since outside a kernel the holder may have lost its CPU.
 */
#ifndef BENCH_BASELINE_SPIN_H
#define BENCH_BASELINE_SPIN_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#if defined(__x86_64__) || defined(__i386__)
#define spin_relax() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define spin_relax() __asm__ volatile("yield")
#else
#define spin_relax() ((void)0)
#endif

#define SPIN_LOOKS 256u

typedef _Atomic bool spinlock;

static inline void spin_lock(spinlock *lock)
{
	unsigned looks = 0;

	while (atomic_exchange_explicit(lock, true, memory_order_acquire)) {
		do {
			if (++looks % SPIN_LOOKS)
				spin_relax();
			else
				sched_yield();
		} while (atomic_load_explicit(lock, memory_order_relaxed));
	}
}

static inline void spin_unlock(spinlock *lock)
{
	atomic_store_explicit(lock, false, memory_order_release);
}

#endif
