/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Read-copy update, the bulletproof flavour of liburcu: no thread registers itself; its first read
 * section does (a mutex, maybe a page). Unmap, free and close therefore open no read section.
 *
 * ThreadSanitizer does not see through liburcu's barriers, so its build is told what they order:
 * everything before a read section's end happens before what follows a grace period.
 */
#ifndef DR_BASE_RCU_H
#define DR_BASE_RCU_H

#ifndef _LGPL_SOURCE
#define _LGPL_SOURCE /* inline read side: see docs/decisions */
#endif
#include <urcu-bp.h>

#include "base/thread.h"

/*
 * A thread's reader is reached like our own thread-local words: four calls less in a read section,
 * 56 of its 80 instructions.
 */
#if !defined(__cplusplus) && defined(CONFIG_RCU_TLS)
extern DECLARE_URCU_TLS(struct urcu_bp_reader *, urcu_bp_reader)
	__attribute__((tls_model(DR_TLS_MODEL)));
#endif

#if defined(__SANITIZE_THREAD__)
#define DR_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define DR_TSAN 1
#endif
#endif

#ifdef DR_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
extern char dr_rcu_tsan_period;
#define dr_rcu_tsan_acquire() __tsan_acquire(&dr_rcu_tsan_period)
#define dr_rcu_tsan_release() __tsan_release(&dr_rcu_tsan_period)
#else
#define dr_rcu_tsan_acquire() ((void)0)
#define dr_rcu_tsan_release() ((void)0)
#endif

static inline void dr_rcu_read_lock(void)
{
	rcu_read_lock();
}

static inline void dr_rcu_read_unlock(void)
{
	dr_rcu_tsan_release();
	rcu_read_unlock();
}

/* Wait until every read section that was open at the call has ended. */
static inline void dr_rcu_synchronize(void)
{
	synchronize_rcu();
	dr_rcu_tsan_acquire();
}

#endif
