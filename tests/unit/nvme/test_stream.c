// SPDX-License-Identifier: BSD-2-Clause
/* Files onto the namespace and back, of every awkward length; and the steady load. */
#include "stack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sha2.h>

#include "nvme/load.h"
#include "nvme/stream.h"

#define MIB ((size_t)1 << 20)

static struct stack s;
static char path[32];
static int fd = -1;

static int close_all(void **state)
{
	(void)state;
	stack_close(&s);
	if (fd >= 0)
		close(fd);
	if (path[0])
		unlink(path);
	fd = -1;
	path[0] = '\0';
	return 0;
}

/* The same numbers in every run; no structure that a wrong block order would hide in. */
static void make_file(size_t len, unsigned char **ret_mem)
{
	unsigned char *mem = malloc(len);
	uint64_t x = 0x1234567 + len;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		mem[i] = (unsigned char)x;
	}
	if (fd >= 0)
		close(fd);
	if (path[0])
		unlink(path);
	strcpy(path, "nvme-file-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, mem, len), len);
	*ret_mem = mem;
}

static void sha_of(const unsigned char *mem, size_t len, unsigned char *ret)
{
	SHA2_CTX c;

	SHA256Init(&c);
	SHA256Update(&c, mem, len);
	SHA256Final(ret, &c);
}

static void files_of_every_length(void **state)
{
	static const size_t lens[] = {1,	 511,	    512,	  513,	       4095,
				      4097,	 65536,	    MIB - 1,	  MIB,	       MIB + 1,
				      3 * MIB + 7, 128 << 10, (128 << 10) + 1};
	const struct nvme_model_opts mo = {.reorder = true, .seed = 5};
	const struct nvme_opts no = {.queues = 3, .depth = 4};
	unsigned char sha[NVME_SHA256_BYTES], *mem, *image = malloc(4 * MIB);

	(void)state;
	stack_open(&s, 4 * MIB, &mo, &no);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		size_t len = lens[i], whole = (len + 511) / 512 * 512;
		struct nvme_stream_result w, r;
		struct nvme_stream st = {.ctrl = s.ctrl, .bytes = len, .lba = 11 + i,
					 .chunk = i % 2 ? 4096 : 128 << 10};

		make_file(len, &mem);
		st.fd = fd;
		assert_int_equal(nvme_stream_write(&st, &w), 0);
		assert_int_equal(nvme_stream_compare(&st, &r), 0);
		assert_true(r.equal);
		sha_of(mem, len, sha);
		assert_memory_equal(w.sha256, sha, sizeof(sha));
		assert_memory_equal(r.sha256, sha, sizeof(sha));
		stack_image_read(&s, (11 + i) * 512, image, whole);
		assert_memory_equal(image, mem, len);
		for (size_t b = len; b < whole; b++)
			assert_int_equal(image[b], 0);
		free(mem);
	}
	free(image);
}

static void flip(size_t off)
{
	int img = open(s.image, O_RDWR);
	unsigned char c;

	assert_int_equal(pread(img, &c, 1, (off_t)off), 1);
	c ^= 1;
	assert_int_equal(pwrite(img, &c, 1, (off_t)off), 1);
	close(img);
}

static void one_bit_is_found(void **state)
{
	static const size_t at[] = {0, 4096, 300001, 700000 - 1, 700000 + 100};
	const struct nvme_opts no = {.queues = 2, .depth = 4};
	struct nvme_stream st = {.bytes = 700000, .chunk = 65536};
	struct nvme_stream_result w, r;
	unsigned char *mem;

	(void)state;
	stack_open(&s, MIB, NULL, &no);
	make_file(700000, &mem);
	st.ctrl = s.ctrl;
	st.fd = fd;
	assert_int_equal(nvme_stream_write(&st, &w), 0);
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		flip(at[i]);
		assert_int_equal(nvme_stream_compare(&st, &r), 0);
		assert_false(r.equal);
		assert_int_equal(r.first_diff, at[i]);
		/* Behind the file's end the padding differs, and not the checksum. */
		assert_int_equal(memcmp(r.sha256, w.sha256, sizeof(w.sha256)) == 0,
				 at[i] >= 700000);
		flip(at[i]);
	}
	assert_int_equal(nvme_stream_compare(&st, &r), 0);
	assert_true(r.equal);
	free(mem);
}

/* Buffers are poisoned before a read, so one that moves nothing cannot pass for zeros. */
static void reads_that_move_nothing_are_found(void **state)
{
	const struct nvme_opts no = {.depth = 4};
	struct nvme_stream st = {.bytes = 65536, .chunk = 4096};
	struct nvme_stream_result r;
	unsigned char *mem;

	(void)state;
	stack_open(&s, MIB, NULL, &no);
	make_file(512, &mem);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(ftruncate(fd, 65536), 0);
	st.ctrl = s.ctrl;
	st.fd = fd;
	assert_int_equal(nvme_stream_write(&st, &r), 0);
	nvme_model_lie(s.model, 1);
	assert_int_equal(nvme_stream_compare(&st, &r), 0);
	assert_false(r.equal);
	assert_int_equal(nvme_stream_compare(&st, &r), 0);
	assert_true(r.equal);
	/* Likewise a write. */
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, "x", 1, 65535), 1);
	nvme_model_lie(s.model, 16);
	assert_int_equal(nvme_stream_write(&st, &r), 0);
	assert_int_equal(nvme_stream_compare(&st, &r), 0);
	assert_false(r.equal);
	assert_int_equal(r.first_diff, 65535);
	free(mem);
}

