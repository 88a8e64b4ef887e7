// The sending side of sockets in fixed-width types, for the field tool: devices played back or
// made up.
// Every function returns a count or descriptor >= 0, or -errno. Addresses are IPv6 in network
// order;
// IPv4 is ::ffff:a.b.c.d and gets an IPv4 socket.
#ifndef SLUICE_CLINUX_SENDING_H
#define SLUICE_CLINUX_SENDING_H
#include <stdint.h>

// Resolves a host name or address; writes 16 bytes and the scope. 0 or -EHOSTUNREACH.
int32_t sluice_sending_resolve(const char *host, uint8_t address[16], uint32_t *scope);

// A non-blocking UDP socket connected to the address, with buffers of `buffer` bytes where allowed.
int32_t sluice_sending_open_datagram(const uint8_t address[16], uint16_t port, uint32_t scope,
                                     int32_t buffer);

// A non-blocking TCP socket whose connect has begun; it is writable once that has ended.
int32_t sluice_sending_open_stream(const uint8_t address[16], uint16_t port, uint32_t scope);

// How the connect ended: 0, or -errno.
int32_t sluice_sending_connect_result(int32_t fd);

// One send without blocking and without SIGPIPE.
int64_t sluice_sending_send(int32_t fd, const uint8_t *bytes, int64_t count);

// Up to `count` datagrams of `size` bytes each, one after the other in `bytes`: one sendmmsg.
int32_t sluice_sending_send_many(int32_t fd, const uint8_t *bytes, int32_t size, int32_t count);

// One receive without blocking.
int64_t sluice_sending_receive(int32_t fd, uint8_t *bytes, int64_t capacity);

// Ends the sending half of a stream.
int32_t sluice_sending_shutdown(int32_t fd);
void sluice_sending_close(int32_t fd);

// epoll: 1 readable, 2 writable in `events`; token comes back from wait.
int32_t sluice_poller_open(void);
int32_t sluice_poller_add(int32_t poller, int32_t fd, uint32_t token, uint32_t events);
int32_t sluice_poller_change(int32_t poller, int32_t fd, uint32_t token, uint32_t events);
int32_t sluice_poller_remove(int32_t poller, int32_t fd);
// Waits at most `nanoseconds` (0 looks only); writes up to `capacity` tokens and events.
int32_t sluice_poller_wait(int32_t poller, uint32_t *tokens, uint32_t *events, int32_t capacity,
                           int64_t nanoseconds);

// 0 when nobody on 127.0.0.1 has this port, else -errno.
int32_t sluice_sending_try_port(int32_t is_stream, uint16_t port);

// CLOCK_MONOTONIC and CLOCK_REALTIME in nanoseconds; exact sleeping until a monotonic time.
int64_t sluice_sending_now(void);
/// CPU time of the calling thread in nanoseconds.
int64_t sluice_thread_cpu(void);
int64_t sluice_sending_wall(void);
void sluice_sending_sleep_until(int64_t nanoseconds);
// Asks the kernel to round this thread's sleeps to a microsecond instead of 50.
void sluice_sending_sharpen_timers(void);

// Starts `path` in a process group of its own with an empty signal mask, its stdout and stderr going
// to `output`; its process id, or -errno also when it could not be executed. Started on the main
// thread it gets SIGTERM when this process dies in any way (the kernel ties that to the thread that
// forked, so children of other threads are not tied).
int32_t sluice_sending_spawn(const char *path, char *const *arguments, int32_t output);

// Gives this thread, and the processes that it starts, a network namespace of its own with nothing in
// it; 0 or -errno (EPERM where the machine forbids it).
int32_t sluice_sending_own_network(void);

// Blocks SIGINT, SIGTERM and SIGHUP (unless ignored: nohup) in this thread and those it starts and
// ignores SIGPIPE, so that a tool with children ends them in order; wait returns the signal that
// came, or 0 after the time.
void sluice_interrupts_block(void);
int32_t sluice_interrupts_wait(int64_t nanoseconds);
#endif
