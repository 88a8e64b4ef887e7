// Counts calls of the C allocator in this thread. Linked into `sluice` only, for its benchmarks: the
// daemons keep the C library's own allocator untouched.
#ifndef SLUICE_ALLOCATIONS_H
#define SLUICE_ALLOCATIONS_H
#include <stdint.h>

/// Allocations that this thread has made since it began.
uint64_t sluice_allocations(void);

#endif
