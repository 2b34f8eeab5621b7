// SPDX-License-Identifier: BSD-2-Clause
/* Map and unmap: what the kernel gets, what the table keeps, and every refusal. */
#include "rig.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/hooks.h"

#define IOVA UINT64_C(0x10000000)
#define PAGE 4096ul

/* A map that is refused leaves table and kernel as they were. */
static void assert_map_fails(struct rig *rig, dray_iova_t iova, void *va, size_t len, uint64_t bits,
			     int err)
{
	size_t mappings = vfio_fake_mappings();

	assert_int_equal(rig_map(rig, iova, va, len, bits), err);
	assert_null(dr_pgtable_va(rig->pt, iova));
	assert_int_equal(vfio_fake_mappings(), mappings);
}

/* Somebody else with the same container. */
static int foreign_map(struct rig *rig, dray_iova_t iova, void *va, size_t len)
{
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof(m), .flags = VFIO_DMA_MAP_FLAG_READ, .vaddr = (uintptr_t)va,
		.iova = iova, .size = len,
	};

	return dr_hooks->ioctl(dr_type1_of(rig->be)->container, VFIO_IOMMU_MAP_DMA, &m);
}

static int foreign_unmap(struct rig *rig, dray_iova_t iova, size_t len)
{
	struct vfio_iommu_type1_dma_unmap u = { .argsz = sizeof(u), .iova = iova, .size = len };

	return dr_hooks->ioctl(dr_type1_of(rig->be)->container, VFIO_IOMMU_UNMAP_DMA, &u);
}

static void test_without_device(void **state)
{
	char *va = pages(2 * PAGE);
	struct rig rig;

	(void)state;
	rig_open(&rig);
	assert_int_equal(rig_map(&rig, IOVA, va, 2 * PAGE, RW), 0);
	assert_ptr_equal(dr_pgtable_va(rig.pt, IOVA + 5000), va + 5000);
	assert_int_equal(rig.be->ops->entries_left(rig.be), 65534);
	rig_unmap(&rig, IOVA, 2 * PAGE);
	assert_int_equal(vfio_fake_calls(VFIO_IOMMU_MAP_DMA), 0);
	assert_int_equal(vfio_fake_calls(VFIO_IOMMU_UNMAP_DMA), 0);
	assert_int_equal(rig.be->ops->entries_left(rig.be), 65535);
	rig_close(&rig);
	free_pages(va, 2 * PAGE);
}

static void test_with_device(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(2 * PAGE), buf[16];
	struct rig rig;

	(void)state;
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	assert_int_equal(vfio_fake_dma(NVME, IOVA, buf, 16, false), -ENXIO);
	vfio_fake_set_bus_master(NVME, true);
	assert_int_equal(vfio_fake_dma(NVME, IOVA, buf, 16, false), -EFAULT);

	assert_int_equal(rig_map(&rig, IOVA, va, 2 * PAGE, RW), 0);
	assert_ptr_equal(dr_pgtable_va(rig.pt, IOVA), va);
	assert_true(vfio_fake_is_mapped(NVME, IOVA, 2 * PAGE, va));
	memcpy(va + 4090, "0123456789abcde", 16);
	assert_int_equal(vfio_fake_dma(NVME, IOVA + 4090, buf, 16, false), 0);
	assert_string_equal(buf, "0123456789abcde");
	memcpy(buf, "edcba9876543210", 16);
	assert_int_equal(vfio_fake_dma(NVME, IOVA, buf, 16, true), 0);
	assert_string_equal(va, "edcba9876543210");
	assert_int_equal(rig.be->ops->entries_left(rig.be), 65534);
	rig_unmap(&rig, IOVA, 2 * PAGE);
	assert_int_equal(vfio_fake_dma(NVME, IOVA, buf, 16, false), -EFAULT);
	assert_int_equal(vfio_fake_mappings(), 0);

	/* what a device may do is what it can do */
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, DR_PTE_READ), 0);
	assert_int_equal(rig_map(&rig, IOVA + PAGE, va, PAGE, DR_PTE_WRITE), 0);
	assert_int_equal(vfio_fake_dma(NVME, IOVA, buf, 16, false), 0);
	assert_int_equal(vfio_fake_dma(NVME, IOVA, buf, 16, true), -EFAULT);
	assert_int_equal(vfio_fake_dma(NVME, IOVA + PAGE, buf, 16, false), -EFAULT);
	assert_int_equal(vfio_fake_dma(NVME, IOVA + PAGE, buf, 16, true), 0);
	rig_unmap(&rig, IOVA, 2 * PAGE);
	rig_detach(&rig, bd);
	rig_close(&rig);
	free_pages(va, 2 * PAGE);
}

