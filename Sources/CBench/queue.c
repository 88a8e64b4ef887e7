// See include/queue.h. Acquire and release pair `written` with `written` and `taken` with `taken`, as in
// Sources/Ring/Ring.swift.

#include "queue.h"

#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { LIMIT = 65536 };

struct element {
  uint64_t words[4];
};

static struct element elements[LIMIT];
static uint64_t mask = LIMIT - 1;
static alignas(128) _Atomic uint64_t written;
static alignas(128) _Atomic uint64_t taken;
/// The other side's position as last seen, on the line of the side that looks.
static alignas(128) uint64_t seen_taken;
static alignas(128) uint64_t seen_written;
static alignas(128) char line_behind;

void sluice_queue_reset(uint64_t capacity) {
  (void)line_behind;
  mask = (capacity == 0 || capacity > LIMIT ? LIMIT : capacity) - 1;
  atomic_store(&written, 0);
  atomic_store(&taken, 0);
  seen_taken = 0;
  seen_written = 0;
}

static inline bool push(const struct element *element) {
  uint64_t at = atomic_load_explicit(&written, memory_order_relaxed);
  if (at - seen_taken > mask) {
    seen_taken = atomic_load_explicit(&taken, memory_order_acquire);
    if (at - seen_taken > mask) return false;
  }
  elements[at & mask] = *element;
  atomic_store_explicit(&written, at + 1, memory_order_release);
  return true;
}

static inline bool pop(struct element *element) {
  uint64_t at = atomic_load_explicit(&taken, memory_order_relaxed);
  if (at == seen_written) {
    seen_written = atomic_load_explicit(&written, memory_order_acquire);
    if (at == seen_written) return false;
  }
  *element = elements[at & mask];
  atomic_store_explicit(&taken, at + 1, memory_order_release);
  return true;
}

static inline struct element numbered(uint64_t n) {
  struct element element = {{n, n + 1, n + 2, n + 3}};
  return element;
}

static inline void wait_a_little(unsigned *spins) {
  if (++*spins % 1024 == 0) sched_yield();
}

uint64_t sluice_queue_alternate(uint64_t rounds, uint64_t batch) {
  uint64_t sum = 0;
  for (uint64_t round = 0; round < rounds; round++) {
    for (uint64_t i = 0; i < batch; i++) {
      struct element element = numbered(i);
      push(&element);
    }
    for (uint64_t i = 0; i < batch; i++) {
      struct element element;
      if (pop(&element)) sum += element.words[1];
    }
  }
  return sum;
}

uint64_t sluice_queue_push(uint64_t count) {
  unsigned spins = 0;
  for (uint64_t n = 0; n < count; n++) {
    struct element element = numbered(n);
    while (!push(&element)) wait_a_little(&spins);
  }
  return spins;
}

uint64_t sluice_queue_pop(uint64_t count) {
  uint64_t sum = 0;
  unsigned spins = 0;
  for (uint64_t n = 0; n < count; n++) {
    struct element element;
    while (!pop(&element)) wait_a_little(&spins);
    sum += element.words[1];
  }
  return sum;
}
