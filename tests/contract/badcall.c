// SPDX-License-Identifier: BSD-2-Clause
/* Bad arguments of map, reserve and the rest: refused before anything is done. */
#define _GNU_SOURCE
#include "rig.h"
#include "world.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define AT UINT64_C(0x3000000)
#define BAD_DIR ((enum dray_dir)3)

struct bad {
	struct dray_domain *dom;
	struct dray_device *dev;
	char *mem;
	struct rig_state was;
	unsigned maps; /* map ioctls so far */
};

static struct bad bad_open(const struct rig *rig)
{
	struct bad b = { .dom = rig_domain(rig), .mem = rig_pages(4 * PAGE) };
	struct dray_mapping m;

	b.dev = rig_device(rig, b.dom, NULL);
	/* This thread's counters are there from now on. */
	CHECK_OK(dray_map(b.dev, b.mem, PAGE, DRAY_TO_DEVICE, 0, &m));
	dray_unmap(b.dev, &m);
	b.was = rig_state(b.dom);
	b.maps = world_calls(WORLD_IOCTL_MAP);
	return b;
}

static void bad_close(struct bad *b)
{
	CHECK_SAME(b->dom, &b->was);
	dray_device_close(b->dev);
	dray_domain_close(b->dom);
}

/* A call that fails writes no output and says why. */
#define CHECK_BAD(call, err)                                                               \
	do {                                                                               \
		struct dray_mapping m = { 1, 2, { 3, 4 } };                                \
		CHECK_ERR(call, err);                                                      \
		CHECK(m.iova == 1 && m.len == 2 && m.cookie[0] == 3 && m.cookie[1] == 4);  \
		CHECK(strlen(dray_errmsg()) > 10);                                         \
	} while (0)

static void bad_map_arguments(struct rig *rig)
{
	struct bad b = bad_open(rig);
	char *end = (char *)UINTPTR_MAX;

	CHECK_BAD(dray_map(NULL, b.mem, PAGE, DRAY_TO_DEVICE, 0, &m), EINVAL);
	CHECK_BAD(dray_map(b.dev, NULL, PAGE, DRAY_TO_DEVICE, 0, &m), EINVAL);
	CHECK_BAD(dray_map(b.dev, b.mem, 0, DRAY_TO_DEVICE, 0, &m), EINVAL);
	CHECK_BAD(dray_map(b.dev, b.mem, SIZE_MAX, DRAY_TO_DEVICE, 0, &m), EINVAL);
	CHECK_BAD(dray_map(b.dev, end, 2, DRAY_TO_DEVICE, 0, &m), EINVAL);
	CHECK_BAD(dray_map(b.dev, b.mem, PAGE, BAD_DIR, 0, &m), EINVAL);
	CHECK_BAD(dray_map(b.dev, b.mem, PAGE, (enum dray_dir)-1, 0, &m), EINVAL);
	CHECK_BAD(dray_map(b.dev, b.mem, PAGE, DRAY_TO_DEVICE, 1u << 2, &m), EINVAL);
	CHECK_BAD(dray_map(b.dev, b.mem, PAGE, DRAY_TO_DEVICE, 1u << 31, &m), EINVAL);
	CHECK_ERR(dray_map(b.dev, b.mem, PAGE, DRAY_TO_DEVICE, 0, NULL), EINVAL);
	CHECK_BAD(dray_map_fixed(NULL, AT, b.mem, PAGE, DRAY_TO_DEVICE, 0, &m), EINVAL);
	CHECK_BAD(dray_map_fixed(b.dev, AT, NULL, PAGE, DRAY_TO_DEVICE, 0, &m), EINVAL);
	CHECK_BAD(dray_map_fixed(b.dev, AT, b.mem, 0, DRAY_TO_DEVICE, 0, &m), EINVAL);
	CHECK_BAD(dray_map_fixed(b.dev, AT, b.mem, PAGE, BAD_DIR, 0, &m), EINVAL);
	CHECK_BAD(dray_map_fixed(b.dev, AT, b.mem, PAGE, DRAY_TO_DEVICE, 4, &m), EINVAL);
	CHECK_ERR(dray_map_fixed(b.dev, AT, b.mem, PAGE, DRAY_TO_DEVICE, 0, NULL), EINVAL);
	/* Another place inside the granule than the buffer's. */
	CHECK_BAD(dray_map_fixed(b.dev, AT + 1, b.mem, 8, DRAY_TO_DEVICE, 0, &m), EINVAL);
	CHECK_BAD(dray_map_fixed(b.dev, AT, b.mem + 8, 8, DRAY_TO_DEVICE, 0, &m), EINVAL);
	CHECK_INT(world_calls(WORLD_IOCTL_MAP), b.maps);
	bad_close(&b);
}

