// What Swift's Glibc module cannot reach (recvmmsg, sendmmsg, epoll with our tokens, credentials of
// a socket's buffer) or what would drag kernel headers into Swift. Fixed-width types only, no
// system header beyond stdint.h. Every function that can fail returns a negative errno; nothing
// sets errno for the caller, nothing allocates except sluice_slab_make.
#ifndef SLUICE_CLINUX_H
#define SLUICE_CLINUX_H
#include <stdint.h>

// An address in fixed width; IPv4 as ::ffff:a.b.c.d. high and low are numbers in host order.
typedef struct {
    uint64_t high;
    uint64_t low;
    uint32_t scope;
    uint16_t port;
    uint16_t unused;
} sluice_endpoint;

// MARK: time and process

uint64_t sluice_monotonic_ns(void);
int64_t sluice_wall_ms(void);
// Sleeps at most that long (CLOCK_MONOTONIC); a signal may end it early.
void sluice_sleep_ns(uint64_t nanoseconds);
int32_t sluice_random(uint8_t *bytes, uint32_t count);

typedef struct {
    uint64_t user_us;
    uint64_t system_us;
    uint64_t peak_rss_kb;
    uint64_t rss_kb;
    uint64_t voluntary_switches;
    uint64_t involuntary_switches;
} sluice_usage;
void sluice_usage_read(sluice_usage *usage);
// Memory rather than speed: one heap for all threads instead of one each (libdispatch moves queues
// from thread to thread, and what a heap has grown to it keeps), and pieces of 128 KB and more from
// the kernel and back to it. Before the first thread.
void sluice_memory_frugal(void);
// Gives the kernel back what the heap holds free.
void sluice_memory_trim(void);
// The same, and lets go of the program's own pages, most of which only the start needed; those that are
// needed again come back from the page cache, some 60 faults of a microsecond under load.
void sluice_memory_forget(void);

// Text of an errno, NUL-terminated, cut to `count`.
void sluice_error_text(int32_t error, char *text, uint32_t count);
// How the kernel's clock is kept (adjtimex(2)): 0, or negative errno where it may not be asked.
typedef struct {
    int64_t max_error_us;
    uint32_t is_synchronised;
    uint32_t unused;
} sluice_discipline;
int32_t sluice_clock_discipline(sluice_discipline *discipline);
// Device and inode of what a descriptor is open on.
int32_t sluice_file_identity(int32_t fd, uint64_t *device, uint64_t *inode);
// Sends one datagram to $NOTIFY_SOCKET; 0 when sent, 1 when the variable is not set.
int32_t sluice_notify(const char *text);
// $WATCHDOG_USEC when it is meant for this process, else 0.
uint64_t sluice_watchdog_us(void);
// Opens `path`, takes an exclusive flock and writes our pid into it: the descriptor, which holds
// the lock until it is closed. -EWOULDBLOCK: taken, and *holder is the pid read from the file (0:
// unknown).
int32_t sluice_lock_file(const char *path, int32_t *holder);

// Replaces a file's content in one step (written beside it, then renamed), or makes it, mode 0600; not
// flushed. Negative errno on failure, and then the old content stands.
int32_t sluice_replace_file(const char *path, const uint8_t *bytes, uint64_t count);

// From now on these signals arrive as one byte each (their number) on the returned descriptor,
// whichever thread the kernel picks; none is blocked on the calling thread any more. Once a process.
int32_t sluice_signal_bytes(const int32_t *signals, uint32_t count);
void sluice_ignore_broken_pipes(void);

// MARK: descriptors

int32_t sluice_close(int32_t fd);
int32_t sluice_unlink(const char *path);
// Bytes read (0: end), or negative errno. Never blocks on a non-blocking descriptor.
int64_t sluice_read(int32_t fd, uint8_t *bytes, uint64_t count);
// send with MSG_NOSIGNAL | MSG_DONTWAIT; write where it is no socket (a tty, which does not block).
int64_t sluice_send(int32_t fd, const uint8_t *bytes, uint64_t count);

// MARK: addresses

// A numeric address, or `localhost` for 127.0.0.1: 0 or -EINVAL.
int32_t sluice_parse_address(const char *host, uint16_t port, sluice_endpoint *endpoint);
// getaddrinfo (blocks): how many were written, 0 when there are none, or -EIO.
int32_t sluice_resolve(const char *host, uint16_t port, sluice_endpoint *out, uint32_t capacity);
int32_t sluice_local_endpoint(int32_t fd, sluice_endpoint *endpoint);

// MARK: sockets; all are non-blocking and close-on-exec

