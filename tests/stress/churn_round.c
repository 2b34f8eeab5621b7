// SPDX-License-Identifier: BSD-2-Clause
/* Rounds: the domain that everybody is at, what translates, and what must add up in the end. */
#include "churn.h"
#include "vfio_fake.h"

#include "backend/sim/sim.h"
#include "domain/domain.h"

#include <errno.h>
#include <string.h>

/* All places at their own addresses, and what a tight window has beside them. */
#define FIXED_BYTES (11 * MB2)
#define TIGHT_BYTES (3 * MB2)

/* Too few for what the crowd has out at a time, enough for the largest request. */
#define ENTRIES 20u
#define MEMLOCK (6 * MB2)

static const char *const sim_names[] = { "sim1", "sim2", "sim3", "sim4" };
static const char *const vfio_names[] = {
	"0000:01:00.0", "0000:02:00.0", "0000:03:00.0", "0000:04:00.0",
};

int player_read(const struct player *p, dray_iova_t iova, void *buf, size_t len)
{
	return churn.scripted ? vfio_fake_dma(p->name, iova, buf, len, false) :
				dray_sim_read(p->dev, iova, buf, len);
}

int player_write(const struct player *p, dray_iova_t iova, const void *buf, size_t len)
{
	/* It does not write to what it writes from. */
	return churn.scripted ? vfio_fake_dma(p->name, iova, (void *)(uintptr_t)buf, len, true) :
				dray_sim_write(p->dev, iova, buf, len);
}

static bool says(const char *word)
{
	return strstr(dray_errmsg(), word);
}

bool is_limit(int err)
{
	if (!churn.limited)
		return false;
	if (err == -ENOSPC && says("bytes of IOVA left"))
		COUNT(no_iova);
	else if (err == -ENOSPC && says("dma_entry_limit"))
		COUNT(no_entries);
	else if (err == -ENOMEM && says("RLIMIT_MEMLOCK"))
		COUNT(no_memlock);
	else
		return false;
	return true;
}

static void open_player(struct player *p, const char *name)
{
	p->name = name;
	MUST(!dray_device_open(churn.dom, name, NULL, &p->dev));
	if (churn.scripted)
		vfio_fake_set_bus_master(name, true);
}

static void start_script(struct dice *d)
{
	vfio_fake_start();
	for (unsigned i = 0; i < 4; i++)
		vfio_fake_add_device(vfio_names[i], 5 + i, "vfio-pci");
	if (dice_below(d, 2))
		vfio_fake_set_entry_limit(ENTRIES);
	else
		vfio_fake_set_memlock(MEMLOCK);
}

void round_open(struct dice *d)
{
	struct dray_domain_opts opts = {
		.size = sizeof(opts), .invalidation = (uint32_t)dice_below(d, 2),
		.flush_entries = 16, .flush_timeout_us = 500,
	};
	const char *const *names;

	churn.scripted = dice_below(d, 3) == 0;
	churn.limited = churn.scripted || dice_below(d, 2);
	if (churn.scripted)
		start_script(d);
	opts.backend = churn.scripted ? DRAY_BACKEND_TYPE1 : DRAY_BACKEND_SIM;
	names = churn.scripted ? vfio_names : sim_names;
	if (dice_below(d, 3) == 0)
		opts.flags |= DRAY_DOMAIN_DEBUG;
	if (dice_below(d, 4) == 0)
		opts.flags |= DRAY_DOMAIN_GUARD;
	if (churn.limited && !churn.scripted) {
		opts.first = FIXED_BASE;
		opts.last = FIXED_BASE + FIXED_BYTES + TIGHT_BYTES - 1;
	}
	MUST(!dray_domain_open(&opts, &churn.dom));
	MUST(!dray_domain_reserve(churn.dom, FIXED_BASE, FIXED_BASE + FIXED_BYTES - 1,
				  DRAY_RESERVE_FIXED));
	MUST(FIXED_BYTES >= arena_pages * KB4);
	for (unsigned i = 0; i < DEVICES; i++)
		open_player(&churn.devices[i], names[i]);
	open_player(&churn.prober, names[DEVICES]);
	churn.visitor = (struct player){ .name = names[DEVICES + 1] };
}

/* With nothing out and nothing registered. */
static void check_adds_up(void)
{
	struct dray_stats st = { .size = sizeof(st) };
	struct dray_domain_info info = { .size = sizeof(info) };
	struct dr_sim_counts counts;

	MUST(!dray_flush(churn.dom));
	MUST(!dray_stats_get(churn.dom, &st) && !dray_domain_info(churn.dom, &info));
	MUST(st.maps == st.unmaps && !st.leaks && !st.bad_unmaps && !st.unmap_errors);
	MUST(st.map_bytes == st.unmap_bytes && !st.waiting_entries && !st.waiting_bytes);
	MUST(!info.damaged && !info.quarantined_bytes && !info.mapped_bytes);
	MUST(!st.bounce_mapped_bytes && !st.bounce_used_bytes);
	MUST(dr_regions_is_valid(churn.dom->regions) && !dr_regions_any(churn.dom->regions, 0));
	MUST(dr_iova_space_is_valid(churn.dom->io.space));
	MUST(dr_pgtable_is_valid(churn.dom->io.pt));
	if (churn.scripted) {
		MUST(!vfio_fake_mappings());
		return;
	}
	dr_sim_counts(churn.dom->io.be, &counts);
	MUST(!counts.stale_reuses);
}

void round_close(void)
{
	struct dray_sim_fault fault;

	check_adds_up();
	for (unsigned i = 0; i < DEVICES; i++) {
		if (!churn.scripted)
			MUST(dray_sim_faults(churn.devices[i].dev, &fault, 1) == 0);
		dray_device_close(churn.devices[i].dev);
	}
	dray_device_close(churn.prober.dev);
	dray_domain_close(churn.dom);
	if (churn.scripted) {
		MUST(!vfio_fake_fds_open());
		vfio_fake_stop();
	}
}
