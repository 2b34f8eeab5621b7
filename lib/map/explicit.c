// SPDX-License-Identifier: BSD-2-Clause
/*
 * Explicit mappings: an address of the caller's choice, for every device of the domain.
 *
 * They have no receipt, so the table is what is asked at unmap: entries of owner DR_OWNER_DOMAIN
 * are explicit ones, and a range is unmapped only if it is tiled exactly by whole ones. The
 * explicit_lock makes look and act one step against other explicit calls; nobody else touches such
 * entries.
 */
#include "map/map.h"
#include "base/err.h"

#include <errno.h>
#include <inttypes.h>

static int check_explicit(const struct dray_domain *dom, dray_iova_t iova, size_t len)
{
	int err = dr_domain_check(dom);

	if (err)
		return err;
	if (!len || (len & dom->io.granule_mask) || (iova & dom->io.granule_mask))
		return dr_fail(EINVAL, "0x%" PRIx64 "+0x%zx is not whole granules of %" PRIu64
			       " bytes", iova, len, dom->io.granule_mask + 1);
	if (dom->type == DRAY_DOMAIN_BLOCKED)
		return dr_fail(EPERM, "the domain is BLOCKED; map in a PAGING domain");
	if (dom->type == DRAY_DOMAIN_IDENTITY)
		return dr_fail(ENOTSUP, "an IDENTITY domain has no addresses to choose");
	if (iova + len - 1 < iova || iova < dom->io.first || iova + len - 1 > dom->io.last)
		return dr_fail(ERANGE, "0x%" PRIx64 "+0x%zx is outside the domain's window 0x%"
			       PRIx64 "..0x%" PRIx64, iova, len, dom->io.first, dom->io.last);
	return 0;
}

static int map_locked(struct dray_domain *dom, dray_iova_t iova, void *va, size_t len,
		      uint64_t bits)
{
	bool refused;
	int err = dr_iova_take_fixed(dom->io.space, iova, iova + len - 1);

	if (err)
		return err;
	err = dr_act_map(&dom->io, iova, va, len, bits, &refused);
	if (err)
		dr_act_release(&dom->io, iova, len, refused);
	return err;
}

int dray_domain_map(struct dray_domain *dom, dray_iova_t iova, void *va, size_t len, uint32_t prot,
		    uint32_t flags)
{
	uint64_t bits = dr_pte_owner_bits(DR_OWNER_DOMAIN);
	int err = dr_map_check(va, len, DRAY_BIDIRECTIONAL, 0);

	if (!err)
		err = check_explicit(dom, iova, len);
	if (err)
		return err;
	if (flags || !prot || (prot & ~(DRAY_PROT_READ | DRAY_PROT_WRITE)))
		return dr_fail(EINVAL, "prot 0x%x, flags 0x%x: use DRAY_PROT_READ, DRAY_PROT_WRITE "
			       "or both, and no flags", prot, flags);
	if ((uintptr_t)va & dom->io.granule_mask)
		return dr_fail(EINVAL, "buffer %p is not aligned to a granule of %" PRIu64 " bytes",
			       va, dom->io.granule_mask + 1);
	if (prot & DRAY_PROT_READ)
		bits |= DR_PTE_READ;
	if (prot & DRAY_PROT_WRITE)
		bits |= DR_PTE_WRITE;
	dr_counters_ready(&dom->io.counters);
	pthread_mutex_lock(&dom->explicit_lock);
	err = map_locked(dom, iova, va, len, bits);
	/* What waits for a flush holds addresses, entries and locked memory. */
	if ((err == -EEXIST || err == -ENOSPC || err == -ENOMEM) && dr_domain_relieve(dom))
		err = map_locked(dom, iova, va, len, bits);
	pthread_mutex_unlock(&dom->explicit_lock);
	dr_count(&dom->io.counters, err ? DR_MAP_FAILURES : DR_MAPS, 1);
	return err;
}

/* Is [iova, iova + len) tiled exactly by explicit mappings? */
static bool is_tiled_locked(const struct dray_domain *dom, dray_iova_t iova, size_t len)
{
	dray_iova_t at = iova, last = iova + len - 1;
	struct dr_pt_mapping m;

	while (at <= last && dr_pgtable_next(dom->io.pt, at, last, &m)) {
		if (m.iova != at || m.len - 1 > last - at || dr_pte_owner(m.bits) != DR_OWNER_DOMAIN)
			return false;
		/* Refused before and quarantined: still in the table, but nobody's mapping. */
		if (!dr_iova_is_live(dom->io.space, m.iova, m.len, NULL))
			return false;
		at += m.len;
	}
	return at == last + 1;
}

int dray_domain_unmap(struct dray_domain *dom, dray_iova_t iova, size_t len)
{
	dray_iova_t at = iova, last = iova + len - 1;
	struct dr_pt_mapping m;
	int first_err = 0;
	int err = check_explicit(dom, iova, len);

	if (err)
		return err;
	pthread_mutex_lock(&dom->explicit_lock);
	if (!is_tiled_locked(dom, iova, len)) {
		pthread_mutex_unlock(&dom->explicit_lock);
		dr_count(&dom->io.counters, DR_BAD_UNMAPS, 1);
		return dr_fail(EINVAL, "0x%" PRIx64 "+0x%zx is not exactly one or more mappings of "
			       "dray_domain_map(); nothing was unmapped", iova, len);
	}
	while (at <= last && dr_pgtable_next(dom->io.pt, at, last, &m)) {
		at = m.iova + m.len;
		err = dr_act_unmap(&dom->io, m.iova, m.len);
		dr_act_release(&dom->io, m.iova, m.len, err != 0);
		if (err && !first_err)
			first_err = err;
		if (!err)
			dr_count(&dom->io.counters, DR_UNMAPS, 1);
	}
	pthread_mutex_unlock(&dom->explicit_lock);
	return first_err;
}
