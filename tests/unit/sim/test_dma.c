// SPDX-License-Identifier: BSD-2-Clause
/* What a device's accesses do to memory, and how they fault. */
#include "rig.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define IOVA ((UINT64_C(5) << 30) - 2 * KB4) /* its granules are in three tables */

static struct space s;
static struct dr_backend_device *dev;
static unsigned char *mem;
#define MEM (8 * KB4)

static int setup(void **state)
{
	rig_setup(state);
	s = space_open(DRAY_DOMAIN_PAGING);
	dev = device_open(&s, "sim3");
	mem = memory(MEM, KB4);
	return 0;
}

static int teardown(void **state)
{
	device_close(dev);
	space_close(&s);
	memory_free(mem, MEM);
	return rig_teardown(state);
}

static void moves_every_length_at_every_offset(void **state)
{
	unsigned char out[64], in[64];

	(void)state;
	space_map(&s, IOVA, mem, MEM, RW);
	for (size_t off = 0; off < 24; off++) {
		for (size_t len = 0; len <= 40; len++) {
			dray_iova_t at = IOVA + KB4 - 12 + off; /* across a granule's end too */
			unsigned char *there = mem + KB4 - 12 + off;

			memset(mem + KB4 - 64, 0xee, 256);
			for (size_t i = 0; i < len; i++)
				out[i] = (unsigned char)(i * 7 + off + len);
			assert_int_equal(dr_sim_dma_write(dev, at, out, len), 0);
			assert_memory_equal(there, out, len);
			assert_true(there[-1] == 0xee && there[len] == 0xee);
			memset(in, 0x11, sizeof(in));
			assert_int_equal(dr_sim_dma_read(dev, at, in, len), 0);
			assert_memory_equal(in, out, len);
			assert_true(in[len] == 0x11);
		}
	}
}

static void granules_are_translated_one_by_one(void **state)
{
	unsigned char buf[3 * 4096];

	(void)state;
	/* Backwards in memory. */
	for (size_t i = 0; i < 3; i++)
		space_map(&s, IOVA + i * KB4, mem + (2 - i) * KB4, KB4, RW);
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (unsigned char)(i / 4096 + 1);
	assert_int_equal(dr_sim_dma_write(dev, IOVA, buf, sizeof(buf)), 0);
	assert_true(mem[0] == 3 && mem[KB4] == 2 && mem[3 * KB4 - 1] == 1);
	assert_int_equal(dr_sim_dma_write(dev, IOVA + 100, buf, 2 * KB4), 0);
	assert_true(mem[2 * KB4 + 99] == 1 && mem[KB4 + 100] == 2 && mem[99] == 2 && mem[100] == 3);
}

static void bytes_before_a_fault_have_moved(void **state)
{
	unsigned char buf[4096 + 50];
	struct dray_sim_fault f;

	(void)state;
	memset(buf, 0xab, sizeof(buf));
	space_map(&s, IOVA, mem, KB4, RW);
	assert_int_equal(dr_sim_dma_write(dev, IOVA + KB4 - 20, buf, 40), -EFAULT);
	assert_true(mem[KB4 - 21] == 0 && mem[KB4 - 20] == 0xab && mem[KB4 - 1] == 0xab);
	f = only_fault(dev);
	assert_int_equal(f.iova, IOVA + KB4);
	assert_int_equal(f.access, DRAY_SIM_WRITE);
	assert_int_equal(f.reason, DRAY_SIM_FAULT_NOT_PRESENT);
	assert_int_equal(f.level, 1);
	/* The message is for whoever plays the device. */
	assert_non_null(strstr(dray_errmsg(), "write"));
}

static void directions_are_kept(void **state)
{
	uint64_t word = 0;
	struct dray_sim_fault f;

	(void)state;
	space_map(&s, IOVA, mem, KB4, DR_PTE_READ);
	space_map(&s, IOVA + KB4, mem + KB4, KB4, DR_PTE_WRITE);
	/* First by a walk, then from the IOTLB. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(dr_sim_dma_write(dev, IOVA, &word, 8), -EFAULT);
		f = only_fault(dev);
		assert_int_equal(f.reason, DRAY_SIM_FAULT_PERMISSION);
		assert_int_equal(f.access, DRAY_SIM_WRITE);
		assert_int_equal(f.level, 1);
		assert_int_equal(dr_sim_dma_read(dev, IOVA, &word, 8), 0);
		assert_int_equal(dr_sim_dma_read(dev, IOVA + KB4, &word, 8), -EFAULT);
		f = only_fault(dev);
		assert_int_equal(f.reason, DRAY_SIM_FAULT_PERMISSION);
		assert_int_equal(f.access, DRAY_SIM_READ);
		assert_int_equal(dr_sim_dma_write(dev, IOVA + KB4, &word, 8), 0);
	}
}

static void faults_tell_where_the_walk_ended(void **state)
{
	char byte;

	(void)state;
	assert_int_equal(dr_sim_dma_read(dev, IOVA, &byte, 1), -EFAULT);
	assert_int_equal(only_fault(dev).level, 4);
	space_map(&s, IOVA, mem, KB4, RW);
	assert_int_equal(dr_sim_dma_read(dev, IOVA + KB4, &byte, 1), -EFAULT);
	assert_int_equal(only_fault(dev).level, 1);
	assert_int_equal(dr_sim_dma_read(dev, IOVA - MB2, &byte, 1), -EFAULT);
	assert_int_equal(only_fault(dev).level, 2);
	assert_int_equal(dr_sim_dma_read(dev, IOVA + GB1, &byte, 1), -EFAULT);
	assert_int_equal(only_fault(dev).level, 3);
	assert_int_equal(dr_sim_dma_read(dev, UINT64_C(1) << 48, &byte, 1), -EFAULT);
	assert_int_equal(only_fault(dev).reason, DRAY_SIM_FAULT_APERTURE);
	assert_int_equal(dr_sim_dma_read(dev, UINT64_MAX, &byte, 1), -EFAULT);
	assert_int_equal(only_fault(dev).reason, DRAY_SIM_FAULT_APERTURE);
	assert_int_equal(dr_sim_dma_read(dev, UINT64_MAX, &byte, 2), -EINVAL);
	assert_int_equal(dr_sim_dma_read(dev, 0, &byte, 0), 0);
	/* A page of 2 MiB is refused at its own level. */
	dr_sim_set_cost(s.be, 0, 0, DRAY_SIM_NOCHECK);
	space_map(&s, 8 * GB1, (void *)(64 * GB1), MB2, DR_PTE_READ);
	assert_int_equal(dr_sim_dma_write(dev, 8 * GB1, &byte, 1), -EFAULT);
	assert_int_equal(only_fault(dev).level, 2);
}