static void test_exists(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(16 * PAGE), *other = pages(PAGE);
	struct rig rig;

	(void)state;
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	assert_int_equal(foreign_map(&rig, IOVA + PAGE, other, PAGE), 0);
	/* exactly there, and over it: never success, never overwritten */
	assert_map_fails(&rig, IOVA + PAGE, va, PAGE, RW, -EEXIST);
	assert_map_fails(&rig, IOVA, va, 16 * PAGE, RW, -EEXIST);
	assert_words("0x10000000", "not this domain's", NULL);
	assert_true(vfio_fake_is_mapped(NVME, IOVA + PAGE, PAGE, other));
	assert_int_equal(foreign_unmap(&rig, IOVA + PAGE, PAGE), 0);
	assert_int_equal(rig_map(&rig, IOVA, va, 16 * PAGE, RW), 0);
	rig_unmap(&rig, IOVA, 16 * PAGE);
	rig_detach(&rig, bd);
	rig_close(&rig);
	free_pages(va, 16 * PAGE);
	free_pages(other, PAGE);
}

static void test_memlock(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(4 * PAGE);
	struct rig rig;

	(void)state;
	vfio_fake_set_memlock(3 * PAGE);
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	assert_int_equal(rig_map(&rig, IOVA, va, 2 * PAGE, RW), 0);
	assert_map_fails(&rig, IOVA + 4 * PAGE, va, 2 * PAGE, RW, -ENOMEM);
	assert_words("RLIMIT_MEMLOCK is 12288 bytes", "8192 are locked", "8192 more", "ulimit -l",
		     "limits.conf", NULL);
	/* the kernel's own lack of memory is called that */
	vfio_fake_fail_nth(VFIO_IOMMU_MAP_DMA, 1, ENOMEM);
	assert_map_fails(&rig, IOVA + 4 * PAGE, va, PAGE, RW, -ENOMEM);
	assert_words("no memory to pin", NULL);
	/* and what counts cannot be read */
	vfio_fake_fail_path("/self/status", EACCES);
	vfio_fake_fail_nth(VFIO_IOMMU_MAP_DMA, 1, ENOMEM);
	assert_map_fails(&rig, IOVA + 4 * PAGE, va, PAGE, RW, -ENOMEM);
	assert_int_equal(rig_map(&rig, IOVA + 4 * PAGE, va, PAGE, RW), 0);
	rig_unmap(&rig, IOVA, 2 * PAGE);
	rig_unmap(&rig, IOVA + 4 * PAGE, PAGE);
	rig_detach(&rig, bd);
	rig_close(&rig);
	free_pages(va, 4 * PAGE);
}

static void test_entry_limit(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(PAGE);
	struct rig rig;

	(void)state;
	vfio_fake_set_entry_limit(3);
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(rig.be->ops->entries_left(rig.be), 3 - i);
		assert_int_equal(rig_map(&rig, IOVA + i * PAGE, va, PAGE, RW), 0);
	}
	assert_int_equal(rig.be->ops->entries_left(rig.be), 0);
	assert_map_fails(&rig, IOVA + 3 * PAGE, va, PAGE, RW, -ENOSPC);
	assert_words("all 3 mapping entries", "dma_entry_limit", NULL);
	rig_unmap(&rig, IOVA + PAGE, PAGE);
	assert_int_equal(rig_map(&rig, IOVA + 3 * PAGE, va, PAGE, RW), 0);
	/* a kernel that does not tell is counted for */
	vfio_fake_set_no_avail();
	assert_int_equal(rig.be->ops->entries_left(rig.be), 0);
	rig_unmap(&rig, IOVA + 3 * PAGE, PAGE);
	assert_int_equal(rig.be->ops->entries_left(rig.be), 1);
	rig_detach(&rig, bd);
	rig_close(&rig);
	free_pages(va, PAGE);
}

static void test_refusals(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(2 * PAGE), *hole = pages(PAGE), word[32];
	struct rig rig;

	(void)state;
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	/* outside the ranges: the MSI window */
	assert_map_fails(&rig, 0xfee00000, va, PAGE, RW, -EINVAL);
	assert_words("0xfee00000", "IOVA ranges", NULL);
	free_pages(hole, PAGE);
	assert_map_fails(&rig, IOVA, hole, PAGE, RW, -EFAULT);
	snprintf(word, sizeof(word), "%p", (void *)hole);
	assert_words(word, "cannot be pinned for device writes", "written", NULL);
	assert_map_fails(&rig, IOVA, hole, PAGE, R, -EFAULT);
	assert_words(word, "read", NULL);
	/* the process may not write it, so neither may a device */
	assert_int_equal(mprotect(va, PAGE, PROT_READ), 0);
	assert_map_fails(&rig, IOVA, va, 2 * PAGE, RW, -EFAULT);
	assert_int_equal(rig_map(&rig, IOVA, va, 2 * PAGE, R), 0);
	rig_unmap(&rig, IOVA, 2 * PAGE);
	assert_int_equal(mprotect(va, PAGE, PROT_READ | PROT_WRITE), 0);
	vfio_fake_fail_nth(VFIO_IOMMU_MAP_DMA, 1, EPERM);
	assert_map_fails(&rig, IOVA, va, PAGE, RW, -EPERM);
	vfio_fake_fail_nth(VFIO_IOMMU_MAP_DMA, 1, EIO);
	assert_map_fails(&rig, IOVA, va, PAGE, RW, -EIO);
	assert_words("VFIO_IOMMU_MAP_DMA", NULL);
	rig_detach(&rig, bd);
	rig_close(&rig);
	free_pages(va, 2 * PAGE);
}

