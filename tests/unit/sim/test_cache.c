// SPDX-License-Identifier: BSD-2-Clause
/*
 * Devices that do not look into the CPU's caches: what they and the program see of each other's
 * bytes, and that every missing and wrong piece of maintenance shows.
 */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#define AT   (16 * (dray_iova_t)MB2)
#define LINE 64

struct scene {
	struct space space;
	struct dr_backend_device *dev;
	char *mem;
};

static void no_op(uintptr_t first, uintptr_t end)
{
	(void)first;
	(void)end;
}

/* So that lines are of one size, whatever this machine's are. */
static const struct dr_cpu_ops lines_of_64 = { "test", LINE, LINE, no_op, no_op, NULL };
static const struct dr_cpu_ops lines_of_256 = { "test", 64, 256, no_op, no_op, NULL };

static struct scene begin(size_t len)
{
	struct scene s = { .space = space_open_as("noncoherent", DRAY_DOMAIN_PAGING) };

	dr_cpu_set_ops(&lines_of_64);
	s.dev = device_open(&s.space, "sim1");
	s.mem = memory(len, KB4);
	space_map(&s.space, AT, s.mem, len, RW);
	return s;
}

static void end(struct scene *s, size_t len)
{
	space_unmap(&s->space, AT, len);
	memory_free(s->mem, len);
	device_close(s->dev);
	space_close(&s->space);
	dr_cpu_set_ops(NULL);
}

static void dma_read(const struct scene *s, size_t off, void *buf, size_t len)
{
	assert_int_equal(dr_sim_dma_read(s->dev, AT + off, buf, len), 0);
}

static void dma_write(const struct scene *s, size_t off, const void *buf, size_t len)
{
	assert_int_equal(dr_sim_dma_write(s->dev, AT + off, buf, len), 0);
}

static struct dr_sim_counts counts(const struct scene *s)
{
	struct dr_sim_counts c;

	dr_sim_counts(s->space.be, &c);
	return c;
}

static void assert_mistakes(const struct scene *s, uint64_t stale, uint64_t wrong, uint64_t lost)
{
	struct dr_sim_counts c = counts(s);

	assert_int_equal(c.stale_reads, stale);
	assert_int_equal(c.wrong_drops, wrong);
	assert_int_equal(c.lost_writes, lost);
}

static void a_device_says_that_it_does_not_snoop(void **state)
{
	struct scene s = begin(KB4);
	struct space vtd = space_open(DRAY_DOMAIN_PAGING);
	struct dr_backend_device *dev = device_open(&vtd, "sim2");

	(void)state;
	assert_false(s.dev->coherent);
	assert_false(s.dev->enforces_coherency);
	assert_true(dev->coherent);
	assert_true(dev->enforces_coherency);
	/* It is the place that decides: a device that moves takes on the other's. */
	assert_int_equal(vtd.be->ops->switch_to(dev, s.space.be), 0);
	assert_false(dev->coherent);
	assert_false(dev->enforces_coherency);
	assert_int_equal(vtd.be->ops->switch_to(dev, vtd.be), 0);
	assert_true(dev->coherent);
	device_close(dev);
	space_close(&vtd);
	end(&s, KB4);
}

static void with_maintenance_both_see_all(void **state)
{
	struct scene s = begin(2 * KB4);
	char buf[200];

	(void)state;
	/* Across a page's end. */
	memset(s.mem + 4000, 'c', 200);
	dr_backend_clean(s.space.be, s.mem + 4000, 200);
	dma_read(&s, 4000, buf, 200);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(buf[i], 'c');
	memset(buf, 'd', 200);
	dma_write(&s, 4000, buf, 200);
	dr_backend_drop(s.space.be, s.mem + 4000, 200);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(s.mem[4000 + i], 'd');
	/* What the device wrote, it reads. */
	dma_read(&s, 4000, buf, 200);
	assert_int_equal(buf[199], 'd');
	assert_mistakes(&s, 0, 0, 0);
	/* 4000 … 4199 lie in lines 62 … 65. */
	assert_int_equal(counts(&s).cleaned_lines, 4);
	assert_int_equal(counts(&s).dropped_lines, 4);
	end(&s, 2 * KB4);
}

