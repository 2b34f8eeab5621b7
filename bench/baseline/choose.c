// SPDX-License-Identifier: BSD-2-Clause
/* There is no public call for it, because a domain's owner decides it once. */
#include "baseline/choose.h"

#include "domain/domain.h"

void bench_choose(struct dray_domain *dom, size_t bounce_threshold)
{
	pthread_mutex_lock(&dom->attach_lock);
	if (atomic_load_explicit(&dom->bounce_threshold, memory_order_relaxed) != bounce_threshold)
		dr_domain_choose_locked(dom, bounce_threshold);
	pthread_mutex_unlock(&dom->attach_lock);
}
