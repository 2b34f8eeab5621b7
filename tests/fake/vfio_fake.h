/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A scripted kernel: VFIO containers, groups and devices behind dr_hooks, with a sysfs tree in a
 * temporary directory. Everything runs in the test's process, so a test can say which call fails,
 * look at what is mapped, and read in which order things happened.
 *
 *	vfio_fake_start();
 *	vfio_fake_add_device("0000:01:00.0", 5, "vfio-pci");
 *	vfio_fake_fail_nth(VFIO_IOMMU_MAP_DMA, 2, ENOMEM);
 *	... open a domain and the device, map twice ...
 *	assert_int_equal(vfio_fake_fds_open(), before);
 *	vfio_fake_stop();
 *
 * It answers as Linux does: overlap is EEXIST, an unmap that bisects a mapping EINVAL, one that
 * finds nothing succeeds with size 0, 65,535 mappings and then ENOSPC, a map before VFIO_SET_IOMMU
 * EINVAL, a group is opened once and leaves its container only without open devices. Descriptors
 * are real ones (of /dev/null), so a forked child may close them. Any thread may call anything.
 * Misuse of the fake itself aborts with a message.
 */
#ifndef VFIO_FAKE_H
#define VFIO_FAKE_H

#include <linux/vfio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <dray/types.h>

/* Between start and stop dr_hooks is the fake's. Group 0, a bridge without driver, exists. */
void vfio_fake_start(void);
void vfio_fake_stop(void);

/* --- the machine; @driver NULL: bound to none --- */
void vfio_fake_add_device(const char *name, unsigned group, const char *driver);
void vfio_fake_remove_device(const char *name);
void vfio_fake_set_driver(const char *name, const char *driver);
/* The IOMMU is off: no groups, for devices that exist and those added later. */
void vfio_fake_set_no_iommu(void);
/* A reserved region of a group, shown in sysfs; @kernel: the kernel's range list leaves it out. */
void vfio_fake_reserve(unsigned group, dray_iova_t first, dray_iova_t last, const char *type,
		       bool kernel);
/* What the IOMMU translates; @n 0: a kernel without range lists. */
void vfio_fake_set_ranges(const struct dray_range *ranges, unsigned n);
void vfio_fake_set_page_sizes(uint64_t page_sizes);
/* Of containers opened later; 0: no parameter file in sysfs, 65535. */
void vfio_fake_set_entry_limit(unsigned entries);
/* A kernel that does not tell how many entries are left. */
void vfio_fake_set_no_avail(void);
/* An IOMMU that cannot overrule a device's No Snoop. */
void vfio_fake_set_no_enforce(void);
/* The 256 bytes of a device's config space, while nobody else looks at them. */
uint8_t *vfio_fake_config(const char *name);
void vfio_fake_set_memlock(uint64_t bytes);
void vfio_fake_set_release(unsigned major, unsigned minor);
/* Somebody else: a second descriptor of an open device (a mapped BAR, a child), an open group. */
void vfio_fake_hold_device(const char *name, bool hold);
void vfio_fake_hold_group(unsigned group, bool hold);

/* --- making calls fail --- */

/* Beside VFIO_* requests: the other hooks, and any of them all. */
#define VFIO_FAKE_OPEN    (1ul << 32)
#define VFIO_FAKE_PREAD   (2ul << 32)
#define VFIO_FAKE_PWRITE  (3ul << 32)
#define VFIO_FAKE_MADVISE (4ul << 32)
#define VFIO_FAKE_ALLOC   (5ul << 32)
#define VFIO_FAKE_ANY     (6ul << 32)
#define VFIO_FAKE_CLOSE   (7ul << 32) /* counted, never failed */

/* The nth such call from now (1 is the next) fails once. Replaces the one before; n 0: none. */
void vfio_fake_fail_nth(unsigned long request, unsigned n, int err);
/* Has it failed? */
bool vfio_fake_fired(void);
/* Every open of a path that ends in @suffix fails; NULL: none does. */
void vfio_fake_fail_path(const char *suffix, int err);
/* The nth unmap from now unmaps all it should but reports @missing bytes less. */
void vfio_fake_short_unmap(unsigned n, uint64_t missing);

/* --- what happened --- */

/* Calls since start, failed ones included. */
unsigned vfio_fake_calls(unsigned long request);
/* Descriptors open through the hooks, files of sysfs included. */
int vfio_fake_fds_open(void);
/* Blocks allocated through the hooks and not freed. */
long vfio_fake_allocs(void);
/* Mappings in all containers. */
size_t vfio_fake_mappings(void);
/* Is [iova, iova + len) exactly one mapping of the container that @name is in, to @va? */
bool vfio_fake_is_mapped(const char *name, dray_iova_t iova, size_t len, const void *va);
bool vfio_fake_bus_master(const char *name);
/* As its driver would. */
void vfio_fake_set_bus_master(const char *name, bool on);
/* Be the device. 0; -EFAULT not mapped for that; -ENXIO bus mastering off, or in no container. */
int vfio_fake_dma(const char *name, dray_iova_t iova, void *buf, size_t len, bool write);

/*
 * One line per call that did something, in order: "open container", "open group 5",
 * "join group 5", "set iommu", "part group 5", "close group 5", "open device 0000:01:00.0",
 * "close device 0000:01:00.0", "bus master off 0000:01:00.0", "bus master on 0000:01:00.0",
 * "map 0x100000 0x1000 rw", "unmap 0x100000 0x1000", "close container", "madvise 23 0x1000".
 * A failed one has " = errno N" at its end. The first line from @from on that begins with @text,
 * or -1.
 */
ssize_t vfio_fake_log_find(const char *text, size_t from);
size_t vfio_fake_log_lines(void);
const char *vfio_fake_log_line(size_t n);

#endif