static void addresses_out_of_range(struct rig *rig)
{
	struct bad b = bad_open(rig);
	const uint64_t top = UINT64_MAX - (PAGE - 1);

	CHECK_BAD(dray_map_fixed(b.dev, RIG_MASK + 1, b.mem, PAGE, DRAY_TO_DEVICE, 0, &m), ERANGE);
	CHECK_BAD(dray_map_fixed(b.dev, RIG_MASK + 1 - PAGE, b.mem, 2 * PAGE, DRAY_TO_DEVICE, 0,
				 &m), ERANGE);
	CHECK_BAD(dray_map_fixed(b.dev, top, b.mem, PAGE, DRAY_TO_DEVICE, 0, &m), ERANGE);
	CHECK_BAD(dray_map_fixed(b.dev, top, b.mem, 2 * PAGE, DRAY_TO_DEVICE, 0, &m), ERANGE);
	/* The last address of all means "anywhere" inside the library: not here. */
	CHECK_BAD(dray_map_fixed(b.dev, DRAY_IOVA_NONE, b.mem + PAGE - 1, 1, DRAY_TO_DEVICE, 0,
				 &m), ERANGE);
	CHECK_OK(dray_device_set_mask(b.dev, 0));
	CHECK_BAD(dray_map_fixed(b.dev, UINT64_C(1) << 48, b.mem, PAGE, DRAY_TO_DEVICE, 0, &m),
		  ERANGE);
	CHECK_BAD(dray_map_fixed(b.dev, DRAY_IOVA_NONE, b.mem + PAGE - 1, 1, DRAY_TO_DEVICE, 0,
				 &m), ERANGE);
	CHECK_ERR(dray_domain_map(b.dom, UINT64_C(1) << 48, b.mem, PAGE, DRAY_PROT_READ, 0),
		  ERANGE);
	CHECK_ERR(dray_domain_map(b.dom, top, b.mem, PAGE, DRAY_PROT_READ, 0), ERANGE);
	CHECK_ERR(dray_domain_map(b.dom, top, b.mem, 2 * PAGE, DRAY_PROT_READ, 0), ERANGE);
	CHECK_ERR(dray_domain_unmap(b.dom, top, 2 * PAGE), ERANGE);
	CHECK_INT(world_calls(WORLD_IOCTL_MAP), b.maps);
	bad_close(&b);
}

