// SPDX-License-Identifier: BSD-2-Clause
/* Code that somebody else wrote is what runs after it was synced. */
#include "cpu_test.h"

#include <sys/mman.h>

#if defined(__x86_64__)
#define WORDS 6
/* mov $n, %eax; ret */
static void assemble(unsigned char *ret_code, unsigned n)
{
	const unsigned char code[WORDS] = { 0xb8, (unsigned char)n, 0, 0, 0, 0xc3 };

	memcpy(ret_code, code, sizeof(code));
}
#elif defined(__aarch64__)
#define WORDS 8
/* mov w0, #n; ret */
static void assemble(unsigned char *ret_code, unsigned n)
{
	const uint32_t code[2] = { 0x52800000u | n << 5, 0xd65f03c0u };

	memcpy(ret_code, code, sizeof(code));
}
#endif

static void the_new_code_runs(void **state)
{
#ifdef WORDS
	unsigned char *mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned (*function)(void);

	assert_true(mem != MAP_FAILED);
	memcpy(&function, &mem, sizeof(function));
	for (unsigned n = 0; n < 200; n++) {
		assemble(mem, n);
		dr_cpu_sync_code(mem, WORDS);
		assert_int_equal(function(), n);
	}
	munmap(mem, 4096);
#else
	skip(); /* nobody has written down this CPU's instructions */
#endif
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_new_code_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
