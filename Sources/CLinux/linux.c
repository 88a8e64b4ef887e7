// Time, process, descriptors, stream sockets and readiness. Datagrams are in datagrams.c.
#define _GNU_SOURCE
#include "address.h"

#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

// MARK: time and process

uint64_t sluice_monotonic_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int64_t sluice_wall_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void sluice_sleep_ns(uint64_t nanoseconds) {
    struct timespec t = {(time_t)(nanoseconds / 1000000000u), (long)(nanoseconds % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

int32_t sluice_random(uint8_t *bytes, uint32_t count) {
    while (count > 0) {
        ssize_t n = getrandom(bytes, count, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -errno;
        bytes += n;
        count -= (uint32_t)n;
    }
    return 0;
}

void sluice_usage_read(sluice_usage *usage) {
    struct rusage u;
    memset(usage, 0, sizeof *usage);
    if (getrusage(RUSAGE_SELF, &u) == 0) {
        usage->user_us = (uint64_t)u.ru_utime.tv_sec * 1000000u + (uint64_t)u.ru_utime.tv_usec;
        usage->system_us = (uint64_t)u.ru_stime.tv_sec * 1000000u + (uint64_t)u.ru_stime.tv_usec;
        usage->peak_rss_kb = (uint64_t)u.ru_maxrss;
        usage->voluntary_switches = (uint64_t)u.ru_nvcsw;
        usage->involuntary_switches = (uint64_t)u.ru_nivcsw;
    }
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm == NULL) return;
    unsigned long total, resident;
    if (fscanf(statm, "%lu %lu", &total, &resident) == 2)
        usage->rss_kb = (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
    fclose(statm);
}

void sluice_memory_frugal(void) {
#ifdef __GLIBC__
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    mallopt(M_TRIM_THRESHOLD, 256 << 10);
#endif
}

void sluice_memory_trim(void) {
#ifdef __GLIBC__
    malloc_trim(64 << 10);
#endif
}

// Segments that nobody can write are as they are in the file: what is let go of is read again from the
// page cache. Those that the linker has patched are writable ones and stay.
static int let_go(struct dl_phdr_info *object, size_t size, void *unused) {
    (void)size;
    (void)unused;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W) != 0) continue;
        uintptr_t start = (object->dlpi_addr + segment->p_vaddr + page - 1) & ~(page - 1);
        uintptr_t end = (object->dlpi_addr + segment->p_vaddr + segment->p_filesz) & ~(page - 1);
        if (start < end) madvise((void *)start, end - start, MADV_DONTNEED);
    }
    return 0;
}

void sluice_memory_forget(void) {
    sluice_memory_trim();
    dl_iterate_phdr(let_go, NULL);
}

void sluice_error_text(int32_t error, char *text, uint32_t count) {
    if (count == 0) return;
    char scratch[128];
    snprintf(text, count, "%s", strerror_r(error, scratch, sizeof scratch));
}

static int32_t unix_address(const char *path, struct sockaddr_un *address, socklen_t *length) {
    size_t count = strlen(path);
    if (count == 0 || count >= sizeof address->sun_path) return -ENAMETOOLONG;
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, count);
    *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + count);
    return 0;
}

int32_t sluice_notify(const char *text) {
    const char *path = getenv("NOTIFY_SOCKET");
    if (path == NULL || path[0] == 0) return 1;
    struct sockaddr_un to;
    socklen_t length;
    int32_t failure = unix_address(path, &to, &length);
    if (failure < 0) return failure;
    if (to.sun_path[0] == '@') to.sun_path[0] = 0;  // abstract name, sd_notify(3)
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    ssize_t n = sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&to, length);
    int32_t result = n < 0 ? -errno : 0;
    close(fd);
    return result;
}

uint64_t sluice_watchdog_us(void) {
    const char *interval = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (interval == NULL) return 0;
    if (pid != NULL && strtol(pid, NULL, 10) != (long)getpid()) return 0;
    return strtoull(interval, NULL, 10);
}

int32_t sluice_lock_file(const char *path, int32_t *holder) {
    *holder = 0;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return -errno;
    char text[24] = {0};
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int32_t failure = -errno;
        if (read(fd, text, sizeof text - 1) > 0) *holder = (int32_t)strtol(text, NULL, 10);
        close(fd);
        return failure;
    }
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n) {
        // The lock holds without the pid; it only serves the refused process's message.
    }
    return fd;
}