static void test_unmap_refused(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(4 * PAGE);
	size_t gone = 99;
	struct rig rig;

	(void)state;
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	assert_int_equal(rig_map(&rig, IOVA, va, 4 * PAGE, RW), 0);
	/* what the kernel refuses stays, in both */
	vfio_fake_fail_nth(VFIO_IOMMU_UNMAP_DMA, 1, EIO);
	assert_int_equal(rig.be->ops->unmap(rig.be, IOVA, 4 * PAGE, &gone), -EIO);
	assert_words("VFIO_IOMMU_UNMAP_DMA", "0x10000000", NULL);
	assert_int_equal(gone, 0);
	assert_ptr_equal(dr_pgtable_va(rig.pt, IOVA), va);
	assert_true(vfio_fake_is_mapped(NVME, IOVA, 4 * PAGE, va));
	/* so does what would be cut in two */
	gone = 99;
	assert_int_equal(rig.be->ops->unmap(rig.be, IOVA, PAGE, &gone), -EINVAL);
	assert_int_equal(gone, 0);
	assert_ptr_equal(dr_pgtable_va(rig.pt, IOVA), va);
	rig_unmap(&rig, IOVA, 4 * PAGE);
	rig_detach(&rig, bd);
	rig_close(&rig);
	free_pages(va, 4 * PAGE);
}

static void test_unmap_short(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(4 * PAGE);
	size_t gone = 0;
	struct rig rig;

	(void)state;
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	assert_int_equal(rig_map(&rig, IOVA, va, 4 * PAGE, RW), 0);
	vfio_fake_short_unmap(1, PAGE);
	assert_int_equal(rig.be->ops->unmap(rig.be, IOVA, 4 * PAGE, &gone), -EIO);
	assert_int_equal(gone, 4 * PAGE);
	assert_null(dr_pgtable_va(rig.pt, IOVA));
	assert_words("0x10000000+0x4000", "0x3000 bytes", NULL);
	assert_non_null(strstr(rig.logged, "0x3000 bytes"));

	/* somebody else had unmapped it: the kernel calls that a success */
	rig.logged[0] = '\0';
	assert_int_equal(rig_map(&rig, IOVA, va, 4 * PAGE, RW), 0);
	assert_int_equal(foreign_unmap(&rig, IOVA, 4 * PAGE), 0);
	gone = 0;
	assert_int_equal(rig.be->ops->unmap(rig.be, IOVA, 4 * PAGE, &gone), -EIO);
	assert_int_equal(gone, 4 * PAGE);
	assert_non_null(strstr(rig.logged, "0x0 bytes"));
	/* and the address is as good as new */
	assert_int_equal(rig_map(&rig, IOVA, va, 4 * PAGE, RW), 0);
	rig_unmap(&rig, IOVA, 4 * PAGE);
	rig_detach(&rig, bd);

	/* the table alone is held to the same */
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, RW), 0);
	assert_int_equal(rig.be->ops->unmap(rig.be, IOVA, 2 * PAGE, &gone), -EIO);
	assert_int_equal(gone, 2 * PAGE);
	rig_close(&rig);
	free_pages(va, 4 * PAGE);
}

static void test_blocked(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(PAGE), buf[4];
	struct rig rig;

	(void)state;
	rig_open_as(&rig, DRAY_DOMAIN_BLOCKED);
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, RW), -EPERM);
	bd = rig_plug(&rig, NVME);
	assert_map_fails(&rig, IOVA, va, PAGE, RW, -EPERM);
	assert_words("BLOCKED", "PAGING", NULL);
	vfio_fake_set_bus_master(NVME, true);
	assert_int_equal(vfio_fake_dma(NVME, IOVA, buf, 4, true), -EFAULT);
	assert_int_equal(vfio_fake_calls(VFIO_IOMMU_MAP_DMA), 0);
	rig_detach(&rig, bd);
	rig_close(&rig);
	free_pages(va, PAGE);
}

