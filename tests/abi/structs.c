// SPDX-License-Identifier: BSD-2-Clause
/*
 * Where each field of each public struct is, on a 64-bit machine. A program that was compiled
 * against an older header passes structs laid out as then, so what is listed here never changes.
 * Structs that begin with their size may grow at the end: their new fields are added to the list, and
 * the size in it stays that of the first release. Others keep their size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dray/dray.h>
#include <dray/sim.h>

_Static_assert(sizeof(void *) == 8, "the offsets are those of a 64-bit machine");

struct pin {
	const char *what;
	size_t now, pinned;
};

#define AT(type, field, offset) { #type "." #field, offsetof(struct type, field), offset }

static const struct pin fields[] = {
	AT(dray_range, first, 0),
	AT(dray_range, last, 8),
	AT(dray_domain_opts, size, 0),
	AT(dray_domain_opts, backend, 8),
	AT(dray_domain_opts, type, 12),
	AT(dray_domain_opts, invalidation, 16),
	AT(dray_domain_opts, flags, 20),
	AT(dray_domain_opts, first, 24),
	AT(dray_domain_opts, last, 32),
	AT(dray_domain_opts, sim_profile, 40),
	AT(dray_domain_opts, bounce_bytes, 48),
	AT(dray_domain_opts, bounce_threshold, 56),
	AT(dray_domain_opts, flush_bytes, 64),
	AT(dray_domain_opts, flush_entries, 72),
	AT(dray_domain_opts, flush_timeout_us, 76),
	AT(dray_domain_opts, adopt_fd, 80),
	AT(dray_domain_opts, adopt_ioas, 84),
	AT(dray_domain_opts, log, 88),
	AT(dray_domain_opts, log_ctx, 96),
	AT(dray_domain_opts, cost_slot_ns, 104),
	AT(dray_domain_opts, cost_copy_ns, 108),
	AT(dray_domain_opts, cost_map_ns, 128),
	AT(dray_domain_opts, cost_lazy_map_ns, 148),
	AT(dray_domain_info, size, 0),
	AT(dray_domain_info, backend, 8),
	AT(dray_domain_info, type, 12),
	AT(dray_domain_info, invalidation, 16),
	AT(dray_domain_info, damaged, 20),
	AT(dray_domain_info, granule, 24),
	AT(dray_domain_info, page_sizes, 32),
	AT(dray_domain_info, first, 40),
	AT(dray_domain_info, last, 48),
	AT(dray_domain_info, max_op, 56),
	AT(dray_domain_info, entries_limit, 64),
	AT(dray_domain_info, entries_left, 72),
	AT(dray_domain_info, memlock_limit, 80),
	AT(dray_domain_info, mapped_bytes, 88),
	AT(dray_domain_info, quarantined_bytes, 96),
	AT(dray_domain_info, pgtable_bytes, 104),
	AT(dray_domain_info, devices, 112),
	AT(dray_domain_info, n_windows, 116),
	AT(dray_domain_info, n_holes, 120),
	AT(dray_domain_info, windows, 128),
	AT(dray_domain_info, holes, 384),
	AT(dray_domain_info, cost_slot_ns, 640),
	AT(dray_domain_info, cost_copy_ns, 644),
	AT(dray_domain_info, cost_map_ns, 664),
	AT(dray_domain_info, cost_lazy_map_ns, 684),
	AT(dray_domain_info, copy_up_to, 704),
	AT(dray_domain_info, copy_up_to_once, 712),
	AT(dray_domain_info, lazy_copy_up_to, 720),
	AT(dray_domain_info, lazy_copy_up_to_once, 728),
	AT(dray_device_opts, size, 0),
	AT(dray_device_opts, flags, 8),
	AT(dray_device_opts, adopt_fd, 12),
	AT(dray_device_opts, dma_mask, 16),
	AT(dray_device_opts, segment_boundary_mask, 24),
	AT(dray_device_opts, max_segment, 32),
	AT(dray_device_opts, min_align, 40),
	AT(dray_device_opts, bounce_bytes, 48),
	AT(dray_device_info, size, 0),
	AT(dray_device_info, flags, 8),
	AT(dray_device_info, trusted, 12),
	AT(dray_device_info, coherent, 16),
	AT(dray_device_info, enforces_coherency, 20),
	AT(dray_device_info, name, 24),
	AT(dray_device_info, dma_mask, 88),
	AT(dray_device_info, segment_boundary_mask, 96),
	AT(dray_device_info, max_segment, 104),
	AT(dray_device_info, min_align, 112),
	AT(dray_device_info, bounce_bytes, 120),
	AT(dray_device_info, bounce_held_bytes, 128),
	AT(dray_device_info, bounce_used_bytes, 136),
	AT(dray_device_info, bounce_high_water_bytes, 144),
	AT(dray_mapping, iova, 0),
	AT(dray_mapping, len, 8),
	AT(dray_mapping, cookie, 16),
	AT(dray_iova_opts, size, 0),
	AT(dray_iova_opts, granule, 8),
	AT(dray_iova_opts, first, 16),
	AT(dray_iova_opts, last, 24),
	AT(dray_iova_cell, first, 0),
	AT(dray_iova_cell, live, 8),
	AT(dray_iova_cell, retired, 16),
	AT(dray_iova_cell, cached, 24),
	AT(dray_iova_cell, chunk_free, 32),
	AT(dray_iova_cell, slack, 40),
	AT(dray_iova_cell, reserved, 48),
	AT(dray_iova_cell, quarantined, 56),
	AT(dray_iova_cell, free, 64),
	AT(dray_sim_fault, iova, 0),
	AT(dray_sim_fault, access, 8),
	AT(dray_sim_fault, reason, 12),
	AT(dray_sim_fault, level, 16),
	AT(dray_sim_fault, pad, 20),
	AT(dray_sim_walk, size, 0),
	AT(dray_sim_walk, levels, 8),
	AT(dray_sim_walk, page_shift, 12),
	AT(dray_sim_walk, entry, 16),
	AT(dray_stats, size, 0),
	AT(dray_stats, maps, 8),
	AT(dray_stats, unmaps, 16),
	AT(dray_stats, backend_maps, 24),
	AT(dray_stats, backend_unmaps, 32),
	AT(dray_stats, invalidations, 40),
	AT(dray_stats, map_bytes, 48),
	AT(dray_stats, unmap_bytes, 56),
	AT(dray_stats, map_failures, 64),
	AT(dray_stats, unmap_errors, 72),
	AT(dray_stats, bad_unmaps, 80),
	AT(dray_stats, leaks, 88),
	AT(dray_stats, replays, 96),
	AT(dray_stats, flushes_full, 104),
	AT(dray_stats, flushes_bytes, 112),
	AT(dray_stats, flushes_timer, 120),
	AT(dray_stats, flushes_explicit, 128),
	AT(dray_stats, flushes_pressure, 136),
	AT(dray_stats, flushes_switch, 144),
	AT(dray_stats, flushes_close, 152),
	AT(dray_stats, flushed, 160),
	AT(dray_stats, ranged_unmaps, 168),
	AT(dray_stats, ranged_mappings, 176),
	AT(dray_stats, ranged_gaps, 184),
	AT(dray_stats, waiting_entries, 192),
	AT(dray_stats, waiting_bytes, 200),
	AT(dray_stats, longest_stale_ns, 208),
	AT(dray_stats, bounce_mask, 216),
	AT(dray_stats, bounce_align, 224),
	AT(dray_stats, bounce_edge, 232),
	AT(dray_stats, bounce_line, 240),
	AT(dray_stats, bounce_pin, 248),
	AT(dray_stats, bounce_cheaper, 256),
	AT(dray_stats, bounce_in_bytes, 264),
	AT(dray_stats, bounce_out_bytes, 272),
	AT(dray_stats, bounce_mapped_bytes, 280),
	AT(dray_stats, bounce_used_bytes, 288),
	AT(dray_stats, bounce_high_water_bytes, 296),
	AT(dray_stats, bounce_grows, 304),
	AT(dray_stats, bounce_shrinks, 312),
	AT(dray_stats, bounce_failures, 320),
	AT(dray_sg, va, 0),
	AT(dray_sg, len, 8),
	AT(dray_sg, iova, 16),
	AT(dray_sg, dma_len, 24),
	AT(dray_sg, cookie, 32),
	AT(dray_prp, prp1, 0),
	AT(dray_prp, prp2, 8),
	AT(dray_sgl_desc, addr, 0),
	AT(dray_sgl_desc, len, 8),
	AT(dray_sgl_desc, pad, 12),
	AT(dray_sgl_desc, type, 15),
	AT(dray_nvme_list, va, 0),
	AT(dray_nvme_list, iova, 8),
};

#define SIZE(type, size) { #type, sizeof(struct type), size }

static const struct pin grow[] = {
	SIZE(dray_domain_opts, 104),
	SIZE(dray_domain_info, 640),
	SIZE(dray_device_opts, 48),
	SIZE(dray_iova_opts, 32),
	SIZE(dray_sim_walk, 48),
	SIZE(dray_stats, 328),
};

static const struct pin keep[] = {
	SIZE(dray_range, 16),
	SIZE(dray_iova_cell, 72),
	SIZE(dray_mapping, 32),
	SIZE(dray_sg, 48),
	SIZE(dray_prp, 16),
	SIZE(dray_sgl_desc, 16),
	SIZE(dray_nvme_list, 16),
	SIZE(dray_sim_fault, 24),
};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static void fields_stay(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(fields); i++)
		if (fields[i].now != fields[i].pinned)
			fail_msg("%s is at %zu, and was at %zu", fields[i].what, fields[i].now,
				 fields[i].pinned);
}

static void sizes_stay(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(keep); i++)
		if (keep[i].now != keep[i].pinned)
			fail_msg("struct %s has %zu bytes, and had %zu", keep[i].what, keep[i].now,
				 keep[i].pinned);
	for (size_t i = 0; i < COUNT(grow); i++)
		if (grow[i].now < grow[i].pinned)
			fail_msg("struct %s has %zu bytes, and had %zu", grow[i].what, grow[i].now,
				 grow[i].pinned);
}

static void size_comes_first(void **state)
{
	(void)state;
	assert_int_equal(offsetof(struct dray_domain_opts, size), 0);
	assert_int_equal(offsetof(struct dray_domain_info, size), 0);
	assert_int_equal(offsetof(struct dray_device_opts, size), 0);
	assert_int_equal(offsetof(struct dray_iova_opts, size), 0);
	assert_int_equal(offsetof(struct dray_sim_walk, size), 0);
	assert_int_equal(offsetof(struct dray_stats, size), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_stay),
		cmocka_unit_test(sizes_stay),
		cmocka_unit_test(size_comes_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
