// SPDX-License-Identifier: BSD-2-Clause
/*
 * Fail the nth call to the world, for every n until none is left to fail, in each of dray's calls
 * that may fail: it fails with an error and its words, or does without; and what it leaves is what
 * was there before. Then the same call succeeds, and can be undone.
 */
#include "scene.h"

#include "base/hooks.h"
#include "domain/domain.h"
#include "iova/pieces.h"

#include <string.h>

#define AT UINT64_C(0x40000000)

/* A call under test. prepare and undo run in a world that works. */
struct call {
	const char *name;
	bool needs_device, sim_only;
	void (*prepare)(struct scene *s);
	int (*run)(struct scene *s);
	void (*undo)(struct scene *s);
	void (*unprepare)(struct scene *s);
	/* How many n must fail at least on sim and type1; else the test tests nothing. */
	unsigned least[2];
};

static int run_domain_open(struct scene *s)
{
	struct dray_domain_opts opts = { .size = sizeof(opts), .backend = s->backend };

	return dray_domain_open(&opts, &s->new_dom);
}

static void undo_domain_open(struct scene *s)
{
	dray_domain_close(s->new_dom);
}

static int run_device_open(struct scene *s)
{
	return dray_device_open(s->dom, scene_name(s), NULL, &s->new_dev);
}

static int run_far_device_open(struct scene *s)
{
	return dray_device_open(s->dom, scene_far_name(s), NULL, &s->new_dev);
}

static int run_near_device_open(struct scene *s)
{
	return dray_device_open(s->dom, scene_near_name(s), NULL, &s->new_dev);
}

static void undo_device_open(struct scene *s)
{
	dray_device_close(s->new_dev);
}

/* Four mappings, one of them in three pieces, that a device must be given. */
static void map_some(struct scene *s)
{
	s->dom->io.be->max_op = 2 * KB4;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(dray_domain_map(s->dom, AT + i * MB2, s->mem, KB4,
						 DRAY_PROT_READ, 0), 0);
	assert_int_equal(dray_domain_map(s->dom, AT + 3 * MB2, s->mem, 5 * KB4,
					 DRAY_PROT_READ | DRAY_PROT_WRITE, 0), 0);
}

static void unmap_some(struct scene *s)
{
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(dray_domain_unmap(s->dom, AT + i * MB2, KB4), 0);
	assert_int_equal(dray_domain_unmap(s->dom, AT + 3 * MB2, 5 * KB4), 0);
}

static int run_map(struct scene *s)
{
	return dray_map(s->dev, s->mem + 100, 3 * KB4, DRAY_TO_DEVICE, 0, &s->map);
}

static void cut_small(struct scene *s)
{
	s->dom->io.be->max_op = 64 * KB4;
}

/* Nine pieces, over the edge of two tables. */
static int run_large_map(struct scene *s)
{
	return dray_map_fixed(s->dev, AT - MB2 / 2, s->mem, MB2 + 5 * KB4, DRAY_BIDIRECTIONAL, 0,
			      &s->map);
}

static void reserve_window(struct scene *s)
{
	assert_int_equal(dray_domain_reserve(s->dom, AT, AT + 4 * KB4 - 1, DRAY_RESERVE_FIXED), 0);
	assert_int_equal(dray_domain_reserve(s->dom, AT + 8 * KB4, AT + 12 * KB4 - 1,
					     DRAY_RESERVE_FIXED), 0);
}

/* The same, without spare records in the space: the next one has to be allocated. */
static void reserve_bare(struct scene *s)
{
	struct dray_iova_space *space = s->dom->io.space;
	struct dr_piece *p;

	reserve_window(s);
	while ((p = space->spare)) {
		space->spare = p->right;
		space->spares--;
		dr_free(p);
	}
}

static void unreserve_window(struct scene *s)
{
	assert_int_equal(dray_domain_unreserve(s->dom, AT, AT + 12 * KB4 - 1), 0);
}

/* Across two windows and what is between them: the most records a range can need. */
static int run_fixed_across_windows(struct scene *s)
{
	return dray_map_fixed(s->dev, AT + 2 * KB4, s->mem, 8 * KB4, DRAY_FROM_DEVICE, 0, &s->map);
}

static void undo_map(struct scene *s)
{
	dray_unmap(s->dev, &s->map);
}

static int run_explicit(struct scene *s)
{
	return dray_domain_map(s->dom, UINT64_C(1) << 38, s->mem, 3 * KB4, DRAY_PROT_READ, 0);
}

static void undo_explicit(struct scene *s)
{
	assert_int_equal(dray_domain_unmap(s->dom, UINT64_C(1) << 38, 3 * KB4), 0);
}

static int run_coherent(struct scene *s)
{
	return dray_coherent_alloc(s->dev, 5 * KB4, 0, &s->block, &s->map);
}

static void undo_coherent(struct scene *s)
{
	dray_coherent_free(s->dev, s->block, &s->map);
}

static int run_set_domain(struct scene *s)
{
	return dray_device_set_domain(s->dev, s->other);
}

static void undo_set_domain(struct scene *s)
{
	assert_int_equal(dray_device_set_domain(s->dev, s->dom), 0);
}