int32_t sluice_replace_file(const char *path, const uint8_t *bytes, uint64_t count) {
    char beside[4096];
    int n = snprintf(beside, sizeof beside, "%s.new", path);
    if (n < 0 || (size_t)n >= sizeof beside) return -ENAMETOOLONG;
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return -errno;
    int32_t failure = 0;
    for (uint64_t done = 0; done < count && failure == 0;) {
        ssize_t written = write(fd, bytes + done, count - done);
        if (written >= 0) done += (uint64_t)written;
        else if (errno != EINTR) failure = -errno;
    }
    if (close(fd) != 0 && failure == 0) failure = -errno;
    if (failure == 0 && rename(beside, path) != 0) failure = -errno;
    if (failure != 0) unlink(beside);
    return failure;
}

static int signal_pipe[2] = {-1, -1};

static void forward_signal(int number) {
    int saved = errno;
    unsigned char byte = (unsigned char)number;
    // A full pipe already says what this byte would say.
    if (write(signal_pipe[1], &byte, 1) < 0) errno = saved;
    errno = saved;
}

int32_t sluice_signal_bytes(const int32_t *signals, uint32_t count) {
    if (signal_pipe[0] >= 0) return -EALREADY;
    if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0) return -errno;
    struct sigaction action = {.sa_handler = forward_signal, .sa_flags = SA_RESTART};
    sigfillset(&action.sa_mask);
    for (uint32_t i = 0; i < count; i++)
        if (sigaction(signals[i], &action, NULL) != 0) return -errno;
    // What came while this program was started anew has waited (sluice_start_anew).
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_UNBLOCK, &all, NULL);
    return signal_pipe[0];
}

void sluice_ignore_broken_pipes(void) { signal(SIGPIPE, SIG_IGN); }

// MARK: descriptors

int32_t sluice_close(int32_t fd) { return close(fd) == 0 ? 0 : -errno; }

int32_t sluice_unlink(const char *path) { return unlink(path) == 0 ? 0 : -errno; }

int64_t sluice_read(int32_t fd, uint8_t *bytes, uint64_t count) {
    for (;;) {
        ssize_t n = read(fd, bytes, count);
        if (n >= 0) return n;
        if (errno != EINTR) return -errno;
    }
}

int64_t sluice_send(int32_t fd, const uint8_t *bytes, uint64_t count) {
    for (;;) {
        ssize_t n = send(fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == ENOTSOCK) n = write(fd, bytes, count);
        if (n >= 0) return n;
        if (errno != EINTR) return -errno;
    }
}

int32_t sluice_blocking(int32_t fd, uint32_t timeout_ms) {
    int flags = fcntl(fd, F_GETFL);
    struct timeval limit = {timeout_ms / 1000, (timeout_ms % 1000) * 1000};
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0
        || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0
        || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0)
        return -errno;
    return 0;
}

// MARK: addresses

int32_t sluice_parse_address(const char *host, uint16_t port, sluice_endpoint *endpoint) {
    struct in_addr v4;
    struct in6_addr v6;
    if (strcmp(host, "localhost") == 0) host = "127.0.0.1";
    if (inet_pton(AF_INET, host, &v4) == 1) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = v4, .sin_port = htons(port)};
        sluice_from_address((struct sockaddr *)&a, endpoint);
        return 0;
    }
    if (inet_pton(AF_INET6, host, &v6) == 1) {
        struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = v6};
        a.sin6_port = htons(port);
        sluice_from_address((struct sockaddr *)&a, endpoint);
        return 0;
    }
    return -EINVAL;
}

int32_t sluice_resolve(const char *host, uint16_t port, sluice_endpoint *out, uint32_t capacity) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *list = NULL;
    if (getaddrinfo(host, NULL, &hints, &list) != 0) return -EIO;
    int32_t count = 0;
    for (struct addrinfo *a = list; a != NULL && (uint32_t)count < capacity; a = a->ai_next) {
        if (a->ai_family != AF_INET && a->ai_family != AF_INET6) continue;
        sluice_from_address(a->ai_addr, &out[count]);
        out[count++].port = port;
    }
    freeaddrinfo(list);
    return count;
}

int32_t sluice_local_endpoint(int32_t fd, sluice_endpoint *endpoint) {
    struct sockaddr_in6 a;
    socklen_t length = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &length) != 0) return -errno;
    sluice_from_address((struct sockaddr *)&a, endpoint);
    return 0;
}

// MARK: stream sockets

static int32_t failed(int fd) {
    int32_t failure = -errno;
    close(fd);
    return failure;
}