static void the_record_is_bounded(void **state)
{
	struct dray_sim_fault f[300];
	char byte;

	(void)state;
	for (uint64_t i = 0; i < 300; i++)
		assert_int_equal(dr_sim_dma_read(dev, i, &byte, 1), -EFAULT);
	assert_int_equal(dr_sim_fault_overflow(dev), 300 - 256);
	assert_int_equal(dr_sim_take_faults(dev, f, 0), 0);
	assert_int_equal(dr_sim_take_faults(dev, f, 100), 100);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(f[i].iova, i);
	/* Room again; the order holds across the ring's end. */
	for (uint64_t i = 300; i < 310; i++)
		assert_int_equal(dr_sim_dma_read(dev, i, &byte, 1), -EFAULT);
	assert_int_equal(dr_sim_take_faults(dev, f, 300), 256 - 100 + 10);
	for (unsigned i = 0; i < 156; i++)
		assert_int_equal(f[i].iova, 100 + i);
	for (unsigned i = 156; i < 166; i++)
		assert_int_equal(f[i].iova, 300 + i - 156);
	assert_int_equal(dr_sim_take_faults(dev, f, 300), 0);
	assert_int_equal(dr_sim_fault_overflow(dev), 300 - 256);
}

/* A completion entry as a driver polls it: the phase is in the last word. */
struct entry {
	uint64_t body;
	uint32_t more;
	_Atomic uint32_t phase;
};

#define ENTRIES 200000u

static void *complete(void *arg)
{
	(void)arg;
	for (uint32_t i = 1; i <= ENTRIES; i++) {
		struct {
			uint64_t body;
			uint32_t more, phase;
		} e = { i * UINT64_C(0x100000001), ~i, i };

		if (dr_sim_dma_write(dev, IOVA + 64, &e, sizeof(e)))
			return (void *)1;
	}
	return NULL;
}

/*
 * The next entry is written over the last one while it is read, so a reader may find a newer body
 * than the phase told; never an older one.
 */
static void entries_are_never_older_than_their_phase(void **state)
{
	volatile struct entry *e = (volatile struct entry *)(mem + 64);
	uint32_t seen = 0, phase;
	pthread_t device;
	void *failed;

	(void)state;
	space_map(&s, IOVA, mem, KB4, RW);
	assert_int_equal(pthread_create(&device, NULL, complete, NULL), 0);
	while (seen < ENTRIES) {
		uint64_t body;
		uint32_t more;

		phase = atomic_load_explicit(&e->phase, memory_order_acquire);
		if (phase == seen)
			continue;
		body = e->body;
		more = e->more;
		assert_true(phase > seen);
		assert_true((uint32_t)body == body >> 32); /* a word is one store */
		assert_true((uint32_t)body >= phase);
		assert_true(~more >= phase);
		seen = phase;
	}
	pthread_join(device, &failed);
	assert_null(failed);
}

static void devices_have_numbers(void **state)
{
	struct dr_backend_device *other = device_open(&s, "sim0.7");

	(void)state;
	assert_int_equal(dr_sim_device_index(dev), 3);
	assert_int_equal(dr_sim_device_index(other), 70);
	device_close(other);
}

/* N devices of one space see the same; one that leaves does not disturb the others. */
static void devices_share_a_space(void **state)
{
	struct dr_backend_device *other = device_open(&s, "sim4");
	uint64_t word = 1;

	(void)state;
	space_map(&s, IOVA, mem, KB4, RW);
	assert_int_equal(dr_sim_dma_write(dev, IOVA, &word, 8), 0);
	word = 0;
	assert_int_equal(dr_sim_dma_read(other, IOVA, &word, 8), 0);
	assert_int_equal(word, 1);
	device_close(other);
	assert_int_equal(dr_sim_dma_read(dev, IOVA, &word, 8), 0);
	space_unmap(&s, IOVA, KB4);
	assert_int_equal(dr_sim_dma_read(dev, IOVA, &word, 8), -EFAULT);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(moves_every_length_at_every_offset),
		T(granules_are_translated_one_by_one),
		T(bytes_before_a_fault_have_moved),
		T(directions_are_kept),
		T(faults_tell_where_the_walk_ended),
		T(the_record_is_bounded),
		T(entries_are_never_older_than_their_phase),
		T(devices_have_numbers),
		T(devices_share_a_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