static void a_missing_clean_shows(void **state)
{
	struct scene s = begin(KB4);
	char c = 0;

	(void)state;
	s.mem[100] = 1;
	/* Nothing has been cleaned since it was mapped. */
	dma_read(&s, 100, &c, 1);
	assert_int_not_equal(c, 1);
	assert_mistakes(&s, 1, 0, 0);
	dr_backend_clean(s.space.be, s.mem, KB4);
	dma_read(&s, 100, &c, 1);
	assert_int_equal(c, 1);
	/* Nor since it was written again. */
	s.mem[100] = 2;
	dma_read(&s, 100, &c, 1);
	assert_int_equal(c, 1);
	assert_mistakes(&s, 2, 0, 0);
	/* Its line's other bytes are as they were. */
	dma_read(&s, 101, &c, 1);
	assert_mistakes(&s, 2, 0, 0);
	/* A clean beside it does not help; one of it does. */
	dr_backend_clean(s.space.be, s.mem + 128, KB4 - 128);
	dr_backend_clean(s.space.be, s.mem, 64);
	dma_read(&s, 100, &c, 1);
	assert_int_equal(c, 1);
	dr_backend_clean(s.space.be, s.mem + 100, 1);
	dma_read(&s, 100, &c, 1);
	assert_int_equal(c, 2);
	assert_mistakes(&s, 3, 0, 0);
	end(&s, KB4);
}

static void a_missing_drop_shows(void **state)
{
	struct scene s = begin(KB4);
	const char d = 'd';

	(void)state;
	s.mem[100] = 'c';
	dr_backend_clean(s.space.be, s.mem, KB4);
	dma_write(&s, 100, &d, 1);
	assert_int_equal(s.mem[100], 'c');
	dr_backend_drop(s.space.be, s.mem + 128, 64);
	assert_int_equal(s.mem[100], 'c');
	dr_backend_drop(s.space.be, s.mem + 100, 1);
	assert_int_equal(s.mem[100], 'd');
	/* And it stays with the program when the mapping goes. */
	space_unmap(&s.space, AT, KB4);
	assert_int_equal(s.mem[100], 'd');
	space_map(&s.space, AT, s.mem, KB4, RW);
	assert_mistakes(&s, 0, 0, 0);
	end(&s, KB4);
}

static void what_was_not_fetched_is_lost_at_unmap(void **state)
{
	struct scene s = begin(KB4);
	const char d = 'd';

	(void)state;
	s.mem[0] = 'c';
	dr_backend_clean(s.space.be, s.mem, KB4);
	dma_write(&s, 0, &d, 1);
	space_unmap(&s.space, AT, KB4);
	dr_backend_drop(s.space.be, s.mem, KB4);
	assert_int_equal(s.mem[0], 'c');
	space_map(&s.space, AT, s.mem, KB4, RW);
	end(&s, KB4);
}

static void a_wrong_drop_loses_what_the_cpu_wrote(void **state)
{
	struct scene s = begin(KB4);

	(void)state;
	memset(s.mem, 'c', KB4);
	dr_backend_clean(s.space.be, s.mem, KB4);
	s.mem[70] = 'x';
	dr_backend_drop(s.space.be, s.mem, 64);
	assert_mistakes(&s, 0, 0, 0);
	assert_int_equal(s.mem[70], 'x');
	/* The line of the byte, though not the byte. */
	dr_backend_drop(s.space.be, s.mem + 64, 1);
	assert_mistakes(&s, 0, 1, 0);
	assert_int_equal(s.mem[70], 'c');
	end(&s, KB4);
}

/* A buffer that has never been handed over: its bytes are nowhere but in the cache. */
static void a_drop_without_any_clean_is_wrong(void **state)
{
	struct scene s = begin(KB4);

	(void)state;
	s.mem[0] = 'c';
	dr_backend_drop(s.space.be, s.mem, 1);
	assert_mistakes(&s, 0, 1, 0);
	assert_int_not_equal(s.mem[0], 'c');
	end(&s, KB4);
}

/* Two buffers in one line: cleaning the one writes over what the device wrote in the other. */
static void a_shared_line_loses_the_devices_bytes(void **state)
{
	struct scene s = begin(KB4);
	const char d = 'd';

	(void)state;
	dr_backend_clean(s.space.be, s.mem, KB4);
	dma_write(&s, 32, &d, 1);
	s.mem[0] = 'c';
	dr_backend_clean(s.space.be, s.mem, 32);
	assert_mistakes(&s, 0, 0, 1);
	dr_backend_drop(s.space.be, s.mem + 32, 32);
	assert_int_not_equal(s.mem[32], 'd');
	/* In lines of their own nothing is lost. */
	dma_write(&s, 128, &d, 1);
	s.mem[64] = 'c';
	dr_backend_clean(s.space.be, s.mem + 64, 32);
	dr_backend_drop(s.space.be, s.mem + 128, 64);
	assert_int_equal(s.mem[128], 'd');
	assert_mistakes(&s, 0, 0, 1);
	end(&s, KB4);
}

