// SPDX-License-Identifier: BSD-2-Clause
/*
 * The heap's speed against the host's malloc: a block got and given back, and one of a thousand
 * live ones replaced, at four sizes and with one and two threads. No byte of a block is touched.
 * The domain is on the software IOMMU, which costs nothing here: the heap has grown before.
 *
 * Run with --benchmark_repetitions=N --benchmark_enable_random_interleaving=true for median and
 * spread of interleaved runs.
 */
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdlib>

#include <dray/dray.h>
#include <dray/heap.h>

namespace
{

constexpr unsigned live = 1000;

struct world {
	dray_domain *dom;
	dray_heap *heap;

	world()
	{
		dray_domain_opts opts = {};

		opts.size = sizeof(opts);
		opts.backend = DRAY_BACKEND_SIM;
		if (dray_domain_open(&opts, &dom) || dray_heap_open(dom, nullptr, &heap))
			abort();
	}
	~world()
	{
		dray_heap_close(heap);
		dray_domain_close(dom);
	}
};

dray_heap *the_heap()
{
	static world w;

	return w.heap;
}

struct from_heap {
	dray_heap *heap = the_heap();

	void *get(size_t len)
	{
		return dray_heap_alloc(heap, len, 0);
	}
	void put(void *p)
	{
		dray_heap_free(heap, p);
	}
};

struct from_host {
	void *get(size_t len)
	{
		return malloc(len);
	}
	void put(void *p)
	{
		free(p);
	}
};

template <typename source> void pair(benchmark::State &state)
{
	size_t len = static_cast<size_t>(state.range(0));
	source from;

	for (auto _ : state) {
		void *p = from.get(len);

		benchmark::DoNotOptimize(p);
		from.put(p);
	}
}

template <typename source> void replace(benchmark::State &state)
{
	size_t len = static_cast<size_t>(state.range(0));
	uint32_t rand = 1u + static_cast<uint32_t>(state.thread_index());
	void *blocks[live];
	source from;

	for (unsigned i = 0; i < live; i++)
		blocks[i] = from.get(len);
	for (auto _ : state) {
		void **at;

		rand = rand * 1664525u + 1013904223u;
		at = &blocks[(rand >> 8) % live];
		from.put(*at);
		*at = from.get(len);
		benchmark::DoNotOptimize(*at);
	}
	for (unsigned i = 0; i < live; i++)
		from.put(blocks[i]);
}

#define SIZES Arg(64)->Arg(4096)->Arg(65536)->Arg(262144)->Threads(1)->Threads(2)

BENCHMARK(pair<from_heap>)->SIZES;
BENCHMARK(pair<from_host>)->SIZES;
BENCHMARK(replace<from_heap>)->SIZES;
BENCHMARK(replace<from_host>)->SIZES;

} // namespace

BENCHMARK_MAIN();
