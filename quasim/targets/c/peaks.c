/* What this machine can do at most, with the ABI of every kernel.
 * dims[0]: 0 copy, 1 copy past the caches (non-temporal stores), 2 fused multiply-add.
 * dims[1]: 64-byte blocks to copy, or steps of multiply-add per thread.
 * tensors: double work[1] (out: bytes moved, or flops), source, destination (64-byte aligned). */
#include <omp.h>
#include <stdint.h>

#ifdef __AVX512F__
typedef float vec __attribute__((vector_size(64)));
#else
typedef float vec __attribute__((vector_size(32)));
#endif
typedef float block __attribute__((vector_size(64)));
typedef long long half __attribute__((vector_size(16)));

enum { COPY, STREAM, FMA };
enum { CHAINS = 12, LANES = sizeof(vec) / sizeof(float) }; /* 12 chains cover 2 units of 4-5 cycles */

static double copy(int64_t blocks, const block *from, block *to)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < blocks; i++)
        to[i] = from[i];
    return 2.0 * sizeof(block) * blocks;
}

static double stream(int64_t blocks, const block *from, block *to)
{
#ifdef __SSE2__
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < blocks; i++)
            for (int part = 0; part < 4; part++)
                __builtin_ia32_movntdq((half *)&to[i] + part, ((const half *)&from[i])[part]);
        __builtin_ia32_sfence();
    }
    return 2.0 * sizeof(block) * blocks;
#else
    return copy(blocks, from, to);
#endif
}

static double fma_steps(int64_t steps, float *sink)
{
    int threads = 1;
#pragma omp parallel
    {
        vec sum[CHAINS], zero = {0}, factor = zero + 0.999f, term = zero + 0.001f;
        for (int c = 0; c < CHAINS; c++)
            sum[c] = zero + (float)c; /* unlike one another, or the compiler would compute one for all */
#pragma omp single
        threads = omp_get_num_threads();
        for (int64_t i = 0; i < steps; i++)
#pragma GCC unroll 12
            for (int c = 0; c < CHAINS; c++)
                sum[c] = sum[c] * factor + term;
        vec total = sum[0];
        for (int c = 1; c < CHAINS; c++)
            total += sum[c];
        if (total[0] == -1.0f) /* never; keeps the loop alive */
            sink[0] = total[0];
    }
    return 2.0 * CHAINS * LANES * steps * threads;
}

int quasim_run(const int64_t *dims, void *const *tensors)
{
    double *work = tensors[0];
    if (dims[0] == COPY)
        *work = copy(dims[1], tensors[1], tensors[2]);
    else if (dims[0] == STREAM)
        *work = stream(dims[1], tensors[1], tensors[2]);
    else if (dims[0] == FMA)
        *work = fma_steps(dims[1], tensors[2]);
    else
        return 1;
    return 0;
}