static void bad_explicit_arguments(struct rig *rig)
{
	struct bad b = bad_open(rig);

	CHECK_ERR(dray_domain_map(NULL, AT, b.mem, PAGE, DRAY_PROT_READ, 0), EINVAL);
	CHECK_ERR(dray_domain_map(b.dom, AT, NULL, PAGE, DRAY_PROT_READ, 0), EINVAL);
	CHECK_ERR(dray_domain_map(b.dom, AT, b.mem, 0, DRAY_PROT_READ, 0), EINVAL);
	CHECK_ERR(dray_domain_map(b.dom, AT, b.mem, PAGE - 1, DRAY_PROT_READ, 0), EINVAL);
	CHECK_ERR(dray_domain_map(b.dom, AT + 8, b.mem, PAGE, DRAY_PROT_READ, 0), EINVAL);
	CHECK_ERR(dray_domain_map(b.dom, AT, b.mem + 8, PAGE, DRAY_PROT_READ, 0), EINVAL);
	CHECK_ERR(dray_domain_map(b.dom, AT, b.mem, PAGE, 0, 0), EINVAL);
	CHECK_ERR(dray_domain_map(b.dom, AT, b.mem, PAGE, 4, 0), EINVAL);
	CHECK_ERR(dray_domain_map(b.dom, AT, b.mem, PAGE, DRAY_PROT_READ | 8, 0), EINVAL);
	CHECK_ERR(dray_domain_map(b.dom, AT, b.mem, PAGE, DRAY_PROT_READ, 1), EINVAL);
	CHECK_ERR(dray_domain_map(b.dom, AT, b.mem, SIZE_MAX & ~(PAGE - 1), DRAY_PROT_READ, 0),
		  EINVAL);
	CHECK_ERR(dray_domain_unmap(NULL, AT, PAGE), EINVAL);
	CHECK_ERR(dray_domain_unmap(b.dom, AT, 0), EINVAL);
	CHECK_ERR(dray_domain_unmap(b.dom, AT, 5), EINVAL);
	CHECK_ERR(dray_domain_unmap(b.dom, AT + 5, PAGE), EINVAL);
	CHECK_ERR(dray_domain_reserve(NULL, AT, AT + PAGE - 1, 0), EINVAL);
	CHECK_ERR(dray_domain_reserve(b.dom, AT + 1, AT + PAGE - 1, 0), EINVAL);
	CHECK_ERR(dray_domain_reserve(b.dom, AT, AT + PAGE, 0), EINVAL);
	CHECK_ERR(dray_domain_reserve(b.dom, AT + PAGE, AT - 1, 0), EINVAL);
	CHECK_ERR(dray_domain_reserve(b.dom, AT, AT + PAGE - 1, 2), EINVAL);
	CHECK_ERR(dray_domain_reserve(b.dom, AT, UINT64_MAX, 0), ERANGE);
	CHECK_ERR(dray_domain_unreserve(NULL, AT, AT + PAGE - 1), EINVAL);
	CHECK_ERR(dray_domain_unreserve(b.dom, AT, AT), EINVAL);
	CHECK_ERR(dray_domain_unreserve(b.dom, AT, UINT64_MAX), ERANGE);
	CHECK(!dray_iova_to_va(NULL, AT) && !dray_iova_to_va(b.dom, AT));
	CHECK(!dray_iova_to_va(b.dom, 0) && !dray_iova_to_va(b.dom, DRAY_IOVA_NONE));
	CHECK_INT(world_calls(WORLD_IOCTL_MAP), b.maps);
	bad_close(&b);
}

static void bad_coherent_arguments(struct rig *rig)
{
	struct bad b = bad_open(rig);
	struct dray_mapping m = { .iova = 1 };
	void *va = &b;

	CHECK_ERR(dray_coherent_alloc(NULL, PAGE, 0, &va, &m), EINVAL);
	CHECK_ERR(dray_coherent_alloc(b.dev, 0, 0, &va, &m), EINVAL);
	CHECK_ERR(dray_coherent_alloc(b.dev, SIZE_MAX, 0, &va, &m), EINVAL);
	CHECK_ERR(dray_coherent_alloc(b.dev, SIZE_MAX / 2, 0, &va, &m), ENOMEM);
	CHECK_ERR(dray_coherent_alloc(b.dev, PAGE, 1, &va, &m), EINVAL);
	CHECK_ERR(dray_coherent_alloc(b.dev, PAGE, 0, NULL, &m), EINVAL);
	CHECK_ERR(dray_coherent_alloc(b.dev, PAGE, 0, &va, NULL), EINVAL);
	CHECK(va == &b && m.iova == 1);
	bad_close(&b);
}