static int run_reserve(struct scene *s)
{
	return dray_domain_reserve(s->dom, AT + 2 * KB4, AT + 10 * KB4 - 1, DRAY_RESERVE_HOLE);
}

static void undo_reserve(struct scene *s)
{
	assert_int_equal(dray_domain_unreserve(s->dom, AT + 2 * KB4, AT + 10 * KB4 - 1), 0);
	reserve_window(s);
}

static int run_unreserve(struct scene *s)
{
	return dray_domain_unreserve(s->dom, AT + 2 * KB4, AT + 10 * KB4 - 1);
}

static const struct call calls[] = {
	{ "domain_open", .run = run_domain_open, .undo = undo_domain_open, .least = { 4, 6 } },
	{ "device_open", .run = run_device_open, .undo = undo_device_open, .least = { 3, 10 } },
	{ "device_open with replay", .prepare = map_some, .run = run_device_open,
	  .undo = undo_device_open, .unprepare = unmap_some, .least = { 3, 16 } },
	{ "device_open, another group", true, .prepare = map_some, .run = run_far_device_open,
	  .undo = undo_device_open, .unprepare = unmap_some, .least = { 3, 8 } },
	{ "device_open, same group", true, .prepare = map_some, .run = run_near_device_open,
	  .undo = undo_device_open, .unprepare = unmap_some, .least = { 3, 5 } },
	{ "map", true, .run = run_map, .undo = undo_map, .least = { 2, 3 } },
	{ "map in pieces", true, .prepare = cut_small, .run = run_large_map, .undo = undo_map,
	  .least = { 2, 9 } },
	{ "map across windows", true, .prepare = reserve_window, .run = run_fixed_across_windows,
	  .undo = undo_map, .unprepare = unreserve_window, .least = { 2, 3 } },
	{ "domain_map", true, .run = run_explicit, .undo = undo_explicit, .least = { 3, 4 } },
	{ "coherent_alloc", true, .run = run_coherent, .undo = undo_coherent, .least = { 2, 3 } },
	{ "set_domain", true, true, .run = run_set_domain, .undo = undo_set_domain,
	  .least = { 1, 0 } },
	{ "reserve", .prepare = reserve_bare, .run = run_reserve, .undo = undo_reserve,
	  .unprepare = unreserve_window, .least = { 1, 1 } },
	{ "unreserve", .prepare = reserve_bare, .run = run_unreserve, .undo = reserve_window,
	  .unprepare = unreserve_window, .least = { 1, 1 } },
};

/* Did it say why, and change none of its outputs? */
static void assert_failed_cleanly(const struct scene *s, const struct call *c, int err)
{
	if (err >= 0 || err < -133) {
		print_error("%s returned %d\n", c->name, err);
		fail();
	}
	assert_true(strlen(dray_errmsg()) > 10);
	assert_null(s->new_dev);
	assert_null(s->new_dom);
	assert_null(s->block);
	assert_int_equal(s->map.cookie[0], 0);
}

/* A scene of its own for each n, so that nothing of the one before helps. True: none was left. */
static bool fail_one(enum dray_backend_kind backend, const struct call *c, unsigned n, int failure,
		     bool *ret_failed)
{
	struct view was;
	struct scene s;
	bool fired;
	int err;

	scene_open(&s, backend, c->needs_device);
	if (c->prepare)
		c->prepare(&s);
	view_take(&s, &was);
	vfio_fake_fail_nth(VFIO_FAKE_ANY, n, failure);
	err = c->run(&s);
	fired = vfio_fake_fired();
	vfio_fake_fail_nth(VFIO_FAKE_ANY, 0, 0);
	*ret_failed = err != 0;
	if (err) {
		assert_true(fired);
		assert_failed_cleanly(&s, c, err);
		view_assert_same(&s, &was, c->name, n);
		/* What failed once works now. */
		assert_int_equal(c->run(&s), 0);
	}
	c->undo(&s);
	if (c->unprepare)
		c->unprepare(&s);
	scene_close(&s);
	return !fired;
}

static void fail_every_one(enum dray_backend_kind backend)
{
	/* One that each layer passes on, one that it translates, one that it may think harmless. */
	static const int failures[] = { ENOMEM, EIO, EINVAL };

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		const struct call *c = &calls[i];
		unsigned least = c->least[backend == DRAY_BACKEND_TYPE1];

		if (c->sim_only && backend != DRAY_BACKEND_SIM)
			continue;
		for (size_t f = 0; f < sizeof(failures) / sizeof(failures[0]); f++) {
			unsigned n = 1, failed = 0;
			bool hurt;

			while (!fail_one(backend, c, n, failures[f], &hurt)) {
				failed += hurt;
				n++;
			}
			print_message("%s, %s: %u calls, %u of them fatal\n", c->name,
				      strerror(failures[f]), n - 1, failed);
			assert_true(failed >= (failures[f] == ENOMEM ? least : 0));
		}
	}
}

static void test_sim(void **state)
{
	(void)state;
	fail_every_one(DRAY_BACKEND_SIM);
}

static void test_type1(void **state)
{
	(void)state;
	fail_every_one(DRAY_BACKEND_TYPE1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sim),
		cmocka_unit_test(test_type1),
	};

	return cmocka_run_group_tests(tests, machine_up, machine_down);
}
