// CUDA C++ on the host: the threads of a block are coroutines that take turns between barriers.
//
// A turn ends where a thread meets the others (a barrier, a shuffle) or ends; all threads must end it at the same kind of
// place, since a block whose threads part there would hang or compute nonsense on a device. Turns go forwards or
// backwards: what depends on the order of threads between two barriers is a race, and differs. The pool of shared
// memory is filled with NaN for each block, so that what was never stashed shows.
#pragma once
#include <ucontext.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__
#define __launch_bounds__(most)

struct alignas(16) float4 {
    float x, y, z, w;
};
struct Place {
    unsigned x;
};
static Place threadIdx, blockIdx;
float4 pool[(227 << 10) / 16];

namespace emulated {
enum Meeting { NONE, BARRIER, SHUFFLE, READ, END };
struct Thread {
    ucontext_t context;
    Meeting at;
    std::vector<char> stack;
};
static std::vector<Thread> threads;
static std::vector<float> given;
static ucontext_t scheduler;
static std::function<void()> body;

inline void meet(Meeting at)
{
    const unsigned me = threadIdx.x;
    threads[me].at = at;
    swapcontext(&threads[me].context, &scheduler);
    threadIdx.x = me;
}
inline void entry()
{
    const unsigned me = threadIdx.x;
    body();
    threads[me].at = END;
}
inline void check_meeting()
{
    for (const Thread &thread : threads)
        if (thread.at != threads[0].at) {
            std::fprintf(stderr, "threads of a block part\n");
            std::abort();
        }
}
inline void run_block(bool backwards)
{
    std::memset(pool, 0xff, sizeof pool);
    for (Thread &thread : threads) {
        getcontext(&thread.context);
        thread.at = NONE;
        thread.context.uc_stack.ss_sp = thread.stack.data();
        thread.context.uc_stack.ss_size = thread.stack.size();
        thread.context.uc_link = &scheduler;
        makecontext(&thread.context, entry, 0);
    }
    while (threads[0].at != END) {
        for (unsigned turn = 0; turn < threads.size(); ++turn) {
            const unsigned me = backwards ? threads.size() - 1 - turn : turn;
            threadIdx.x = me;
            swapcontext(&scheduler, &threads[me].context);
        }
        check_meeting();
    }
}
inline void launch(unsigned blocks, unsigned count, bool backwards, std::function<void()> kernel)
{
    threads.assign(count, Thread{});
    for (Thread &thread : threads)
        thread.stack.resize(64 << 10);
    given.assign(count, 0);
    body = kernel;
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x)
        run_block(backwards);
    threads.clear();
}
}  // namespace emulated

inline void __syncthreads() { emulated::meet(emulated::BARRIER); }
inline float __shfl_xor_sync(unsigned, float value, int apart)
{
    const unsigned me = threadIdx.x;
    emulated::given[me] = value;
    emulated::meet(emulated::SHUFFLE);
    const float other = emulated::given[me ^ apart];
    emulated::meet(emulated::READ);
    return other;
}
template <class T> T __ldcs(const T *from) { return *from; }
template <class T> void __stcs(T *to, T value) { *to = value; }
inline float __int_as_float(int bits)
{
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
