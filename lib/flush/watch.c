// SPDX-License-Identifier: BSD-2-Clause
/*
 * Time: the helper thread, dray_poll() and what both do; and switching the mode, which needs the
 * same barrier.
 *
 * 1. A look (of the helper, or of a poll) asks the clock once. If nothing waits it notes the time;
 *    otherwise whatever waits was put after the moment noted last, so its age is bounded from above
 *    without a time kept for each ticket. A flush notes its own beginning. From half the timeout on
 *    a look flushes. Looks are a quarter of the timeout apart, so nothing gets older than three
 *    quarters of it; the last quarter is for the scheduler and the flush itself. Polls that come
 *    more often than an eighth of the timeout after another are no looks.
 *
 * 2. Quiet threads. A queue whose head and tail have not moved since the last look is not coming
 *    for what is finished: the look gives it back, home.
 *
 * 3. Idle. A look that leaves nothing to wait for and nothing to give back sets DR_FLUSH_IDLE, and
 *    the helper sleeps without a timeout: a quiet application costs nothing. Whoever puts then
 *    notes the time and wakes the helper. The order is that of iova/cache.c, 4:
 *
 *      put      head = …;       barrier A;  look at the signals
 *      idle     signals |= …;   barrier B;  look at every head
 *      strict   signals |= …;   barrier B;  flush, which reads every head
 *
 *    B is membarrier(PRIVATE_EXPEDITED), a full barrier in all running threads, so A need only hold
 *    the compiler: at least one side sees the other. Where the kernel has no membarrier A is an
 *    exchange and B the order of the atomic that sets the signal. If it refuses later on, the
 *    helper does not go idle, and a switch to strict says that it cannot be sure.
 *
 * 4. The helper blocks all signals, has the CPU affinity of the process (its main thread's, not
 *    that of the thread which happened to switch the mode), and is named dray-flush. It starts with
 *    the first switch to lazy and ends when the queue closes.
 */
