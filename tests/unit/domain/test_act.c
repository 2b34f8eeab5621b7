// SPDX-License-Identifier: BSD-2-Clause
/* Backend calls: how requests are cut, undone, counted; by a backend that follows a script. */
#include "rig.h"

#include "backend/sim/sim.h"

#define AT UINT64_C(0x200000)
#define STEPS 16

/* What the next calls do; past the last one they succeed. */
static struct {
	int map_err[STEPS], unmap_err[STEPS];
	size_t gone[STEPS]; /* of a failed unmap */
	unsigned maps, unmaps, invalidations;
	dray_iova_t map_at[STEPS], unmap_at[STEPS], inv_first, inv_last;
	size_t map_len[STEPS], unmap_len[STEPS];
	uint64_t bits[STEPS];
} script;

static int scripted_map(struct dr_backend *be, dray_iova_t iova, void *va, size_t len, uint64_t bits)
{
	unsigned n = script.maps++;

	script.map_at[n] = iova;
	script.map_len[n] = len;
	script.bits[n] = bits;
	return script.map_err[n] ? script.map_err[n] : dr_sim_ops.map(be, iova, va, len, bits);
}

static int scripted_unmap(struct dr_backend *be, dray_iova_t iova, size_t len, size_t *ret_gone)
{
	unsigned n = script.unmaps++;

	script.unmap_at[n] = iova;
	script.unmap_len[n] = len;
	if (!script.unmap_err[n])
		return dr_sim_ops.unmap(be, iova, len, ret_gone);
	*ret_gone = script.gone[n];
	return script.unmap_err[n];
}

static void scripted_invalidate(struct dr_backend *be, dray_iova_t first, dray_iova_t last)
{
	script.invalidations++;
	script.inv_first = first;
	script.inv_last = last;
	dr_sim_ops.invalidate(be, first, last);
}

static struct dr_backend_ops ops;

static struct dray_domain *open_scripted(uint64_t max_op)
{
	struct dray_domain *dom = rig_open();

	memset(&script, 0, sizeof(script));
	ops = dr_sim_ops;
	ops.map = scripted_map;
	ops.unmap = scripted_unmap;
	ops.invalidate = scripted_invalidate;
	dom->io.ops = &ops;
	dom->io.be->max_op = max_op;
	/* This thread's counters. */
	dr_counters_ready(&dom->io.counters);
	return dom;
}

static void close_scripted(struct dray_domain *dom)
{
	dom->io.ops = &dr_sim_ops;
	dray_domain_close(dom);
}

/* Cut from the start, the rest last; unmapped in the same places; invalidated once, as a whole. */
static void test_cut(void **state)
{
	struct dray_domain *dom = open_scripted(3 * KB4);
	bool refused = true;

	(void)state;
	assert_int_equal(dr_act_map(&dom->io, AT, rig_memory, 8 * KB4, DR_PTE_READ, &refused), 0);
	assert_false(refused);
	assert_int_equal(script.maps, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(script.map_at[i], AT + i * 3 * KB4);
		assert_int_equal(script.map_len[i], i < 2 ? 3 * KB4 : 2 * KB4);
		/* It goes on from the piece before, for whoever walks the table. */
		assert_int_equal(script.bits[i], i ? DR_PTE_READ | DR_PTE_CONTINUE : DR_PTE_READ);
	}
	assert_ptr_equal(dray_iova_to_va(dom, AT + 7 * KB4), rig_memory + 7 * KB4);
	assert_int_equal(dr_act_unmap(&dom->io, AT, 8 * KB4), 0);
	assert_int_equal(script.unmaps, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(script.unmap_at[i], script.map_at[i]);
		assert_int_equal(script.unmap_len[i], script.map_len[i]);
	}
	assert_int_equal(script.invalidations, 1);
	assert_int_equal(script.inv_first, AT);
	assert_int_equal(script.inv_last, AT + 8 * KB4 - 1);
	assert_int_equal(rig_stats(dom).backend_maps, 3);
	assert_int_equal(rig_stats(dom).map_bytes, 8 * KB4);
	assert_int_equal(rig_stats(dom).unmap_bytes, 8 * KB4);
	close_scripted(dom);
}

static void test_one_call_fits(void **state)
{
	struct dray_domain *dom = open_scripted(4 * KB4);
	bool refused;

	(void)state;
	assert_int_equal(dr_act_map(&dom->io, AT, rig_memory, 4 * KB4, DR_PTE_WRITE, &refused), 0);
	assert_int_equal(script.maps, 1);
	assert_int_equal(dr_act_unmap(&dom->io, AT, 4 * KB4), 0);
	assert_int_equal(script.unmaps, 1);
	close_scripted(dom);
}

