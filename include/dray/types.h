/* SPDX-License-Identifier: BSD-2-Clause */
/**
 * DOC: Words and rules shared by every dray header
 *
 * IOVA: the address a device uses. Granule: the smallest IOMMU page. Aperture: the IOVAs an IOMMU
 * can translate. Domain: one I/O address space, shared by any number of devices. Device: what does
 * DMA. Mapping: the receipt of one map call, owned by the caller. Hole: IOVAs nobody may use.
 * A name that ends in `last` is inclusive, one that ends in `end` exclusive.
 *
 * Rules of every call:
 *
 * - The result is 0 or a documented count, or a negative errno. A call that fails writes no output
 *   and leaves dray_errmsg() naming the cause and the fix.
 * - Option structs carry their size first. A smaller caller is zero-extended; a larger one whose
 *   tail is zero is accepted, a non-zero tail is -E2BIG. Structs that dray fills are truncated to
 *   the caller's size. Unknown bits and values are -EINVAL.
 * - Any thread may map on any device, and may unmap what another thread mapped. No thread
 *   registers itself.
 * - The offset inside a granule is kept: iova % granule == va % granule. IOVA 0 is never returned.
 * - A receipt may be copied; exactly one copy is unmapped. A receipt belongs to the domain it was
 *   made in and keeps that domain alive.
 * - A forked child cannot use its parent's domains: map is -EPERM, unmap does nothing, close only
 *   closes descriptors.
 *
 * Errors, wherever they appear: -EINVAL misuse; -ENOSPC no IOVA or no mapping entries left;
 * -ENOMEM no memory or locked-memory limit reached; -EEXIST overlap with something live or
 * reserved; -EBUSY still in use; -EFAULT memory that cannot be pinned; -ENOTSUP the backend cannot;
 * -ERANGE outside a mask or the aperture; -ENODEV no such device; -EPERM not yours (fork, trust,
 * rights); -E2BIG a newer struct; -EMSGSIZE more segments than the device or the list takes.
 */
#ifndef DRAY_TYPES_H
#define DRAY_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define DRAY_API __attribute__((visibility("default")))
#else
#define DRAY_API
#endif

/** typedef dray_iova_t - an address as a device uses it, in bytes; 64 bits on every host */
typedef uint64_t dray_iova_t;

/** DRAY_IOVA_NONE - no address; never a valid IOVA */
#define DRAY_IOVA_NONE (~(dray_iova_t)0)

/**
 * enum dray_dir - which way data moves, seen from memory
 * @DRAY_BIDIRECTIONAL: the device reads and writes the buffer
 * @DRAY_TO_DEVICE: the device only reads it; a device write faults
 * @DRAY_FROM_DEVICE: the device only writes it; a device read faults where the IOMMU can tell (Linux
 *                    lets Intel's read whatever may be written)
 */
enum dray_dir { DRAY_BIDIRECTIONAL, DRAY_TO_DEVICE, DRAY_FROM_DEVICE };

/**
 * enum dray_backend_kind - who translates
 * @DRAY_BACKEND_AUTO: the best real one this machine offers; never sim, never noiommu
 * @DRAY_BACKEND_TYPE1: VFIO container and group, VFIO_TYPE1v2_IOMMU
 * @DRAY_BACKEND_IOMMUFD: VFIO character device and iommufd
 * @DRAY_BACKEND_NOIOMMU: VFIO without an IOMMU
 * @DRAY_BACKEND_SIM: the software IOMMU inside this library
 */
enum dray_backend_kind {
	DRAY_BACKEND_AUTO,
	DRAY_BACKEND_TYPE1,
	DRAY_BACKEND_IOMMUFD,
	DRAY_BACKEND_NOIOMMU,
	DRAY_BACKEND_SIM
};

/**
 * enum dray_domain_type - what an address space does with a device's addresses
 * @DRAY_DOMAIN_DEFAULT: whatever the backend does best; resolved at open and never reported
 * @DRAY_DOMAIN_PAGING: translated by mappings; everything else faults
 * @DRAY_DOMAIN_IDENTITY: IOVA equals VA; nothing is checked
 * @DRAY_DOMAIN_BLOCKED: every access faults; maps are refused
 */
enum dray_domain_type {
	DRAY_DOMAIN_DEFAULT,
	DRAY_DOMAIN_PAGING,
	DRAY_DOMAIN_IDENTITY,
	DRAY_DOMAIN_BLOCKED
};

/**
 * enum dray_invalidation - when an unmapped buffer stops being reachable
 * @DRAY_STRICT: before dray_unmap() returns
 * @DRAY_LAZY: at the flush that covers it, within the domain's bounds
 */
enum dray_invalidation { DRAY_STRICT, DRAY_LAZY };

/**
 * struct dray_range - a closed range of IOVAs
 * @first: lowest address
 * @last: highest address, inclusive
 */
struct dray_range {
	dray_iova_t first, last;
};

struct dray_domain;
struct dray_device;

#endif
