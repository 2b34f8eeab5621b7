// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "churn.h"

#include <argp.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LIVES 64u /* of a round */

struct churn churn = { .seconds = 10 };

static pthread_t threads[SLOTS];
static struct life lives[SLOTS];
static void (*purpose[SLOTS])(struct life *);
static atomic_bool over[SLOTS]; /* the thread has nothing left to do but exit */
static sem_t somebody_is_over;

void churn_fail(const char *file, int line, const char *what)
{
	/* Other threads are anywhere, or this is a child: neither stdio nor exit handlers. */
	dprintf(2, "%s:%d: %s; errmsg: %s; --seed %llu\n", file, line, what, dray_errmsg(),
		(unsigned long long)churn.seed);
	_exit(1);
}

static void *live(void *arg)
{
	struct life *l = arg;

	purpose[l->slot](l);
	COUNT(threads);
	atomic_store(&over[l->slot], true);
	sem_post(&somebody_is_over);
	return NULL;
}

static void start(unsigned slot, uint64_t number)
{
	static void (*const special[])(struct life *) = {
		live_by_forking, live_by_visiting, live_by_duels, live_by_own_domains,
		live_by_switching, live_by_many,
	};
	const unsigned n = sizeof(special) / sizeof(special[0]);
	unsigned what = (unsigned)(number % 16);

	lives[slot] = (struct life){ .dice = dice_start(churn.seed, number + 1), .slot = slot };
	purpose[slot] = what < n ? special[what] : live_by_mapping;
	atomic_store(&over[slot], false);
	MUST(!pthread_create(&threads[slot], NULL, live, &lives[slot]));
}

/* The place of a thread that has come to its end. */
static unsigned wait_for_one(void)
{
	unsigned slot = 0;

	while (sem_wait(&somebody_is_over))
		;
	while (!atomic_load(&over[slot]))
		slot = (slot + 1) % SLOTS;
	MUST(!pthread_join(threads[slot], NULL));
	atomic_store(&over[slot], false);
	return slot;
}

/* Each that exits makes place for the next, which gets its number and what it left. */
static void crowd(uint64_t round)
{
	unsigned n = 0;

	for (; n < SLOTS; n++)
		start(n, round * LIVES + n);
	for (; n < LIVES; n++)
		start(wait_for_one(), round * LIVES + n);
	for (unsigned i = 0; i < SLOTS; i++)
		wait_for_one();
}

static void run_round(uint64_t round)
{
	struct dice d = dice_start(~churn.seed, round);

	round_open(&d);
	crowd(round);
	shelf_clear(&d);
	many_clear();
	for (unsigned i = 0; i < PLACES; i++)
		place_clear(&places[i]);
	round_close();
}

/* Every kind of thing at least once, or the run has shown less than it should. */
static bool has_seen_all(void)
{
	atomic_ulong *const all = (atomic_ulong *)&churn.counts;

	for (size_t i = 0; i < sizeof(churn.counts) / sizeof(*all); i++)
		if (!atomic_load(&all[i]))
			return false;
	return true;
}

static void tell(uint64_t rounds)
{
	const struct churn_counts *c = &churn.counts;

	printf("%llu rounds, %lu threads, %lu children, %lu programs\n",
	       (unsigned long long)rounds, c->threads, c->children, c->programs);
	printf("%lu maps and %lu lists (%lu buffers inside a region), %lu cells checked\n", c->maps,
	       c->lists, c->inside, c->checks);
	printf("%lu registrations, %lu unregistrations, %lu refused for mappings, %lu duels, "
	       "%lu overlaps refused, %lu small regions\n", c->registered, c->unregistered,
	       c->busy, c->duels, c->overlaps, c->many);
	printf("%lu lookups, %lu of them judged; %lu switches and flushes, %lu late devices, "
	       "%lu domains of a thread's own\n", c->asks, c->answers, c->switches, c->visits,
	       c->own_domains);
	printf("limits: IOVAs %lu times, entries %lu, locked memory %lu\n", c->no_iova,
	       c->no_entries, c->no_memlock);
}

enum { OPT_OWN_PROGRAM = 256 };

static const struct argp_option options[] = {
	{ "seed", 's', "N", 0, "of the random numbers (default: the time)", 0 },
	{ "seconds", 't', "N", 0, "after so many begin no other round (default 10)", 0 },
	{ "own-program", OPT_OWN_PROGRAM, NULL, OPTION_HIDDEN, NULL, 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	(void)state;
	switch (key) {
	case 's':
		churn.seed = strtoull(arg, NULL, 0);
		return 0;
	case 't':
		churn.seconds = (unsigned)strtoul(arg, NULL, 0);
		return 0;
	case OPT_OWN_PROGRAM:
		exit(own_program());
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options, .parser = parse,
		.doc = "Registers, looks up, maps and unmaps while threads, devices and children "
		       "come and go.",
	};
	uint64_t rounds = 0;
	time_t end;

	churn.seed = (uint64_t)time(NULL);
	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	printf("--seed %llu --seconds %u\n", (unsigned long long)churn.seed, churn.seconds);
	fflush(stdout);
	MUST(!sem_init(&somebody_is_over, 0, 0));
	arena_open();
	end = time(NULL) + (time_t)churn.seconds;
	do
		run_round(rounds++);
	while (time(NULL) < end || !has_seen_all());
	tell(rounds);
	return 0;
}
