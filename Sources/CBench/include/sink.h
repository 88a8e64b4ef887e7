// The least work a receiver of datagrams can do: the yardstick of `sluice load --rate max`.
#ifndef SLUICE_SINK_H
#define SLUICE_SINK_H
#include <stdint.h>

/// Counts datagrams on 127.0.0.1:`port` until the process ends; answers "SLcount?" with how many came (64
/// bits in the machine's byte order). Returns only -errno, when the socket cannot be opened.
int32_t sluice_bare_sink(uint16_t port);

#endif
