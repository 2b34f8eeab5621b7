// SPDX-License-Identifier: BSD-2-Clause
/*
 * A fuzz target without a fuzzer: random inputs from a seed, or the files that are named.
 * usage: REPLAY [FILE...]; counts and seeds: DRAY_OPS and DRAY_SEED. The seed is printed.
 */
#include <stdio.h>
#include <stdlib.h>

#include "target.h"

/* Enough for the longest list there is. */
#define INPUT 1024u

static uint64_t seed = 0x5eed, ops = 10000;

/* splitmix64 */
static uint64_t next(void)
{
	uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static int replay(const char *path)
{
	static uint8_t bytes[1 << 20];
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f) {
		perror(path);
		return 1;
	}
	n = fread(bytes, 1, sizeof(bytes), f);
	fclose(f);
	printf("%s, %zu bytes\n", path, n);
	fflush(stdout);
	LLVMFuzzerTestOneInput(bytes, n);
	return 0;
}

int main(int argc, char **argv)
{
	uint8_t bytes[INPUT];
	int bad = 0;

	for (int i = 1; i < argc; i++)
		bad |= replay(argv[i]);
	if (argc > 1)
		return bad;
	if (getenv("DRAY_SEED"))
		seed = strtoull(getenv("DRAY_SEED"), NULL, 0);
	if (getenv("DRAY_OPS"))
		ops = strtoull(getenv("DRAY_OPS"), NULL, 0);
	printf("seed %llu, %llu inputs\n", (unsigned long long)seed, (unsigned long long)ops);
	fflush(stdout);
	for (uint64_t i = 0; i < ops; i++) {
		/* Short ones are often simple ones, and those are often right. */
		size_t n = (size_t)(next() % (next() % 2 ? 16 : INPUT));

		for (size_t at = 0; at < n; at++)
			bytes[at] = (uint8_t)next();
		LLVMFuzzerTestOneInput(bytes, n);
	}
	return 0;
}