/* Each piece fails once: what came before is unmapped, what comes behind is never asked for. */
static void test_piece_fails(void **state)
{
	(void)state;
	for (unsigned bad = 0; bad < 4; bad++) {
		struct dray_domain *dom = open_scripted(KB4);
		bool refused = true;

		script.map_err[bad] = -ENOSPC;
		assert_int_equal(dr_act_map(&dom->io, AT, rig_memory, 4 * KB4, DR_PTE_READ, &refused),
				 -ENOSPC);
		assert_false(refused);
		assert_int_equal(script.maps, bad + 1);
		assert_int_equal(script.unmaps, bad);
		assert_int_equal(script.invalidations, bad > 0);
		for (unsigned i = 0; i < 4; i++)
			assert_null(dray_iova_to_va(dom, AT + i * KB4));
		assert_int_equal(rig_info(dom).mapped_bytes, 0);
		assert_int_equal(rig_info(dom).damaged, 0);
		close_scripted(dom);
	}
}

/* Undoing is refused for one piece: told, and the other pieces are undone all the same. */
static void test_undo_refused(void **state)
{
	struct dray_domain *dom = open_scripted(KB4);
	bool refused = false;

	(void)state;
	script.map_err[3] = -ENOMEM;
	script.unmap_err[1] = -EIO;
	assert_int_equal(dr_act_map(&dom->io, AT, rig_memory, 4 * KB4, DR_PTE_READ, &refused), -ENOMEM);
	assert_true(refused);
	assert_int_equal(script.unmaps, 3);
	assert_null(dray_iova_to_va(dom, AT));
	assert_non_null(dray_iova_to_va(dom, AT + KB4));
	assert_null(dray_iova_to_va(dom, AT + 2 * KB4));
	assert_int_equal(rig_info(dom).damaged, 1);
	assert_int_equal(rig_stats(dom).unmap_errors, 1);
	assert_int_equal(rig_info(dom).mapped_bytes, KB4);
	close_scripted(dom);
}

/* The first error is the one returned; every refused piece is counted and logged. */
static void test_several_refused(void **state)
{
	struct dray_domain *dom = open_scripted(2 * KB4);
	bool refused;

	(void)state;
	assert_int_equal(dr_act_map(&dom->io, AT, rig_memory, 8 * KB4, DR_PTE_READ, &refused), 0);
	script.unmap_err[1] = -EINVAL;
	script.unmap_err[3] = -EIO;
	script.gone[3] = KB4;
	assert_int_equal(dr_act_unmap(&dom->io, AT, 8 * KB4), -EINVAL);
	assert_non_null(strstr(dray_errmsg(), "sim refused"));
	assert_int_equal(script.unmaps, 4);
	assert_int_equal(script.invalidations, 1);
	assert_int_equal(rig_stats(dom).unmap_errors, 2);
	assert_int_equal(rig_stats(dom).unmap_bytes, 5 * KB4);
	assert_non_null(strstr(rig_log, "0x202000+0x2000"));
	assert_non_null(strstr(rig_log, "0x1000 bytes gone"));
	assert_int_equal(rig_level, LOG_ERR);
	close_scripted(dom);
}

/* A range is given back or lost for ever, and nothing else: what was not live is told, not taken. */
static void test_release(void **state)
{
	struct dray_domain *dom = open_scripted(KB4);

	(void)state;
	assert_int_equal(dr_iova_take_fixed(dom->io.space, AT, AT + KB4 - 1), 0);
	dr_act_release(&dom->io, AT, KB4, false);
	assert_int_equal(dr_iova_take_fixed(dom->io.space, AT, AT + KB4 - 1), 0);
	dr_act_release(&dom->io, AT, KB4, true);
	assert_int_equal(rig_info(dom).quarantined_bytes, KB4);
	assert_int_equal(dr_iova_take_fixed(dom->io.space, AT, AT + KB4 - 1), -EEXIST);
	assert_int_equal(rig_log[0], '\0');
	dr_act_release(&dom->io, AT, KB4, false);
	assert_int_equal(rig_level, LOG_CRIT);
	assert_int_equal(rig_info(dom).quarantined_bytes, KB4);
	close_scripted(dom);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_cut),          TEST(test_one_call_fits),  TEST(test_piece_fails),
		TEST(test_undo_refused), TEST(test_several_refused), TEST(test_release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
