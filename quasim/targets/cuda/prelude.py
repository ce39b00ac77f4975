"""What every emitted source begins with: the few operations whose spelling differs from compiler to compiler.

NVRTC and nvcc see CUDA C++, hipcc sees HIP. Division and root are what ``/`` and ``sqrtf`` are without fast-math:
rounded as IEEE 754 says. ``fmaxf`` skips NaN, ``larger`` passes it on.
"""

from __future__ import annotations

PRELUDE = """#ifdef __HIP__
#include <hip/hip_runtime.h>
#define SHUFFLE(value, apart) __shfl_xor(value, apart)
#define READ_ONCE(from) __builtin_nontemporal_load(from)
#define WRITE_ONCE(to, value) __builtin_nontemporal_store(value, to)
typedef float quad __attribute__((ext_vector_type(4)));
#else
#define SHUFFLE(value, apart) __shfl_xor_sync(0xffffffffu, value, apart)
#define READ_ONCE(from) __ldcs(from)
#define WRITE_ONCE(to, value) __stcs(to, value)
typedef float4 quad;
#endif
#define INSIDE __device__ __forceinline__
#define INFINITE __int_as_float(0x7f800000)

INSIDE void spread(float *into, quad four) { into[0] = four.x, into[1] = four.y, into[2] = four.z, into[3] = four.w; }
INSIDE quad gathered(const float *from)
{
    quad four;
    four.x = from[0], four.y = from[1], four.z = from[2], four.w = from[3];
    return four;
}

INSIDE void load1(float *into, const float *from) { *into = *from; }
INSIDE void load4(float *into, const float *from) { spread(into, *reinterpret_cast<const quad *>(from)); }
INSIDE void load1_once(float *into, const float *from) { *into = READ_ONCE(from); }
INSIDE void load4_once(float *into, const float *from)
{
    spread(into, READ_ONCE(reinterpret_cast<const quad *>(from)));
}
INSIDE void save1(float *to, const float *from) { *to = *from; }
INSIDE void save4(float *to, const float *from) { *reinterpret_cast<quad *>(to) = gathered(from); }
INSIDE void save1_once(float *to, const float *from) { WRITE_ONCE(to, *from); }
INSIDE void save4_once(float *to, const float *from) { WRITE_ONCE(reinterpret_cast<quad *>(to), gathered(from)); }
INSIDE void zero1(float *into) { *into = 0.0f; }
INSIDE void zero4(float *into) { into[0] = into[1] = into[2] = into[3] = 0.0f; }

// What is copied asynchronously is settled before the barrier that makes it visible. Other compilers copy at once.
#ifdef __CUDACC__
INSIDE void copy4(float *to, const float *from, bool live)
{
    const unsigned place = __cvta_generic_to_shared(to);
    const int bytes = live ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place), "l"(from), "r"(bytes) : "memory");
}
INSIDE void settle() { asm volatile("cp.async.wait_all;" ::: "memory"); }
#else
INSIDE void copy4(float *to, const float *from, bool live)
{
    float four[4];
    if (live) load4(four, from);
    else zero4(four);
    save4(to, four);
}
INSIDE void settle() {}
#endif

INSIDE float larger(float left, float right)
{
    return left != left ? left : right != right ? right : fmaxf(left, right);
}
template <int width> INSIDE float exchange_sum(float value)
{
#pragma unroll
    for (int apart = 1; apart < width; apart *= 2)
        value += SHUFFLE(value, apart);
    return value;
}
template <int width> INSIDE float exchange_max(float value)
{
#pragma unroll
    for (int apart = 1; apart < width; apart *= 2)
        value = fmaxf(value, SHUFFLE(value, apart));
    return value;
}
"""
