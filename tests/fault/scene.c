// SPDX-License-Identifier: BSD-2-Clause
#include "scene.h"

#include "domain/domain.h"
#include "iova/cache.h"
#include "iova/pieces.h"

#include <stdlib.h>
#include <string.h>

static char *memory;
static long blocks_at_rest;

const char *scene_name(const struct scene *s)
{
	return s->backend == DRAY_BACKEND_SIM ? "sim0.0" : "0000:02:00.0";
}

const char *scene_near_name(const struct scene *s)
{
	return s->backend == DRAY_BACKEND_SIM ? "sim0.1" : "0000:02:00.1";
}

const char *scene_far_name(const struct scene *s)
{
	return s->backend == DRAY_BACKEND_SIM ? "sim5" : "0000:01:00.0";
}

/* Once through everything: what stays for ever (objects of slabs, a list of groups) is there then. */
static void warm(enum dray_backend_kind backend)
{
	struct dray_device *more[2];
	struct scene s;

	scene_open(&s, backend, true);
	assert_int_equal(dray_device_open(s.dom, scene_near_name(&s), NULL, &more[0]), 0);
	assert_int_equal(dray_device_open(s.dom, scene_far_name(&s), NULL, &more[1]), 0);
	dray_device_close(more[0]);
	dray_device_close(more[1]);
	dray_device_close(s.dev);
	dray_domain_close(s.dom);
	dray_domain_close(s.other);
}

int machine_up(void **state)
{
	struct dray_domain *third[3];
	struct dray_domain_opts opts = { .size = sizeof(opts), .backend = DRAY_BACKEND_SIM };

	(void)state;
	memory = aligned_alloc(MB2, MEM_LEN);
	if (!memory)
		return -1;
	memset(memory, 1, MEM_LEN);
	vfio_fake_start();
	vfio_fake_add_device("0000:01:00.0", 5, "vfio-pci");
	vfio_fake_add_device("0000:02:00.0", 6, "vfio-pci");
	vfio_fake_add_device("0000:02:00.1", 6, "vfio-pci");
	/* Read-only pins are helped, as on the oldest kernel that dray is tested on. */
	vfio_fake_set_release(6, 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(dray_domain_open(&opts, &third[i]), 0);
	for (int i = 0; i < 3; i++)
		dray_domain_close(third[i]);
	warm(DRAY_BACKEND_SIM);
	warm(DRAY_BACKEND_TYPE1);
	blocks_at_rest = vfio_fake_allocs();
	return 0;
}

int machine_down(void **state)
{
	(void)state;
	vfio_fake_stop();
	free(memory);
	return 0;
}

void scene_open(struct scene *s, enum dray_backend_kind backend, bool with_device)
{
	struct dray_domain_opts opts = { .size = sizeof(opts), .backend = backend };

	*s = (struct scene){ .backend = backend, .mem = memory };
	assert_int_equal(dray_domain_open(&opts, &s->dom), 0);
	assert_int_equal(dray_domain_open(&opts, &s->other), 0);
	if (with_device)
		assert_int_equal(dray_device_open(s->dom, scene_name(s), NULL, &s->dev), 0);
}

void scene_close(struct scene *s)
{
	dray_device_close(s->dev);
	dray_domain_close(s->dom);
	dray_domain_close(s->other);
	assert_int_equal(vfio_fake_fds_open(), 0);
	assert_int_equal(vfio_fake_mappings(), 0);
	assert_int_equal(vfio_fake_allocs(), blocks_at_rest);
}

static uint64_t count_in_table(const struct dray_domain *dom)
{
	struct dr_pt_mapping m;
	uint64_t n = 0;

	for (dray_iova_t from = dom->io.first;
	     from <= dom->io.last && dr_pgtable_next(dom->io.pt, from, dom->io.last, &m);
	     from = m.iova + m.len)
		n++;
	return n;
}

/* Blocks that a domain keeps for later calls: records, caches, tables, counters, attachments. */
static long kept_blocks(const struct dray_domain *dom)
{
	long n = (long)dom->io.space->spares + (long)(dr_pgtable_bytes(dom->io.pt) / KB4);

	n += dr_cache_blocks(dom->io.space);
	for (unsigned i = 0; i < DR_THREADS; i++)
		n += atomic_load(&dom->io.counters.by_thread[i]) != NULL;
	for (const struct dr_attachment *a = dom->attachments; a; a = a->next_of_domain)
		n++;
	return n;
}

static void look(const struct dray_domain *dom, struct view *v, int i)
{
	struct dray_stats stats = { .size = sizeof(stats) };
	struct dr_iova_counts counts;

	v->info[i].size = sizeof(v->info[i]);
	assert_int_equal(dray_domain_info(dom, &v->info[i]), 0);
	assert_int_equal(dray_stats_get(dom, &stats), 0);
	assert_true(dr_iova_space_is_valid(dom->io.space));
	assert_true(dr_pgtable_is_valid(dom->io.pt));
	dr_iova_counts(dom->io.space, &counts);
	v->live_ranges[i] = counts.live_ranges;
	v->live_bytes[i] = counts.live_bytes;
	v->in_table[i] = count_in_table(dom);
	v->maps[i] = stats.maps;
	v->unmaps[i] = stats.unmaps;
	v->leaks[i] = stats.leaks;
	v->blocks -= kept_blocks(dom);
	/* Tables that were made and not needed may stay. */
	v->info[i].pgtable_bytes = 0;
}

void view_take(const struct scene *s, struct view *ret_view)
{
	struct view v;

	memset(&v, 0, sizeof(v));
	v.blocks = vfio_fake_allocs();
	v.mappings = vfio_fake_mappings();
	v.fds = vfio_fake_fds_open();
	look(s->dom, &v, 0);
	look(s->other, &v, 1);
	*ret_view = v;
}

static void same(const char *what, unsigned n, const char *field, uint64_t now, uint64_t was)
{
	if (now == was)
		return;
	print_error("%s, call %u: %s is %llu, was %llu\n", what, n, field,
		    (unsigned long long)now, (unsigned long long)was);
	fail();
}

void view_assert_same(const struct scene *s, const struct view *was, const char *what, unsigned n)
{
	struct view now;

	view_take(s, &now);
	for (int i = 0; i < 2; i++) {
		same(what, n, "live ranges", now.live_ranges[i], was->live_ranges[i]);
		same(what, n, "live bytes", now.live_bytes[i], was->live_bytes[i]);
		same(what, n, "mappings in the table", now.in_table[i], was->in_table[i]);
		same(what, n, "maps", now.maps[i], was->maps[i]);
		same(what, n, "unmaps", now.unmaps[i], was->unmaps[i]);
		same(what, n, "leaks", now.leaks[i], was->leaks[i]);
		same(what, n, "devices", now.info[i].devices, was->info[i].devices);
		same(what, n, "mapped bytes", now.info[i].mapped_bytes, was->info[i].mapped_bytes);
		same(what, n, "entries left", now.info[i].entries_left, was->info[i].entries_left);
		same(what, n, "damaged", now.info[i].damaged, was->info[i].damaged);
		same(what, n, "holes", now.info[i].n_holes, was->info[i].n_holes);
		/* And every other field. */
		assert_memory_equal(&now.info[i], &was->info[i], sizeof(now.info[i]));
	}
	same(what, n, "blocks of memory", (uint64_t)now.blocks, (uint64_t)was->blocks);
	same(what, n, "kernel's mappings", now.mappings, was->mappings);
	same(what, n, "descriptors", (uint64_t)now.fds, (uint64_t)was->fds);
}
