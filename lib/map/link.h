/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DR_MAP_LINK_H
#define DR_MAP_LINK_H

#include <stdbool.h>

#include <dray/link.h>

#include "bounce/why.h"
#include "domain/domain.h"

/*
 * Copied ends of linked pieces of the domain, where they lie in [iova, iova + len): bring them in,
 * or out. Takes locks, calls no kernel.
 */
void dr_link_sync_copies(struct dray_domain *dom, dray_iova_t iova, size_t len, bool to_device);

/* Why the byte at @iova is one of a copied end of a linked piece; DR_BOUNCE_NO: it is none. */
enum dr_bounce_why dr_link_reason(struct dray_domain *dom, dray_iova_t iova);

#endif