static void streams_end_when_a_command_fails(void **state)
{
	const struct nvme_opts no = {.queues = 2, .depth = 4};
	struct nvme_stream st = {.bytes = MIB, .chunk = 4096, .lba = 1024};
	struct nvme_stream_result r;
	unsigned char *mem;

	(void)state;
	stack_open(&s, MIB, NULL, &no);
	make_file(MIB, &mem);
	st.ctrl = s.ctrl;
	st.fd = fd;
	assert_int_equal(nvme_stream_write(&st, &r), -ERANGE);
	assert_non_null(strstr(dray_errmsg(), "LBA Out of Range"));
	assert_int_equal(nvme_stream_compare(&st, &r), -ERANGE);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(nvme_queue_busy(nvme_get_queue(s.ctrl, i)), 0);
	/* The queues are as good as new. */
	st.lba = 0;
	assert_int_equal(nvme_stream_write(&st, &r), 0);
	free(mem);
}

static void a_file_that_shrinks_is_told(void **state)
{
	struct nvme_stream st = {.bytes = 700000, .chunk = 65536};
	struct nvme_stream_result r;
	unsigned char *mem;

	(void)state;
	stack_open(&s, MIB, NULL, NULL);
	make_file(300000, &mem);
	st.ctrl = s.ctrl;
	st.fd = fd;
	assert_int_equal(nvme_stream_write(&st, &r), -EIO);
	assert_non_null(strstr(dray_errmsg(), "shorter"));
	free(mem);
}

static void streams_survive_no_memory(void **state)
{
	struct nvme_stream st = {.bytes = 5000, .chunk = 4096};
	struct nvme_stream_result r;
	unsigned char *mem;

	(void)state;
	stack_open(&s, MIB, NULL, NULL);
	make_file(5000, &mem);
	st.ctrl = s.ctrl;
	st.fd = fd;
	for (unsigned n = 1; n <= 4; n++) {
		stack_fail_alloc(n);
		assert_int_equal(nvme_stream_write(&st, &r), -ENOMEM);
		assert_true(stack_alloc_failed());
	}
	stack_fail_alloc(0);
	assert_int_equal(nvme_stream_write(&st, &r), 0);
	free(mem);
}

/* A load until its time, which the clock makes short, is over: every command is counted. */
static void loads_count_their_commands(void **state)
{
	static const enum nvme_io_opcode ops[] = {NVME_IO_READ, NVME_IO_WRITE};
	const struct nvme_opts no = {.queues = 2, .depth = 8};

	(void)state;
	stack_open(&s, MIB, NULL, &no);
	for (unsigned i = 0; i < 4; i++) {
		struct nvme_load l = {.ctrl = s.ctrl, .op = ops[i % 2], .sequential = i / 2,
				      .bytes = 4096, .ns = 20000000, .seed = 9};
		struct nvme_load_result *r = calloc(1, sizeof(*r));
		uint64_t before = nvme_model_fetched(s.model);

		assert_int_equal(nvme_load_run(&l, r), 0);
		/* At the least the first of every place in the queues. */
		assert_true(r->commands >= 16);
		assert_int_equal(r->latency.count, r->commands);
		assert_int_equal(nvme_model_fetched(s.model) - before, r->commands);
		free(r);
	}
}

static void loads_need_room(void **state)
{
	const struct nvme_opts no = {.max_transfer = 2 * MIB};
	struct nvme_load l = {.op = NVME_IO_READ, .bytes = 2 * MIB, .ns = 1, .seed = 9};
	struct nvme_load_result *r = calloc(1, sizeof(*r));

	(void)state;
	stack_open(&s, MIB, NULL, &no);
	l.ctrl = s.ctrl;
	assert_int_equal(nvme_load_run(&l, r), -EINVAL);
	assert_non_null(strstr(dray_errmsg(), "smaller commands"));
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(files_of_every_length, close_all),
		cmocka_unit_test_teardown(one_bit_is_found, close_all),
		cmocka_unit_test_teardown(reads_that_move_nothing_are_found, close_all),
		cmocka_unit_test_teardown(streams_end_when_a_command_fails, close_all),
		cmocka_unit_test_teardown(a_file_that_shrinks_is_told, close_all),
		cmocka_unit_test_teardown(streams_survive_no_memory, close_all),
		cmocka_unit_test_teardown(loads_count_their_commands, close_all),
		cmocka_unit_test_teardown(loads_need_room, close_all),
	};

	return cmocka_run_group_tests(tests, stack_hooks, stack_unhook);
}
