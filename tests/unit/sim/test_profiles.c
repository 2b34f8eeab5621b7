// SPDX-License-Identifier: BSD-2-Clause
/*
 * Through the public interface, on every profile: random buffers and lists in every direction reach
 * the device as the program stored them, come back as the device wrote them, and nothing beside
 * them changes. On hardware that does not snoop this needs every clean and drop there is.
 */
#include "rig.h"

#include <dray/dray.h>
#include <dray/sim.h>

#include <stdlib.h>
#include <string.h>

#define ROOM ((size_t)1 << 20)

struct scene {
	struct dray_domain *dom;
	struct dray_device *dev;
	unsigned char *mem, *want, *buf;
	unsigned seed;
};

static size_t pick(struct scene *s, size_t n)
{
	return (size_t)rand_r(&s->seed) % n;
}

static struct scene begin(const char *profile)
{
	const struct dray_domain_opts opts = {
		.size = sizeof(opts), .backend = DRAY_BACKEND_SIM, .sim_profile = profile,
	};
	const char *given = getenv("DRAY_TEST_SEED");
	struct scene s = { .seed = given ? (unsigned)strtoul(given, NULL, 0) : 7 };

	print_message("%s, seed %u\n", profile, s.seed);
	assert_int_equal(dray_domain_open(&opts, &s.dom), 0);
	assert_int_equal(dray_device_open(s.dom, "sim1", NULL, &s.dev), 0);
	s.mem = memory(ROOM, KB4);
	s.want = malloc(ROOM);
	s.buf = malloc(ROOM);
	assert_non_null(s.want);
	assert_non_null(s.buf);
	memcpy(s.want, s.mem, ROOM);
	return s;
}

static void end(struct scene *s)
{
	dray_device_close(s->dev);
	dray_domain_close(s->dom);
	memory_free(s->mem, ROOM);
	free(s->want);
	free(s->buf);
}

/* Store something new, at the program's side and in what is expected of it. */
static void store(struct scene *s, size_t off, size_t len)
{
	memset(s->mem + off, (int)pick(s, 256), len);
	memcpy(s->want + off, s->mem + off, len);
}

static void device_writes(struct scene *s, dray_iova_t iova, size_t len)
{
	memset(s->buf, (int)pick(s, 256), len);
	assert_int_equal(dray_sim_write(s->dev, iova, s->buf, len), 0);
}

static void buffers(struct scene *s)
{
	for (unsigned i = 0; i < 400; i++) {
		size_t off = pick(s, ROOM / 2), len = 1 + pick(s, i % 8 ? 9000 : 200000);
		enum dray_dir dir = (enum dray_dir)pick(s, 3);
		struct dray_mapping m;

		store(s, off, len);
		assert_int_equal(dray_map(s->dev, s->mem + off, len, dir, 0, &m), 0);
		if (dir != DRAY_FROM_DEVICE) {
			assert_int_equal(dray_sim_read(s->dev, m.iova, s->buf, len), 0);
			assert_memory_equal(s->buf, s->want + off, len);
		}
		if (dir != DRAY_TO_DEVICE) {
			/* Not all of it: the rest comes back as it was. */
			size_t some = 1 + pick(s, len);

			device_writes(s, m.iova, some);
			memcpy(s->want + off, s->buf, some);
		}
		dray_unmap(s->dev, &m);
		assert_memory_equal(s->mem, s->want, ROOM);
	}
}

static void lists(struct scene *s)
{
	for (unsigned i = 0; i < 300; i++) {
		enum dray_dir dir = (enum dray_dir)pick(s, 3);
		unsigned n = 1 + (unsigned)pick(s, 8);
		struct dray_sg sg[8];
		int segments;
		size_t at = 0;

		for (unsigned k = 0; k < n; k++) {
			size_t off = pick(s, ROOM / 16), len = 1 + pick(s, 9000);

			if (pick(s, 2)) {
				off &= ~(KB4 - 1);
				len = (len + KB4 - 1) & ~(KB4 - 1);
			}
			off += k * (ROOM / 8);
			store(s, off, len);
			sg[k] = (struct dray_sg){ .va = s->mem + off, .len = len };
		}
		segments = dray_map_sg(s->dev, sg, n, dir, 0);
		assert_true(segments > 0);
		for (int k = 0; k < segments && dir != DRAY_FROM_DEVICE; at += sg[k++].dma_len)
			assert_int_equal(dray_sim_read(s->dev, sg[k].iova, s->buf + at,
						       sg[k].dma_len), 0);
		at = 0;
		for (unsigned k = 0; k < n && dir != DRAY_FROM_DEVICE; at += sg[k++].len)
			assert_memory_equal(s->buf + at, sg[k].va, sg[k].len);
		at = 0;
		for (unsigned k = 0; k < n && dir != DRAY_TO_DEVICE; at += sg[k++].len) {
			memset(s->buf + at, (int)pick(s, 256), sg[k].len);
			memcpy(s->want + ((unsigned char *)sg[k].va - s->mem), s->buf + at,
			       sg[k].len);
		}
		at = 0;
		for (int k = 0; k < segments && dir != DRAY_TO_DEVICE; at += sg[k++].dma_len)
			assert_int_equal(dray_sim_write(s->dev, sg[k].iova, s->buf + at,
							sg[k].dma_len), 0);
		dray_unmap_sg(s->dev, sg, n);
		assert_memory_equal(s->mem, s->want, ROOM);
	}
}

static void bytes_arrive_on_every_profile(void **state)
{
	const char *name;

	(void)state;
	for (unsigned i = 0; (name = dr_sim_profile_name(i)); i++) {
		struct scene s = begin(name);

		buffers(&s);
		lists(&s);
		end(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_arrive_on_every_profile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
