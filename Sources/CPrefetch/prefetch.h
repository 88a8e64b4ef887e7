// The one instruction that Swift has no word for.
#ifndef SLUICE_PREFETCH_H
#define SLUICE_PREFETCH_H
#include <stdint.h>

// Asks for the cache line of an address that will be read and written soon. Changes nothing that a program
// can see and never faults, whatever the address.
static inline void sluice_prefetch(uintptr_t address) {
    __builtin_prefetch((const void *)address, 1);
}

#endif