/* Memory used again: the bytes stored may be those that were there before the device wrote. */
static void the_same_bytes_stored_again_reach_the_device(void **state)
{
	struct scene s = begin(KB4);
	char c = 'd';

	(void)state;
	s.mem[0] = 'c';
	dr_backend_clean(s.space.be, s.mem, KB4);
	dma_write(&s, 0, &c, 1);
	/* Nobody cares for what it wrote. */
	*(volatile char *)s.mem = 'c';
	dr_backend_clean(s.space.be, s.mem, 1);
	dma_read(&s, 0, &c, 1);
	assert_int_equal(c, 'c');
	assert_mistakes(&s, 0, 0, 0);
	end(&s, KB4);
}

static void lines_are_as_large_as_the_machines(void **state)
{
	struct scene s = begin(KB4);

	(void)state;
	space_unmap(&s.space, AT, KB4);
	dr_cpu_set_ops(&lines_of_256);
	space_map(&s.space, AT, s.mem, KB4, RW);
	dr_backend_clean(s.space.be, s.mem, KB4);
	assert_int_equal(counts(&s).cleaned_lines, 16);
	s.mem[200] = 'x';
	dr_backend_drop(s.space.be, s.mem, 64);
	assert_mistakes(&s, 0, 1, 0);
	end(&s, KB4);
}

/* What a kernel calls coherent memory. */
static void uncached_memory_needs_no_maintenance(void **state)
{
	struct scene s = begin(2 * KB4);
	struct space vtd = space_open(DRAY_DOMAIN_PAGING);
	char *mem = memory(2 * KB4, KB4), c = 'd';

	(void)state;
	assert_int_equal(dr_backend_uncache(s.space.be, mem, 2 * KB4), 0);
	space_map(&s.space, AT + MB2, mem, 2 * KB4, RW);
	mem[KB4] = 'c';
	dma_read(&s, MB2 + KB4, &c, 1);
	assert_int_equal(c, 'c');
	c = 'd';
	dma_write(&s, MB2, &c, 1);
	assert_int_equal(mem[0], 'd');
	/* Maintenance does it no harm. */
	dr_backend_drop(s.space.be, mem, 2 * KB4);
	dr_backend_clean(s.space.be, mem, 2 * KB4);
	assert_int_equal(mem[0], 'd');
	assert_mistakes(&s, 0, 0, 0);
	assert_int_equal(counts(&s).cleaned_lines + counts(&s).dropped_lines, 0);
	space_unmap(&s.space, AT + MB2, 2 * KB4);
	dr_backend_recache(s.space.be, mem, 2 * KB4);
	/* And then it is as any other. */
	space_map(&s.space, AT + MB2, mem, 2 * KB4, RW);
	dma_read(&s, MB2, &c, 1);
	assert_mistakes(&s, 1, 0, 0);
	space_unmap(&s.space, AT + MB2, 2 * KB4);
	/* All or nothing; and not at all where everything snoops. */
	rig_fail_alloc = 2;
	assert_int_equal(dr_backend_uncache(s.space.be, mem, 2 * KB4), -ENOMEM);
	assert_int_equal(rig_fail_alloc, 0);
	assert_int_equal(dr_backend_uncache(vtd.be, mem, KB4), -ENOTSUP);
	space_close(&vtd);
	memory_free(mem, 2 * KB4);
	end(&s, 2 * KB4);
}

/* A page has one image, however often it is mapped. */
static void a_page_mapped_twice_has_one_image(void **state)
{
	struct scene s = begin(2 * KB4);
	struct dr_backend_device *other;
	struct space second = space_open_as("noncoherent", DRAY_DOMAIN_PAGING);
	const char d = 'd';
	char c = 0;

	(void)state;
	other = device_open(&second, "sim2");
	space_map(&second, 2 * AT, s.mem, KB4, RW);
	s.mem[0] = 'c';
	dr_backend_clean(s.space.be, s.mem, 1);
	assert_int_equal(dr_sim_dma_read(other, 2 * AT, &c, 1), 0);
	assert_int_equal(c, 'c');
	assert_int_equal(dr_sim_dma_write(other, 2 * AT, &d, 1), 0);
	dma_read(&s, 0, &c, 1);
	assert_int_equal(c, 'd');
	/* It lives until the last mapping has gone. */
	space_unmap(&second, 2 * AT, KB4);
	dma_read(&s, 0, &c, 1);
	assert_int_equal(c, 'd');
	assert_int_not_equal(s.mem[0], 'd');
	dr_backend_drop(s.space.be, s.mem, 1);
	assert_int_equal(s.mem[0], 'd');
	device_close(other);
	space_close(&second);
	end(&s, 2 * KB4);
}

