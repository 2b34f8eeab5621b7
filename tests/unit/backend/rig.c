// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "rig.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

static long allocs_before;

int machine_up(void **state)
{
	(void)state;
	vfio_fake_start();
	vfio_fake_add_device(NVME, 5, "vfio-pci");
	vfio_fake_add_device(NIC, 6, "vfio-pci");
	vfio_fake_add_device(NIC1, 6, "vfio-pci");
	allocs_before = vfio_fake_allocs();
	return 0;
}

int machine_down(void **state)
{
	int fds = vfio_fake_fds_open();
	size_t mappings = vfio_fake_mappings();
	long allocs = vfio_fake_allocs() - allocs_before;

	(void)state;
	vfio_fake_stop();
	/* The list of groups is made once in the life of a process and stays. */
	if (!fds && !mappings && (!allocs || allocs == 1))
		return 0;
	print_error("left behind: %d descriptors, %zu mappings, %ld blocks\n", fds, mappings,
		    allocs);
	return -1;
}

static void keep_line(void *ctx, int level, const char *msg)
{
	struct rig *rig = ctx;
	size_t n = strlen(rig->logged);

	(void)level;
	snprintf(rig->logged + n, sizeof(rig->logged) - n, "%s\n", msg);
}

void rig_open_as(struct rig *rig, enum dray_domain_type type)
{
	struct dr_backend_args args = { .type = type, .log = &rig->log };

	memset(rig, 0, sizeof(*rig));
	rig->log.fn = keep_line;
	rig->log.ctx = rig;
	assert_int_equal(dr_pgtable_open(DR_PT_PAGE_SIZES, &rig->pt), 0);
	args.pt = rig->pt;
	assert_int_equal(dr_type1_ops.open(&args, &rig->be), 0);
}

void rig_open(struct rig *rig)
{
	rig_open_as(rig, DRAY_DOMAIN_DEFAULT);
}

void rig_close(struct rig *rig)
{
	rig->be->ops->close(rig->be);
	dr_pgtable_close(rig->pt);
}

struct dr_backend_device *rig_attach(struct rig *rig, const char *name)
{
	struct dr_backend_device *bd = NULL;

	assert_int_equal(rig->be->ops->attach(rig->be, name, NULL, &bd), 0);
	assert_non_null(bd);
	return bd;
}

struct dr_backend_device *rig_plug(struct rig *rig, const char *name)
{
	struct dr_backend_device *bd = rig_attach(rig, name);
	uint64_t replayed;

	assert_int_equal(rig->be->ops->enable(rig->be, bd, &replayed), 0);
	return bd;
}

void rig_detach(struct rig *rig, struct dr_backend_device *bd)
{
	rig->be->ops->detach(rig->be, bd, false);
}

int rig_map(struct rig *rig, dray_iova_t iova, void *va, size_t len, uint64_t bits)
{
	return rig->be->ops->map(rig->be, iova, va, len, bits);
}

void rig_unmap(struct rig *rig, dray_iova_t iova, size_t len)
{
	size_t gone = 1;

	assert_int_equal(rig->be->ops->unmap(rig->be, iova, len, &gone), 0);
	assert_int_equal(gone, len);
	assert_null(dr_pgtable_va(rig->pt, iova));
}

void *pages(size_t len)
{
	void *va = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(va, MAP_FAILED);
	return va;
}

void free_pages(void *va, size_t len)
{
	assert_int_equal(munmap(va, len), 0);
}

void assert_words(const char *word, ...)
{
	va_list ap;

	va_start(ap, word);
	for (; word; word = va_arg(ap, const char *)) {
		if (!strstr(dray_errmsg(), word)) {
			print_error("\"%s\" is not in: %s\n", word, dray_errmsg());
			fail();
		}
	}
	va_end(ap);
}