#define _GNU_SOURCE
#include "base/err.h"
#include "base/hooks.h"
#include "flush/queue.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool dr_flush_barrier(const struct dr_flush *f)
{
	return f->fenced || !dr_hooks->membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

static bool anything_waits(const struct dr_flush *f)
{
	unsigned threads = atomic_load_explicit(&f->threads, memory_order_acquire);

	for (unsigned i = 0; i < threads; i++) {
		struct dr_flush_queue *q = dr_flush_queue_of(f, i);

		/* Sequentially consistent: B's other half where threads fence themselves. */
		if (q && atomic_load_explicit(&q->done, memory_order_relaxed) !=
			 atomic_load_explicit(&q->head, memory_order_seq_cst))
			return true;
	}
	return false;
}

void dr_flush_wake(struct dr_flush *f)
{
	pthread_mutex_lock(&f->wake_lock);
	if (atomic_load_explicit(&f->face.signals, memory_order_relaxed) & DR_FLUSH_IDLE) {
		uint64_t now = dr_hooks->clock_ns();

		/* Another thread may have put something since the idle one looked. */
		if (!anything_waits(f))
			atomic_store_explicit(&f->since_ns, now, memory_order_relaxed);
		atomic_fetch_and_explicit(&f->face.signals, ~(uint32_t)DR_FLUSH_IDLE,
					  memory_order_relaxed);
		pthread_cond_signal(&f->wake);
	}
	pthread_mutex_unlock(&f->wake_lock);
}

/* Nothing is left to look after: say so, unless something has just been put. */
static void go_idle_locked(struct dr_flush *f)
{
	if (atomic_load_explicit(&f->face.signals, memory_order_relaxed) & DR_FLUSH_IDLE)
		return;
	/* Sequentially consistent: barrier B where threads fence themselves. */
	atomic_fetch_or_explicit(&f->face.signals, DR_FLUSH_IDLE, memory_order_seq_cst);
	if (!dr_flush_barrier(f) || anything_waits(f))
		atomic_fetch_and_explicit(&f->face.signals, ~(uint32_t)DR_FLUSH_IDLE,
					  memory_order_relaxed);
}

static bool is_due(const struct dr_flush *f, uint64_t now)
{
	uint64_t since = atomic_load_explicit(&f->since_ns, memory_order_relaxed);

	/* Another thread's later moment is not due. */
	return now > since && now - since >= f->timeout_ns / 2;
}

/* True: nothing waits and nothing has to be given back. Holds look_lock. */
static bool look_locked(struct dr_flush *f)
{
	unsigned threads = atomic_load_explicit(&f->threads, memory_order_acquire);
	uint64_t now = dr_hooks->clock_ns();
	bool waiting = false, finished = false;

	atomic_store_explicit(&f->looked_ns, now, memory_order_relaxed);
	for (unsigned i = 0; i < threads; i++) {
		struct dr_flush_queue *q = dr_flush_queue_of(f, i);
		uint32_t head, done, tail;

		if (!q)
			continue;
		tail = atomic_load_explicit(&q->tail, memory_order_acquire);
		done = atomic_load_explicit(&q->done, memory_order_acquire);
		head = atomic_load_explicit(&q->head, memory_order_acquire);
		waiting |= head != done;
		if (done != tail && head == q->seen_head && tail == q->seen_tail)
			dr_flush_harvest_home(f, i);
		else
			finished |= done != tail;
		q->seen_head = head;
		q->seen_tail = tail;
	}
	if (!waiting) {
		atomic_store_explicit(&f->since_ns, now, memory_order_relaxed);
	} else if (is_due(f, now)) {
		pthread_mutex_lock(&f->lock);
		/* Unless another thread has flushed while the lock was waited for. */
		if (is_due(f, now))
			dr_flush_locked(f, DR_FLUSH_TIMER);
		pthread_mutex_unlock(&f->lock);
	}
	return !waiting && !finished;
}

/* A grace period, where one is worth it. */
static void reclaim(struct dr_flush *f)
{
	if (dr_pgtable_wants_reclaim(f->io->pt))
		dr_pgtable_reclaim(f->io->pt);
}

static bool wants_look(const struct dr_flush *f)
{
	uint64_t looked = atomic_load_explicit(&f->looked_ns, memory_order_relaxed);

	return dr_hooks->clock_ns() - looked >= f->timeout_ns / 8;
}

int dr_flush_poll(struct dr_flush *f)
{
	bool idle = false;

	reclaim(f);
	/* Idle: nothing can be due. */
	if (atomic_load_explicit(&f->face.signals, memory_order_relaxed) & DR_FLUSH_IDLE)
		return 0;
	if (!wants_look(f))
		return 0;
	pthread_mutex_lock(&f->look_lock);
	/* Unless somebody else has just looked. */
	if (wants_look(f))
		idle = look_locked(f);
	pthread_mutex_unlock(&f->look_lock);
	if (idle) {
		pthread_mutex_lock(&f->wake_lock);
		go_idle_locked(f);
		pthread_mutex_unlock(&f->wake_lock);
	}
	return 0;
}

static void in_a_while(const struct dr_flush *f, struct timespec *ret_then)
{
	uint64_t ns;

	clock_gettime(CLOCK_MONOTONIC, ret_then);
	ns = (uint64_t)ret_then->tv_nsec + f->timeout_ns / 4;
	ret_then->tv_sec += (time_t)(ns / 1000000000u);
	ret_then->tv_nsec = (long)(ns % 1000000000u);
}

static void *help(void *arg)
{
	struct dr_flush *f = arg;
	struct timespec then;
	bool idle;

	pthread_mutex_lock(&f->wake_lock);
	while (!f->stop) {
		if (atomic_load_explicit(&f->face.signals, memory_order_relaxed) & DR_FLUSH_IDLE) {
			pthread_cond_wait(&f->wake, &f->wake_lock);
			continue;
		}
		in_a_while(f, &then);
		while (!f->stop &&
		       pthread_cond_timedwait(&f->wake, &f->wake_lock, &then) != ETIMEDOUT)
			;
		if (f->stop)
			break;
		pthread_mutex_unlock(&f->wake_lock);
		reclaim(f);
		pthread_mutex_lock(&f->look_lock);
		idle = look_locked(f);
		pthread_mutex_unlock(&f->look_lock);
		pthread_mutex_lock(&f->wake_lock);
		if (idle)
			go_idle_locked(f);
	}
	pthread_mutex_unlock(&f->wake_lock);
	return NULL;
}

static int create(struct dr_flush *f)
{
	pthread_attr_t attr;
	sigset_t all, was;
	cpu_set_t cpus;
	int err;

	err = pthread_attr_init(&attr);
	if (err)
		return err;
	/* More CPUs than a set holds: then the creator's affinity has to do. */
	if (!sched_getaffinity(getpid(), sizeof(cpus), &cpus))
		pthread_attr_setaffinity_np(&attr, sizeof(cpus), &cpus);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &was);
	err = pthread_create(&f->helper, &attr, help, f);
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	pthread_attr_destroy(&attr);
	if (!err)
		pthread_setname_np(f->helper, "dray-flush");
	return err;
}

int dr_flush_start_helper_locked(struct dr_flush *f)
{
	int err;

	if (f->polled || f->has_helper)
		return 0;
	err = create(f);
	if (err)
		return dr_fail(err == ENOMEM ? ENOMEM : EAGAIN, "no thread for lazy invalidation "
			       "(%s); raise ulimit -u, or open the domain with DRAY_DOMAIN_POLLED",
			       strerror(err));
	f->has_helper = true;
	return 0;
}

void dr_flush_stop_helper(struct dr_flush *f)
{
	if (!f->has_helper)
		return;
	pthread_mutex_lock(&f->wake_lock);
	f->stop = true;
	pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->wake_lock);
	pthread_join(f->helper, NULL);
	f->has_helper = false;
}

int dr_flush_set_lazy(struct dr_flush *f, bool lazy)
{
	int err = 0;

	pthread_mutex_lock(&f->mode_lock);
	if (lazy) {
		err = dr_flush_start_helper_locked(f);
		if (!err)
			atomic_fetch_and_explicit(&f->face.signals, ~(uint32_t)DR_FLUSH_STRICT,
						  memory_order_relaxed);
	} else {
		/* Sequentially consistent: barrier B where threads fence themselves. */
		atomic_fetch_or_explicit(&f->face.signals, DR_FLUSH_STRICT, memory_order_seq_cst);
		if (!dr_flush_barrier(f))
			err = dr_fail(EPERM, "the kernel refuses membarrier(), so unmaps that "
				      "other threads have begun may still be lazy; allow it");
		dr_flush_now(f, DR_FLUSH_SWITCH);
	}
	pthread_mutex_unlock(&f->mode_lock);
	return err;
}
