/* SPDX-License-Identifier: BSD-2-Clause */
/* Why a buffer is copied: the one predicate. What each reason means is told in why.c. */
#ifndef DR_BOUNCE_WHY_H
#define DR_BOUNCE_WHY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/types.h>

/* In the order in which they are looked for; the first that holds is the one reported. */
enum dr_bounce_why {
	DR_BOUNCE_NO,
	DR_BOUNCE_MASK,    /* it lies where the device cannot address */
	DR_BOUNCE_ALIGN,   /* the device needs another alignment */
	DR_BOUNCE_EDGE,    /* an untrusted device would see its granules' other bytes */
	DR_BOUNCE_LINE,    /* cache maintenance would hit its cache lines' other bytes */
	DR_BOUNCE_PIN,     /* the backend cannot pin it */
	DR_BOUNCE_CHEAPER, /* copying costs less than mapping */
	DR_BOUNCE_WHYS
};

/* What is known of device, domain and buffer. Zero everywhere asks for no copy. */
struct dr_bounce_facts {
	bool unreachable;  /* it has its address (no IOMMU, registered), above the mask */
	size_t min_align;  /* the device's; 0 or a power of two */
	size_t granule;    /* 0 or a power of two */
	bool trusted;      /* every device of the domain */
	size_t line;       /* of the CPU's caches, if the device does not snoop; 0: it does */
	bool unpinnable;
	size_t threshold;  /* copy up to this many bytes; 0 never */
};

enum dr_bounce_why dr_bounce_why(const struct dr_bounce_facts *facts, const void *va, size_t len,
				 enum dray_dir dir);

/* In words, as a report says it: "device alignment". Never NULL. */
const char *dr_bounce_why_name(enum dr_bounce_why why);

#endif
