// The yardstick of `sluice bench ring`: a plain single-producer single-consumer queue as C and C++
// programs have it (after the public descriptions of E. Rigtorp's and folly's: padded positions, each
// side remembering the other's), one element of 32 bytes at a time. One queue a process.
// The yardstick for sockets stands in sink.h.
#ifndef SLUICE_QUEUE_H
#define SLUICE_QUEUE_H
#include <stdint.h>

/// An empty queue of `capacity` elements, a power of two up to 65,536.
void sluice_queue_reset(uint64_t capacity);

/// In this thread, `rounds` times: pushes `batch` elements, then pops them. The sum of what came.
uint64_t sluice_queue_alternate(uint64_t rounds, uint64_t batch);

/// Pushes `count` elements, waiting while the queue is full; for the producer's thread.
uint64_t sluice_queue_push(uint64_t count);

/// Pops `count` elements, waiting while the queue is empty; for the consumer's thread. Their sum.
uint64_t sluice_queue_pop(uint64_t count);

#endif