/* Closing with mappings left takes their images too: memory tools would tell. */
static void close_takes_what_is_left(void **state)
{
	struct space s = space_open_as("noncoherent", DRAY_DOMAIN_PAGING);
	char *mem = memory(2 * MB2, MB2);

	(void)state;
	space_map(&s, MB2, mem, 2 * MB2, RW);
	space_map(&s, 8 * MB2 + KB4, mem, KB4, RW);
	space_close(&s);
	/* A page that has no image is memory. */
	s = space_open_as("noncoherent", DRAY_DOMAIN_IDENTITY);
	dr_backend_drop(s.be, mem, KB4);
	assert_int_equal(mem[0], 0);
	space_close(&s);
	memory_free(mem, 2 * MB2);
}

static void no_memory_for_images_is_no_mapping(void **state)
{
	struct space s = space_open_as("noncoherent", DRAY_DOMAIN_PAGING);
	struct dr_backend_device *dev = device_open(&s, "sim1");
	char *mem = memory(8 * KB4, KB4), c;

	(void)state;
	space_map(&s, AT, mem, KB4, RW);
	space_unmap(&s, AT, KB4);
	/* The tables are there: all that is allocated now are images. */
	for (int nth = 1; nth <= 8; nth++) {
		rig_fail_alloc = nth;
		assert_int_equal(s.be->ops->map(s.be, AT, mem, 8 * KB4, RW), -ENOMEM);
		assert_int_equal(rig_fail_alloc, 0);
		assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), -EFAULT);
	}
	rig_fail_alloc = 0;
	space_map(&s, AT, mem, 8 * KB4, RW);
	space_unmap(&s, AT, 8 * KB4);
	device_close(dev);
	memory_free(mem, 8 * KB4);
	space_close(&s);
}

/* Both sides and what has passed, byte by byte: what the model must do, in a slow way. */
enum { LEN = 1024 };

struct oracle {
	unsigned char cpu[LEN], dram[LEN], seen[LEN];
	bool written[LEN / LINE];
};

static void oracle_pass(struct oracle *o, size_t off, size_t len, bool cleans)
{
	for (size_t at = off / LINE * LINE; at < off + len; at += LINE) {
		if (!cleans)
			memcpy(o->cpu + at, o->dram + at, LINE);
		else if (o->written[at / LINE] || memcmp(o->cpu + at, o->seen + at, LINE))
			memcpy(o->dram + at, o->cpu + at, LINE);
		else
			continue;
		memcpy(o->seen + at, o->cpu + at, LINE);
		o->written[at / LINE] = false;
	}
}

static void random_traffic_against_an_oracle(void **state)
{
	static struct oracle o;
	struct scene s = begin(KB4);
	const char *given = getenv("DRAY_TEST_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : 20260314;
	unsigned char buf[LEN];

	(void)state;
	print_message("seed %u\n", seed);
	dr_backend_clean(s.space.be, s.mem, LEN);
	for (unsigned step = 1; step <= 20000; step++) {
		size_t off = (size_t)rand_r(&seed) % LEN;
		size_t len = 1 + (size_t)rand_r(&seed) % 200;
		int value = rand_r(&seed) & 0xff;

		if (len > LEN - off)
			len = LEN - off;
		switch (rand_r(&seed) % 5) {
		case 0:
			memset(s.mem + off, value, len);
			memset(o.cpu + off, value, len);
			break;
		case 1:
			memset(buf, value, len);
			dma_write(&s, off, buf, len);
			memset(o.dram + off, value, len);
			for (size_t i = off; i < off + len; i++)
				o.written[i / LINE] = true;
			break;
		case 2:
			dma_read(&s, off, buf, len);
			assert_memory_equal(buf, o.dram + off, len);
			break;
		case 3:
			dr_backend_clean(s.space.be, s.mem + off, len);
			oracle_pass(&o, off, len, true);
			break;
		default:
			dr_backend_drop(s.space.be, s.mem + off, len);
			oracle_pass(&o, off, len, false);
		}
		assert_memory_equal(s.mem, o.cpu, LEN);
	}
	end(&s, KB4);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_device_says_that_it_does_not_snoop),
		TEST(with_maintenance_both_see_all),
		TEST(a_missing_clean_shows),
		TEST(a_missing_drop_shows),
		TEST(what_was_not_fetched_is_lost_at_unmap),
		TEST(a_wrong_drop_loses_what_the_cpu_wrote),
		TEST(a_drop_without_any_clean_is_wrong),
		TEST(a_shared_line_loses_the_devices_bytes),
		TEST(the_same_bytes_stored_again_reach_the_device),
		TEST(lines_are_as_large_as_the_machines),
		TEST(uncached_memory_needs_no_maintenance),
		TEST(a_page_mapped_twice_has_one_image),
		TEST(close_takes_what_is_left),
		TEST(no_memory_for_images_is_no_mapping),
		TEST(random_traffic_against_an_oracle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
