// SPDX-License-Identifier: BSD-2-Clause
/*
 * What happens to a thread in WORKLOAD_HELD, and how long a partner is waited for.
 *
 * The timer is a thread of the world, bound to the first CPU that it may use: as in the kernel,
 * where one CPU's timer gives back what every queue holds. It plays a CPU drawn at random: there
 * the timer runs on whichever CPU started it. A worker hands its hold-back queues over
 * under the lock and waits until the timer has emptied them.
 */
#define _GNU_SOURCE
#include "workload/timer.h"

#include <sched.h>
#include <time.h>

#include "workload/thread.h"
#include "workload/world.h"

/* Looks at a ring between two of the clock; and how long until the partner counts as gone. */
#define LOOKS       256u
#define PATIENCE_NS 20000000u

#define TIMER_SEED 0x71c4u

_Thread_local unsigned workload_cpu;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool workload_lost_patience(struct workload_patience *p)
{
	if (++p->looks % LOOKS)
		return false;
	/* More threads than CPUs: the partner may be waiting for this one's. */
	sched_yield();
	if (!p->since)
		p->since = now_ns();
	return now_ns() - p->since > PATIENCE_NS;
}

void workload_move(struct workload_thread *t)
{
	cpu_set_t allowed, one;
	int cpu;

	(void)t;
	if (sched_getaffinity(0, sizeof(allowed), &allowed) || CPU_COUNT(&allowed) < 2)
		return;
	cpu = sched_getcpu();
	do
		cpu = (cpu + 1) % CPU_SETSIZE;
	while (!CPU_ISSET(cpu, &allowed));
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	/* Bound for a moment moves it; free again, it stays until the scheduler wants otherwise. */
	if (!sched_setaffinity(0, sizeof(one), &one))
		sched_setaffinity(0, sizeof(allowed), &allowed);
}

void workload_pause(void)
{
	struct timespec rest = { 0, WORKLOAD_PAUSE_US * 1000l };

	nanosleep(&rest, NULL);
}

void workload_tick(struct workload_thread *t)
{
	struct workload_timer *timer = workload_world_timer(t->world);

	pthread_mutex_lock(&timer->lock);
	while (timer->asks)
		pthread_cond_wait(&timer->done, &timer->lock);
	timer->asks = t;
	pthread_cond_signal(&timer->asked);
	while (timer->asks == t)
		pthread_cond_wait(&timer->done, &timer->lock);
	pthread_mutex_unlock(&timer->lock);
}

static void give_all(struct workload_thread *t)
{
	if (t->most_held < t->all_held)
		t->most_held = t->all_held;
	for (uint32_t q = 0; q < t->n_queues; q++) {
		struct workload_slot *queue = t->held + (size_t)q * WORKLOAD_HELD_BACK;

		for (uint32_t i = 0; i < t->n_held[q]; i++)
			workload_world_give(t->world, &queue[i]);
		t->n_held[q] = 0;
	}
	t->all_held = 0;
}

static void stay_on_first_cpu(void)
{
	cpu_set_t allowed, one;
	int cpu = 0;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return;
	while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, &allowed))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static void *timer_main(void *arg)
{
	struct workload_timer *timer = arg;
	uint64_t random = TIMER_SEED;

	stay_on_first_cpu();
	pthread_mutex_lock(&timer->lock);
	for (;;) {
		struct workload_thread *t;

		while (!timer->asks && !timer->stop)
			pthread_cond_wait(&timer->asked, &timer->lock);
		t = timer->asks;
		if (!t)
			break;
		workload_cpu = 1 + (unsigned)(workload_next(&random) % WORKLOAD_CPUS);
		give_all(t);
		timer->asks = NULL;
		pthread_cond_broadcast(&timer->done);
	}
	pthread_mutex_unlock(&timer->lock);
	return NULL;
}

int workload_timer_start(struct workload_timer *timer)
{
	int err;

	*timer = (struct workload_timer){ 0 };
	pthread_mutex_init(&timer->lock, NULL);
	pthread_cond_init(&timer->asked, NULL);
	pthread_cond_init(&timer->done, NULL);
	err = pthread_create(&timer->thread, NULL, timer_main, timer);
	if (err) {
		pthread_cond_destroy(&timer->done);
		pthread_cond_destroy(&timer->asked);
		pthread_mutex_destroy(&timer->lock);
	}
	return -err;
}

void workload_timer_stop(struct workload_timer *timer)
{
	pthread_mutex_lock(&timer->lock);
	timer->stop = true;
	pthread_cond_signal(&timer->asked);
	pthread_mutex_unlock(&timer->lock);
	pthread_join(timer->thread, NULL);
	pthread_cond_destroy(&timer->done);
	pthread_cond_destroy(&timer->asked);
	pthread_mutex_destroy(&timer->lock);
}