static void steady(int fd) {
    int one = 1, idle = 15, interval = 5, probes = 3;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

int32_t sluice_tcp_listen(const sluice_endpoint *at, uint32_t backlog) {
    struct sockaddr_in6 address;
    socklen_t length = sluice_to_address(at, !sluice_is_ipv4(at), &address);
    int fd = socket(address.sin6_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int one = 1, zero = 0;
    if (address.sin6_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0
        || bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, (int)backlog) != 0)
        return failed(fd);
    return fd;
}

int32_t sluice_accept(int32_t fd, sluice_endpoint *from) {
    struct sockaddr_in6 address;
    socklen_t length = sizeof address;
    int taken;
    do taken = accept4(fd, (struct sockaddr *)&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    while (taken < 0 && errno == EINTR);
    if (taken < 0) return -errno;
    sluice_from_address((struct sockaddr *)&address, from);
    steady(taken);
    return taken;
}

int32_t sluice_tcp_connect(const sluice_endpoint *to) {
    struct sockaddr_in6 address;
    socklen_t length = sluice_to_address(to, !sluice_is_ipv4(to), &address);
    int fd = socket(address.sin6_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    steady(fd);
    unsigned int unanswered_ms = 30000;
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered_ms, sizeof unanswered_ms);
    if (connect(fd, (struct sockaddr *)&address, length) != 0 && errno != EINPROGRESS)
        return failed(fd);
    return fd;
}

int32_t sluice_connect_result(int32_t fd) {
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return -errno;
    return -error;
}

int32_t sluice_unix_listen(const char *path, uint32_t backlog) {
    struct sockaddr_un address;
    socklen_t length;
    int32_t failure = unix_address(path, &address, &length);
    if (failure < 0) return failure;
    struct stat there;
    if (lstat(path, &there) == 0) {
        if (!S_ISSOCK(there.st_mode)) return -EEXIST;
        int probe = sluice_unix_connect(path);
        if (probe >= 0) {
            close(probe);
            return -EADDRINUSE;
        }
        if (probe != -ECONNREFUSED) return probe;
        if (unlink(path) != 0) return -errno;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    // fchmod on the unbound socket sets the mode that bind gives the file: no moment at 0755.
    if (fchmod(fd, 0600) != 0 || bind(fd, (struct sockaddr *)&address, length) != 0
        || listen(fd, (int)backlog) != 0)
        return failed(fd);
    if (chmod(path, 0600) != 0) return failed(fd);
    return fd;
}

int32_t sluice_unix_accept(int32_t fd) {
    int taken;
    do taken = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    while (taken < 0 && errno == EINTR);
    return taken < 0 ? -errno : taken;
}

int32_t sluice_unix_connect(const char *path) {
    struct sockaddr_un address;
    socklen_t length;
    int32_t failure = unix_address(path, &address, &length);
    if (failure < 0) return failure;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    if (connect(fd, (struct sockaddr *)&address, length) != 0) return failed(fd);
    return fd;
}

// MARK: readiness

int32_t sluice_epoll_make(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int32_t control(int32_t epoll, int how, int32_t fd, uint64_t token, uint32_t interest) {
    struct epoll_event event = {.events = EPOLLRDHUP, .data.u64 = token};
    // Without read interest a half-closed peer must not wake us for ever.
    if (!(interest & SLUICE_READABLE)) event.events = 0;
    if (interest & SLUICE_READABLE) event.events |= EPOLLIN;
    if (interest & SLUICE_WRITABLE) event.events |= EPOLLOUT;
    return epoll_ctl(epoll, how, fd, &event) == 0 ? 0 : -errno;
}

int32_t sluice_epoll_add(int32_t epoll, int32_t fd, uint64_t token, uint32_t interest) {
    return control(epoll, EPOLL_CTL_ADD, fd, token, interest);
}

int32_t sluice_epoll_change(int32_t epoll, int32_t fd, uint64_t token, uint32_t interest) {
    return control(epoll, EPOLL_CTL_MOD, fd, token, interest);
}

int32_t sluice_epoll_remove(int32_t epoll, int32_t fd) {
    return control(epoll, EPOLL_CTL_DEL, fd, 0, 0);
}

int32_t sluice_epoll_collect(int32_t epoll, sluice_event *events, uint32_t capacity) {
    struct epoll_event ready[256];
    int n = epoll_wait(epoll, ready, capacity > 256 ? 256 : (int)capacity, 0);
    if (n < 0) return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < n; i++) {
        uint32_t e = ready[i].events, seen = 0;
        if (e & (EPOLLIN | EPOLLRDHUP)) seen |= SLUICE_READABLE;
        if (e & EPOLLOUT) seen |= SLUICE_WRITABLE;
        if (e & (EPOLLHUP | EPOLLERR)) seen |= SLUICE_HUNG_UP;
        events[i] = (sluice_event){.token = ready[i].data.u64, .events = seen};
    }
    return n;
}
