/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A scene: domains and devices on one backend, what of them can be seen from outside, and a world
 * that fails the call a test asks for. The world is the scripted kernel's (tests/fake), for the
 * software IOMMU too: it fails allocations and advice all the same.
 */
#ifndef FAULT_SCENE_H
#define FAULT_SCENE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dray/dray.h>

#include "vfio_fake.h"

#define KB4 ((size_t)4096)
#define MB2 ((size_t)2 << 20)

struct scene {
	enum dray_backend_kind backend;
	struct dray_domain *dom, *other;
	struct dray_device *dev;
	char *mem; /* MEM_LEN bytes, aligned to 2 MiB */
	/* What a call under test has made. */
	struct dray_device *new_dev;
	struct dray_domain *new_dom;
	struct dray_mapping map;
	void *block;
};

#define MEM_LEN (3 * MB2)

/* Names of the machine's devices: the scene's own, one of another group, one of the same. */
const char *scene_name(const struct scene *s);
const char *scene_far_name(const struct scene *s);
const char *scene_near_name(const struct scene *s);

/* Setup and teardown of the machine, once for a program. */
int machine_up(void **state);
int machine_down(void **state);

/* Open domains; a device too, where asked for. */
void scene_open(struct scene *s, enum dray_backend_kind backend, bool with_device);
/* Close all; the test fails when a descriptor, a mapping or a block of memory is left. */
void scene_close(struct scene *s);

/* All that a call that failed must leave as it was. */
struct view {
	struct dray_domain_info info[2];
	uint64_t live_ranges[2], live_bytes[2], in_table[2], maps[2], unmaps[2], leaks[2];
	long blocks;
	size_t mappings;
	int fds;
};

void view_take(const struct scene *s, struct view *ret_view);
/* Fails the test, naming what differs. Both domains' structures are checked as well. */
void view_assert_same(const struct scene *s, const struct view *was, const char *what, unsigned n);

#endif
