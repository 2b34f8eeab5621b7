// SPDX-License-Identifier: BSD-2-Clause
/*
 * Profiles: which hardware an address space of the software IOMMU stands for. Code asks a profile
 * what it can do, never what it is called.
 *
 *   vtd                 Intel and AMD: three page sizes, a queue of invalidations, snooping
 *   xen-pv              a hypervisor's IOMMU, asked call by call: 4 KiB pages, little at a time,
 *                       flushed before each call returns (split.c)
 *   noncoherent         devices that do not see what the CPU's caches hold (image.c)
 *   noncoherent-walker  the same, and the IOMMU reads its tables past the caches too
 *   direct              no IOMMU: devices address memory itself
 */
#include "backend/sim/machine.h"
#include "base/err.h"

#include <errno.h>
#include <string.h>

/* Where x86 has its interrupt doorbells nothing is translated. */
#define X86_RANGES                                                                    \
	{                                                                             \
		{ 0, UINT64_C(0xfedfffff) },                                          \
		{ UINT64_C(0xfef00000), (UINT64_C(1) << DR_PT_ADDR_BITS) - 1 },       \
	}

#define ALL_OF_IT (UINT64_C(1) << DR_PT_ADDR_BITS)

static const struct dr_sim_profile profiles[] = {
	{
		.name = "vtd",
		.page_sizes = DR_PT_PAGE_SIZES,
		.granule = 4096,
		.max_op = ALL_OF_IT,
		.defers = DR_DEFER_INVALIDATION,
		.translates = true,
		.snoops = true,
		.walker_snoops = true,
		.n_usable = 2,
		.usable = X86_RANGES,
	},
	{
		.name = "xen-pv",
		.page_sizes = 4096,
		.granule = 4096,
		/*
		 * As a hypercall takes a bounded list of pages. Half of what the hypervisor would
		 * fuse, so that taking back a large mapping call by call meets its splits.
		 */
		.max_op = UINT64_C(1) << 20,
		.defers = DR_DEFER_NOTHING,
		.translates = true,
		.snoops = true,
		.walker_snoops = true,
		.refuses_override = true,
		.splits = true,
		.n_usable = 2,
		.usable = X86_RANGES,
	},
	{
		.name = "noncoherent",
		.page_sizes = DR_PT_PAGE_SIZES,
		.granule = 4096,
		.max_op = ALL_OF_IT,
		.defers = DR_DEFER_INVALIDATION,
		.translates = true,
		.walker_snoops = true,
		.n_usable = 1,
		.usable = { { 0, ALL_OF_IT - 1 } },
	},
	{
		.name = "noncoherent-walker",
		.page_sizes = DR_PT_PAGE_SIZES,
		.granule = 4096,
		.max_op = ALL_OF_IT,
		.defers = DR_DEFER_INVALIDATION,
		.translates = true,
		.n_usable = 1,
		.usable = { { 0, ALL_OF_IT - 1 } },
	},
	{
		.name = "direct",
		.page_sizes = DR_PT_PAGE_SIZES,
		.granule = 4096,
		.max_op = ALL_OF_IT,
		.defers = DR_DEFER_NOTHING,
		.snoops = true,
		.walker_snoops = true,
		.n_usable = 1,
		.usable = { { 0, ALL_OF_IT - 1 } },
	},
};

#define N_PROFILES (sizeof(profiles) / sizeof(profiles[0]))

static int refuse(const char *name)
{
	char known[128] = "";

	for (size_t i = 0; i < N_PROFILES; i++) {
		strncat(known, i ? ", " : "", sizeof(known) - strlen(known) - 1);
		strncat(known, profiles[i].name, sizeof(known) - strlen(known) - 1);
	}
	return dr_fail(ENOTSUP, "the software IOMMU has no profile \"%.32s\"; it has %s", name,
		       known);
}

int dr_sim_find_profile(const char *name, const struct dr_sim_profile **ret_profile)
{
	for (size_t i = 0; i < N_PROFILES; i++)
		if (!name || !strcmp(name, profiles[i].name)) {
			*ret_profile = &profiles[i];
			return 0;
		}
	return refuse(name);
}

const char *dr_sim_profile_name(unsigned i)
{
	return i < N_PROFILES ? profiles[i].name : NULL;
}