/* The nth page is in memory as one of this process's own. */
static bool is_resident(char *va)
{
	unsigned char in;

	assert_int_equal(mincore(va, PAGE, &in), 0);
	return in & 1;
}

static void test_copy_on_write_is_broken(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(4 * PAGE);
	ssize_t advice, mapped;
	struct rig rig;

	(void)state;
	vfio_fake_set_release(6, 1);
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	assert_false(is_resident(va));
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, R), 0);
	advice = vfio_fake_log_find("madvise 23 0x1000", 0);
	mapped = vfio_fake_log_find("map 0x10000000 0x1000 r", 0);
	assert_true(advice >= 0);
	assert_true(advice < mapped);
	assert_string_equal(vfio_fake_log_line((size_t)mapped), "map 0x10000000 0x1000 r");
	/* a device that writes has the page broken by its pin */
	assert_int_equal(rig_map(&rig, IOVA + PAGE, va + PAGE, PAGE, RW), 0);
	assert_int_equal(vfio_fake_log_find("madvise", (size_t)mapped), -1);
	rig_unmap(&rig, IOVA, 2 * PAGE);

	/* read-only memory is pinned as it is, and what is writable beside it is broken */
	assert_int_equal(mprotect(va + PAGE, PAGE, PROT_READ), 0);
	assert_false(is_resident(va + 2 * PAGE));
	assert_int_equal(rig_map(&rig, IOVA, va, 3 * PAGE, R), 0);
	assert_int_equal(vfio_fake_calls(VFIO_FAKE_MADVISE), 1 + 1 + 3);
	rig_unmap(&rig, IOVA, 3 * PAGE);

	/* memory that is not there is refused before the pin is tried */
	free_pages(va + 3 * PAGE, PAGE);
	assert_map_fails(&rig, IOVA, va, 4 * PAGE, R, -EFAULT);
	assert_words("cannot be pinned", "mapped as a whole", NULL);

	/* what was mapped before is broken when it is pinned */
	rig_detach(&rig, bd);
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, R), 0);
	mapped = (ssize_t)vfio_fake_log_lines();
	bd = rig_plug(&rig, NVME);
	advice = vfio_fake_log_find("madvise 23 0x1000", (size_t)mapped);
	mapped = vfio_fake_log_find("map 0x10000000", (size_t)mapped);
	assert_true(advice >= 0);
	assert_true(advice < mapped);
	rig_detach(&rig, bd);
	rig_close(&rig);
	free_pages(va, 3 * PAGE);
}

static void test_copy_on_write_of_newer_and_older_kernels(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(PAGE);
	struct rig rig;

	(void)state;
	/* 6.2 does it; an unknown one is asked for the little it may need */
	for (unsigned i = 0; i < 2; i++) {
		vfio_fake_set_release(i ? 0 : 6, i ? 0 : 2);
		rig_open(&rig);
		bd = rig_plug(&rig, NVME);
		assert_int_equal(rig_map(&rig, IOVA, va, PAGE, R), 0);
		assert_int_equal(vfio_fake_calls(VFIO_FAKE_MADVISE), i);
		assert_true(vfio_fake_log_find("map 0x10000000 0x1000 rw", 0) < 0);
		rig_detach(&rig, bd);
		rig_close(&rig);
	}
	/* before the advice: pinned writable, or as it is where that cannot be */
	vfio_fake_set_release(5, 13);
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, R), 0);
	assert_true(vfio_fake_log_find("map 0x10000000 0x1000 rw", 0) >= 0);
	rig_unmap(&rig, IOVA, PAGE);
	assert_int_equal(mprotect(va, PAGE, PROT_READ), 0);
	assert_int_equal(rig_map(&rig, IOVA + PAGE, va, PAGE, R), 0);
	assert_true(vfio_fake_log_find("map 0x10001000 0x1000 rw = errno 14", 0) >= 0);
	assert_int_equal(vfio_fake_mappings(), 1);
	rig_unmap(&rig, IOVA + PAGE, PAGE);
	assert_int_equal(vfio_fake_calls(VFIO_FAKE_MADVISE), 1);
	rig_detach(&rig, bd);
	rig_close(&rig);
	free_pages(va, PAGE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, machine_up, machine_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_without_device),
		TEST(test_with_device),
		TEST(test_exists),
		TEST(test_memlock),
		TEST(test_entry_limit),
		TEST(test_refusals),
		TEST(test_unmap_refused),
		TEST(test_unmap_short),
		TEST(test_blocked),
		TEST(test_copy_on_write_is_broken),
		TEST(test_copy_on_write_of_newer_and_older_kernels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
