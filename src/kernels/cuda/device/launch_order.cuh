// The order of launches: a kernel may start before the one ahead of it ends (programmatic dependent
// launch, where the machine has it). Sealed: includes nothing outside this folder.
#pragma once

__device__ __forceinline__ void allow_next_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
/// Blocks without work wait too: else a kernel could end before the one ahead of it.
__device__ __forceinline__ void await_last_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
