// SPDX-License-Identifier: BSD-2-Clause
/*
 * What programs written against dray rely on, name by name: a function has exactly this type, a
 * field this width, a constant this value. contract.py compiles and links it.
 */
#include <dray/dray.h>
#include <dray/sim.h>

/* A pointer of exactly this type, which the linker has to fill in. */
#define CALL(result, name, ...) result (*const call_##name)(__VA_ARGS__) = name
#define WIDTH(type, field, bytes)                                                                  \
	_Static_assert(sizeof(((struct type *)0)->field) == (bytes), #type "." #field)
#define VALUE(name, value) _Static_assert((name) == (value), #name)

/* domains */
CALL(int, dray_domain_open, const struct dray_domain_opts *, struct dray_domain **);
CALL(void, dray_domain_close, struct dray_domain *);
CALL(int, dray_domain_reserve, struct dray_domain *, dray_iova_t, dray_iova_t, uint32_t);
CALL(int, dray_domain_unreserve, struct dray_domain *, dray_iova_t, dray_iova_t);
CALL(int, dray_domain_map, struct dray_domain *, dray_iova_t, void *, size_t, uint32_t, uint32_t);
CALL(int, dray_domain_unmap, struct dray_domain *, dray_iova_t, size_t);
CALL(enum dray_invalidation, dray_domain_invalidation, const struct dray_domain *);
CALL(enum dray_domain_type, dray_domain_get_type, const struct dray_domain *);
CALL(int, dray_domain_info, const struct dray_domain *, struct dray_domain_info *);

/* devices */
CALL(int, dray_device_open, struct dray_domain *, const char *, const struct dray_device_opts *,
	     struct dray_device **);
CALL(void, dray_device_close, struct dray_device *);
CALL(int, dray_device_set_domain, struct dray_device *, struct dray_domain *);
CALL(struct dray_domain *, dray_device_get_domain, const struct dray_device *);
CALL(int, dray_device_set_mask, struct dray_device *, uint64_t);
CALL(int, dray_device_fd, const struct dray_device *);

/* mappings */
CALL(int, dray_map, struct dray_device *, void *, size_t, enum dray_dir, uint32_t,
	     struct dray_mapping *);
CALL(void, dray_unmap, struct dray_device *, struct dray_mapping *);
CALL(int, dray_map_fixed, struct dray_device *, dray_iova_t, void *, size_t, enum dray_dir,
	     uint32_t, struct dray_mapping *);
CALL(int, dray_sync_for_device, struct dray_device *, const struct dray_mapping *, size_t, size_t);
CALL(int, dray_sync_for_cpu, struct dray_device *, const struct dray_mapping *, size_t, size_t);
CALL(void *, dray_iova_to_va, const struct dray_domain *, dray_iova_t);
CALL(int, dray_coherent_alloc, struct dray_device *, size_t, uint32_t, void **,
	     struct dray_mapping *);
CALL(void, dray_coherent_free, struct dray_device *, void *, struct dray_mapping *);

/* IOVA spaces */
CALL(int, dray_iova_space_open, const struct dray_iova_opts *, struct dray_iova_space **);
CALL(dray_iova_t, dray_iova_alloc, struct dray_iova_space *, size_t, size_t, dray_iova_t);
CALL(void, dray_iova_free, struct dray_iova_space *, dray_iova_t, size_t);
CALL(int, dray_iova_reserve, struct dray_iova_space *, dray_iova_t, dray_iova_t);
CALL(void, dray_iova_space_close, struct dray_iova_space *);

/* the software IOMMU */
CALL(int, dray_sim_read, struct dray_device *, dray_iova_t, void *, size_t);
CALL(int, dray_sim_write, struct dray_device *, dray_iova_t, const void *, size_t);
CALL(int, dray_sim_faults, struct dray_device *, struct dray_sim_fault *, unsigned);
CALL(int, dray_sim_set_cost, struct dray_domain *, uint32_t, uint32_t, uint32_t);

/* numbers and words */
CALL(int, dray_stats_get, const struct dray_domain *, struct dray_stats *);
CALL(const char *, dray_errmsg, void);
CALL(const char *, dray_version, void);

VALUE(DRAY_IOVA_NONE, UINT64_MAX);
VALUE(DRAY_BIDIRECTIONAL, 0);
VALUE(DRAY_TO_DEVICE, 1);
VALUE(DRAY_FROM_DEVICE, 2);
VALUE(DRAY_BACKEND_AUTO, 0);
VALUE(DRAY_BACKEND_TYPE1, 1);
VALUE(DRAY_BACKEND_IOMMUFD, 2);
VALUE(DRAY_BACKEND_NOIOMMU, 3);
VALUE(DRAY_BACKEND_SIM, 4);
VALUE(DRAY_DOMAIN_DEFAULT, 0);
VALUE(DRAY_DOMAIN_PAGING, 1);
VALUE(DRAY_DOMAIN_IDENTITY, 2);
VALUE(DRAY_DOMAIN_BLOCKED, 3);
VALUE(DRAY_STRICT, 0);
VALUE(DRAY_LAZY, 1);
VALUE(DRAY_RESERVE_HOLE, 0);
VALUE(DRAY_RESERVE_FIXED, 1);
VALUE(DRAY_PROT_READ, 1);
VALUE(DRAY_PROT_WRITE, 2);
VALUE(DRAY_MAP_NO_SYNC, 1);
VALUE(DRAY_MAP_NO_BOUNCE, 2);
VALUE(DRAY_SIM_READ, 1);
VALUE(DRAY_SIM_WRITE, 2);

WIDTH(dray_domain_opts, backend, 4);
WIDTH(dray_domain_opts, first, 8);
WIDTH(dray_domain_opts, flush_timeout_us, 4);
WIDTH(dray_device_opts, dma_mask, 8);
WIDTH(dray_device_opts, max_segment, sizeof(size_t));
WIDTH(dray_mapping, iova, 8);
WIDTH(dray_mapping, cookie, 16);
WIDTH(dray_iova_opts, granule, sizeof(size_t));
WIDTH(dray_sim_fault, reason, 4);
WIDTH(dray_stats, maps, 8);
WIDTH(dray_stats, invalidations, 8);

/* lazy unmaps, lists, links, pools, regions */
CALL(int, dray_iova_space_stats, const struct dray_iova_space *, struct dray_iova_stats *);
CALL(int, dray_flush, struct dray_domain *);
CALL(int, dray_poll, struct dray_domain *);
CALL(int, dray_domain_set_invalidation, struct dray_domain *, enum dray_invalidation);
CALL(unsigned, dray_sg_from_iov, const struct iovec *, unsigned, struct dray_sg *);
CALL(int, dray_map_sg, struct dray_device *, struct dray_sg *, unsigned, enum dray_dir,
	     uint32_t);
CALL(void, dray_unmap_sg, struct dray_device *, struct dray_sg *, unsigned);
CALL(int, dray_sync_sg_for_device, struct dray_device *, struct dray_sg *, unsigned);
CALL(int, dray_sync_sg_for_cpu, struct dray_device *, struct dray_sg *, unsigned);
CALL(int, dray_sync_iova_for_device, struct dray_device *, dray_iova_t, size_t, enum dray_dir);
CALL(int, dray_sync_iova_for_cpu, struct dray_device *, dray_iova_t, size_t, enum dray_dir);
CALL(int, dray_link_open, struct dray_device *, size_t, uint32_t, struct dray_link **);
CALL(dray_iova_t, dray_link_iova, const struct dray_link *);
CALL(int, dray_link_add, struct dray_link *, size_t, void *, size_t, enum dray_dir);
CALL(int, dray_link_sync, struct dray_link *, size_t, size_t);
CALL(void, dray_link_remove, struct dray_link *, size_t, size_t);
CALL(void, dray_link_close, struct dray_link *);
CALL(int, dray_pool_open, struct dray_device *, size_t, size_t, size_t, struct dray_pool **);
CALL(void *, dray_pool_alloc, struct dray_pool *, dray_iova_t *);
CALL(void, dray_pool_free, struct dray_pool *, void *, dray_iova_t);
CALL(void, dray_pool_close, struct dray_pool *);
CALL(size_t, dray_max_mapping_size, const struct dray_device *);
CALL(size_t, dray_opt_mapping_size, const struct dray_device *);
CALL(size_t, dray_merge_boundary, const struct dray_device *);
CALL(bool, dray_bounce_present, const struct dray_domain *);
CALL(bool, dray_device_uses_bounce, const struct dray_device *);
CALL(int, dray_region_register, struct dray_domain *, void *, size_t, uint32_t,
	     struct dray_region **);
CALL(int, dray_region_register_at, struct dray_domain *, dray_iova_t, void *, size_t,
	     uint32_t, struct dray_region **);
CALL(int, dray_region_unregister, struct dray_region *);
CALL(dray_iova_t, dray_translate, const struct dray_domain *, const void *, size_t *);

WIDTH(dray_domain_opts, flush_bytes, sizeof(size_t));
WIDTH(dray_domain_opts, flush_entries, 4);
WIDTH(dray_sg, cookie, 16);
VALUE(DRAY_BOUNCE_AUTO, (size_t)-1);
_Static_assert(DRAY_DOMAIN_POLLED && DRAY_DEVICE_UNTRUSTED && DRAY_DEVICE_NONCOHERENT &&
	       DRAY_MAP_NO_SYNC && DRAY_MAP_NO_BOUNCE, "flags");
_Static_assert(DRAY_REGION_READ_ONLY && DRAY_REGION_DONTFORK && DRAY_REGION_SHARE_UNTRUSTED &&
	       DRAY_REGION_PREMAPPED, "region flags");