// A bound UDP socket with SO_RXQ_OVFL and SO_TIMESTAMPNS on. An IPv6 address also takes IPv4.
int32_t sluice_udp_open(const sluice_endpoint *at, uint32_t buffer_bytes, int32_t reuse_port);
int32_t sluice_tcp_listen(const sluice_endpoint *at, uint32_t backlog);
// How many sockets systemd opened for this process (sd_listen_fds(3)): descriptors 3, 4, … Asked once:
// the variables are gone afterwards, so that no child takes them for its own.
uint32_t sluice_inherited_count(void);
// What such a descriptor is. SLUICE_INHERITED_UDP ones get what sluice_udp_open sets.
enum { SLUICE_INHERITED_OTHER, SLUICE_INHERITED_UDP, SLUICE_INHERITED_TCP };
int32_t sluice_inherited_prepare(int32_t fd);
// A socket that a program hands to itself when it starts anew: what the kernel had dropped on it when it
// was last asked; whether its source asked for any port.
typedef struct {
    int32_t fd;
    uint32_t drops;
    uint32_t has_any_port;
} sluice_handed;
// What this process was handed by itself, and how often it has started anew; asked once.
uint32_t sluice_handed_over(sluice_handed *list, uint32_t capacity, uint32_t *reloads);
// The same socket under another number that an exec leaves open; negative errno.
int32_t sluice_keep_open(int32_t fd);
// Starts this program anew in the same process, with its arguments and these sockets. Returns only when
// that fails: negative errno.
int32_t sluice_start_anew(const sluice_handed *list, uint32_t count, uint32_t reloads);
// Sets the receive buffer as sluice_udp_open does.
void sluice_udp_buffer(int32_t fd, uint32_t buffer_bytes);
// With keep-alive that finds a vanished peer within 30 s, and TCP_NODELAY.
int32_t sluice_accept(int32_t fd, sluice_endpoint *from);
// Starts a connection: wait for writability, then ask sluice_connect_result.
int32_t sluice_tcp_connect(const sluice_endpoint *to);
int32_t sluice_connect_result(int32_t fd);
// Mode 0600. A stale socket file is replaced; one that answers gives -EADDRINUSE, and a file that
// is no socket gives -EEXIST.
int32_t sluice_unix_listen(const char *path, uint32_t backlog);
int32_t sluice_unix_accept(int32_t fd);
int32_t sluice_unix_connect(const char *path);
// A blocking TCP connection with send and receive time-outs, for the command-line tools.
int32_t sluice_blocking(int32_t fd, uint32_t timeout_ms);

// Datagrams to a socket that is named by its path: never block. 0 when sent, or negative errno.
int32_t sluice_unix_datagram_open(void);
int32_t sluice_unix_datagram_send(
    int32_t fd, const char *path, const uint8_t *bytes, uint64_t count);

typedef struct {
    uint32_t receive_queued;
    uint32_t receive_buffer;
    uint32_t drops;
} sluice_meminfo;
// SO_MEMINFO: bytes charged to the receive buffer now, its size, drops so far (wraps at 2^32).
int32_t sluice_meminfo_read(int32_t fd, sluice_meminfo *info);

// MARK: serial lines

enum { SLUICE_PARITY_NONE = 0, SLUICE_PARITY_ODD = 1, SLUICE_PARITY_EVEN = 2 };
typedef struct {
    uint32_t baud;
    uint32_t data_bits;
    uint32_t parity;
    uint32_t stop_bits;
    // The driver is to switch the transceiver (TIOCSRS485).
    uint32_t rs485;
} sluice_tty;
// Raw, non-blocking, exclusive; -EINVAL for a speed or width that the line does not take, -ENOTTY for
// a file that is no tty.
int32_t sluice_tty_open(const char *path, const sluice_tty *tty);

// MARK: readiness

enum {
    SLUICE_READABLE = 1,
    SLUICE_WRITABLE = 2,
    SLUICE_HUNG_UP = 4,
};
typedef struct {
    uint64_t token;
    uint32_t events;
    uint32_t unused;
} sluice_event;

int32_t sluice_epoll_make(void);
int32_t sluice_epoll_add(int32_t epoll, int32_t fd, uint64_t token, uint32_t interest);
int32_t sluice_epoll_change(int32_t epoll, int32_t fd, uint64_t token, uint32_t interest);
int32_t sluice_epoll_remove(int32_t epoll, int32_t fd);
// Events that are there now (never waits): their number, 0...capacity (at most 256), or negative
// errno.
int32_t sluice_epoll_collect(int32_t epoll, sluice_event *events, uint32_t capacity);

// MARK: datagrams

// One slab of `slots` slots of `slot_bytes`; slot i starts at i * slot_bytes.
typedef struct sluice_slab sluice_slab;
typedef struct {
    sluice_endpoint from;
    // CLOCK_REALTIME in ms when the kernel took the datagram in; 0: not known.
    int64_t received_ms;
    uint32_t count;
    uint32_t is_truncated;
} sluice_datagram;

// NULL when there is no memory or an argument is out of range (1...1024 slots, 64...65536 bytes).
sluice_slab *sluice_slab_make(uint32_t slots, uint32_t slot_bytes);
void sluice_slab_free(sluice_slab *slab);
const uint8_t *sluice_slab_bytes(const sluice_slab *slab);
const sluice_datagram *sluice_slab_datagrams(const sluice_slab *slab);
// One recvmmsg: datagrams received (1...slots), or negative errno (-EAGAIN: none there). *drops
// becomes the socket's drop counter where a datagram carries it (SO_RXQ_OVFL; from the first drop
// on).
int32_t sluice_slab_receive(sluice_slab *slab, int32_t fd, uint32_t *drops);

typedef struct {
    sluice_endpoint to;
    uint32_t offset;
    uint32_t count;
} sluice_outgoing;
enum { SLUICE_OUTGOING_MAX = 64 };
// One sendmmsg of up to SLUICE_OUTGOING_MAX items that lie in `bytes`: how many were sent, or
// negative errno of the first. `ipv6` says what kind of socket it is.
int32_t sluice_send_batch(
    int32_t fd, int32_t ipv6, const uint8_t *bytes, const sluice_outgoing *items, uint32_t count);

#endif
