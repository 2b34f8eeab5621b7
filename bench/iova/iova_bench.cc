// SPDX-License-Identifier: BSD-2-Clause
/*
 * The contenders and workloads of `dray bench iova` as micro-benchmarks: W0/dray/threads:1 …. An
 * iteration is 64 operations, each a range taken and a range given back; items are operations.
 *
 * Run with --benchmark_repetitions=N --benchmark_enable_random_interleaving=true for median and
 * spread of interleaved runs, and with --benchmark_filter for fewer of them.
 */
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <dray/stats.h>

#include "baseline/contender.h"
#include "workload/workload.h"
#include "workload/world.h"

namespace
{

constexpr uint64_t operations = 64;

/* A world is opened when its benchmark first runs, by whichever repetition, and stays warm. */
struct setting {
	const contender *who;
	const workload *what;
	unsigned threads;
	workload_world *world = nullptr;

	setting(const contender *c, const workload *w, unsigned t) : who(c), what(w), threads(t)
	{
	}
	setting(const setting &) = delete;
	~setting()
	{
		workload_world_close(world);
	}
};

/* Opened by thread 0 before the loop, whose start is a barrier for all threads. */
void pairs(benchmark::State &state, setting *s)
{
	unsigned thread = static_cast<unsigned>(state.thread_index());

	if (!thread && !s->world &&
	    workload_world_open(s->who, s->what, s->threads, 0, &s->world)) {
		fprintf(stderr, "bench-iova: %s\n", dray_errmsg());
		exit(1);
	}
	for (auto _ : state) {
		if (workload_world_run(s->world, thread, operations)) {
			fprintf(stderr, "bench-iova: %s\n", dray_errmsg());
			exit(1);
		}
	}
	state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * operations));
	if (!thread) {
		workload_sight seen;

		workload_world_look(s->world, nullptr);
		workload_world_seen(s->world, &seen);
		state.counters["population"] = static_cast<double>(seen.population);
	}
}

} // namespace

int main(int argc, char **argv)
{
	std::vector<std::unique_ptr<setting>> settings;

	benchmark::Initialize(&argc, argv);
	if (benchmark::ReportUnrecognizedArguments(argc, argv))
		return 2;
	for (const workload *w = workloads; w->name; w++) {
		for (const contender *const *c = contenders; *c; c++) {
			/* What knows no limits and has little room makes small ones only. */
			if ((*c)->foreign && w->sizes->max > 1)
				continue;
			for (unsigned threads = 1; threads <= 2; threads++) {
				settings.push_back(std::make_unique<setting>(*c, w, threads));
				benchmark::RegisterBenchmark(
					(std::string(w->name) + "/" + (*c)->name).c_str(), pairs,
					settings.back().get())
					->Threads(static_cast<int>(threads))
					->UseRealTime();
			}
		}
	}
	benchmark::RunSpecifiedBenchmarks();
	benchmark::Shutdown();
	return 0;
}
