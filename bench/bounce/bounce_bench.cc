// SPDX-License-Identifier: BSD-2-Clause
/*
 * A bounce against the copies it cannot do without: map and unmap of one buffer through a trusted
 * pool, and memcpy between that buffer and the very slot that the map was given. Both run in
 * blocks that take turns, so that what the machine does meanwhile hits both. Counters are
 * nanoseconds for one pair; "over" is what is left of the bounce when its copies are taken away,
 * "bar" what it may cost. BIDIRECTIONAL copies in and out, TO_DEVICE only in.
 *
 * Run with --benchmark_repetitions=N for median and spread.
 */
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

/* C11 atomics, seen from C++. */
#include "seam.h"

namespace
{

constexpr int block = 256;

double now_ns()
{
	using namespace std::chrono;

	return duration<double, std::nano>(steady_clock::now().time_since_epoch()).count();
}

void copies(char *slot, char *buf, size_t len, bool out)
{
	for (int i = 0; i < block; i++) {
		memcpy(slot, buf, len);
		benchmark::ClobberMemory();
		if (out) {
			memcpy(buf, slot, len);
			benchmark::ClobberMemory();
		}
	}
}

double median(std::vector<double> &v)
{
	std::nth_element(v.begin(), v.begin() + v.size() / 2, v.end());
	return v[v.size() / 2];
}

void bounce(benchmark::State &state)
{
	size_t len = static_cast<size_t>(state.range(0));
	bool out = state.range(1);
	char *buf = static_cast<char *>(aligned_alloc(4096, (len + 4095) / 4096 * 4096));
	seam *s = seam_open();
	char *slot = seam_slot(s, buf, len, out);
	std::vector<double> bounced, copied;

	memset(buf, 1, len);
	for (auto _ : state) {
		double t0 = now_ns();
		copies(slot, buf, len, out);
		double t1 = now_ns();
		seam_pairs(s, buf, len, out, block);
		double t2 = now_ns();

		copied.push_back((t1 - t0) / block);
		bounced.push_back((t2 - t1) / block);
		state.SetIterationTime((t2 - t1) * 1e-9);
	}
	double b = median(bounced), c = median(copied);

	state.counters["bounce"] = b;
	state.counters["memcpy"] = c;
	state.counters["over"] = b - c;
	state.counters["bar"] = c * 1.05 + 40;
	state.counters["within"] = b <= c * 1.05 + 40;
	seam_close(s);
	free(buf);
}

void sizes(benchmark::internal::Benchmark *b)
{
	for (int out = 0; out < 2; out++)
		for (long len : {2048, 4096, 16384, 65536, 131072})
			b->Args({len, out});
}

BENCHMARK(bounce)->Apply(sizes)->UseManualTime()->ArgNames({"bytes", "out"});

} // namespace

BENCHMARK_MAIN();
