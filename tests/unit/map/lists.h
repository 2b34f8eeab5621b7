/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lists, windows and pools under test: a backend between the library and the software IOMMU that
 * refuses on request, and a device that reads and writes what it was told of.
 */
#ifndef TEST_MAP_LISTS_H
#define TEST_MAP_LISTS_H

#include "../domain/rig.h"

/* rig_setup()'s world, in which pages from the kernel are counted too. */
int lists_setup(void **state);
/* Fails the test when a block of memory or a page is left, or a domain was. */
int lists_teardown(void **state);

/* Bytes from mmap() that were not given back; what is only reserved does not count. */
extern long lists_held;
/* Fail the nth mmap() from now on, 1 is the next; 0 none. 0 again when it has. */
extern unsigned lists_fail_mmap;
/* Mmap calls since setup. */
extern unsigned lists_mmaps;

/* Put the watching backend into a domain; take it out again before the domain is closed. */
void lists_watch(struct dray_domain *dom);
void lists_unwatch(struct dray_domain *dom);

/* Fail the nth map, or unmap, of a watched domain; 0 none. 0 again when it has. */
extern unsigned lists_fail_map, lists_fail_unmap;
/* Every map fails until something is flushed. */
extern bool lists_full;
/* With this error; -ENOMEM unless set. */
extern int lists_map_error;
/* Every map that touches these bytes is -EFAULT, as long as they are set. */
extern const char *lists_no_pin;
extern size_t lists_no_pin_len;
/* Calls since setup, failed ones too. */
extern unsigned lists_maps, lists_unmaps;

struct dray_device *lists_plug(struct dray_domain *dom, const char *name,
			       const struct dray_device_opts *limits);

/* An element of a list; nothing is mapped. */
struct dray_sg lists_element(void *va, size_t len);

/* Does the device find the elements' bytes, in order, in its segments? */
void lists_assert_reads(struct dray_device *dev, const struct dray_sg *sg, unsigned n,
			int segments);
/* The device writes byte i of the list as (seed + i * 7), across its segments. */
void lists_write(struct dray_device *dev, const struct dray_sg *sg, int segments, unsigned seed);
/* Do the elements hold that? They may not overlap. */
void lists_assert_written(const struct dray_sg *sg, unsigned n, unsigned seed);

/* Fill memory so that no two places are alike. */
void lists_fill(void *va, size_t len, unsigned seed);

/* Does this one access fault, and leave exactly one record? */
void lists_assert_faults(struct dray_device *dev, dray_iova_t iova, bool write);

/* Live ranges of IOVA, and mappings in the table. */
uint64_t lists_live(const struct dray_domain *dom);
unsigned lists_in_table(const struct dray_domain *dom);

#endif