/* No memory there, none the device may write, none at all: the kernel's word, in ours. */
static void memory_that_cannot_be_pinned(struct rig *rig)
{
	struct bad b = bad_open(rig);
	char *gap = rig_pages(4 * PAGE), *read_only = rig_pages(PAGE), *none = rig_pages(PAGE);
	/* Not an address of any process; it must not upset the table either. */
	char *never = (char *)(uintptr_t)UINT64_C(0xffff800000000000);
	char *wide = (char *)(uintptr_t)UINT64_C(0x0123456789abc000);

	CHECK(!munmap(gap + 2 * PAGE, PAGE));
	CHECK(!mprotect(read_only, PAGE, PROT_READ));
	CHECK(!mprotect(none, PAGE, PROT_NONE));
	CHECK_BAD(dray_map(b.dev, gap, 4 * PAGE, DRAY_TO_DEVICE, 0, &m), EFAULT);
	CHECK_BAD(dray_map(b.dev, gap, 4 * PAGE, DRAY_FROM_DEVICE, 0, &m), EFAULT);
	CHECK_BAD(dray_map(b.dev, read_only, PAGE, DRAY_FROM_DEVICE, 0, &m), EFAULT);
	CHECK_BAD(dray_map(b.dev, read_only, PAGE, DRAY_BIDIRECTIONAL, 0, &m), EFAULT);
	CHECK_BAD(dray_map(b.dev, none, PAGE, DRAY_TO_DEVICE, 0, &m), EFAULT);
	CHECK_BAD(dray_map(b.dev, (char *)8, 8, DRAY_TO_DEVICE, 0, &m), EFAULT);
	CHECK_BAD(dray_map(b.dev, never, PAGE, DRAY_TO_DEVICE, 0, &m), EFAULT);
	CHECK_BAD(dray_map(b.dev, wide, PAGE, DRAY_TO_DEVICE, 0, &m), EFAULT);
	CHECK_BAD(dray_map_fixed(b.dev, AT, never, PAGE, DRAY_TO_DEVICE, 0, &m), EFAULT);
	CHECK_ERR(dray_domain_map(b.dom, AT, never, PAGE, DRAY_PROT_READ, 0), EFAULT);
	CHECK_ERR(dray_domain_map(b.dom, AT, gap, 4 * PAGE, DRAY_PROT_READ, 0), EFAULT);
	CHECK_ERR(dray_domain_map(b.dom, AT, read_only, PAGE, DRAY_PROT_WRITE, 0), EFAULT);
	CHECK_ERR(dray_domain_map(b.dom, AT, wide, PAGE, DRAY_PROT_READ, 0), EFAULT);
	bad_close(&b);
}

/* Without a device nothing is pinned yet, so the table is all that could be upset. */
static void no_such_memory_without_a_device(struct rig *rig)
{
	char *never = (char *)(uintptr_t)UINT64_C(0xffff800000000000);
	struct dray_domain *dom = rig_domain(rig);
	struct rig_state was = rig_state(dom);

	CHECK_ERR(dray_domain_map(dom, AT, never, PAGE, DRAY_PROT_READ, 0), EFAULT);
	CHECK_ERR(dray_domain_map(dom, AT, (char *)UINT64_C(0x7ffffffffffff000), 2 * PAGE,
				  DRAY_PROT_READ, 0), EFAULT);
	CHECK_SAME(dom, &was);
	dray_domain_close(dom);
}

const struct contract_case badcall_cases[] = {
	{ "bad_map_arguments", "D10", bad_map_arguments },
	{ "addresses_out_of_range", "A12", addresses_out_of_range },
	{ "bad_explicit_arguments", "B12", bad_explicit_arguments },
	{ "bad_coherent_arguments", "B14", bad_coherent_arguments },
	{ "memory_that_cannot_be_pinned", "B04", memory_that_cannot_be_pinned },
	{ "no_such_memory_without_a_device", "B05", no_such_memory_without_a_device },
	{ NULL },
};
