// Applies the pending updates to P: P <- P - sum_j g_j k_j k_j'. Each entry is read and written once.
//
// In: P and the pending updates (k_j, g_j) of rls_event.cu.  Out: P.  Knows no w.
//
//     FOLD_WARPS    warps that work on a neuron: each takes four rows at a time, its lanes the columns
//     FOLD_NEURONS  neurons of a block, 1 if FOLD_WARPS > 1
//
// k_j stands for sqrt(g_j/unit) k_j: entries (i, i') and (i', i) get the same number, and P stays symmetric.
#include "rls_groups.cuh"
#include "warp.cuh"

#define TILE 4
#define FOLD_STRIDE ((N_INPUTS + TILE - 1) / TILE * TILE)

struct alignas(16) Four {
    Wide row[TILE];
};

struct alignas(16) FoldScratch {
    Wide k[MAX_PENDING][FOLD_STRIDE]; // padded with zeros, so that four rows are one vector
    Wide sums[FOLD_WARPS];
};

extern "C" __global__ void fold(int N, MATRICES_PARAMETERS, const Wide *k_all, const Wide *g_all, int pending) {
    constexpr int n = N_INPUTS, THREADS_OF_FOLD = FOLD_WARPS * LANES;
    __shared__ FoldScratch scratch[FOLD_NEURONS];
    const long long c = (long long)blockIdx.x * FOLD_NEURONS + threadIdx.y;
    if (c >= N) return; // uniform in a warp; with several warps a block has one neuron
    FoldScratch &s = scratch[threadIdx.y];
    const int me = threadIdx.x, lane = me % LANES, warp = me / LANES;
    Stored *P = P_all + c * ENTRIES;
    const Wide *k = k_all + c * MAX_PENDING * n, *g = g_all + c * MAX_PENDING;

    Wide one = unit[c], factor = 1; // see rls_plain.cu
    if (FIXED_POINT) {
        Wide largest = 0;
        for (int i = me; i < n; i += THREADS_OF_FOLD) largest = fmaxf(largest, load(P[entry(i, i)]));
        factor = refinement(neuron_max<FOLD_WARPS>(largest, s.sums));
        one /= factor;
    }
    for (int j = 0; j < pending; ++j) {
        const Wide root = (Wide)sqrt(g[j] / one);
        for (int i = me; i < FOLD_STRIDE; i += THREADS_OF_FOLD) s.k[j][i] = i < n ? root * k[j * n + i] : (Wide)0;
    }
    neuron_sync<FOLD_WARPS>();

    for (int i = TILE * warp; i < n; i += TILE * FOLD_WARPS) {
        const int length = PACKED ? min(i + TILE, n) : n; // of the longest of the four rows
        for (int column = lane; column < length; column += LANES) {
            Wide p[TILE];
#pragma unroll
            for (int r = 0; r < TILE; ++r)
                p[r] = i + r < n && column < row_length(i + r) ? factor * load(P[row_start(i + r) + column]) : (Wide)0;
            for (int j = 0; j < pending; ++j) {
                const Wide k_column = s.k[j][column];
                const Four k_rows = *reinterpret_cast<const Four *>(&s.k[j][i]);
#pragma unroll
                for (int r = 0; r < TILE; ++r) p[r] -= k_rows.row[r] * k_column;
            }
#pragma unroll
            for (int r = 0; r < TILE; ++r)
                if (i + r < n && column < row_length(i + r)) P[row_start(i + r) + column] = stored(p[r]);
        }
    }
    if (FIXED_POINT && me == 0) unit[c] = one;
}
